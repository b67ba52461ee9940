"""From coarse to fine: the grids on which a pair is refined, and where their voxels lie in the moving image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.settings import Refine

_SMALLEST_AXIS = 12  # voxels; a level with fewer has nothing to say
_COARSEST_MM = 9.0  # windows of coarser voxels see no anatomy, and drive wrong what the affine had right

_WHOLE = 0.999  # rounding forgiven
_ENOUGH = 0.5  # of a mask; a thin one would vanish on coarse voxels


@dataclass(frozen=True)
class Plan:
    """One level: the grid of the images, that of the field, and how many iterations."""

    grid: Grid
    field_grid: Grid
    steps: int


def levels(prepared: Prepared, settings: Refine) -> list[Plan]:
    """Coarse to fine; the coarsest has voxels of a few millimetres, and enough of them to say anything."""
    full = prepared.fixed_grid
    half = _halved(full)
    coarser = [_halved(half)]
    while coarser[-1].spacing.max() <= _COARSEST_MM and min(coarser[-1].shape) >= _SMALLEST_AXIS:
        coarser.append(_halved(coarser[-1]))
    plans = [Plan(grid, grid, settings.steps_coarse) for grid in reversed(coarser[:-1])]
    if min(half.shape) >= _SMALLEST_AXIS:
        plans.append(Plan(half, half, settings.steps_half))
    return [*plans, Plan(full, half if settings.field_grid == "half" else full, settings.steps_full)]


def like(level: Grid, grid: Grid) -> Grid:
    """`grid` halved, as the fixed grid is, until its voxels are about as large as those of `level`."""
    while grid.voxel_volume < 0.4 * level.voxel_volume and min(grid.shape) > 1:
        grid = _halved(grid)
    return grid


def counted(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """A mask on coarser voxels, 1 or 0: those that average nothing hidden, or too few such being left, half of it."""
    share = spatial.resize(mask, shape)
    strict = whole(share)
    return strict if float(strict.sum()) >= _ENOUGH * float(share.sum()) else (share >= 0.5).to(mask.dtype)


def whole(share: Tensor) -> Tensor:
    """1 where interpolation of a mask met nothing but ones."""
    return (share > _WHOLE).to(share.dtype)


def positions(grid: Grid, affine: Affine, moving: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """Sampling positions in grid_sample's own units and order: base (N, 3) + displacement (N, 3) @ turn (3, 3)."""
    matrix = moving.world_to_voxel @ affine.matrix @ grid.voxel_to_world
    unit = 2 / np.maximum(np.array(moving.shape) - 1, 1)
    linear = (unit[:, None] * matrix[:3, :3])[::-1].T
    offset = (unit * matrix[:3, 3] - 1)[::-1]
    tensor = lambda values: torch.tensor(np.ascontiguousarray(values), dtype=torch.float32, device=device)  # noqa: E731
    lattice = spatial.lattice(grid.shape, torch.empty(0, device=device))
    return torch.addmm(tensor(offset), lattice.view(3, -1).T, tensor(linear)), tensor(linear)


def _halved(grid: Grid) -> Grid:
    """Half as many voxels along each axis that is not already coarse beside the finest."""
    finest = grid.spacing.min()
    return grid.resampled(
        [-(-n // 2) if s < 1.5 * finest else n for n, s in zip(grid.shape, grid.spacing, strict=True)]
    )
