"""One lesion at one timepoint: where it is, how large, and whether a point lies in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.spatial import cKDTree

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image


@dataclass(frozen=True, eq=False)
class Lesion:
    """name: of its own within its timepoint; not an identity over time, for which see `events`.

    outline: nonzero inside, best cropped to the lesion; a click is one voxel.
    clicked: it is a point without an outline, so that its size is not known.
    Raises InputError for an empty outline.
    """

    name: str
    outline: Image
    clicked: bool = False

    def __post_init__(self) -> None:
        if not self.outline.scalar.any():
            raise InputError(f"Lesion '{self.name}' has an empty outline. Draw it again, or remove it.")

    @cached_property
    def points(self) -> Points:
        """World positions of the voxel centres inside, (N, 3) LPS mm."""
        return self.outline.grid.to_world(np.argwhere(self.outline.scalar))

    @property
    def volume_mm3(self) -> float:
        """Of its voxels; of no meaning for a click."""
        return len(self.points) * self.outline.grid.voxel_volume

    @cached_property
    def center(self) -> Points:
        """Centre of gravity, (3,) LPS mm."""
        return np.asarray(self.points.mean(axis=0))

    @cached_property
    def anchor(self) -> Points:
        """The innermost voxel's centre, (3,) LPS mm: inside whatever the shape, and so after small edits.

        Of several the one nearest to the centre of gravity, or else with the smallest coordinates, to 1 um.
        """
        depth = distance_transform_edt(np.pad(self.outline.scalar != 0, 1), self.outline.grid.spacing)[1:-1, 1:-1, 1:-1]
        innermost = self.outline.grid.to_world(np.argwhere(depth > depth.max() - 1e-6))
        return np.asarray(min(innermost, key=self._far_from_center))

    def _far_from_center(self, point: Points) -> tuple[float, ...]:
        """For comparing: rounded, so that rounding errors decide nothing."""
        return round(float(np.linalg.norm(point - self.center)), 3), *point.round(3)

    def holds(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Which world points lie in one of its voxels, (..., 3) -> (...)."""
        grid, inside = self.outline.grid, self.outline.grid.contains(points)
        nearest = np.clip(np.rint(grid.to_voxel(points)).astype(int), 0, np.array(grid.shape) - 1)
        return np.asarray(inside & (self.outline.scalar[tuple(np.moveaxis(nearest, -1, 0))] != 0))

    def within(self, points: ArrayLike, mm: float) -> NDArray[np.bool_]:
        """Which world points lie in it or no farther than so from a voxel's centre inside, (..., 3) -> (...)."""
        return np.asarray(self.holds(points) | (self._tree.query(points, distance_upper_bound=max(mm, 1e-9))[0] <= mm))

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)


def outlined(labels: Image) -> tuple[Lesion, ...]:
    """The lesions of a label map, one for each value above 0, which is its name."""
    found = enumerate(find_objects(labels.scalar), start=1)
    return tuple(_cut(labels, value, box) for value, box in found if box is not None)


def clicked(name: str, point: ArrayLike) -> Lesion:
    """A lesion of which only a point inside is known, LPS mm."""
    grid = Grid.of((1, 1, 1), (1, 1, 1), np.eye(3), point)
    return Lesion(name, Image(np.ones((1, 1, 1, 1), np.uint8), grid, name=name), clicked=True)


def _cut(labels: Image, value: int, box: tuple[slice, ...]) -> Lesion:
    before = [-cut.start for cut in box]
    after = [cut.stop - size for cut, size in zip(box, labels.grid.shape, strict=True)]
    inside = (labels.scalar[box] == value).astype(np.uint8)
    return Lesion(str(value), Image(inside[None], labels.grid.padded(before, after), name=f"{labels.name} {value}"))
