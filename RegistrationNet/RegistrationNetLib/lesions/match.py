"""Which lesions of one timepoint are which of another: the best explanation, its probability and the alternatives.

Earlier lesions are carried into the later image's world. Every lesion of either timepoint is in exactly one group: one
earlier and one later lesion, several that merged into one, one that split, one alone that is gone or new. Candidate
groups are scored by `evidence`, and the best set of them, and the probability of each, are found by `partition`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import itemgetter

import numpy as np
from numpy.typing import ArrayLike

from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.lesions import evidence
from RegistrationNetLib.lesions.evidence import Carried
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.partition import best_cover, marginals
from RegistrationNetLib.lesions.word import SILENCE, Link, Sides, Spoken

MOST_PARTS = 3
"""Lesions that merge into one, or that one splits into, at most; a reader may link more."""
MENTIONED = 0.01
"""Alternatives less probable than this are not listed."""
_GATE, _GATE_OF_PARTS = 6.0, 3.0
"""Expected errors between the balls around two outlines beyond which they are never compared: a pair, and parts."""
_NEAREST = 6
"""Lesions beside one among which those that merge into it, or that it splits into, are looked for."""
_IMPROBABLE = -7.0
"""Groups so much less probable (log) than all their lesions being gone and new are left out."""


@dataclass(frozen=True)
class Group:
    """Lesions that are the same, by name: one side may be empty (gone, new), or have several (merged, split).

    probability: of exactly this group, given everything; 1 where a reader said it.
    """

    earlier: tuple[str, ...]
    later: tuple[str, ...]
    probability: float
    by_reader: bool = False

    @property
    def links(self) -> set[tuple[str, str]]:
        return {(old, new) for old in self.earlier for new in self.later}

    def shares(self, other: Group) -> bool:
        """Whether both speak of one lesion."""
        return bool(set(self.earlier) & set(other.earlier) or set(self.later) & set(other.later))


@dataclass(frozen=True)
class Matching:
    """chosen: the groups that together are most probable, each lesion in one; rejected: the others worth a mention."""

    chosen: tuple[Group, ...]
    rejected: tuple[Group, ...]

    def alternatives(self, group: Group) -> tuple[Group, ...]:
        """To a chosen group, the most probable first."""
        others = [other for other in self.rejected if other.shares(group)]
        return tuple(sorted(others, key=lambda other: (-other.probability, other.earlier, other.later)))

    @property
    def probabilities(self) -> dict[tuple[str, str], float]:
        """Of each pair being one lesion, alone or with others: the sum over all groups that have both."""
        total: dict[tuple[str, str], float] = {}
        for group in (*self.chosen, *self.rejected):
            for link in group.links:
                total[link] = min(1.0, total.get(link, 0.0) + group.probability)
        return total


def match(
    earlier: Sequence[Lesion],
    later: Sequence[Lesion],
    mapping: Mapping,
    error_mm: ArrayLike,
    spoken: Spoken = SILENCE,
    stays: float = evidence.STAYS,
) -> Matching:
    """Match two timepoints.

    mapping: earlier world -> later world, which is what a registration gives whose *fixed* image is the earlier one;
    the inverse of one whose fixed image is the later one.
    error_mm: expected distance of a carried centre from its true place, of each earlier lesion or of all.
    spoken: what a reader said of these lesions. stays: prior probability that an earlier lesion is there later.
    """
    by_reader = [Group(*sides, 1.0, by_reader=True) for sides in spoken.groups()]
    settled = (
        {name for group in by_reader for name in group.earlier},
        {name for group in by_reader for name in group.later},
    )
    errors = np.broadcast_to(np.asarray(error_mm, np.float64), len(earlier))
    old = {
        lesion.name: evidence.carried(lesion, mapping, float(error))
        for lesion, error in sorted(zip(earlier, errors, strict=True), key=lambda pair: _place(pair[0]))
        if lesion.name not in settled[0]
    }
    new = {lesion.name: lesion for lesion in sorted(later, key=_place) if lesion.name not in settled[1]}
    alone = list(_alone(old, new, stays))
    together = _together(old, new, stays, spoken.unlinks, {(one.earlier, one.later): one.score for one in alone})
    return _solved([*alone, *together], list(old), list(new), by_reader)


@dataclass(frozen=True)
class _Scored:
    """A candidate, and the log of how probable it makes what is seen."""

    earlier: tuple[str, ...]
    later: tuple[str, ...]
    score: float


def _alone(old: dict[str, Carried], new: dict[str, Lesion], stays: float) -> Iterator[_Scored]:
    later = list(new.values())
    yield from (_Scored((name,), (), evidence.log_gone(lesion, later, stays)) for name, lesion in old.items())
    if new:
        places = np.array([*(one.center for one in old.values()), *(one.center for one in later)])
        score = evidence.log_new(evidence.NEW_SHARE * len(new), evidence.region_mm3(places))
        yield from (_Scored((), (name,), score) for name in new)


def _together(
    old: dict[str, Carried], new: dict[str, Lesion], stays: float, unlinks: frozenset[Link], alone: dict[Sides, float]
) -> Iterator[_Scored]:
    """Every pair and every few that are near enough and fit not much worse than all of them being gone and new."""
    for earlier, later in _candidates(old, new, unlinks):
        score = evidence.log_same([old[name] for name in earlier], [new[name] for name in later], stays)
        apart = sum(alone[(name,), ()] for name in earlier) + sum(alone[(), (name,)] for name in later)
        if score > apart + _IMPROBABLE:
            yield _Scored(earlier, later, score)


def _candidates(old: dict[str, Carried], new: dict[str, Lesion], unlinks: frozenset[Link]) -> Iterator[Sides]:
    """Pairs within the gate; and of each lesion's nearest on the other side two or three."""
    gaps = _gaps(old, new)
    near = {link: gap for link, gap in gaps.items() if link not in unlinks}
    yield from (((one,), (two,)) for one, two in near)
    for name in new:
        for few in _few([(gap, one) for (one, two), gap in near.items() if two == name]):
            yield few, (name,)
    for name in old:
        for few in _few([(gap, two) for (one, two), gap in near.items() if one == name]):
            yield (name,), few


