"""The inverse of a mapping as dense fields, for programs that cannot solve for it point by point."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.mapping import Displacement, Mapping, Step

INVERSE_FILE_TOLERANCE_MM = 0.05
"""How far any voxel of the fixed image may lie from where it came from after there and back."""

_SOLVED_WITHIN = 0.1  # of the tolerance, at the nodes; the rest is left for interpolation between them
_MOST_VOXELS = 20_000_000
_SLAB_VOXELS = 500_000


def dense_inverse(
    mapping: Mapping, over: Grid, tolerance_mm: float = INVERSE_FILE_TOLERANCE_MM
) -> tuple[Mapping, float]:
    """Moving to fixed with every inverted displacement as a plain one, and the largest error over a grid, mm.

    Each field is inverted on its own grid, and on one twice as fine while a voxel of `over` (the fixed image's grid)
    comes back more than `tolerance_mm` from where it started; what was reached is returned, never assumed.
    """
    exact = mapping.inverse()
    best = Mapping(tuple(_dense(step, tolerance_mm) for step in exact.steps))
    reached = round_trip_error(mapping, best, over)
    while reached > tolerance_mm and 8 * _largest(best) <= _MOST_VOXELS:
        pairs = zip(exact.steps, best.steps, strict=True)
        trial = Mapping(tuple(_finer(step, dense, tolerance_mm) for step, dense in pairs))
        error = round_trip_error(mapping, trial, over)
        if error >= reached:
            break
        best, reached = trial, error
    return best, reached


def inverse_on(
    displacement: Displacement, grid: Grid, tolerance_mm: float, start: Displacement | None = None
) -> Displacement:
    """v on `grid` with v(x) + u(x + v(x)) = 0 within `tolerance_mm` at its voxels, wherever u does not fold.

    start: an inverse on another grid to begin with; -u otherwise.
    """
    field = np.empty((3, *grid.shape), np.float32)
    for slab, points in _slabs(grid):
        flat = points.reshape(-1, 3)
        guess = flat - displacement.at(flat) if start is None else start(flat)
        source, _ = displacement.solve(flat, guess, tolerance_mm)
        field[:, slab] = np.moveaxis((source - flat).reshape(points.shape), -1, 0)
    return Displacement(field, grid)


def round_trip_error(mapping: Mapping, inverse: Mapping, over: Grid) -> float:
    """The farthest that any voxel of a grid lies from its place after `mapping` and `inverse`, mm."""
    there_and_back = mapping.then(inverse)
    return max(float(np.linalg.norm(there_and_back(points) - points, axis=-1).max()) for _, points in _slabs(over))


def _dense(step: Step, tolerance_mm: float) -> Step:
    if not (isinstance(step, Displacement) and step.inverted):
        return step
    return inverse_on(step.inverse(), step.grid, _SOLVED_WITHIN * tolerance_mm)


def _finer(step: Step, dense: Step, tolerance_mm: float) -> Step:
    """`dense`, the inverse that `step` stands for, again on a grid twice as fine."""
    if not (isinstance(step, Displacement) and step.inverted and isinstance(dense, Displacement)):
        return dense
    grid = dense.grid.resampled(np.array(dense.grid.shape) * 2)
    return inverse_on(step.inverse(), grid, _SOLVED_WITHIN * tolerance_mm, start=dense)


def _largest(mapping: Mapping) -> int:
    return max((step.grid.voxels for step in mapping.displacements), default=0)


def _slabs(grid: Grid) -> Iterator[tuple[slice, Points]]:
    """The voxels' world positions, (d, H, W, 3), a few slices of the first axis at a time."""
    thickness = max(1, _SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for first in range(0, grid.shape[0], thickness):
        last = min(first + thickness, grid.shape[0])
        yield slice(first, last), grid.padded((-first, 0, 0), (last - grid.shape[0], 0, 0)).points()
