"""What is compared while two images are refined: their intensities, or the structure around each voxel.

Local correlation of intensities is the more exact one within one kind of image. Between kinds (T1 and FLAIR, CT and MR)
its sign and strength change from tissue to tissue, and climbing its square leads astray; structure is compared there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from RegistrationNetLib.core import mind, spatial
from RegistrationNetLib.core.filters import box_sum
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.core.similarity import LocalCorrelation
from RegistrationNetLib.engine.levels import Plan, counted, levels, like, positions, whole
from RegistrationNetLib.engine.prepare import Prepared, foreground
from RegistrationNetLib.engine.settings import Refine

_INSIDE = 1.001  # normalised half width of the moving image, rounding forgiven
_MARGIN_MM = 15.0  # around the fixed image, from where a deformation may fetch structure
_ONE_KIND = 0.64  # steadiness: 0.74 to 0.98 between scans of one kind after an affine, 0.54 between T1 and FLAIR
_WINDOW, _NOISE = 2, 1e-3  # half width in voxels; variance of values about [-0.5, 0.5]
_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Compared:
    """What a level compares, and where its moving side lies: base + displacement @ turn, as of `levels.positions`."""

    similarity: LocalCorrelation | mind.Likeness
    moving: Tensor  # (1, C, d, h, w)
    moving_mask: Tensor | None
    base: Tensor
    turn: Tensor


def compared(prepared: Prepared, affine: Affine, level: Plan, settings: Refine, device: torch.device) -> Compared:
    """For one level; `settings.similarity` decided."""
    if settings.similarity == "mind":
        return _structure(prepared, affine, level.grid, device)
    return _intensities(prepared, affine, level.grid, settings.window, device)


def decided(prepared: Prepared, affine: Affine, settings: Refine) -> Refine:
    """The settings, with what suits the two images in place of "auto"; says so in `prepared.notes` where it is not
    their intensities.
    """
    if settings.similarity != "auto":
        return settings
    if prepared.modality == "mixed":
        why = "one image is CT and the other is not"
    elif (steady := steadiness(prepared, affine, settings)) < _ONE_KIND:
        why = f"the sign of their correlation changes from place to place (steadiness {steady:.2f} of 1)"
    else:
        return replace(settings, similarity="lncc")
    prepared.notes.append(f"The two images seem to be of different kinds: {why}. Their local structure was compared.")
    return replace(settings, similarity="mind")


def steadiness(prepared: Prepared, affine: Affine, settings: Refine) -> float:
    """0 to 1: how far the local correlation of the aligned images has one sign and strength throughout the body.

    |mean| over root mean square of the correlation in windows. Near 1 where one image's intensities are a function,
    rising or falling, of the other's; low where each tissue has a contrast of its own.
    """
    grid = coarse_grid(prepared, settings)
    fixed = spatial.resize(prepared.fixed, grid.shape) - 0.5
    moving, weight = _aligned(prepared, affine, grid, _CPU)
    weight = weight * _body(prepared, grid)
    values = (fixed, moving, fixed * moving, fixed * fixed, moving * moving)
    per_voxel = 1 / box_sum(torch.ones_like(fixed), _WINDOW)
    f, m, fm, ff, mm = (box_sum(value, _WINDOW) * per_voxel for value in values)
    variances = ((ff - f * f).clamp(min=0) + _NOISE) * ((mm - m * m).clamp(min=0) + _NOISE)
    correlation = (fm - f * m) / variances.sqrt()
    square = (weight * correlation**2).sum() * weight.sum()
    return float((weight * correlation).sum().abs() / square.clamp(min=1e-12).sqrt())


class Agreement:
    """How far the structure of the prepared images agrees beyond chance under a mapping: 1 if equal, 0 if unrelated.

    grid: where it is measured; weight: (1, 1, D, H, W) on it, 1 where that counts.
    """

    kind, measure = "mind", "agreement of local structure (MIND-SSC) inside the body, 0 to 1"

    def __init__(self, prepared: Prepared, grid: Grid, weight: Tensor) -> None:
        self.grid = grid
        self._fixed = mind.descriptors(spatial.resize(prepared.fixed, grid.shape) - 0.5)
        there = like(grid, prepared.moving_grid)
        self._moving = Image(spatial.resize(prepared.moving, there.shape)[0].numpy(), there)
        mask, self._moving_mask = prepared.moving_mask, None
        if mask is not None:
            self._moving_mask = Image(counted(mask, there.shape)[0].numpy(), there, background=1.0)
        self._weight = weight
        if prepared.fixed_mask is not None:
            self._weight = weight * _clear(counted(prepared.fixed_mask, grid.shape))

    def __call__(self, mapping: Mapping) -> float:
        moving, weight = mind.descriptors(self._through(self._moving, mapping) - 0.5), self._weight
        if self._moving_mask is not None:
            weight = weight * _clear(whole(self._through(self._moving_mask, mapping)))
        return round(float(mind.concordance(self._fixed, moving, weight)), 5)

    def _through(self, image: Image, mapping: Mapping) -> Tensor:
        return torch.from_numpy(np.asarray(warp(image, mapping, self.grid).data, np.float32))[None]


def _intensities(prepared: Prepared, affine: Affine, grid: Grid, window: int, device: torch.device) -> Compared:
    fixed = spatial.resize(prepared.fixed, grid.shape).to(device) - 0.5
    fixed_mask = None if prepared.fixed_mask is None else counted(prepared.fixed_mask, grid.shape).to(device)
    moving_grid = like(grid, prepared.moving_grid)
    moving = spatial.resize(prepared.moving, moving_grid.shape).to(device) - 0.5
    mask = None if prepared.moving_mask is None else counted(prepared.moving_mask, moving_grid.shape).to(device)
    similarity = LocalCorrelation.of(fixed, window, mask=fixed_mask)
    return Compared(similarity, moving, mask, *positions(grid, affine, moving_grid, device))


def _structure(prepared: Prepared, affine: Affine, grid: Grid, device: torch.device) -> Compared:
    """Descriptors of both on voxels of the fixed image's orientation: they belong to directions."""
    margin = [math.ceil(_MARGIN_MM / size) for size in grid.spacing]
    around = grid.padded(margin, margin)
    fixed = spatial.resize(prepared.fixed, grid.shape).to(device) - 0.5
    fixed_mask = None if prepared.fixed_mask is None else _clear(counted(prepared.fixed_mask, grid.shape).to(device))
    moving, seen = _aligned(prepared, affine, around, device)
    similarity = mind.Likeness(mind.descriptors(fixed), fixed_mask)
    return Compared(
        similarity, mind.descriptors(moving), _clear(seen), *positions(grid, Affine(np.eye(4)), around, device)
    )


