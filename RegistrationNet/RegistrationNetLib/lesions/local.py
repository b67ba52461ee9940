"""Once more around each lesion, its inside left out: a small turn and shift by which its surroundings fit better.

A whole-body deformation is a compromise; what is around one lesion may fit better a little beside. As a turn and shift
keep every volume, nothing of a lesion's growth is hidden by this step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import grey_dilation
from scipy.spatial import cKDTree

from RegistrationNetLib.core.errors import GeometryError, InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.likeness import STEP_MM, alike, surroundings
from RegistrationNetLib.lesions.measure import sampled
from RegistrationNetLib.lesions.study import box_around, label_map, solid

MORE_ALIKE, FARTHEST_MM = 0.01, 8.0
"""A correction is kept where the squared correlation of the surroundings rises by so much, and moves no farther."""
TOGETHER_MM = 12.0
"""Lesions with a smaller gap are moved as one."""
_CROP_MM, _HOLDS_MM, _FADES_MM, _NODE_MM = 22.0, 6.0, 25.0, 3.0
_FEWEST = 50
"""Points of the surroundings."""

Nudge = Callable[[Image, Image, Mapping, Image, Image | None], Affine]
"""`engine.nearby.nudge`."""


@dataclass(frozen=True)
class Local:
    """What the second look at some lesions found: their surroundings' likeness before and after, and by how
    much the lesions moved at most; kept: whether that was taken over."""

    lesions: tuple[str, ...]
    before: float
    after: float
    moved_mm: float
    kept: bool


@dataclass(frozen=True, eq=False)
class _Found:
    affine: Affine
    points: Points
    local: Local


def corrected(
    fixed: Image,
    moving: Image,
    lesions: Sequence[Lesion],
    mapping: Mapping,
    nudge: Nudge,
    apart: Image | None = None,
) -> tuple[Mapping, tuple[Local, ...]]:
    """The mapping after this step, fixed world -> moving world, and what was found for each group of lesions.

    apart: label map of the moving image's own lesions, which are left out too.
    """
    solids = tuple(solid(one) for one in lesions)
    look = _Look(fixed, moving, solids, mapping, nudge, apart)
    found = [look(group) for group in _groups(solids)]
    kept = [one for one in found if one is not None and one.local.kept]
    step = (_blended(kept),) if kept else ()
    return Mapping((*step, *mapping.steps)), tuple(one.local for one in found if one is not None)


def _groups(lesions: tuple[Lesion, ...]) -> list[tuple[Lesion, ...]]:
    """Lesions so close that they share their surroundings, directly or through others."""
    groups: list[tuple[Lesion, ...]] = []
    for lesion in lesions:
        near = [group for group in groups if any(_gap_mm(lesion, other) < TOGETHER_MM for other in group)]
        groups = [group for group in groups if group not in near] + [(*sum(near, ()), lesion)]
    return groups


def _gap_mm(one: Lesion, other: Lesion) -> float:
    return float(cKDTree(one.points).query(other.points)[0].min())


@dataclass(frozen=True, eq=False)
class _Look:
    """What every group's second look shares."""

    fixed: Image
    moving: Image
    lesions: tuple[Lesion, ...]
    mapping: Mapping
    nudge: Nudge
    apart: Image | None

    def __call__(self, group: tuple[Lesion, ...]) -> _Found | None:
        """None where there is nothing to compare."""
        around, points = self._around(group), np.concatenate([one.points for one in group])
        if len(around) < _FEWEST:
            return None
        box = box_around(points, self.fixed.grid, _CROP_MM)
        hidden = grey_dilation(label_map(self.lesions, box).data, size=(1, 3, 3, 3))
        try:
            affine = self.nudge(self.fixed, self.moving, self.mapping, Image(hidden, box, name="lesions"), self.apart)
        except (GeometryError, InputError):  # nothing to hold on to there
            return None
        ways = self.mapping, Mapping((affine, *self.mapping.steps))
        before, after = (alike(self.fixed, self.moving, way, around) for way in ways)
        farthest = float(tre(affine(points), points).max())
        kept = after >= before + MORE_ALIKE and farthest <= FARTHEST_MM
        return _Found(affine, points, Local(tuple(one.name for one in group), before, after, farthest, bool(kept)))

    def _around(self, group: tuple[Lesion, ...]) -> Points:
        """Points of the surroundings that both scans show, in no lesion of either nor beside its voxels."""
        clear = max(STEP_MM, float(self.fixed.grid.spacing.max()))
        points = np.concatenate([surroundings(one, self.lesions, clear) for one in group])
        there = self.mapping(points)
        seen = self.fixed.grid.contains(points) & self.moving.grid.contains(there)
        if self.apart is not None:
            seen &= sampled(self.apart.scalar != 0, self.apart.grid, there) == 0
        return np.asarray(points[seen])


def _blended(found: Sequence[_Found]) -> Displacement:
    """Each correction exactly within `_HOLDS_MM` of its lesions, fading to none; between two, mostly the nearer's."""
    ends = np.concatenate([one.points for one in found])
    low, high = ends.min(axis=0) - _FADES_MM - 2 * _NODE_MM, ends.max(axis=0) + _FADES_MM + 2 * _NODE_MM
    grid = Grid.of(np.ceil((high - low) / _NODE_MM)[::-1].astype(int) + 1, [_NODE_MM] * 3, np.eye(3)[:, ::-1], low)
    nodes = grid.points().reshape(-1, 3)
    total, weights, reach = np.zeros_like(nodes), np.zeros(len(nodes)), np.zeros(len(nodes))
    for one in found:
        beyond = np.maximum(0, cKDTree(one.points).query(nodes, distance_upper_bound=_FADES_MM)[0] - _HOLDS_MM)
        weight = np.where(np.isfinite(beyond), 1 / (beyond**2 + 1e-3), 0.0)
        total += weight[:, None] * (one.affine(nodes) - nodes)
        weights += weight
        reach = np.maximum(reach, _fading(beyond))
    field = total * (reach / np.maximum(weights, 1e-12))[:, None]
    return Displacement(np.moveaxis(field.reshape(*grid.shape, 3), -1, 0).astype(np.float32), grid)


def _fading(beyond: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1 to 0, smoothly."""
    share = np.clip(beyond / (_FADES_MM - _HOLDS_MM), 0, 1)
    return np.asarray(0.5 * (1 + np.cos(np.pi * share)))
