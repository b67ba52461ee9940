"""Registration that treats both images alike, so that swapped they give the inverse.

After Avants' symmetric normalization: both images move, each by a field of its own, to where they meet half way between
them. The way from one to the other leads back along the first field and on along the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.inverse import inverse_on
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.mind import Likeness
from RegistrationNetLib.core.resample import field_on
from RegistrationNetLib.core.similarity import LocalCorrelation
from RegistrationNetLib.core.slabs import at_once
from RegistrationNetLib.engine import features
from RegistrationNetLib.engine.align import Progress, align
from RegistrationNetLib.engine.features import Agreement, Moving, Similarity
from RegistrationNetLib.engine.hold import Hold
from RegistrationNetLib.engine.levels import Plan, levels, stored_grid
from RegistrationNetLib.engine.mend import extend, fit_to_store, unfold
from RegistrationNetLib.engine.pose import Pair
from RegistrationNetLib.engine.prepare import Prepared, foreground, working_grid
from RegistrationNetLib.engine.refine import Level, pace, seen_at, share_of
from RegistrationNetLib.engine.result import NOBODY, Watch
from RegistrationNetLib.engine.settings import Align, Refine
from RegistrationNetLib.engine.trust import Alignment

_MARGIN_MM = 20.0  # around what both images show
_SOLVED_MM = 1e-3
_ROUNDING = 1e-6  # of a voxel
_APART_MM = 5.0  # alignments farther apart than this are two opinions, between which nothing lies
_COMPARED_MM = 5.0  # voxels on which such opinions are compared


def swapped(prepared: Prepared) -> Prepared:
    """The moving image as the fixed one, and the other way round."""
    return replace(
        prepared,
        fixed=prepared.moving,
        moving=prepared.fixed,
        fixed_grid=prepared.moving_grid,
        moving_grid=prepared.fixed_grid,
        fixed_mask=prepared.moving_mask,
        moving_mask=prepared.fixed_mask,
        names=prepared.names[::-1],
    )


def even(prepared: Prepared) -> Prepared:
    """The fixed image on voxels not much finer than the moving one's, as the moving one already is on the fixed one's:
    the same two volumes whichever is fixed.
    """
    grid = working_grid(
        prepared.fixed_grid, prepared.fixed_grid.voxels, 0.67 * float(prepared.moving_grid.spacing.min())
    )
    mask = prepared.fixed_mask
    return replace(
        prepared,
        fixed=spatial.onto(prepared.fixed, grid.shape),
        fixed_grid=grid,
        fixed_mask=None if mask is None else spatial.onto(mask, grid.shape),
    )


@at_once()
def align_both(prepared: Prepared, settings: Align, kind: str, start: Affine | None, progress: Progress) -> Alignment:
    """Half way between the alignment of the one image to the other and that of the other to the one; where the two
    are of different opinions, the one that makes the images more alike. Trusted as the less trusted one.

    Adds the sentences of the one taken to `prepared.notes`, or, half way, of either. Raises as `align`.
    """
    one, other = replace(prepared, notes=[]), replace(swapped(prepared), notes=[])
    there = align(one, settings, kind, start, lambda fraction: progress(fraction / 2))
    back_start = None if start is None else start.inverse()
    back = align(other, settings, kind, back_start, lambda fraction: progress((1 + fraction) / 2))
    again = back.inverse()
    trust = min(there.trust, back.trust, key=lambda trust: trust.rank)
    if _apart(prepared, there, again) <= _APART_MM:
        prepared.notes.extend(one.notes or other.notes)
        return Alignment(there.matrix @ _root(there.inverse().matrix @ again.matrix), trust)
    pairs = Pair.of(one, _COMPARED_MM, local=True), Pair.of(other, _COMPARED_MM, local=True)
    losses = [pairs[0].loss(found) + pairs[1].loss(found.inverse()) for found in (there, again)]
    better, notes = (there, one.notes) if losses[0] <= losses[1] else (again, other.notes)
    prepared.notes.extend(notes)
    return Alignment(better.matrix, trust)


def _apart(prepared: Prepared, one: Affine, other: Affine) -> float:
    """How far two alignments take any corner of either image from one another, mm."""
    corners, moving_corners = prepared.fixed_grid.corners(), prepared.moving_grid.corners()
    there = one(corners) - other(corners)
    back = one.inverse()(moving_corners) - other.inverse()(moving_corners)
    return float(np.linalg.norm(np.concatenate([there, back]), axis=1).max())


def alike(prepared: Prepared, settings: Refine) -> Callable[[Affine], float]:
    """How alike even images are under an affine map, seen from both: of exchanged images and the inverse the same.

    `settings.similarity` decided.
    """
    there, back = (_alike(side, settings) for side in (prepared, swapped(prepared)))
    return lambda affine: there(Mapping((affine,))) + back(Mapping((affine.inverse(),)))


def _alike(prepared: Prepared, settings: Refine) -> Similarity | Agreement:
    mind = settings.similarity == "mind"
    grid = features.coarse_grid(prepared, settings) if mind else prepared.fixed_grid
    body = torch.from_numpy(foreground(prepared.fixed).astype(np.float32))[None, None]
    weight = spatial.onto(body, grid.shape)
    return Agreement(prepared, grid, weight) if mind else Similarity(prepared, weight)


def decided(prepared: Prepared, affine: Affine, settings: Refine) -> Refine:
    """As `features.decided`: intensities are compared where they may be from either image."""
    choice = features.decided(prepared, affine, settings)
    return choice if choice.similarity == "mind" else features.decided(swapped(prepared), affine.inverse(), settings)


@at_once()
def refine(
    prepared: Prepared,
    affine: Affine,
    settings: Refine,
    device: torch.device,
    progress: Progress = lambda fraction: None,
    watch: Watch = NOBODY,
) -> tuple[Tensor, Grid]:
    """As `engine.refine.refine`, of even images without a start: the deformation u with fixed(x) like
    moving(A(x + u(x))), and its grid; of swapped images and the inverse of A, the inverse but for interpolation.

    `settings.similarity` decided. watch: who looks on; there are no previews, as the way to the moving image is whole
    only at the end. Raises GeometryError where the images lie half a turn apart.
    """
    to_moving = Affine(_root(affine.matrix))
    to_fixed = to_moving.inverse()
    middle = middle_grid(prepared, to_fixed, to_moving)
    plans = levels(replace(prepared, fixed_grid=middle), settings)
    effort = [plan.steps * plan.grid.voxels for plan in plans]
    done, fields = 0, torch.zeros((2, 3, 1, 1, 1))
    for plan, work in zip(plans, effort, strict=True):
        fields = spatial.resize_field(fields.to(device), plan.field_grid.shape)
        advance = partial(share_of, progress, done / max(sum(effort), 1), work / max(sum(effort), 1))
        if plan.steps:
            level = _Between.of(prepared, to_fixed, to_moving, plan, settings, device)
            fields = level.climb(fields, plan.steps, advance, seen_at(plan, watch))
        fields = torch.cat([unfold(field) for field in fields.split(1)])
        done += work
    back, on = (extend(field.cpu(), plans[-1].field_grid) for field in fields.split(1))
    field_grid = stored_grid(prepared, settings)
    # The fixed voxels as they lie in the middle; a displacement in voxels is the same there and here.
    seen = Grid(field_grid.shape, to_moving.matrix @ field_grid.voxel_to_world)
    whole = field_on(Mapping((inverse_on(back, seen, _SOLVED_MM), on)), seen)
    return fit_to_store(whole, field_grid.spacing.tolist()), field_grid


def middle_grid(prepared: Prepared, to_fixed: Affine, to_moving: Affine) -> Grid:
    """Half way between both images, along the world's axes: what both show and a margin, on voxels about as large, or
    larger where these would be too many, as for images that lie oblique.
    """
    halves = ((prepared.fixed_grid, to_fixed), (prepared.moving_grid, to_moving))
    grids = [Grid(grid.shape, half.inverse().matrix @ grid.voxel_to_world) for grid, half in halves]
    corners = [grid.corners() for grid in grids]
    lows, highs = [each.min(0) for each in corners], [each.max(0) for each in corners]
    low = np.maximum(np.maximum(*lows) - _MARGIN_MM, np.minimum(*lows))
    high = np.minimum(np.minimum(*highs) + _MARGIN_MM, np.maximum(*highs))
    sizes = [np.linalg.norm(grid.voxel_to_world[:3, :3], axis=1) for grid in grids]  # along the world's axes
    extent, spacing = np.maximum(high - low, 0), np.sqrt(sizes[0] * sizes[1])
    shape = np.ceil(extent / spacing - _ROUNDING).astype(int) + 1
    first = low + (extent - (shape - 1) * spacing) / 2
    grid = Grid.of(shape[::-1], spacing[::-1], np.eye(3)[:, ::-1], first)
    return working_grid(grid, prepared.max_voxels)


@dataclass(frozen=True, eq=False)
class _Between(Level):
    """Both images move; fields are (2, 3, d, h, w), that of the fixed image first."""

    sides: tuple[Moving, Moving]
    shape: tuple[int, int, int]
    compare: Callable[[Tensor, Tensor | None], LocalCorrelation | Likeness]

    @classmethod
    def of(
        cls, prepared: Prepared, to_fixed: Affine, to_moving: Affine, plan: Plan, settings: Refine, device: torch.device
    ) -> _Between:
        sides = (
            features.moving_side(swapped(prepared), to_fixed, plan.grid, settings, device),
            features.moving_side(prepared, to_moving, plan.grid, settings, device),
        )
        local = lambda values, mask: LocalCorrelation.of(values, settings.window, mask=mask)  # noqa: E731
        compare = Likeness if settings.similarity == "mind" else local
        return cls(
            **pace(prepared, plan, settings, device), hold=Hold(), sides=sides, shape=plan.grid.shape, compare=compare
        )

    def step_along(self, force: Tensor, size: float) -> Tensor:
        return torch.cat([super(_Between, self).step_along(one, size) for one in force.split(1)])

    def value_and_force(self, field: Tensor) -> tuple[float, Tensor]:
        whole = spatial.resize_field(field, self.shape)
        seen = [side.through(one) for side, one in zip(self.sides, whole.split(1), strict=True)]
        images, insides, masks = zip(*seen, strict=True)
        inside = insides[0] * insides[1]
        both = [one for one in masks if one is not None]
        mask = math.prod(both[1:], start=both[0]) if both else None
        values, forces = [], []
        for own, other in (images, images[::-1]):
            value, gradient = self.compare(other, mask)(own, inside)
            values.append(float(value))
            forces.append(spatial.pull(own, gradient))
        return sum(values) / 2, spatial.resize(torch.cat(forces), field.shape[2:]).mul_(self.metric)


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (4, 4) matrix that twice gives this one. Raises GeometryError where there is none."""
    root = sqrtm(matrix)
    if np.iscomplexobj(root) or not np.allclose(root @ root, matrix, atol=1e-6 * np.abs(matrix).max()):
        raise GeometryError(
            "The images lie turned against each other by about half a turn, which has no middle. Turn one of "
            "them first, or leave refine.symmetric out."
        )
    return np.asarray(root, np.float64)
