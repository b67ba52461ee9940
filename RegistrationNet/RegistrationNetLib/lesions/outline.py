"""A lesion's outline: its voxels on the native grid, the plane in which it was scanned, and its surface.

The outline is what a reader drew: a voxel belongs to it or not. All that is measured is in the world, in LPS mm, so
that oblique, anisotropic and sheared grids need no special case.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from RegistrationNetLib.core.errors import GeometryError, InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.lesion import Lesion

THICKER = 1.1
"""An axis whose spacing exceeds both others this many times is the one along which slices were acquired."""


@dataclass(frozen=True, eq=False)
class Outline:
    """One lesion on one image.

    mask: (D, H, W) bool. name: how messages call it. Raises InputError where it is empty or does not fit its grid.
    """

    mask: NDArray[np.bool_]
    grid: Grid
    name: str = "lesion"

    def __post_init__(self) -> None:
        if self.mask.shape != self.grid.shape:
            raise InputError(
                f"The outline of '{self.name}' has {self.mask.shape} voxels, its grid {self.grid.shape}; "
                "draw it on the image itself, or resample it onto that."
            )
        if self.mask.dtype != bool:
            raise InputError(
                f"The outline of '{self.name}' must be true or false at each voxel, not {self.mask.dtype}."
            )
        if not self.mask.any():
            raise InputError(f"The outline of '{self.name}' is empty; draw it, or record the lesion as gone.")

    @classmethod
    def of(cls, lesion: Lesion, image: Image) -> Outline:
        """A lesion's outline on the image on which it was drawn.

        Raises GeometryError where its voxels are not the image's, InputError for a click.
        """
        if lesion.clicked:
            raise InputError(f"'{lesion.name}' is a point without an outline; outline it to measure it.")
        cut = lesion.outline.grid
        before = np.rint(image.grid.to_voxel(cut.to_world((0, 0, 0)))).astype(int)
        after = np.array(image.grid.shape) - cut.shape - before
        if min(before.min(), after.min()) < 0 or not cut.padded(before, after).isclose(image.grid):
            raise _elsewhere(lesion.name, image)
        mask = np.pad(lesion.outline.scalar != 0, list(zip(before, after, strict=True)))
        return cls(mask, image.grid, lesion.name)

    @cached_property
    def box(self) -> tuple[slice, slice, slice]:
        """The smallest part of the grid that holds the outline."""
        d, h, w = (self._range(axis) for axis in range(3))
        return d, h, w

    def _range(self, axis: int) -> slice:
        hit = np.flatnonzero(self.mask.any(axis=tuple(a for a in range(3) if a != axis)))
        return slice(int(hit[0]), int(hit[-1]) + 1)

    @property
    def cut_off(self) -> bool:
        """Whether it touches the edge of the image, so that a part of the lesion may lie outside."""
        return any(cut.start == 0 or cut.stop == n for cut, n in zip(self.box, self.grid.shape, strict=True))

    def tight(self, margin_voxels: int | NDArray[np.int_] = 2) -> Outline:
        """The same outline on as little of its lattice as holds it and a margin, beyond the image's edge if need be."""
        margin = np.broadcast_to(margin_voxels, 3)
        start = np.array([cut.start for cut in self.box])
        stop = np.array([cut.stop for cut in self.box])
        mask = np.pad(self.mask[self.box], [(int(m), int(m)) for m in margin])
        return Outline(mask, self.grid.padded(margin - start, stop + margin - self.grid.shape), self.name)

    @cached_property
    def slice_axis(self) -> int:
        return slice_axis(self.grid)

    @cached_property
    def slices(self) -> int:
        """How many slices it is seen in."""
        cut = self.box[self.slice_axis]
        return cut.stop - cut.start


def slice_axis(grid: Grid) -> int:
    """The tensor axis that runs from slice to slice: "axial" diameters are measured across it, as the images are read.

    It is the axis with the thickest spacing, where one is thicker than both others by a tenth or more; where none
    is (isotropic scans), the one that is closest to the body's long axis, along which axial slices are stacked. So a
    gantry tilted or oblique stack is measured in the slices that were acquired, and a sagittal stack in its own plane.
    """
    _, middle, thick = np.sort(grid.spacing)
    if thick >= THICKER * middle:
        return int(np.argmax(grid.spacing))
    return int(np.argmax(np.abs(grid.directions[2])))


def plane(grid: Grid) -> str:
    """The name of the slices' plane: the body plane to which they are closest."""
    across = grid.world_to_voxel[slice_axis(grid), :3]
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(across)))]


def slice_thickness_mm(grid: Grid) -> float:
    """From slice to slice, across their plane."""
    axis = slice_axis(grid)
    return float(1 / np.linalg.norm(grid.world_to_voxel[axis, :3]))


@dataclass(frozen=True, eq=False)
class Surface:
    """An outline's surface in pieces: where they are, world LPS mm (n, 3), outward unit normals (n, 3), mm2 (n,)."""

    points: Points
    normals: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]

    @property
    def area_mm2(self) -> float:
        return float(self.areas_mm2.sum())


def surface(outline: Outline) -> Surface:
    """The faces between voxels inside and outside, each with the share of the smooth surface that passes through it.

    A staircase of faces is larger than the surface that it follows. Seen along the smooth surface's normal each face
    counts with its projected area, which gives the true area back. The normals are those of the mask after a Gaussian
    of one voxel.
    """
    tight = outline.tight(4)
    grid = tight.grid
    soft = gaussian_filter(tight.mask.astype(np.float64), 1.0)
    slope = -np.stack(np.gradient(soft), axis=-1) @ grid.world_to_voxel[:3, :3]
    parts = [_faces(tight.mask, slope, grid, axis) for axis in range(3)]
    points, normals, areas = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Surface(points, normals, areas)


def _faces(
    mask: NDArray[np.bool_], slope: NDArray[np.float64], grid: Grid, axis: int
) -> tuple[Points, NDArray[np.float64], NDArray[np.float64]]:
    """World centres, unit normals and projected areas of the faces across one axis."""
    inside, there = np.moveaxis(mask, axis, 0), np.moveaxis(slope, axis, 0)
    at = np.argwhere(inside[:-1] != inside[1:])
    nearer = inside[tuple(at.T)]
    summed = there[tuple(at.T)] + there[tuple((at + np.array((1, 0, 0))).T)]
    normals = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
    across = grid.voxel_volume * grid.world_to_voxel[axis, :3] * np.where(nearer, 1.0, -1.0)[:, None]
    centres = np.insert(at[:, 1:].astype(float), axis, at[:, 0] + 0.5, axis=1)
    return grid.to_world(centres), normals, np.maximum((across * normals).sum(1), 0.0)


def check_same_grid(outline: Outline, image: Image) -> None:
    """Raises GeometryError unless the outline was drawn on this very image."""
    if not outline.grid.isclose(image.grid):
        raise _elsewhere(outline.name, image)


def _elsewhere(name: str, image: Image) -> GeometryError:
    return GeometryError(
        f"The outline of '{name}' does not lie on the voxels of '{image.name}'; measurements are made on the native "
        "image. Draw the outline on it, or resample the outline onto it."
    )
