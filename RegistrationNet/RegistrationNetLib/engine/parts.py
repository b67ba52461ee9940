"""Constraints on the fixed grid: which voxels belong to which kept part, and how far from the region each one lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.constraints import Constraints

_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)
_NONE = np.iinfo(np.int32).max
_ROUNDING = 1e-6  # voxel
_MOST_PIECES = 1000  # a skeleton has some hundred; each costs time at every iteration


def without_kept_volume(constraints: Constraints, fixed: Grid, mask: Image | None) -> Image | None:
    """The fixed mask without what keeps its volume."""
    volume = constraints.volume
    if volume is None:
        return mask
    outside = labels_on(volume, fixed) == 0
    seen = outside if mask is None else outside & (labels_on(mask, fixed) > 0)
    return Image(seen[None].astype(np.uint8), fixed, name=volume.name if mask is None else mask.name)


@dataclass(frozen=True, eq=False)
class Parts:
    """Connected pieces that are kept, on the fixed grid.

    labels: (D, H, W), 0 or the piece's number, from 1; rigid, (K,): how each is kept; names: how messages call them.
    """

    labels: NDArray[np.int32]
    grid: Grid
    rigid: NDArray[np.bool_]
    names: tuple[str, ...]

    @classmethod
    def of(cls, constraints: Constraints, fixed: Grid) -> Parts | None:
        """None where nothing is to be kept. Where a voxel is marked for both, it is kept rigid."""
        labels = np.zeros(fixed.shape, np.int32)
        names: list[str] = []
        rigid: list[bool] = []
        for image, stiff in ((constraints.rigid, True), (constraints.volume, False)):
            if image is None:
                continue
            marked = labels_on(image, fixed)
            if marked.any() and not marked[labels == 0].any():
                raise InputError(f"All of '{image.name}' is to be kept rigid already; keep it one way or the other.")
            for called, pieces in _pieces(image, np.where(labels > 0, 0, marked)):
                labels += np.where(pieces > 0, pieces + len(names), 0).astype(np.int32)
                names += called
                rigid += [stiff] * len(called)
        return cls(labels, fixed, np.array(rigid), tuple(names)) if names else None

    def nodes(self, grid: Grid, exact: bool = True) -> NDArray[np.int32]:
        """Which part each node of a field's grid belongs to, (D, H, W), 0 for none.

        exact: whether the parts are to be kept at every voxel. Then a part has all nodes that interpolation uses at its
        voxels and, as far as no other part is near, at their neighbours, so that the field's derivative is the part's
        too; and between two parts at least a node belongs to none.
        """
        if not exact:  # where nodes lie far apart, parts would grow into their surroundings
            return labels_on(Image(self.labels[None], self.grid), grid)
        own, around = (_reached(labels, self.grid, grid) for labels in (self.labels, _grown(self.labels)))
        own = np.where(_alone(own), own, 0)
        wide = np.where(own > 0, own, around)
        return np.where((own > 0) | _alone(wide), wide, 0)

    def voxels(self) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Each part's position in `names` and its voxels' indices, (N, 3)."""
        for number, box in enumerate(ndimage.find_objects(self.labels)):
            inside = np.argwhere(self.labels[box] == number + 1)
            yield number, inside + [cut.start for cut in box]


def labels_on(image: Image, grid: Grid) -> NDArray[np.int32]:
    """A mask or label map at the voxels of a grid, (D, H, W)."""
    seen = image if image.grid.isclose(grid) else warp(image, Mapping(), grid, "nearest")
    return np.asarray(np.ceil(np.maximum(seen.scalar, 0)), np.int32)


def distance_from(region: Image, grid: Grid) -> NDArray[np.float32]:
    """Millimetres from each voxel centre of a grid to the nearest one of the region, (D, H, W); inside it, less than
    zero, to the nearest one outside.
    """
    inside = labels_on(region, grid) > 0
    if not inside.any():
        raise InputError(f"'{region.name}' marks nothing inside the fixed image. Draw it on that image.")
    out, deep = (ndimage.distance_transform_edt(side, sampling=grid.spacing) for side in (~inside, inside))
    return np.asarray(out - deep, np.float32)


def _pieces(image: Image, labels: NDArray[np.int32]) -> Iterator[tuple[list[str], NDArray[np.int32]]]:
    """For each label the names of its connected pieces, and their numbers, from 1, (D, H, W)."""
    values = [int(value) for value in np.unique(labels) if value > 0]
    if not values:
        raise InputError(f"'{image.name}' marks nothing inside the fixed image. Draw it on that image.")
    total = 0
    for value in values:
        pieces, count = ndimage.label(labels == value, _EVERY_NEIGHBOUR)
        total += count
        if total > _MOST_PIECES:
            raise InputError(
                f"'{image.name}' falls into {total:,} separate pieces or more; at most {_MOST_PIECES:,} can be kept. "
                "Remove its specks first (in Slicer's Segment Editor: Islands, Remove small islands)."
            )
        label = f" label {value}" if len(values) > 1 else ""
        yield [f"'{image.name}'{label}" + (f" piece {n}" if count > 1 else "") for n in range(1, count + 1)], pieces


def _grown(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Each part a voxel larger; voxels within reach of two parts are none's."""
    return np.where(_alone(labels), ndimage.grey_dilation(labels, footprint=_EVERY_NEIGHBOUR), 0)


def _alone(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Where there is no second part within a voxel."""
    least = ndimage.grey_erosion(np.where(labels > 0, labels, _NONE), footprint=_EVERY_NEIGHBOUR)
    return np.asarray((least == _NONE) | (least == ndimage.grey_dilation(labels, footprint=_EVERY_NEIGHBOUR)))


def _reached(labels: NDArray[np.int32], grid: Grid, onto: Grid) -> NDArray[np.int32]:
    """Which part's voxels use each node of `onto` when they are interpolated; 0 for none or several."""
    if onto.isclose(grid):
        return labels
    where = np.argwhere(labels > 0)
    low = np.floor(onto.to_voxel(grid.to_world(where)) + _ROUNDING).astype(int)
    seen = labels_on(Image(labels[None], grid), onto)  # by nodes closer together than the voxels
    most, least = seen.copy(), np.where(seen > 0, seen, _NONE)
    for corner in np.ndindex(2, 2, 2):
        node = tuple(np.clip(low + corner, 0, np.array(onto.shape) - 1).T)
        np.minimum.at(least, node, labels[tuple(where.T)])
        np.maximum.at(most, node, labels[tuple(where.T)])
    return np.where(least == most, most, 0)