def _aligned(prepared: Prepared, affine: Affine, onto: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """The moving image, less 0.5, through the affine on the voxels of `onto`, and where it may be compared (1 or 0)."""
    moving_grid = like(onto, prepared.moving_grid)
    moving = spatial.resize(prepared.moving, moving_grid.shape).to(device) - 0.5
    at, _ = positions(onto, affine, moving_grid, device)
    grid = at.view(1, *onto.shape, 3)
    values = F.grid_sample(moving, grid, padding_mode="border", align_corners=True)
    seen = (at.abs().amax(1) <= _INSIDE).to(values.dtype).view(1, 1, *onto.shape)
    if prepared.moving_mask is not None:
        mask = counted(prepared.moving_mask, moving_grid.shape).to(device)
        seen *= whole(F.grid_sample(mask, grid, padding_mode="border", align_corners=True))
    return values, seen


def _clear(mask: Tensor) -> Tensor:
    """The voxels whose descriptors see nothing that a mask hides."""
    return (box_sum(1 - mask, mind.REACH) < 0.5).to(mask.dtype)


def coarse_grid(prepared: Prepared, settings: Refine) -> Grid:
    """The grid before the finest."""
    plans = levels(prepared, settings)
    return plans[max(len(plans) - 2, 0)].grid


def _body(prepared: Prepared, grid: Grid) -> Tensor:
    """(1, 1, D, H, W): 1 in the body and the mask."""
    body = torch.from_numpy(foreground(spatial.resize(prepared.fixed, grid.shape)))[None, None].float()
    return body if prepared.fixed_mask is None else body * counted(prepared.fixed_mask, grid.shape)
