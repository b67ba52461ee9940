"""How well one explanation fits: these earlier lesions, carried forward, are those later ones.

All terms are log densities, so that explanations of different kinds are compared by Bayes' rule: that a lesion is
still there is weighed against its having gone while another happened to appear at that place with that size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.lesions.lesion import Lesion

STAYS, MERGES, SPLITS = 0.85, 0.1, 0.05
"""Prior probabilities: an earlier lesion is there later; such lesions are merged; such a lesion is split."""
NEW_SHARE = 0.1
"""New lesions expected for each that there is, at a place that is not known."""
_SIZES = np.log(1000.0)
"""Range of log volume of lesions of which nothing is known: 3 to 30 mm."""
_MARGIN_MM = 30.0
_SAMPLED = 200
"""Points of a lesion that are carried, at most."""
_FREEDOM = 3.0
"""Of Student's t: how much more often than normal the largest errors occur."""
_PER_AXIS = 0.5
"""Scale of each component of a registration's error, as a share of the expected length of the error."""
_SHIFT = 0.3
"""Of a centre, as a share of the change of radius: lesions grow to one side."""
_SIZE_SCALE, _SIZE_SCALE_OF_PARTS = 0.35, 0.6
_REACH = 1.5
"""How far from where a lesion was its parts may be, in its radii."""
_TOLERANCE = 0.7
"""How far outside of an outline a point may lie that is counted inside, in expected errors."""
_COVERED = 6.0
"""What is lost where a lesion is said to be gone and its place is inside another."""
_PARTS_GROW = 0.4
"""Log volume of what merged beside that of its parts, and of what split beside that of its parts."""
_MISFIT = 6.0
"""What is lost where nothing of the smaller lies inside the larger, once their centres are brought together."""


@dataclass(frozen=True, eq=False)
class Carried:
    """An earlier lesion in the later image's world.

    points: some of its voxel centres, (N, 3) LPS mm; volume_mm3: its own, as measured where it was outlined, None for a
    click; error_mm: expected distance of its centre from the true place.
    """

    points: Points
    volume_mm3: float | None
    error_mm: float
    voxel_mm: float

    @cached_property
    def center(self) -> Points:
        return np.asarray(self.points.mean(axis=0))


