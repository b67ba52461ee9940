"""What is compared while two images are refined: their intensities, or the structure around each voxel.

Local correlation of intensities is the more exact one within one kind of image. Between kinds (T1 and FLAIR, CT and MR)
its sign and strength change from tissue to tissue, and climbing its square leads astray; structure is compared there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from RegistrationNetLib.core import mind, spatial
from RegistrationNetLib.core.filters import box_sum
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.core.sampler import Sampler
from RegistrationNetLib.core.similarity import LocalCorrelation
from RegistrationNetLib.core.slabs import each
from RegistrationNetLib.engine.levels import Plan, Positions, counted, levels, like, whole
from RegistrationNetLib.engine.prepare import Prepared, foreground
from RegistrationNetLib.engine.settings import Refine

_MARGIN_MM = 15.0  # around the fixed image, from where a deformation may fetch structure
_ONE_KIND = 0.66  # steadiness: 0.73 to 0.98 between scans of one kind after an affine, 0.2 to 0.6 between two
_FEWEST = 100  # windows; fewer say nothing
_WINDOW, _NOISE = 2, 1e-3  # half width in voxels; variance of values about [-0.5, 0.5]
MOST = 3_000_000  # voxels, of twelve values each, compared by structure
_SLOPE = 2  # voxels beyond a warped one that its slope may come from
_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Moving:
    """The moving side of a level: what is compared of it, which voxels count (all, if None), and where they lie."""

    values: Sampler
    mask: Sampler | None
    positions: Positions

    def through(self, field: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Through a displacement (1, 3, D, H, W) in fixed voxels, and the affine: values (1, C, D, H, W), where those
        lie inside the image, and which voxels count (all, if None), 1 or 0; beyond the image its edge goes on, so that
        no window sees one there.
        """
        shape = field.shape[2:]
        values = field.new_empty((1, self.values.volume.shape[1], *shape))
        inside, seen = field.new_empty((1, 1, *shape)), None if self.mask is None else field.new_empty((1, 1, *shape))

        def work(rows: slice) -> None:
            at = self.positions(field, rows)
            inside[0, 0, rows] = self.values.contains(at)
            if self.mask is not None and seen is not None:
                seen[:, :, rows] = whole(self.mask(at.clone()))
            values[:, :, rows] = self.values(at)

        each(field, work)
        return values, inside, seen


@dataclass(frozen=True, eq=False)
class Compared:
    """What a level compares with what."""

    similarity: LocalCorrelation | mind.Likeness
    moving: Moving


def compared(prepared: Prepared, affine: Affine, level: Plan, settings: Refine, device: torch.device) -> Compared:
    """For one level; `settings.similarity` decided."""
    if settings.similarity == "mind":
        return _structure(prepared, affine, level.grid, device)
    return _intensities(prepared, affine, level.grid, settings.window, device)


def moving_side(prepared: Prepared, affine: Affine, grid: Grid, settings: Refine, device: torch.device) -> Moving:
    """What `compared` compares of the moving image alone, seen from any grid; `settings.similarity` decided."""
    side = _described if settings.similarity == "mind" else _moving
    return side(prepared, affine, grid, device)


def decided(prepared: Prepared, affine: Affine, settings: Refine) -> Refine:
    """The settings, with what suits the two images in place of "auto", said in `prepared.notes` where that is not their
    intensities; structure is never compared on voxels finer than the images', and of large images on coarser ones.
    """
    if settings.similarity == "auto":
        settings = replace(settings, similarity=_suited(prepared, affine, settings))
    if settings.similarity == "mind":
        settings = replace(settings, steps_finer=0)
        if prepared.fixed_grid.voxels > MOST and settings.steps_full:
            settings = replace(settings, steps_full=0)
            prepared.notes.append(
                f"Structure was compared at up to half the resolution: the images have more than {MOST:,} voxels."
            )
    return settings


def _suited(prepared: Prepared, affine: Affine, settings: Refine) -> Literal["lncc", "mind"]:
    if prepared.modality == "mixed":
        why = "one image is CT and the other is not"
    elif (steady := steadiness(prepared, affine, settings)) < _ONE_KIND:
        why = f"the sign of their correlation changes from place to place (steadiness {steady:.2f} of 1)"
    else:
        return "lncc"
    prepared.notes.append(f"The two images seem to be of different kinds: {why}. Their local structure is compared.")
    return "mind"


