"""What a reader said of lesions: these two are the same, these two are not; kept by place.

Labels are renumbered, outlines are drawn again: what stays is where a lesion is. So a statement names two places, each
a timepoint and a world point inside the lesion (`Lesion.anchor`), and is about whichever lesions hold these points when
the matching runs again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.lesions.lesion import Lesion

Link = tuple[str, str]
"""Names of an earlier and a later lesion."""
Sides = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of the earlier and of the later lesions of a group."""

NEARBY_MM = 3.0
"""So far from a lesion's nearest voxel a place may be that an edit has left outside."""


@dataclass(frozen=True)
class Place:
    """A point inside a lesion at a timepoint, LPS mm."""

    timepoint: str
    point_mm: tuple[float, float, float]

    @classmethod
    def of(cls, lesion: Lesion, timepoint: str) -> Place:
        x, y, z = (float(value) for value in lesion.anchor)
        return cls(timepoint, (x, y, z))


@dataclass(frozen=True)
class Word:
    """same: True where the reader linked them, False where the reader parted them."""

    earlier: Place
    later: Place
    same: bool


@dataclass(frozen=True)
class Spoken:
    """What holds between the lesions of two timepoints, by name."""

    links: frozenset[Link] = frozenset()
    unlinks: frozenset[Link] = frozenset()

    def groups(self) -> list[Sides]:
        """Lesions that the links hold together, directly or through others; sorted."""
        parts: list[set[Link]] = []
        for link in sorted(self.links):
            touching = [part for part in parts if any(link[0] == old or link[1] == new for old, new in part)]
            parts = [part for part in parts if part not in touching] + [{link}.union(*touching)]
        return [(_names(part, 0), _names(part, 1)) for part in parts]


SILENCE = Spoken()


@dataclass(frozen=True)
class Heard:
    """spoken: by the two timepoints it is about; lost: words of which a place holds no lesion any more."""

    spoken: dict[tuple[str, str], Spoken]
    lost: tuple[Word, ...]


def heard(words: Iterable[Word], timepoints: Mapping[str, Sequence[Lesion]]) -> Heard:
    """What a reader's words mean for these outlines; of two about the same lesions the last one holds."""
    said: dict[tuple[str, str], dict[Link, bool]] = {}
    lost = []
    for word in words:
        old, new = (held_by(place, timepoints.get(place.timepoint, ())) for place in (word.earlier, word.later))
        if old is None or new is None:
            lost.append(word)
        else:
            said.setdefault((word.earlier.timepoint, word.later.timepoint), {})[old.name, new.name] = word.same
    spoken = {
        between: Spoken(
            *(frozenset(link for link, same in links.items() if same is wanted) for wanted in (True, False))
        )
        for between, links in said.items()
    }
    return Heard(spoken, tuple(lost))


def held_by(place: Place, lesions: Sequence[Lesion]) -> Lesion | None:
    """The lesion that a place is in; else the nearest within `NEARBY_MM`, if any."""
    for lesion in lesions:
        if lesion.holds(place.point_mm):
            return lesion
    far = [float(tre(lesion.points, np.array(place.point_mm)).min()) for lesion in lesions]
    nearest = int(np.argmin(far)) if far else -1
    return lesions[nearest] if far and far[nearest] <= NEARBY_MM else None


def _names(links: Iterable[Link], side: int) -> tuple[str, ...]:
    return tuple(sorted({link[side] for link in links}))
