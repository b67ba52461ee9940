"""Deformable refinement on one pair: greedy composition of small smooth steps up the local correlation, coarse to fine.

After Yushkevich's greedy, with the exact derivative of the local correlation. Every step moves less than a voxel and is
smooth, so the composed map does not fold; that is checked at the end of each level, and mended where it failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.mind import Likeness
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.core.similarity import LocalCorrelation
from RegistrationNetLib.core.slabs import at_once, each
from RegistrationNetLib.engine.align import Progress
from RegistrationNetLib.engine.features import Moving, compared, decided
from RegistrationNetLib.engine.hold import Hold, Restraint
from RegistrationNetLib.engine.levels import Plan, levels, like, stored_grid
from RegistrationNetLib.engine.mend import as_it_is, extend, fit_to_store, unfold
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.result import NOBODY, Watch
from RegistrationNetLib.engine.settings import Refine

_PERCENTILE = 0.999  # of the force that moves by a whole step: the maximum would let one bad voxel rule
_EVENNESS = 0.7  # 0 leaves the force as it is, 1 makes it as strong everywhere
_SURROUNDINGS = 1.5  # times the smoothing of each movement
_STRONG, _WEAKEST = 0.95, 0.02  # forces weaker than this part of the strong ones are noise and stay weak
_TINY = 1e-12
_STIFF_CT = 1.5, 2.0  # times the smoothing of each step and of the field
_STIFF_MIND = 2.5, 2.5  # structure is noisier than correlation in a window

Seen = Callable[[float], None]
"""Called with how alike the images are, 0 to 1."""


@at_once()
def refine(
    prepared: Prepared,
    affine: Affine,
    start: Tensor | None,
    settings: Refine,
    device: torch.device,
    progress: Progress = lambda fraction: None,
    restraint: Restraint | None = None,
    watch: Watch = NOBODY,
) -> tuple[Tensor, Grid]:
    """The deformation u with fixed(x) like moving(A(x + u(x))), and the grid in whose voxels it is given.

    start: (1, 3, D, H, W) in voxels of the fixed working grid, or None for none.
    restraint: what it must respect. watch: who looks on.
    Returns (1, 3, d, h, w) float32 on the CPU, without folds.
    """
    settings = decided(prepared, affine, settings)
    prepared = prepared.to(device)
    plans = levels(prepared, settings)
    effort = [level.steps * level.grid.voxels for level in plans]
    field = torch.zeros((1, 3, 1, 1, 1)) if start is None else start
    hold, keep, done = Hold(), as_it_is, 0.0
    for level, work in zip(plans, effort, strict=True):
        advance = partial(share_of, progress, done / max(sum(effort), 1), work / max(sum(effort), 1))
        field = spatial.resize_field(field.to(device), level.field_grid.shape)
        if restraint:
            hold = restraint.on(level.field_grid, affine, device, exact=level is plans[-1])
            keep = hold.keep
        if level is plans[0] or level is plans[-1]:  # the levels between let a little more move
            field = hold.fade(field)
        field = hold.keep(field)
        if level.steps:
            onto = _Onto.of(prepared, affine, level, settings, device, hold)
            field = onto.climb(field, level.steps, advance, seen_at(level, watch))
        if level is not plans[-1]:
            field = unfold(field, keep=keep)
            if watch.preview is not None:
                watch.preview(_preview(prepared, affine, field, level))
        done += work
    stored = stored_grid(prepared, settings)
    if field.shape[2:] != stored.shape:
        if restraint:
            keep = restraint.on(stored, affine, device, exact=True).keep
        field = keep(spatial.resize_field(field, stored.shape))
    return fit_to_store(field, stored.spacing.tolist(), keep).cpu(), stored


def pace(prepared: Prepared, level: Plan, settings: Refine, device: torch.device) -> dict[str, Any]:
    """How a level steps and smooths, in voxels of its field's grid: `Level`'s first fields, by name."""
    relative = level.field_grid.spacing / level.field_grid.spacing.min()
    stiff_force, stiff_field = _stiffness(prepared, settings)
    force_sigma, field_sigma = settings.force_sigma * stiff_force, settings.field_sigma * stiff_field
    vector = lambda values: torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1, 1)  # noqa: E731
    return {
        "metric": vector((level.grid.spacing.min() / level.grid.spacing) / relative),
        "lengths": vector(relative),
        "force_sigma": [force_sigma / r for r in relative],
        "field_sigma": [field_sigma / r for r in relative],
        "step": settings.step,
        "order": level.field_grid.order,
    }


def _stiffness(prepared: Prepared, settings: Refine) -> tuple[float, float]:
    if settings.similarity == "mind":
        return _STIFF_MIND
    return _STIFF_CT if settings.smoother_ct and prepared.modality == "ct" else (1.0, 1.0)


def _unseen(value: float) -> None:
    """Nobody looks on."""


def seen_at(level: Plan, watch: Watch) -> Seen:
    """Whom a level tells how alike the images are."""
    return _unseen if watch.similarity is None else partial(watch.similarity, float(level.grid.spacing.min()))


def _preview(prepared: Prepared, affine: Affine, field: Tensor, level: Plan) -> Image:
    """The moving image as it lies now, at the resolution of a level."""
    there = like(level.grid, prepared.moving_grid)
    moving = Image(spatial.onto(prepared.moving, there.shape)[0].cpu().numpy(), there, name="preview")
    return warp(moving, Mapping((extend(field.cpu(), level.field_grid), affine)), level.grid)


def share_of(progress: Progress, before: float, share: float, fraction: float) -> None:
    """Report a part's progress as the whole's."""
    progress(before + share * fraction)


@dataclass(frozen=True, eq=False)
class Level:
    """What stays the same through the iterations of a level, of one field (1, 3, d, h, w) or more."""

    metric: Tensor  # (1, 3, 1, 1, 1): steps equally long in mm on voxels that are not cubes
    lengths: Tensor  # (1, 3, 1, 1, 1): of the axes, in finest field voxels
    force_sigma: list[float]
    field_sigma: list[float]
    step: float
    order: tuple[int, int, int]  # of the axes, in which a step is taken: by the world, not by how voxels are stored
    hold: Hold

    def climb(self, field: Tensor, steps: int, progress: Progress, seen: Seen = _unseen) -> Tensor:
        """So many iterations u <- s + u o (id + s), with the step s up the similarity, then u smoothed a little.

        Steps may pass through less alike fields, which is how they get past small maxima; but where the images become
        less alike than the level found them, it starts again with steps half as long. So identical images stay still.
        """
        size, start = self.step, field
        start_value, start_force = value, force = self.value_and_force(field)
        seen(value)
        for index in range(steps):
            progress(index / steps)
            step = self.hold.limit(self.step_along(force, size), field)
            field = self.hold.keep(smooth(spatial.advance(field, step, self.order), self.field_sigma))
            value, force = self.value_and_force(field)
            seen(value)
            if value <= start_value:
                field, force, size = start, start_force, size / 2
        return field

    def step_along(self, force: Tensor, size: float) -> Tensor:
        """The force evened out, smoothed, and scaled so that all but the strongest thousandth move by less than `size`
        voxels.
        """
        step = smooth(evened(force, self.force_sigma), self.force_sigma)
        square = _squared(step, self.lengths)
        longest = quantile(square, _PERCENTILE).clamp(min=_TINY)

        def scale(rows: slice) -> None:
            step[:, :, rows] *= torch.maximum(square[:, :, rows], longest).rsqrt_().mul_(size)

        each(step, scale)
        return step

    def value_and_force(self, field: Tensor) -> tuple[float, Tensor]:
        """The similarity, and its derivative by the displacement on the field's grid, of the field's shape."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class _Onto(Level):
    """The moving image moves onto the fixed one."""

    similarity: LocalCorrelation | Likeness
    moving: Moving

    @classmethod
    def of(
        cls, prepared: Prepared, affine: Affine, level: Plan, settings: Refine, device: torch.device, hold: Hold
    ) -> _Onto:
        sides = compared(prepared, affine, level, settings, device)
        return cls(
            **pace(prepared, level, settings, device), hold=hold, similarity=sides.similarity, moving=sides.moving
        )

    def value_and_force(self, field: Tensor) -> tuple[float, Tensor]:
        warped, inside, seen = self.moving.through(spatial.resize_field(field, self.similarity.fixed.shape[2:]))
        if seen is not None and self.similarity.mask is not None:
            seen *= self.similarity.mask
        similarity = self.similarity if seen is None else self.similarity.within(seen)
        value, gradient = similarity(warped, inside)
        force = spatial.pull(warped, gradient)
        return float(value), spatial.resize(force, field.shape[2:]).mul_(self.metric)