def steadiness(prepared: Prepared, affine: Affine, settings: Refine) -> float:
    """0 to 1: how far the local correlation of the aligned images has one sign and strength throughout the body, and
    throughout its inside alone, whichever is less.

    |mean| over root mean square of the correlation in windows. Near 1 where one image's intensities are a function,
    rising or falling, of the other's; low where each tissue has a contrast of its own. The outline alone is alike in
    T1 and FLAIR, the inside alone in T1 and T2 (but for its sign).
    """
    grid = coarse_grid(prepared, settings)
    fixed = spatial.onto(prepared.fixed, grid.shape) - 0.5
    moving, body = _aligned(prepared, affine, grid, _CPU)
    body *= torch.from_numpy(foreground(fixed + 0.5))[None, None]
    if prepared.fixed_mask is not None:
        body *= counted(prepared.fixed_mask, grid.shape)
    correlation = _local_correlation(fixed, moving)
    return min(_one_sided(correlation, body), _one_sided(correlation, _clear(body, _WINDOW)))


def _one_sided(correlation: Tensor, weight: Tensor) -> float:
    """|mean| over root mean square; 1 where there is nothing to tell from."""
    total = float(weight.sum())
    if total < _FEWEST:
        return 1.0
    square = float((weight * correlation**2).sum())
    return abs(float((weight * correlation).sum())) / max(square * total, 1e-12) ** 0.5


def _local_correlation(fixed: Tensor, moving: Tensor) -> Tensor:
    """In windows, -1 to 1; 0 where both are flat."""
    per_voxel = 1 / box_sum(torch.ones_like(fixed), _WINDOW)
    values = (fixed, moving, fixed * moving, fixed * fixed, moving * moving)
    f, m, fm, ff, mm = (box_sum(value, _WINDOW) * per_voxel for value in values)
    variances = ((ff - f * f).clamp(min=0) + _NOISE) * ((mm - m * m).clamp(min=0) + _NOISE)
    return (fm - f * m) / variances.sqrt()


class Similarity:
    """How alike the prepared images are under a mapping: mean local correlation inside the body, 0 to 1.

    weight: (1, 1, D, H, W) on the fixed working grid, 1 where that counts. What the moving image does not show of it
    does not count, as long as it shows half: a slab fits a whole head as well as a whole head does.
    """

    kind, measure = "lncc", "squared local correlation (5x5x5 windows) inside the body that both images show, 0 to 1"

    def __init__(self, prepared: Prepared, weight: Tensor) -> None:
        self.grid = prepared.fixed_grid
        self._moving = Image(prepared.moving[0].numpy(), prepared.moving_grid, math.nan, "moving")
        mask = prepared.moving_mask
        self._moving_mask = None if mask is None else Image(mask[0].numpy(), prepared.moving_grid, background=1.0)
        self._weight = weight
        self._local = LocalCorrelation.of(prepared.fixed - 0.5, mask=prepared.fixed_mask)

    def __call__(self, mapping: Mapping) -> float:
        moving, shown = _shown(self._moving, mapping, self.grid)
        local = self._local
        if self._moving_mask is not None:
            seen = whole(_through(self._moving_mask, mapping, self.grid))
            local = local.within(seen if local.mask is None else seen * local.mask)
        return round(float(local(moving - 0.5, self._weight * shown)[0]) * _enough(shown, self._weight), 5)


class Agreement:
    """How far the structure of the prepared images agrees beyond chance under a mapping: 1 if equal, 0 if unrelated.

    grid: where it is measured; weight: (1, 1, D, H, W) on it, 1 where that counts, as for `Similarity`.
    """

    kind, measure = "mind", "agreement of local structure (MIND-SSC) inside the body that both images show, 0 to 1"

    def __init__(self, prepared: Prepared, grid: Grid, weight: Tensor) -> None:
        self.grid = grid
        self._fixed = mind.descriptors(spatial.onto(prepared.fixed, grid.shape) - 0.5)
        there = like(grid, prepared.moving_grid)
        self._moving = Image(spatial.onto(prepared.moving, there.shape)[0].numpy(), there, math.nan)
        mask, self._moving_mask = prepared.moving_mask, None
        if mask is not None:
            self._moving_mask = Image(counted(mask, there.shape)[0].numpy(), there, background=1.0)
        self._weight = weight
        if prepared.fixed_mask is not None:
            self._weight = weight * _clear(counted(prepared.fixed_mask, grid.shape))

    def __call__(self, mapping: Mapping) -> float:
        moving, shown = _shown(self._moving, mapping, self.grid)
        weight = self._weight * _clear(shown)
        if self._moving_mask is not None:
            weight = weight * _clear(whole(_through(self._moving_mask, mapping, self.grid)))
        alike = mind.concordance(self._fixed, mind.descriptors(moving - 0.5), weight)
        return round(float(alike) * _enough(shown, self._weight), 5)


