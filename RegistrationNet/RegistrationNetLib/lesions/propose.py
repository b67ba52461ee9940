"""An outline for a lesion on a scan that nobody outlined, from where it was carried to: for a reader to correct.

What lies on the lesion's side between its grey level and that of its surroundings, in one piece about its place. Where
between, and how smooth, is what draws the reader's own outline again on the baseline; a lesion of which that cannot be
drawn again is not outlined. The surroundings' level is the baseline's, carried over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, binary_opening, distance_transform_edt, gaussian_filter, label

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.lesions.evidence import radius_mm
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.likeness import matching_levels
from RegistrationNetLib.lesions.measure import sampled
from RegistrationNetLib.lesions.study import box_around, label_map

_BESIDE_MM, _SHELL_MM = (1.0, 6.0), (4.0, 12.0)
"""Of the outline: where the baseline's own surroundings are looked at, and where both scans' are compared."""
_LEAST_REACH_MM, _REACH = 5.0, 1.0
"""How far beyond the carried outline a lesion may have grown: at least, and in its radii (8 times the volume)."""
_SHARES, _SIGMAS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65), (0.0, 0.7)
"""Where between both levels the border may lie, and smoothing, in voxels: what is tried on the baseline."""
_DRAWN_AGAIN = 0.75
"""Dice with the reader's outline on the baseline from which the same is tried on a later scan."""
_HALFWAY = 0.2
"""Dice that a border must gain for each whole that it lies off halfway."""
_CUT_OFF = 0.1
_FEWEST = 10
_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, eq=False)
class Proposal:
    """lesion: on the scan's lattice; None where nothing is proposed. said: what a reader should know of it."""

    lesion: Lesion | None
    said: str


@dataclass(frozen=True)
class _Way:
    """How an outline is drawn: the border's share of the contrast, and smoothing in voxels."""

    share: float
    sigma: float


@dataclass(frozen=True, eq=False)
class _View:
    """What is around a lesion on a scan: values on a box of its lattice, where the lesion is thought to be, where it
    may be, and the levels of its surroundings and of the lesion."""

    values: NDArray[np.float64]
    box: Grid
    inside: NDArray[np.bool_]
    allowed: NDArray[np.bool_]
    background: float
    level: float

    @classmethod
    def of(cls, scan: Image, lesion: Lesion, others: Sequence[Lesion], background: float, level: float) -> _View:
        reach = reach_mm(lesion)
        box = box_around(lesion.points, scan.grid, reach + 2 * float(scan.grid.spacing.max()))
        away = _distance(lesion, box)
        nearer = [away <= _distance(other, box) for other in others]
        allowed = np.logical_and.reduce([away <= reach, *nearer])
        return cls(_part(scan, box), box, _drawn(lesion, box), allowed, background, level)

    def outlined(self, way: _Way) -> NDArray[np.bool_] | None:
        """One piece about the lesion's place; None where there is nothing of it."""
        values = gaussian_filter(self.values, way.sigma) if way.sigma else self.values
        share = (values - self.background) / (self.level - self.background)
        return _piece(self.allowed & (share > way.share), self.inside)


def proposed(
    baseline: Image,
    lesion: Lesion,
    scan: Image,
    mapping: Mapping,
    brought: Lesion,
    others: tuple[Sequence[Lesion], Sequence[Lesion]],
    gain: float,
) -> Proposal:
    """brought: the lesion as carried to the scan; others: those beside it, on the baseline and there. mapping: baseline
    -> scan world. gain: of the scan's intensities over the baseline's (`gain_of`)."""
    inside, ring, (places, shell) = _around(lesion, baseline)
    there = places[scan.grid.contains(mapping(places))]
    if len(ring) < _FEWEST or len(there) < _FEWEST:
        return Proposal(None, "Too little of its surroundings is seen to outline it by the program.")
    background, level = float(np.median(ring)), float(np.median(inside))
    way, dice = (
        _learnt(_View.of(baseline, lesion, others[0], background, level)) if level != background else (None, 0.0)
    )
    if way is None or dice < _DRAWN_AGAIN:
        return Proposal(None, "It stands out too little for the program to outline it as it was on the baseline.")
    around = float(np.median(sampled(scan.scalar, scan.grid, mapping(there))))
    here = around + gain * (background - float(np.median(shell)))
    view = _View.of(scan, brought, others[1], here, here + gain * (level - background))
    mask = view.outlined(way)
    if mask is None:
        return Proposal(None, "Nothing like it is seen at its place: it may be gone.")
    found = Lesion(brought.name, Image(mask[None].astype(np.uint8), view.box, name=brought.name))
    return Proposal(found, _warning(mask, _distance(brought, view.box), reach_mm(brought)))