def evened(force: Tensor, sigma: list[float]) -> Tensor:
    """(1, 3, D, H, W), with weak forces raised: each divided by a power of what they come to in its surroundings.

    Strong edges would else use up every step, and faint ones hardly move in so few iterations.
    """
    around = smooth(_squared(force), [_SURROUNDINGS * width for width in sigma])
    strong = quantile(around, _STRONG).clamp(min=_TINY)
    out = torch.empty_like(force)

    def raise_weak(rows: slice) -> None:
        share = (around[:, :, rows] / strong).clamp_(min=_WEAKEST**2).pow_(-_EVENNESS / 2)
        torch.mul(force[:, :, rows], share, out=out[:, :, rows])

    each(force, raise_weak)
    return out


def _squared(field: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Squared lengths (1, 1, D, H, W) of vectors, whose components count so much each."""
    scaled = (lambda part: part) if lengths is None else (lambda part: part * lengths)
    return torch.cat(each(field, lambda rows: scaled(field[:, :, rows]).square().sum(1, keepdim=True)), dim=2)


def quantile(values: Tensor, share: float) -> Tensor:
    """Below which this share of the values lies, on a sample of them."""
    sample = values.flatten()[:: max(1, values.numel() // 100_000)]
    return sample.kthvalue(max(1, round(share * sample.numel()))).values
