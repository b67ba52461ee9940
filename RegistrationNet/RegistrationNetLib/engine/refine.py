"""Deformable refinement on one pair: greedy composition of small smooth steps up the local correlation, coarse to fine.

After Yushkevich's greedy, with the exact derivative of the local correlation. Every step moves less than a voxel and is
smooth, so the composed map does not fold; that is checked at the end of each level, and mended where it failed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine, Displacement
from RegistrationNetLib.core.resample import to_displacement
from RegistrationNetLib.core.similarity import LocalCorrelation
from RegistrationNetLib.engine.align import Progress
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.settings import Refine

_SMALLEST_AXIS = 12  # voxels; a level with fewer has nothing to say
_PERCENTILE = 0.999  # of the force that moves by a whole step: the maximum would let one bad voxel rule
_TINY = 1e-12
_LEAST_DETERMINANT = 0.05
_LARGEST_BEND_MM = 0.19
_STEEPEST_TAPER = 0.6  # voxels a voxel, at which a field is first led to zero beyond the border
_GENTLEST_TAPER = 0.1
_SLAB = 8  # voxels along the first axis
_INSIDE = 1.001  # normalised half width of the moving image, rounding forgiven
_COARSEST_MM = 9.0  # windows of coarser voxels see no anatomy, and drive wrong what the affine had right
_STIFF_FORCE, _STIFF_FIELD = 1.5, 2.0  # times the smoothing, for CT


def refine(
    prepared: Prepared,
    affine: Affine,
    start: Tensor | None,
    settings: Refine,
    device: torch.device,
    progress: Progress = lambda fraction: None,
) -> tuple[Tensor, Grid]:
    """The deformation u with fixed(x) like moving(A(x + u(x))), and the grid in whose voxels it is given.

    start: (1, 3, D, H, W) in voxels of the fixed working grid, or None for none.
    Returns (1, 3, d, h, w) float32 on the CPU, without folds.
    """
    levels = _levels(prepared, settings)
    effort = [level.steps * level.grid.voxels for level in levels]
    field = torch.zeros((1, 3, 1, 1, 1)) if start is None else start
    done = 0.0
    for level, work in zip(levels, effort, strict=True):
        advance = partial(_advance, progress, done / max(sum(effort), 1), work / max(sum(effort), 1))
        field = spatial.resize_field(field.to(device), level.field_grid.shape)
        field = unfold(_Level.of(prepared, affine, level, settings, device).climb(field, level.steps, advance))
        done += work
    return _fit_to_store(field, levels[-1].field_grid.spacing.tolist()).cpu(), levels[-1].field_grid


def _advance(progress: Progress, before: float, share: float, fraction: float) -> None:
    progress(before + share * fraction)


def extend(field: Tensor, grid: Grid) -> Displacement:
    """The field in mm, continued beyond `grid` and led smoothly to zero there; its outer two layers are exactly zero.

    field: (1, 3, D, H, W) voxels of `grid`. The margin is as long as leading it to zero without a fold needs: what
    matters is how steeply the component along the axis is squeezed together; the others may fall faster.
    """
    steepness = _STEEPEST_TAPER
    while True:
        margins = [_margin(field, axis, steepness) for axis in range(3)]
        padded = _tapered(field, margins)
        steepness /= 1.5
        if steepness < _GENTLEST_TAPER or float(corner_determinant(padded).min()) > 0:
            break
    return to_displacement(padded, grid.padded([m[0] for m in margins], [m[1] for m in margins]))


def unfold(field: Tensor, least: float = _LEAST_DETERMINANT) -> Tensor:
    """The field smoothed, only there and ever more, where its determinant falls below `least` in any corner of a voxel;
    weakened as a whole in the unheard-of case that this does not help.
    """
    for attempt in range(20):
        low = corner_determinant(field) < least
        if not bool(low.any()):
            return field
        field = _smoothed_at(low, field, 1 + 0.5 * attempt)
    return unfold(field / 2, least)


def unbend(field: Tensor, spacing: Sequence[float]) -> Tensor:
    """The field smoothed where cubic interpolation of it, which is Slicer's, would differ from linear by over 0.2 mm.

    Half way between two voxels a cubic through four in a row is (9 b + 9 c - a - d) / 16, a line (b + c) / 2.
    """
    lengths = torch.tensor(spacing, dtype=field.dtype, device=field.device).view(1, 3, 1, 1, 1)
    for _ in range(10):
        bent = torch.zeros_like(field[:, :1], dtype=torch.bool)
        for axes in _bendable(field):
            bend = _bend(field, axes).mul_(lengths).square_().sum(1, keepdim=True) > _LARGEST_BEND_MM**2
            ends = [(1, 2) if axis in axes else (0,) for axis in (2, 3, 4)]
            for corner in itertools.product(*ends):  # every voxel of the interval, so that no direction is special
                where = [slice(start, start + size) for start, size in zip(corner, bend.shape[2:], strict=True)]
                bent[:, :, *where] |= bend
        if not bool(bent.any()):
            break
        field = _smoothed_at(bent, field, 1.0)
    return field


def _bendable(field: Tensor) -> list[tuple[int, ...]]:
    """The ways to go half way between voxels: along an edge of a cell, and to its middle. A cubic needs 4 in a row."""
    long = tuple(axis for axis in (2, 3, 4) if field.shape[axis] > 3)
    return [*((axis,) for axis in long), *([long] if len(long) > 1 else [])]


def _fit_to_store(field: Tensor, spacing: Sequence[float]) -> Tensor:
    """Neither folded nor bent; mending one may bring back a little of the other."""
    for _ in range(4):
        field = unfold(unbend(field, spacing))
    return field


def _bend(field: Tensor, axes: Sequence[int]) -> Tensor:
    """Cubic minus linear interpolation half way between voxels along `axes`; three voxels fewer along each of them."""
    cubic, linear = field, field
    for axis in axes:
        size = field.shape[axis] - 3
        a, b, c, d = (cubic.narrow(axis, start, size) for start in range(4))
        cubic = (b + c).mul_(9 / 16).sub_((a + d), alpha=1 / 16)
        linear = (linear.narrow(axis, 1, size) + linear.narrow(axis, 2, size)).mul_(0.5)
    return cubic - linear


def corner_determinant(field: Tensor) -> Tensor:
    """The smallest determinant over the eight corners of each voxel, from one-sided differences.

    Stricter than central differences: where it is positive, trilinear interpolation does not fold either.
    """
    slabs = []
    for start in range(0, field.shape[2], _SLAB):  # what fits the processor's cache: four times faster on a CPU
        before = min(start, 1)
        slab = field[:, :, start - before : start + _SLAB + 1]
        slabs.append(_corner_determinant(slab).narrow(2, before, min(_SLAB, field.shape[2] - start)))
    return torch.cat(slabs, dim=2)


def _corner_determinant(field: Tensor) -> Tensor:
    identity = torch.eye(3, device=field.device).view(1, 3, 3, 1, 1, 1)
    least = torch.full_like(field[:, :1], torch.inf)
    forward = []
    for axis in (2, 3, 4):
        difference = field.diff(dim=axis)
        edges = [0, 0] * (4 - axis) + [1, 1] + [0, 0] * (axis - 2)
        forward.append(
            F.pad(difference, edges, mode="replicate") if field.shape[axis] > 2 else F.pad(difference, edges)
        )
    for corner in range(8):
        columns = []
        for axis in range(3):
            side = corner >> axis & 1
            columns.append(forward[axis].narrow(2 + axis, side, field.shape[2 + axis]))
        jacobian = torch.stack(columns, dim=2) + identity
        least = torch.minimum(least, spatial.determinant(jacobian))
    return least


@dataclass(frozen=True)
class _Plan:
    """One level: the grid of the images, that of the field, and how many iterations."""

    grid: Grid
    field_grid: Grid
    steps: int


def _levels(prepared: Prepared, settings: Refine) -> list[_Plan]:
    """Coarse to fine; the coarsest has voxels of a few millimetres, and enough of them to say anything."""
    full = prepared.fixed_grid
    half = _halved(full)
    coarser = [_halved(half)]
    while coarser[-1].spacing.max() <= _COARSEST_MM and min(coarser[-1].shape) >= _SMALLEST_AXIS:
        coarser.append(_halved(coarser[-1]))
    plans = [_Plan(grid, grid, settings.steps_coarse) for grid in reversed(coarser[:-1])]
    if min(half.shape) >= _SMALLEST_AXIS:
        plans.append(_Plan(half, half, settings.steps_half))
    return [*plans, _Plan(full, half if settings.field_grid == "half" else full, settings.steps_full)]


def _halved(grid: Grid) -> Grid:
    """Half as many voxels along each axis that is not already coarse beside the finest."""
    finest = grid.spacing.min()
    return grid.resampled(
        [-(-n // 2) if s < 1.5 * finest else n for n, s in zip(grid.shape, grid.spacing, strict=True)]
    )


@dataclass(frozen=True, eq=False)
class _Level:
    """What stays the same through the iterations of a level."""

    similarity: LocalCorrelation
    weight: Tensor | None
    moving: Tensor
    moving_mask: Tensor | None
    base: Tensor  # (N, 3) normalised moving positions (w, h, d) of the fixed voxels
    turn: Tensor  # (3, 3): normalised moving position by fixed displacement
    metric: Tensor  # (1, 3, 1, 1, 1): steps equally long in mm on voxels that are not cubes
    lengths: Tensor  # (1, 3, 1, 1, 1): of the axes, in finest field voxels
    force_sigma: list[float]
    field_sigma: list[float]
    step: float

    @classmethod
    def of(cls, prepared: Prepared, affine: Affine, level: _Plan, settings: Refine, device: torch.device) -> _Level:
        fixed = spatial.resize(prepared.fixed, level.grid.shape).to(device) - 0.5
        weight = None if prepared.fixed_mask is None else spatial.resize(prepared.fixed_mask, level.grid.shape)
        moving_grid = _like(level.grid, prepared.moving_grid)
        moving = spatial.resize(prepared.moving, moving_grid.shape).to(device) - 0.5
        mask = None if prepared.moving_mask is None else spatial.resize(prepared.moving_mask, moving_grid.shape)
        base, turn = _positions(level.grid, affine, moving_grid, device)
        relative = level.field_grid.spacing / level.field_grid.spacing.min()
        stiff = settings.smoother_ct and prepared.modality == "ct"
        force_sigma = settings.force_sigma * (_STIFF_FORCE if stiff else 1)
        field_sigma = settings.field_sigma * (_STIFF_FIELD if stiff else 1)
        vector = lambda values: torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1, 1)  # noqa: E731
        return cls(
            similarity=LocalCorrelation.of(fixed, settings.window),
            weight=None if weight is None else weight.to(device),
            moving=moving,
            moving_mask=None if mask is None else mask.to(device),
            base=base,
            turn=turn,
            metric=vector((level.grid.spacing.min() / level.grid.spacing) / relative),
            lengths=vector(relative),
            force_sigma=[force_sigma / r for r in relative],
            field_sigma=[field_sigma / r for r in relative],
            step=settings.step,
        )

    def climb(self, field: Tensor, steps: int, progress: Progress) -> Tensor:
        """So many iterations u <- s + u o (id + s), with the step s up the similarity, then u smoothed a little.

        Steps may pass through less alike fields, which is how they get past small maxima; but where the images become
        less alike than the level found them, it starts again with steps half as long. So identical images stay still.
        """
        size, start = self.step, field
        start_value, start_force = value, force = self.value_and_force(field)
        for index in range(steps):
            progress(index / steps)
            field = smooth(spatial.compose(self.step_along(force, size), field), self.field_sigma)
            value, force = self.value_and_force(field)
            if value <= start_value:
                field, force, size = start, start_force, size / 2
        return field

    def step_along(self, force: Tensor, size: float) -> Tensor:
        """The force smoothed, and scaled so that all but the strongest thousandth move by less than `size` voxels."""
        step = smooth(force, self.force_sigma)
        length = (step * self.lengths).square_().sum(1, keepdim=True).sqrt_()
        sample = length.flatten()[:: max(1, length.numel() // 100_000)]
        typical = sample.kthvalue(max(1, round(_PERCENTILE * sample.numel()))).values.clamp(min=_TINY)
        return step.mul_(size / torch.maximum(length, typical))

    def value_and_force(self, field: Tensor) -> tuple[float, Tensor]:
        """The similarity, and its derivative by the displacement on the field's grid, (1, 3, d, h, w)."""
        warped, inside = self.warped(spatial.resize_field(field, self.similarity.fixed.shape[2:]))
        weight = inside if self.weight is None else inside.mul_(self.weight)
        value, gradient = self.similarity(warped, weight)
        force = spatial.gradient(warped)[0, 0][None].mul_(gradient)
        return float(value), spatial.resize(force, field.shape[2:]).mul_(self.metric)

    def warped(self, field: Tensor) -> tuple[Tensor, Tensor]:
        """The moving image through the displacement and the affine, and where it has something to say (1 or 0)."""
        at = torch.addmm(self.base, field.view(3, -1).T, self.turn)
        grid = at.view(1, *field.shape[2:], 3)
        values = F.grid_sample(self.moving, grid, padding_mode="border", align_corners=True)
        inside = (at.abs_().amax(1) <= _INSIDE).to(values.dtype).view(values.shape)
        if self.moving_mask is not None:
            grid = torch.addmm(self.base, field.view(3, -1).T, self.turn, out=at).view(grid.shape)
            inside *= F.grid_sample(self.moving_mask, grid, padding_mode="border", align_corners=True)
        return values, inside