def _gaps(old: dict[str, Carried], new: dict[str, Lesion]) -> dict[Link, float]:
    """Between the balls around them, in expected errors; of all pairs within the gate."""
    if not old or not new:
        return {}
    here, there = (np.array([one.center for one in side.values()]) for side in (old, new))
    before, after = (np.array([_reach_mm(one) for one in side.values()]) for side in (old, new))
    error = np.array([max(one.error_mm, one.voxel_mm) for one in old.values()])
    gaps = (tre(here[:, None], there[None]) - before[:, None] - after[None]) / error[:, None]
    names = list(old), list(new)
    return {(names[0][i], names[1][j]): float(gaps[i, j]) for i, j in np.argwhere(gaps <= _GATE)}


def _reach_mm(lesion: Carried | Lesion) -> float:
    return float(tre(lesion.points, lesion.center).max())


def _few(near: list[tuple[float, str]]) -> Iterator[tuple[str, ...]]:
    """Two or more of the nearest."""
    nearest = [name for gap, name in sorted(near, key=itemgetter(0))[:_NEAREST] if gap <= _GATE_OF_PARTS]
    for count in range(2, MOST_PARTS + 1):
        yield from combinations(nearest, count)


def _solved(scored: list[_Scored], old: list[str], new: list[str], by_reader: list[Group]) -> Matching:
    items = {
        (side, name): number for number, (side, name) in enumerate([*((0, n) for n in old), *((1, n) for n in new)])
    }
    members = [[*(items[0, n] for n in one.earlier), *(items[1, n] for n in one.later)] for one in scored]
    scores = np.array([one.score for one in scored])
    taken, probable = best_cover(members, scores), marginals(members, scores)
    groups = [Group(one.earlier, one.later, float(p)) for one, p in zip(scored, probable, strict=True)]
    chosen = [group for group, take in zip(groups, taken, strict=True) if take]
    rejected = [group for group, take in zip(groups, taken, strict=True) if not take]
    return Matching((*by_reader, *chosen), tuple(group for group in rejected if group.probability >= MENTIONED))


def _place(lesion: Lesion) -> tuple[float, ...]:
    """For sorting: so that neither names nor their order decide anything."""
    return tuple(lesion.center.round(3))