def reach_mm(lesion: Lesion) -> float:
    """How far beyond its carried outline a lesion is looked for."""
    return max(_LEAST_REACH_MM, _REACH * radius_mm(lesion.volume_mm3))


def _learnt(view: _View) -> tuple[_Way, float]:
    """The way that draws the outline of the baseline again best, and its Dice."""
    ways = [_Way(*one) for one in product(_SHARES, _SIGMAS)]
    found = [view.outlined(way) for way in ways]
    dice = [0.0 if one is None else 2 * (one & view.inside).sum() / (one.sum() + view.inside.sum()) for one in found]
    # Halfway is where the border of a blurred edge lies: what is hardly better is not believed.
    best = int(np.argmax([value - _HALFWAY * abs(way.share - 0.5) for value, way in zip(dice, ways, strict=True)]))
    return ways[best], float(dice[best])


def gain_of(baseline: Image, scan: Image, mapping: Mapping, places: Points) -> float:
    """By both at the same places of the body, those left out that the scan does not show.

    Places lie anywhere between the baseline's voxels, so that interpolation blurs both alike.
    """
    anywhere = np.random.default_rng(0).uniform(-0.5, 0.5, places.shape) @ baseline.grid.voxel_to_world[:3, :3].T
    seen = (places + anywhere)[scan.grid.contains(mapping(places + anywhere))]
    pairs = ((baseline, seen), (scan, mapping(seen)))
    return matching_levels(*(sampled(image.scalar, image.grid, points) for image, points in pairs))[0]


def _around(
    lesion: Lesion, image: Image
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[Points, NDArray[np.float64]]]:
    """On the baseline: values in the lesion's core and right beside it, and points farther out with their values."""
    box = box_around(lesion.points, image.grid, _SHELL_MM[1])
    values, inside = _part(image, box), _drawn(lesion, box)
    beyond = distance_transform_edt(~inside, sampling=box.spacing)
    near, far = ((beyond > low + float(box.spacing.min())) & (beyond <= high) for low, high in (_BESIDE_MM, _SHELL_MM))
    shell = box.to_world(np.argwhere(far))
    return values[_core(inside, box)], values[near], (shell, values[far])


def _core(inside: NDArray[np.bool_], grid: Grid) -> NDArray[np.bool_]:
    depth = distance_transform_edt(np.pad(inside, 1), sampling=grid.spacing)[1:-1, 1:-1, 1:-1]
    return np.asarray(inside & (depth >= 0.5 * depth.max()))


def _piece(inside: NDArray[np.bool_], place: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The piece with most of the lesion's place, thin bridges cut where something is left without them."""
    opened = binary_opening(inside)
    pieces, _ = label(opened if (opened & place).any() else inside, _EVERY_NEIGHBOUR)
    held = np.bincount(pieces[place], minlength=2)[1:]
    if not held.any():
        return None
    piece = pieces == 1 + int(held.argmax())
    edge, _ = label(inside & (distance_transform_edt(~piece) <= 1.0))
    return np.asarray(binary_fill_holes(edge > 0))


def _drawn(lesion: Lesion, box: Grid) -> NDArray[np.bool_]:
    return np.asarray(label_map((lesion,), box).scalar > 0)


def _distance(lesion: Lesion, box: Grid) -> NDArray[np.float64]:
    """Of each voxel of the box from the lesion, mm, 0 inside; infinitely far where the box does not hold it."""
    drawn = _drawn(lesion, box)
    return distance_transform_edt(~drawn, sampling=box.spacing) if drawn.any() else np.full(box.shape, np.inf)


def _part(image: Image, box: Grid) -> NDArray[np.float64]:
    start = np.rint(image.grid.to_voxel(box.to_world((0, 0, 0)))).astype(int)
    part = tuple(slice(first, first + n) for first, n in zip(start, box.shape, strict=True))
    return image.scalar[part].astype(np.float64)


def _warning(mask: NDArray[np.bool_], away: NDArray[np.float64], reach: float) -> str:
    said = "Outlined by the program, not by a reader: look at it, and correct it where it is wrong."
    if (away[mask] > 0.8 * reach).mean() > _CUT_OFF:
        return f"{said} It reaches as far as was looked: it may have run into what lies beside it."
    return said
