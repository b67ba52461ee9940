"""A registration's result as a function of points: fixed world -> moving world, LPS mm.

Evaluated here in float64 with scipy, point by point and exactly; dense resampling of images is `core/resample.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.grid import Grid, Points, transform_points

_FIXED_POINT, _NEWTON = 100, 100  # iterations of either way to invert a displacement

INVERSE_TOLERANCE_MM = 1e-3
"""How far a point may lie from where it came from after there and back through a displacement's inverse."""


@dataclass(frozen=True, eq=False)
class Affine:
    """x -> M x, world LPS mm; matrix (4, 4)."""

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise GeometryError("An affine transform needs a finite, invertible 4x4 matrix.")
        if np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-9:
            raise GeometryError(f"An affine transform's last row must be 0 0 0 1, not {matrix[3]}: is it transposed?")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    def __call__(self, points: ArrayLike) -> Points:
        return transform_points(self.matrix, points)

    def inverse(self) -> Affine:
        return Affine(np.asarray(np.linalg.inv(self.matrix), np.float64))


@dataclass(frozen=True, eq=False)
class Displacement:
    """x -> x + u(x), world LPS mm.

    field: (3, D, H, W) float32, mm along world x, y, z, at the voxels of `grid`, trilinear between them. Within half
    a voxel beyond the border the edge's vector holds, farther out nothing (SimpleITK's rule; fields made here end in
    zeros, so that it makes no difference).
    inverted: the map is the inverse of that: the y with y + u(y) = x, solved per point to INVERSE_TOLERANCE_MM.
    """

    field: NDArray[np.float32]
    grid: Grid
    inverted: bool = False

    def __post_init__(self) -> None:
        if self.field.shape != (3, *self.grid.shape):
            raise GeometryError(f"A displacement field of shape {self.field.shape} does not fit {self.grid.shape}.")
        # Contiguous and writable, because that is what torch shares without a copy; negative strides it refuses.
        object.__setattr__(self, "field", np.require(self.field, np.float32, ["C", "W"]))

    def __call__(self, points: ArrayLike) -> Points:
        world = np.asarray(points, np.float64)
        return self._solve(world) if self.inverted else world + self.at(world)

    def inverse(self) -> Displacement:
        return replace(self, inverted=not self.inverted)

    def at(self, world: Points) -> Points:
        """u at world points, (..., 3) -> (..., 3) mm."""
        return self._sampled(self.grid.to_voxel(world)) * self.grid.contains(world)[..., None]

    def _sampled(self, voxel: NDArray[np.float64]) -> Points:
        """u at voxel positions, (..., 3) -> (..., 3) mm; beyond the border the edge's."""
        coordinates = np.moveaxis(voxel, -1, 0).reshape(3, -1)
        values = [
            map_coordinates(component, coordinates, order=1, mode="nearest", output=np.float64)
            for component in self.field
        ]
        return np.stack(values, axis=-1).reshape(voxel.shape)

    def _slope(self, world: Points) -> NDArray[np.float64]:
        """du/dx at world points, (N, 3) -> (N, 3, 3), of the trilinear interpolation in the voxel cell they lie in."""
        voxel = self.grid.to_voxel(world)
        columns = []
        for axis in range(3):
            before, after = voxel.copy(), voxel.copy()
            before[:, axis] = np.floor(voxel[:, axis])
            after[:, axis] = before[:, axis] + 1
            columns.append(self._sampled(after) - self._sampled(before))
        return np.asarray(np.stack(columns, axis=-1) @ self.grid.world_to_voxel[:3, :3])

    def _solve(self, target: Points) -> Points:
        flat = target.reshape(-1, 3)
        source, size = self.solve(flat, flat - self.at(flat), INVERSE_TOLERANCE_MM)
        failed = size > INVERSE_TOLERANCE_MM
        if failed.any():
            raise GeometryError(
                f"The displacement field cannot be inverted at {failed.sum()} of {len(flat)} points (off by up to "
                f"{size.max():.2f} mm): it folds there, or breaks off at its border. "
                "Register again with more smoothing."
            )
        return source.reshape(target.shape)

    def solve(self, target: Points, start: Points, tolerance_mm: float) -> tuple[Points, NDArray[np.float64]]:
        """y with y + u(y) = target, from a first guess, and what is missing: (N, 3), (N, 3) -> (N, 3), (N,) mm.

        Damped fixed-point iteration on the points that are not there yet, then Newton's method on the few in strong
        compression or shear, where it stalls; where u folds what is missing stays above the tolerance.
        """
        source = start.copy()
        error = source + self.at(source) - target
        size = np.linalg.norm(error, axis=1)
        for slopes, iterations in ((False, _FIXED_POINT), (True, _NEWTON)):
            damping = np.ones(len(target))
            for _ in range(iterations):
                todo = np.flatnonzero(size > tolerance_mm)
                if not len(todo):
                    break
                step = error[todo]
                if slopes:
                    step = (np.linalg.pinv(np.eye(3) + self._slope(source[todo])) @ step[..., None])[..., 0]
                trial = source[todo] - damping[todo, None] * step
                trial_error = trial + self.at(trial) - target[todo]
                trial_size = np.linalg.norm(trial_error, axis=1)
                better = trial_size < size[todo]
                gained = todo[better]
                source[gained], error[gained], size[gained] = trial[better], trial_error[better], trial_size[better]
                damping[todo] = np.where(better, np.minimum(1, damping[todo] * 1.5), damping[todo] / 2)
        return source, size


Step = Affine | Displacement


@dataclass(frozen=True, eq=False)
class Mapping:
    """World points of the fixed image to world points of the moving image, LPS mm; `steps` act in order."""

    steps: tuple[Step, ...] = ()

    def __call__(self, points: ArrayLike) -> Points:
        """(..., 3) -> (..., 3), LPS mm."""
        world = np.asarray(points, np.float64)
        for step in self.steps:
            world = step(world)
        return world

    def then(self, other: Mapping) -> Mapping:
        """First this mapping, then `other`."""
        return Mapping(self.steps + other.steps)

    def inverse(self) -> Mapping:
        """Moving to fixed; exact for affine steps, solved per point for displacements."""
        return Mapping(tuple(step.inverse() for step in reversed(self.steps)))

    def on(self, grid: Grid) -> Displacement:
        """The whole mapping as one dense field on `grid`."""
        points = grid.points()
        return Displacement(np.moveaxis(self(points) - points, -1, 0).astype(np.float32), grid)

    @property
    def affine(self) -> Affine:
        """All affine steps composed, displacements left out."""
        matrix = np.eye(4)
        for step in self.steps:
            if isinstance(step, Affine):
                matrix = step.matrix @ matrix
        return Affine(matrix)

    @property
    def displacements(self) -> tuple[Displacement, ...]:
        return tuple(step for step in self.steps if isinstance(step, Displacement))
