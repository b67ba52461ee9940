"""Three slices through a volume, turned as radiologists look at them, whatever order its voxels are stored in.

Oblique volumes are cut along their own axes; each axis counts as the anatomical one it is nearest to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image

_VIEWS = (
    ("Axial", "seen from the feet", "RLAP"),
    ("Coronal", "seen from the front", "RLSI"),
    ("Sagittal", "seen from the left", "APSI"),
)


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice of a grid, rows from top to bottom, columns from left to right as on the screen.

    letters: what lies at the left, right, top and bottom. points: (rows, columns, 3) world LPS mm of its pixels.
    pixel_mm: height and width of a pixel. tilt: degrees between the slice and the anatomical plane.
    """

    name: str
    seen: str
    letters: str
    points: Points
    pixel_mm: tuple[float, float]
    tilt: float
    _axes: tuple[int, ...]
    _flips: tuple[int, ...]
    _normal: int
    _index: int

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        rows, columns = self.points.shape[:2]
        return rows * self.pixel_mm[0], columns * self.pixel_mm[1]

    @property
    def axis(self) -> int:
        """The tensor axis that runs from slice to slice."""
        return self._axes[self._normal]

    def of(self, data: NDArray[np.generic]) -> NDArray[np.generic]:
        """This slice of values (D, H, W) on the grid, (rows, columns)."""
        return _upright(_anatomical(data, self._axes, self._flips), self._normal, self._index)


def planes(grid: Grid, through: Points) -> list[Plane]:
    """The axial, coronal and sagittal slice of a grid nearest to a world point."""
    axes, flips = _orientation(grid)
    indices = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij", sparse=True)
    turned = [_anatomical(np.broadcast_to(index, grid.shape), axes, flips) for index in indices]
    center = np.clip(np.rint(grid.to_voxel(through)), 0, np.array(grid.shape) - 1)
    found = []
    for normal, (name, seen, letters) in enumerate(_VIEWS):
        axis = axes[normal]
        index = int(center[axis]) if not flips[normal] else grid.shape[axis] - 1 - int(center[axis])
        voxels = np.stack([_upright(part, normal, index) for part in turned], axis=-1)
        height, width = (grid.spacing[axes[a]] for a in range(3) if a != normal)
        world_axis = 2 - normal
        cosine = min(1.0, abs(float(_normals(grid)[world_axis, axis])))
        found.append(
            Plane(
                name,
                seen,
                letters,
                grid.to_world(voxels),
                (float(height), float(width)),
                float(np.degrees(np.arccos(cosine))),
                axes,
                flips,
                normal,
                index,
            )
        )
    return found


def sampled(image: Image, points: Points) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values of an image at world points by linear interpolation, and where there are any; its background elsewhere."""
    voxels = np.moveaxis(image.grid.to_voxel(points), -1, 0)
    inside = image.grid.contains(points)
    values = map_coordinates(image.scalar, voxels, order=1, mode="nearest", output=np.float64)
    return np.where(inside, values, image.background), inside


def _orientation(grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which tensor axis runs along z, y, x, and whether it runs against superior, posterior, left."""
    along = grid.directions[::-1]  # rows z, y, x
    axes = max(permutations(range(3)), key=lambda order: sum(abs(along[row, axis]) for row, axis in enumerate(order)))
    return axes, tuple(int(along[row, axis] < 0) for row, axis in enumerate(axes))


def _normals(grid: Grid) -> NDArray[np.float64]:
    """Unit normals of the slices across each tensor axis, as columns."""
    inverse = grid.world_to_voxel[:3, :3]
    return np.asarray((inverse / np.linalg.norm(inverse, axis=1, keepdims=True)).T)


def _anatomical(data: NDArray[np.generic], axes: tuple[int, ...], flips: tuple[int, ...]) -> NDArray[np.generic]:
    """Values with axes running to superior, posterior and left; a view, nothing is copied."""
    turned = data.transpose(axes)
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def _upright(data: NDArray[np.generic], normal: int, index: int) -> NDArray[np.generic]:
    """Superior up in coronal and sagittal slices, anterior up in axial ones."""
    cut = np.moveaxis(data, normal, 0)[index]
    return cut if normal == 0 else cut[::-1]
