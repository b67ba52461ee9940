"""Lesions matched over made-up studies of which all is known (`lesions.simulate`), beside matching by nearest centres.

`python -m benchmarks.lesion_matching` prints, by the number of lesions and the size of the registration's errors, F1 of
links, merges and splits, and how far probabilities are to be believed. `--check` ends with an error where a demand is
missed at the errors that were measured on real scans (level 1); `--write` puts the tables into docs/benchmarks.md.
The generator and the seeds here were fixed before anything was tuned; what is tuned is tuned with `--tune`, on other
seeds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.lesions.simulate import Fate, Study

LESIONS = {10: 40, 50: 8, 200: 2}
"""Lesions at first, and how many studies of three timepoints: as many lesions in each row of the table."""
JUDGED, TUNING = 100, 10_000
"""The first seed of those that are judged, and of those that may be looked at while tuning."""
LEVELS = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Errors of the registration, as multiples of those measured on real scans."""
LIMIT_MM = 10.0
"""Of the baseline: farther apart nothing is linked."""

Link = tuple[str, str]


@dataclass
class Count:
    """What was found and what is true, added up over studies."""

    right: int = 0
    found: int = 0
    true: int = 0

    def add(self, found: set, true: set) -> None:
        self.right += len(found & true)
        self.found += len(found)
        self.true += len(true)

    @property
    def f1(self) -> float:
        """2 right / (found + true); nan where there is neither."""
        return 2 * self.right / (self.found + self.true) if self.found + self.true else float("nan")


@dataclass
class Score:
    """links: pairs of one lesion; merges, splits: right only with exactly the same lesions on both sides."""

    links: Count = field(default_factory=Count)
    merges: Count = field(default_factory=Count)
    splits: Count = field(default_factory=Count)

    def add(self, found: Iterable[Fate], true: Iterable[Fate]) -> None:
        found, true = tuple(found), tuple(true)
        self.links.add(links(found), links(true))
        self.merges.add(_sides(found, "merged"), _sides(true, "merged"))
        self.splits.add(_sides(found, "split"), _sides(true, "split"))


def links(fates: Iterable[Fate]) -> set[Link]:
    return {(old, new) for fate in fates for old in fate.earlier for new in fate.later}


def nearest(study: Study, step: int) -> tuple[Fate, ...]:
    """The baseline: each lesion with the nearest centre on the other side, from both sides, up to `LIMIT_MM`.

    Two that come to one are a merge, one that comes to two is a split; nothing else is told.
    """
    earlier, later = study.timepoints[step : step + 2]
    carried = study.mappings[step]([lesion.center for lesion in earlier])
    apart = tre(carried[:, None], np.array([lesion.center for lesion in later])[None])
    near = (apart == apart.min(axis=0)) | (apart == apart.min(axis=1, keepdims=True))
    pairs = np.argwhere(near & (apart <= LIMIT_MM))
    linked = [(earlier[i].name, later[j].name) for i, j in pairs]
    return tuple(_fate(part) for part in _connected(linked))


def _fate(part: set[Link]) -> Fate:
    old, new = (tuple(sorted({link[side] for link in part})) for side in (0, 1))
    kind = "merged" if len(old) > 1 else "split" if len(new) > 1 else "stable"
    return Fate(old, new, kind)


def _connected(linked: list[Link]) -> list[set[Link]]:
    """Links that share a lesion, directly or through others."""
    parts: list[set[Link]] = []
    for link in linked:
        touching = [part for part in parts if any(link[0] == old or link[1] == new for old, new in part)]
        parts = [part for part in parts if part not in touching] + [{link}.union(*touching)]
    return parts


def _sides(fates: Iterable[Fate], kind: str) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    return {(fate.earlier, fate.later) for fate in fates if fate.kind == kind}
