"""The inverse of a mapping as dense fields, for programs that cannot solve for it point by point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Displacement, Mapping, Step
from RegistrationNetLib.core.resample import field_in, field_on, places, slabs, to_displacement, within
from RegistrationNetLib.core.sampler import Sampler

INVERSE_FILE_TOLERANCE_MM = 0.05
"""How far any voxel of the fixed image may lie from where it came from after there and back."""

_SOLVED_WITHIN = 0.1  # of the tolerance, at the nodes; the rest is left for interpolation between them
_WORTH_CORRECTING = 0.2  # of the tolerance; what is less becomes zero, which files store in no space
_CORRECTIONS = 6
_MOST_VOXELS = 20_000_000
_ITERATIONS = 25  # in float32; the few points that are not there then are solved in float64
_STRICTER = 0.5  # times the tolerance in float32, which rounds


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
    there, begin = _Sampled.of(displacement), None if start is None else _Sampled.of(start)
    field = np.empty((3, *grid.shape), np.float32)
    for slab in slabs(grid):
        nodes = places(Mapping(), grid, slab, displacement.grid)[0].float().flatten(1)
        if start is None or begin is None:
            guess = -there(nodes)
        else:
            guess = begin(places(Mapping(), grid, slab, start.grid)[0].float().flatten(1))
        found, left = there.solved(nodes, guess, _STRICTER * tolerance_mm)
        field[:, slab] = found.view(field[:, slab].shape)
        at = np.argwhere(left.view(field[0, slab].shape).numpy()).T + np.array([[slab.start], [0], [0]])
        target, rough = grid.to_world(at.T), field[:, *at].T
        field[:, *at] = (displacement.solve(target, target + rough, tolerance_mm)[0] - target).T
    return Displacement(field, grid)


@dataclass(frozen=True, eq=False)
class _Sampled:
    """A displacement of float32 mm, fast at many places given in voxels of its grid."""

    field: Sampler
    to_voxels: Tensor  # (3, 3): mm -> voxels

    @classmethod
    def of(cls, displacement: Displacement) -> _Sampled:
        matrix = torch.as_tensor(np.array(displacement.grid.world_to_voxel[:3, :3]), dtype=torch.float32)
        return cls(Sampler.of(torch.from_numpy(displacement.field)[None]), matrix)

    def __call__(self, positions: Tensor) -> Tensor:
        """(3, N) voxels -> (3, N) mm."""
        at = positions[:, None, None]
        inside = within(at[None], self.field.volume.shape[2:])[0, 0, 0]
        return self.field(at.clone())[0, :, 0, 0].mul_(inside)

    def solved(self, positions: Tensor, start: Tensor, tolerance_mm: float) -> tuple[Tensor, Tensor]:
        """v with v + u(x + v) = 0, (3, N) mm, and where it is not yet within the tolerance, (N,) bool.

        As `Displacement.solve`: a damped fixed-point iteration on the points that are not there yet.
        """
        found = start.clone()
        which, here, value = torch.arange(positions.shape[1]), positions, start
        error = value + self(torch.addmm(here, self.to_voxels, value))
        size, damping = error.norm(dim=0), torch.ones(positions.shape[1])
        for _ in range(_ITERATIONS):
            todo = torch.nonzero(size > tolerance_mm)[:, 0]
            which, here, value, error, size, damping = (
                each.index_select(-1, todo) for each in (which, here, value, error, size, damping)
            )
            if not len(todo):
                break
            trial = value - damping * error
            trial_error = trial + self(torch.addmm(here, self.to_voxels, trial))
            trial_size = trial_error.norm(dim=0)
            better = trial_size < size
            value, error = torch.where(better, trial, value), torch.where(better, trial_error, error)
            size = torch.minimum(trial_size, size)
            damping = torch.where(better, (1.5 * damping).clamp(max=1), damping / 2)
            found[:, which] = value
        left = torch.zeros(positions.shape[1], dtype=torch.bool)
        left[which] = size > tolerance_mm
        return found, left


def round_trip(mapping: Mapping, inverse: Mapping, over: Grid, tolerance_mm: float) -> RoundTrip:
    """`mapping`, then `inverse`, for every voxel of a grid."""
    there_and_back = mapping.then(inverse)
    to_mm = torch.as_tensor(np.array(over.voxel_to_world[:3, :3]))
    largest = total = inside = 0.0
    for slab in slabs(over):
        error = (to_mm @ field_in(slab, there_and_back, over)[0].flatten(1).double()).norm(dim=0)
        largest = max(largest, float(error.max()))
        total += float(error.sum())
        inside += float(torch.count_nonzero(error <= tolerance_mm))
    return RoundTrip(largest, total / over.voxels, inside / over.voxels)


def _refined(mapping: Mapping, inverse: Mapping, over: Grid, tolerance_mm: float) -> Mapping:
    """Every inverse field coarser than `over` again on a grid twice as fine, where that does not grow too large."""
    steps = zip(mapping.inverse().steps, inverse.steps, strict=True)
    return Mapping(tuple(_finer(step, dense, over, tolerance_mm) for step, dense in steps))


def _corrected(mapping: Mapping, inverse: Mapping, over: Grid, tolerance_mm: float) -> Mapping:
    """`inverse` and after it the inverse of id + e, e being what there and back leaves; zero at its border."""
    grid = over.padded((4, 4, 4), (4, 4, 4))
    inner = torch.zeros(grid.shape)
    inner[2:-2, 2:-2, 2:-2] = 1
    error = to_displacement(field_on(mapping.then(inverse), grid).mul_(inner), grid)
    correction = inverse_on(error, grid, _SOLVED_WITHIN * tolerance_mm).field
    worth = np.linalg.norm(correction, axis=0) > _WORTH_CORRECTING * tolerance_mm
    return inverse.then(Mapping((Displacement(correction * (worth & (inner.numpy() > 0)), grid),)))


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
