"""The inverse of a mapping as dense fields, for programs that cannot solve for it point by point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.mapping import Displacement, Mapping, Step

INVERSE_FILE_TOLERANCE_MM = 0.05
"""How far any voxel of the fixed image may lie from where it came from after there and back."""

_SOLVED_WITHIN = 0.1  # of the tolerance, at the nodes; the rest is left for interpolation between them
_WORTH_CORRECTING = 0.2  # of the tolerance; what is less becomes zero, which files store in no space
_CORRECTIONS = 6
_MOST_VOXELS = 20_000_000
_SLAB_VOXELS = 500_000


@dataclass(frozen=True)
class RoundTrip:
    """How far points lie from where they came from after there and back, mm; within: the share inside a tolerance."""

    largest: float
    mean: float
    within: float


def dense_inverse(
    mapping: Mapping, over: Grid, tolerance_mm: float = INVERSE_FILE_TOLERANCE_MM
) -> tuple[Mapping, RoundTrip]:
    """Moving to fixed with every inverted displacement as a plain one, and how well it leads back over a grid.

    Each field is inverted on its own grid. While a voxel of `over` (the fixed image's grid) comes back more than
    `tolerance_mm` from where it started, a field coarser than `over` is inverted on a grid twice as fine, and then
    small fields on `over` correct what is left where strong compression is narrower than any grid. What was reached
    is returned, never assumed.
    """
    best = Mapping(tuple(_dense(step, tolerance_mm) for step in mapping.inverse().steps))
    reached = round_trip(mapping, best, over, tolerance_mm)
    for improve in (_refined, *[_corrected] * _CORRECTIONS):
        if reached.largest > tolerance_mm:
            trial = improve(mapping, best, over, tolerance_mm)
            error = round_trip(mapping, trial, over, tolerance_mm)
            if error.largest < reached.largest:
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


def round_trip(mapping: Mapping, inverse: Mapping, over: Grid, tolerance_mm: float) -> RoundTrip:
    """`mapping`, then `inverse`, for every voxel of a grid."""
    there_and_back = mapping.then(inverse)
    largest = total = within = 0.0
    for _, points in _slabs(over):
        error = np.linalg.norm(there_and_back(points) - points, axis=-1)
        largest = max(largest, float(error.max()))
        total += float(error.sum())
        within += float(np.count_nonzero(error <= tolerance_mm))
    return RoundTrip(largest, total / over.voxels, within / over.voxels)


def _refined(mapping: Mapping, inverse: Mapping, over: Grid, tolerance_mm: float) -> Mapping:
    """Every inverse field coarser than `over` again on a grid twice as fine, where that does not grow too large."""
    steps = zip(mapping.inverse().steps, inverse.steps, strict=True)
    return Mapping(tuple(_finer(step, dense, over, tolerance_mm) for step, dense in steps))


def _corrected(mapping: Mapping, inverse: Mapping, over: Grid, tolerance_mm: float) -> Mapping:
    """`inverse` and after it the inverse of id + e, e being what there and back leaves; zero at its border."""
    grid = over.padded((4, 4, 4), (4, 4, 4))
    error = np.empty((3, *grid.shape), np.float32)
    there_and_back = mapping.then(inverse)
    for slab, points in _slabs(grid):
        error[:, slab] = np.moveaxis(there_and_back(points) - points, -1, 0)
    inner = np.zeros(grid.shape, bool)
    inner[2:-2, 2:-2, 2:-2] = True
    correction = inverse_on(Displacement(error * inner, grid), grid, _SOLVED_WITHIN * tolerance_mm).field
    worth = np.linalg.norm(correction, axis=0) > _WORTH_CORRECTING * tolerance_mm
    return inverse.then(Mapping((Displacement(correction * (worth & inner), grid),)))


def _dense(step: Step, tolerance_mm: float) -> Step:
    if not (isinstance(step, Displacement) and step.inverted):
        return step
    return inverse_on(step.inverse(), step.grid, _SOLVED_WITHIN * tolerance_mm)


def _finer(step: Step, dense: Step, over: Grid, tolerance_mm: float) -> Step:
    """`dense`, the inverse that `step` stands for, again on a grid twice as fine."""
    if not (isinstance(step, Displacement) and step.inverted and isinstance(dense, Displacement)):
        return dense
    if 8 * dense.grid.voxels > _MOST_VOXELS or dense.grid.voxel_volume < 1.5 * over.voxel_volume:
        return dense
    grid = dense.grid.resampled(np.array(dense.grid.shape) * 2)
    return inverse_on(step.inverse(), grid, _SOLVED_WITHIN * tolerance_mm, start=dense)


def _slabs(grid: Grid) -> Iterator[tuple[slice, Points]]:
    """The voxels' world positions, (d, H, W, 3), a few slices of the first axis at a time."""
    thickness = max(1, _SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for first in range(0, grid.shape[0], thickness):
        last = min(first + thickness, grid.shape[0])
        yield slice(first, last), grid.padded((-first, 0, 0), (last - grid.shape[0], 0, 0)).points()