def _through(image: Image, mapping: Mapping, grid: Grid) -> Tensor:
    return torch.from_numpy(np.asarray(warp(image, mapping, grid).data, np.float32))[None]


def _shown(image: Image, mapping: Mapping, grid: Grid) -> tuple[Tensor, Tensor]:
    """An image whose background is no number through a mapping, 0 beyond it, and 1 where it shows something."""
    values = _through(image, mapping, grid)
    shown = values.isfinite()
    return values.where(shown, values.new_zeros(())), shown.to(values.dtype)


def _enough(shown: Tensor, weight: Tensor) -> float:
    """1 where the moving image shows at least half of what counts, less where a sliver must not speak for all."""
    return min(1.0, 2 * float((shown * weight).sum()) / max(float(weight.sum()), 1.0))


def _intensities(prepared: Prepared, affine: Affine, grid: Grid, window: int, device: torch.device) -> Compared:
    fixed = spatial.onto(prepared.fixed, grid.shape).to(device) - 0.5
    fixed_mask = None if prepared.fixed_mask is None else counted(prepared.fixed_mask, grid.shape).to(device)
    return Compared(LocalCorrelation.of(fixed, window, mask=fixed_mask), _moving(prepared, affine, grid, device))


def _moving(prepared: Prepared, affine: Affine, grid: Grid, device: torch.device) -> Moving:
    """The intensities, less 0.5, on voxels about as large as those of `grid`."""
    there = like(grid, prepared.moving_grid)
    values = Sampler.of(spatial.onto(prepared.moving, there.shape).to(device) - 0.5)
    mask = None if prepared.moving_mask is None else Sampler.of(counted(prepared.moving_mask, there.shape).to(device))
    return Moving(values, mask, Positions.of(grid, affine, there, device))


def _structure(prepared: Prepared, affine: Affine, grid: Grid, device: torch.device) -> Compared:
    fixed = spatial.onto(prepared.fixed, grid.shape).to(device) - 0.5
    fixed_mask = None if prepared.fixed_mask is None else _clear(counted(prepared.fixed_mask, grid.shape).to(device))
    return Compared(mind.Likeness(mind.descriptors(fixed), fixed_mask), _described(prepared, affine, grid, device))


def _described(prepared: Prepared, affine: Affine, grid: Grid, device: torch.device) -> Moving:
    """Descriptors, on voxels of the orientation of `grid`: they belong to directions."""
    margin = [math.ceil(_MARGIN_MM / size) for size in grid.spacing]
    around = grid.padded(margin, margin)
    values, seen = _aligned(prepared, affine, around, device, mind.REACH + _SLOPE)
    still = Positions.of(grid, Affine(np.eye(4)), around, device)
    return Moving(Sampler.of(mind.descriptors(values)), Sampler.of(seen), still)


def _aligned(
    prepared: Prepared, affine: Affine, onto: Grid, device: torch.device, reach: int = 0
) -> tuple[Tensor, Tensor]:
    """The moving image, less 0.5, through the affine on the voxels of `onto`, and where nothing that is hidden lies
    within `reach` voxels (1 or 0); beyond the image its edge goes on, but counts nothing.
    """
    still = torch.zeros((), device=device).expand(1, 3, *onto.shape)
    values, inside, seen = _moving(prepared, affine, onto, device).through(still)
    return values, inside if seen is None else inside.mul_(_clear(seen, reach))


def _clear(mask: Tensor, radius: int = mind.REACH) -> Tensor:
    """The voxels of a mask that see nothing outside it (descriptors, if no other radius is given)."""
    return (box_sum(1 - mask, radius) < 0.5).to(mask.dtype)


def coarse_grid(prepared: Prepared, settings: Refine) -> Grid:
    """The grid before that of the images."""
    plans = levels(prepared, replace(settings, steps_finer=0))
    return plans[max(len(plans) - 2, 0)].grid