def carried(lesion: Lesion, mapping: Mapping, error_mm: float) -> Carried:
    """mapping: earlier world -> later world."""
    step = -(-len(lesion.points) // _SAMPLED)
    volume = None if lesion.clicked else lesion.volume_mm3
    voxel_mm = float(lesion.outline.grid.voxel_volume ** (1 / 3))
    return Carried(mapping(lesion.points[::step]), volume, error_mm, voxel_mm)


def region_mm3(places: Points) -> float:
    """Of the box around all lesions and a margin: where a new one may appear."""
    return float(np.prod(np.ptp(places, axis=0) + 2 * _MARGIN_MM))


def log_new(expected: float, region: float) -> float:
    """Of a later lesion that was not there: so many expected in the region, of any size."""
    return float(np.log(expected / region) - np.log(_SIZES))


def log_gone(lesion: Carried, later: Sequence[Lesion], stays: float) -> float:
    """Of an earlier lesion that is no more; hardly so where its place is inside another: it has merged with that."""
    near = [one for one in later if tre(one.center, lesion.center) < radius_mm(one.volume_mm3) * 2 + lesion.error_mm]
    covered = max((_inside(lesion, one, np.zeros(3)) for one in near if not one.clicked), default=0.0)
    return float(np.log(1 - stays) - _COVERED * covered)


def log_same(earlier: Sequence[Carried], later: Sequence[Lesion], stays: float) -> float:
    """Of these earlier lesions together being these later ones."""
    prior = np.log(stays)
    if len(earlier) > 1:
        prior = len(earlier) * np.log(stays) + np.log(MERGES)
    elif len(later) > 1:
        prior += np.log(SPLITS)
    sizes = _volumes(earlier), _volumes(later)
    here, there = _middle(earlier, sizes[0]), _middle(later, sizes[1])
    scale = _scale_mm(earlier, sizes)
    place = _log_t(float(np.linalg.norm(there - here)), scale, axes=3)
    place -= (len(later) - 1) * np.log(4 / 3 * np.pi * (_REACH * _total_radius_mm(sizes[0]) + scale) ** 3)
    if sizes[0] is None or sizes[1] is None:
        return float(prior + place - len(later) * np.log(_SIZES))
    wide = _SIZE_SCALE if len(earlier) == len(later) == 1 else _SIZE_SCALE_OF_PARTS
    usual = _PARTS_GROW * (np.sign(len(earlier) - 1) - np.sign(len(later) - 1))
    size = _log_t(float(np.log(sizes[1].sum() / sizes[0].sum()) - usual), wide, axes=1)
    size -= (len(later) - 1) * np.log(_SIZES)
    nested = _nested(earlier, later, sizes, there - here)
    return float(prior + place + size - _MISFIT * (1 - nested))


def radius_mm(volume_mm3: float | None) -> float:
    """Of the sphere of that volume; of a click that of a middling lesion."""
    return 5.0 if volume_mm3 is None else float((3 * volume_mm3 / (4 * np.pi)) ** (1 / 3))


def _log_t(distance: float, scale: float, axes: int) -> float:
    """Log density of Student's t with `_FREEDOM` in so many dimensions, at a distance from its middle."""
    total = (_FREEDOM + axes) / 2
    peak = gammaln(total) - gammaln(_FREEDOM / 2) - axes / 2 * np.log(_FREEDOM * np.pi) - axes * np.log(scale)
    return float(peak - total * np.log1p((distance / scale) ** 2 / _FREEDOM))


def _inside(old: Carried, new: Lesion, shift: Points) -> float:
    """Which share of an earlier lesion is in a later one, or so near that the registration's error may explain it."""
    return float(new.within(old.points + shift, _TOLERANCE * old.error_mm).mean())


def _total_radius_mm(volumes: NDArray[np.float64] | None) -> float:
    return radius_mm(None if volumes is None else float(volumes.sum()))


def _volumes(lesions: Sequence[Carried] | Sequence[Lesion]) -> NDArray[np.float64] | None:
    """None where one of them is a click."""
    known = [None if isinstance(one, Lesion) and one.clicked else one.volume_mm3 for one in lesions]
    return None if None in known else np.array(known, np.float64)


def _middle(lesions: Sequence[Carried] | Sequence[Lesion], volumes: NDArray[np.float64] | None) -> Points:
    return np.average([one.center for one in lesions], axis=0, weights=volumes)


def _scale_mm(
    earlier: Sequence[Carried], sizes: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]
) -> float:
    """Of each component of the distance between the centres: registration, growth to one side, voxels."""
    before, after = map(_total_radius_mm, sizes)
    error = _PER_AXIS * float(np.mean([one.error_mm for one in earlier]))
    voxel = 0.3 * max(one.voxel_mm for one in earlier)
    return float(np.sqrt(error**2 + (_SHIFT * (after - before)) ** 2 + voxel**2 + (0.05 * max(before, after)) ** 2))


def _nested(
    earlier: Sequence[Carried],
    later: Sequence[Lesion],
    sizes: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None],
    shift: Points,
) -> float:
    """How much of the smaller side lies in the larger, centres brought together; of parts the one that does so least.

    0 to 1.
    """
    before, after = sizes
    assert before is not None
    assert after is not None
    inside = np.array([[_inside(old, new, shift) for new in later] for old in earlier])  # (A, B)
    shared = before[:, None] * inside
    of_earlier, of_later = shared.sum(axis=1) / before, shared.sum(axis=0) / after
    if len(earlier) == len(later) == 1:
        return float(min(1.0, max(of_earlier[0], of_later[0])))
    return float(min(1.0, of_earlier.min() if len(earlier) > 1 else of_later.min()))
