"""From coarse to fine: the grids on which a pair is refined, and where their voxels lie in the moving image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.settings import Refine

_SMALLEST_AXIS = 12  # voxels; a level with fewer has nothing to say
_COARSEST_MM = 9.0  # windows of coarser voxels see no anatomy, and drive wrong what the affine had right
_FINEST_MM = 1.3  # voxels on which finer comparison ends; finer ones bring nothing
_MOST_FINER, _LEAST_FINER = 1.5, 1.2  # times finer than the images' voxels

_WHOLE = 0.999  # rounding forgiven
_ENOUGH = 0.5  # of a mask; a thin one would vanish on coarse voxels


@dataclass(frozen=True)
class Plan:
    """One level: the grid of the images, that of the field, and how many iterations."""

    grid: Grid
    field_grid: Grid
    steps: int


def levels(prepared: Prepared, settings: Refine) -> list[Plan]:
    """What is refined on which voxels, of a prepared pair; see `plans`."""
    return plans(prepared.fixed_grid, prepared.max_voxels, settings)


def plans(full: Grid, max_voxels: int, settings: Refine) -> list[Plan]:
    """Coarse to fine; the coarsest has voxels of a few millimetres, and enough of them to say anything.

    full: the fixed working grid. Where the images' own voxels are large, finer ones follow: windows and smoothing of
    two of these large voxels would hide detail that the images show.
    """
    half = _halved(full)
    coarser = [_halved(half)]
    while coarser[-1].spacing.max() <= _COARSEST_MM and min(coarser[-1].shape) >= _SMALLEST_AXIS:
        coarser.append(_halved(coarser[-1]))
    found = [Plan(grid, grid, settings.steps_coarse) for grid in reversed(coarser[:-1])]
    if min(half.shape) >= _SMALLEST_AXIS:
        found.append(Plan(half, half, settings.steps_half))
    found.append(Plan(full, _stored(full, settings), settings.steps_full))
    finest = finest_grid(full, max_voxels, settings)
    if finest is not full:
        found.append(Plan(finest, finest, settings.steps_finer))
    return found


def finest_grid(full: Grid, max_voxels: int, settings: Refine) -> Grid:
    """Voxels of `_FINEST_MM` where those of `full` are larger and so many can be afforded; else `full`."""
    factor = min(float(full.spacing.min()) / _FINEST_MM, _MOST_FINER, (max_voxels / full.voxels) ** (1 / 3))
    wanted = settings.steps_finer > 0 and settings.field_grid == "full" and factor >= _LEAST_FINER
    return full.resampled([round(n * factor) for n in full.shape]) if wanted else full


def stored_grid(prepared: Prepared, settings: Refine) -> Grid:
    """On which the deformation is given in the end."""
    return _stored(prepared.fixed_grid, settings)


def _stored(full: Grid, settings: Refine) -> Grid:
    return _halved(full) if settings.field_grid == "half" else full


def like(level: Grid, grid: Grid) -> Grid:
    """`grid` halved, as the fixed grid is, until its voxels are about as large as those of `level`."""
    while grid.voxel_volume < 0.4 * level.voxel_volume and min(grid.shape) > 1:
        grid = _halved(grid)
    return grid


def counted(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """A mask on coarser voxels, 1 or 0: those that average nothing hidden, or too few such being left, half of it."""
    share = spatial.onto(mask, shape)
    strict = whole(share)
    return strict if float(strict.sum()) >= _ENOUGH * float(share.sum()) else (share >= 0.5).to(mask.dtype)


def whole(share: Tensor) -> Tensor:
    """1 where interpolation of a mask met nothing but ones."""
    return (share > _WHOLE).to(share.dtype)


@dataclass(frozen=True, eq=False)
class Positions:
    """Where displaced voxels of a fixed grid lie in the moving image, in its voxels."""

    matrix: NDArray[np.float64]  # (4, 4): fixed voxel -> moving voxel
    along: list[list[Tensor]]  # for each moving axis, how far each step along each fixed axis leads

    @classmethod
    def of(cls, fixed: Grid, affine: Affine, moving: Grid, device: torch.device) -> Positions:
        matrix = moving.world_to_voxel @ affine.matrix @ fixed.voxel_to_world
        steps = [[factor * np.arange(n) for factor, n in zip(row, fixed.shape, strict=False)] for row in matrix[:3]]
        return cls(matrix, [[torch.tensor(v, dtype=torch.float32, device=device) for v in row] for row in steps])

    def __call__(self, field: Tensor, rows: slice) -> Tensor:
        """(3, d, H, W) for the slices `rows` of a field (1, 3, D, H, W) in fixed voxels."""
        out = torch.empty_like(field[0, :, rows])
        first = np.array((rows.start, 0, 0, 1))
        for at, row, (d, h, w) in zip(out, self.matrix, self.along, strict=False):
            # A matrix times a lattice is the sum of one short vector along each axis.
            torch.add((d[: len(at), None] + h + float(row @ first))[:, :, None], w, out=at)
            for component, factor in zip(field[0, :, rows], row, strict=False):
                at.add_(component, alpha=float(factor))
        return out


def _halved(grid: Grid) -> Grid:
    """Half as many voxels along each axis that is not already coarse beside the finest."""
    finest = grid.spacing.min()
    return grid.resampled(
        [-(-n // 2) if s < 1.5 * finest else n for n, s in zip(grid.shape, grid.spacing, strict=True)]
    )
