"""Where voxels lie in the world: the one home of voxel <-> world conversions.

World coordinates are LPS millimetres (x, y, z). Voxel coordinates follow the tensor's axes (d, h, w), so that
`voxel_to_world` has one column per tensor axis; ITK's reversed order and RAS exist only in the borders.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from RegistrationNetLib.core.errors import GeometryError

Points = NDArray[np.float64]

BORDER = 0.501
"""Voxels beyond the outermost centres that still belong to a grid: half a voxel, and a hair more, so that a point on
the outer face is inside however rounding falls and in whichever order the axes are stored."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular lattice of voxel centres.

    shape: (D, H, W) voxels.
    voxel_to_world: (4, 4) float64; voxel (d, h, w, 1) -> world (x, y, z, 1), LPS mm.
    """

    shape: tuple[int, int, int]
    voxel_to_world: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        matrix = np.array(self.voxel_to_world, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"A grid needs three axes of at least one voxel, not {shape}.")
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise GeometryError("A grid's voxel-to-world matrix must be 4x4 and finite.")
        if np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-9:
            raise GeometryError(
                f"A grid's voxel-to-world matrix must end in 0 0 0 1, not {matrix[3]}: is it transposed?"
            )
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if spacing.min() <= 0 or abs(np.linalg.det(matrix[:3, :3] / np.maximum(spacing, 1e-300))) < 1e-3:
            raise GeometryError("A grid's axes must be independent: its direction matrix is singular.")
        matrix.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "voxel_to_world", matrix)

    @classmethod
    def of(cls, shape: ArrayLike, spacing: ArrayLike, directions: ArrayLike, origin: ArrayLike) -> Grid:
        """From spacing (mm per tensor axis), unit direction columns (tensor axis order) and the first voxel's world."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(directions, float) * np.asarray(spacing, float)
        matrix[:3, 3] = origin
        sizes = np.asarray(shape, int)
        return cls((int(sizes[0]), int(sizes[1]), int(sizes[2])), matrix)

    @cached_property
    def order(self) -> tuple[int, int, int]:
        """The tensor's axes sorted by their directions in the world: the same however the voxels are stored."""
        directions = np.abs(self.voxel_to_world[:3, :3] / self.spacing).round(6)
        first, second, third = sorted(range(3), key=lambda axis: tuple(directions[:, axis]), reverse=True)
        return first, second, third

    @cached_property
    def spacing(self) -> NDArray[np.float64]:
        """Millimetres per tensor axis, (3,)."""
        return np.asarray(np.linalg.norm(self.voxel_to_world[:3, :3], axis=0))

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """Unit world direction of each tensor axis, as columns, (3, 3)."""
        return np.asarray(self.voxel_to_world[:3, :3] / self.spacing)

    @cached_property
    def world_to_voxel(self) -> NDArray[np.float64]:
        """(4, 4); world LPS mm -> voxel (d, h, w)."""
        return np.asarray(np.linalg.inv(self.voxel_to_world), np.float64)

    @property
    def voxels(self) -> int:
        return int(np.prod(self.shape))

    @property
    def voxel_volume(self) -> float:
        """Cubic millimetres."""
        return float(abs(np.linalg.det(self.voxel_to_world[:3, :3])))

    @property
    def center(self) -> Points:
        """World position of the middle of the volume, (3,)."""
        return self.to_world((np.array(self.shape) - 1) / 2)

    def to_world(self, voxels: ArrayLike) -> Points:
        """(..., 3) voxel (d, h, w) -> (..., 3) world LPS mm."""
        return transform_points(self.voxel_to_world, voxels)

    def to_voxel(self, world: ArrayLike) -> Points:
        """(..., 3) world LPS mm -> (..., 3) continuous voxel (d, h, w)."""
        return transform_points(self.world_to_voxel, world)

    def points(self) -> Points:
        """World position of every voxel centre, (D, H, W, 3)."""
        return self.to_world(np.stack(np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij"), axis=-1))

    def corners(self) -> Points:
        """World positions of the eight outermost voxel centres, (8, 3)."""
        ends = np.stack(np.meshgrid(*((0, n - 1) for n in self.shape), indexing="ij"), axis=-1)
        return self.to_world(ends.reshape(8, 3))

    def contains(self, world: ArrayLike, margin_voxels: float = BORDER) -> NDArray[np.bool_]:
        """(...,) True where a world point lies within `margin_voxels` of the voxel centres' box."""
        voxel = self.to_voxel(world)
        last = np.array(self.shape) - 1
        return np.all((voxel >= -margin_voxels) & (voxel <= last + margin_voxels), axis=-1)

    def resampled(self, shape: ArrayLike) -> Grid:
        """The same field of view (outer voxel faces kept) cut into `shape` voxels."""
        new = np.asarray(shape, int)
        factor = np.array(self.shape) / new
        matrix = self.voxel_to_world.copy()
        matrix[:3, 3] = self.to_world((factor - 1) / 2)
        matrix[:3, :3] = self.voxel_to_world[:3, :3] * factor
        return Grid((int(new[0]), int(new[1]), int(new[2])), matrix)

    def padded(self, before: ArrayLike, after: ArrayLike) -> Grid:
        """More voxels of the same lattice at the near and far end of each axis (negative numbers crop)."""
        near, far = np.asarray(before, int), np.asarray(after, int)
        matrix = self.voxel_to_world.copy()
        matrix[:3, 3] = self.to_world(-near)
        size = np.array(self.shape) + near + far
        return Grid((int(size[0]), int(size[1]), int(size[2])), matrix)

    def isclose(self, other: Grid, atol_mm: float = 1e-3) -> bool:
        """True when both grids have the same shape and no corner differs by more than `atol_mm`."""
        return self.shape == other.shape and bool(np.abs(self.corners() - other.corners()).max() <= atol_mm)

    def describe(self) -> dict[str, Any]:
        """Plain values for reports: shape, spacing mm, first voxel's world, unit directions, bounds; LPS mm.

        Shape, spacing and directions follow the tensor's axes (slowest first); directions are world vectors.
        """
        corners = self.corners()
        return {
            "shape": list(self.shape),
            "spacing_mm": [round(float(s), 6) for s in self.spacing],
            "origin_lps_mm": [round(float(v), 6) for v in self.voxel_to_world[:3, 3]],
            "directions_lps": [[round(float(v), 9) for v in axis] for axis in self.directions.T],
            "bounds_lps_mm": [
                [round(float(v), 3) for v in corners.min(0)],
                [round(float(v), 3) for v in corners.max(0)],
            ],
        }


def transform_points(matrix: NDArray[np.float64], points: ArrayLike) -> Points:
    """Apply a (4, 4) affine matrix to (..., 3) points."""
    return np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