def _like(level: Grid, grid: Grid) -> Grid:
    """`grid` halved, as the fixed grid is, until its voxels are about as large as those of `level`."""
    while grid.voxel_volume < 0.4 * level.voxel_volume and min(grid.shape) > 1:
        grid = _halved(grid)
    return grid


def _positions(grid: Grid, affine: Affine, moving: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """Sampling positions in grid_sample's own units and order: base (N, 3) + displacement (N, 3) @ turn (3, 3)."""
    matrix = moving.world_to_voxel @ affine.matrix @ grid.voxel_to_world
    unit = 2 / np.maximum(np.array(moving.shape) - 1, 1)
    linear = (unit[:, None] * matrix[:3, :3])[::-1].T
    offset = (unit * matrix[:3, 3] - 1)[::-1]
    tensor = lambda values: torch.tensor(np.ascontiguousarray(values), dtype=torch.float32, device=device)  # noqa: E731
    lattice = spatial.lattice(grid.shape, torch.empty(0, device=device))
    return torch.addmm(tensor(offset), lattice.view(3, -1).T, tensor(linear)), tensor(linear)


def _smoothed_at(where: Tensor, field: Tensor, sigma: float) -> Tensor:
    """The field, blended into its smoothed version at and around the voxels marked (1, 1, D, H, W)."""
    blend = smooth(F.max_pool3d(where.to(field.dtype), 3, stride=1, padding=1), 1.0)
    return field + blend * (smooth(field, sigma) - field)


def _tapered(field: Tensor, margins: list[tuple[int, int]]) -> Tensor:
    padded = F.pad(field, [size for axis in (2, 1, 0) for size in margins[axis]], mode="replicate")
    for axis, (before, after) in enumerate(margins):
        ramp = torch.ones(padded.shape[2 + axis])
        ramp[:before] = _ramp(before).flip(0)
        ramp[len(ramp) - after :] = _ramp(after)
        padded *= ramp.view([-1 if dim == axis + 2 else 1 for dim in range(5)])
    return padded


def _margin(field: Tensor, axis: int, steepness: float) -> tuple[int, int]:
    """Layers to add at both ends of an axis: two of zero, and a ramp long enough for its slope."""
    sizes = []
    for end, outward in ((0, -1), (-1, 1)):
        face = field.select(2 + axis, end)
        squeezed = float((outward * face[:, axis]).max().clamp(min=0))
        longest = max(squeezed, float(face.abs().max()) / 2)
        sizes.append(2 + max(1, math.ceil(math.pi / 2 * longest / steepness)))
    return sizes[0], sizes[1]


def _ramp(size: int) -> Tensor:
    """From near 1 at the border to exactly 0 in the outer two layers: half a cosine."""
    inner = size - 2
    return torch.cat([0.5 + 0.5 * torch.cos(torch.pi * torch.arange(1, inner + 1) / (inner + 1)), torch.zeros(2)])
