"""The registrations of a series: each scan to the baseline and to the one before it, and whether the ways agree.

A follow-up is reached directly from the baseline, or in sequence through the scans between. Going there in sequence and
back directly (T1 -> T2 -> T3 -> T1) must end where it began. Where it does not, one of the two ways errs, and the one
through which the scans are more alike is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.lesions.forward import backwards
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.likeness import alike_locally
from RegistrationNetLib.lesions.study import Scan, Study

RETURNS_MM, RETURNS_SHARE = 1.0, 0.95
"""A loop returns where all lesions and so much of the body end within so many mm of where they began."""
_PLACES, _WINDOWS = 4000, 300
"""Of the body, at which loops are followed and scans are compared."""

Way = Literal["direct", "in sequence"]
Registering = Callable[[int, int, Mapping], Mapping]
"""From one scan's world to another's, by their numbers; the last one leads from the baseline's to the first's."""


@dataclass(frozen=True, eq=False)
class Loop:
    """Round the loop and back: `through` names the scans in order, the first of which is also the last.

    errors_mm: distance of each point of the body from where it began, on the first scan, (N,). at_lesions_mm: the same
    for the centre of each baseline lesion, by name.
    """

    through: tuple[str, ...]
    errors_mm: NDArray[np.float64]
    at_lesions_mm: dict[str, float]

    @property
    def mean_mm(self) -> float:
        return float(self.errors_mm.mean())

    @property
    def largest_mm(self) -> float:
        return float(self.errors_mm.max())

    @property
    def returning(self) -> float:
        """The share of the body that ends within `RETURNS_MM` of where it began."""
        return float((self.errors_mm <= RETURNS_MM).mean())

    @property
    def returns(self) -> bool:
        return self.returning >= RETURNS_SHARE and max(self.at_lesions_mm.values(), default=0.0) <= RETURNS_MM

    def in_words(self) -> str:
        """A sentence for the reader."""
        way = " -> ".join((*self.through, self.through[0]))
        if self.returns:
            return f"The loop {way} returns to {self.mean_mm:.1f} mm on average."
        far = [name for name, error in self.at_lesions_mm.items() if error > RETURNS_MM]
        at = f" Lesions there: {', '.join(far)}." if far else " No lesion lies there."
        return (
            f"The loop {way} does not return: {100 * (1 - self.returning):.0f} % of the body ends more than "
            f"{RETURNS_MM:g} mm from where it began ({self.mean_mm:.1f} mm on average, {self.largest_mm:.1f} mm at "
            f"most), so that a registration errs there.{at if self.at_lesions_mm else ''}"
        )


@dataclass(frozen=True, eq=False)
class Series:
    """direct: baseline -> each follow-up. steps: each scan -> the next; the first is `direct`'s first. back: the only
    follow-up -> baseline, where there is but one. ways: how each follow-up is reached. alike: through either way."""

    direct: tuple[Mapping, ...]
    steps: tuple[Mapping, ...]
    loops: tuple[Loop, ...]
    ways: tuple[Way, ...]
    alike: tuple[dict[Way, float], ...]

    def to(self, scan: int) -> Mapping:
        """Baseline world -> that of a scan, by its number."""
        if scan == 0:
            return Mapping()
        if self.ways[scan - 1] == "direct":
            return self.direct[scan - 1]
        return self.to(scan - 1).then(self.steps[scan - 1])

    def between(self, earlier: int, later: int) -> Mapping:
        """One scan's world -> a later one's."""
        if earlier == 0:
            return self.to(later)
        return reduce(Mapping.then, self.steps[earlier:later])

    def error_mm(self, lesion: str) -> float:
        """By how much loops miss a baseline lesion's place at most."""
        return max((loop.at_lesions_mm.get(lesion, 0.0) for loop in self.loops), default=0.0)


class Tell(Protocol):
    """Hears a sentence on what is being done, and the share that is done."""

    def __call__(self, fraction: float, message: str) -> None: ...


def registered(study: Study, register: Registering, body: Points, tell: Tell) -> Series:
    """body: world points of the baseline's body, (N, 3), among which places are drawn, the same ones each time."""
    rng = np.random.default_rng(0)
    places = body[np.sort(rng.permutation(len(body))[:_PLACES])]
    count = len(study.scans)
    total = 2 if count == 2 else 2 * count - 3
    asked = [(0, k) for k in range(1, count)] + ([(1, 0)] if count == 2 else [(k - 1, k) for k in range(2, count)])
    found: dict[tuple[int, int], Mapping] = {}
    for done, (here, there) in enumerate(asked):
        tell(done / total, f"Registering {study.scans[there].name} to {study.scans[here].name}")
        found[here, there] = register(here, there, found.get((0, here), Mapping()))
    direct = tuple(found[0, k] for k in range(1, count))
    if count == 2:
        loop = _loop(study.scans, study.baseline, places, direct[0], found[1, 0])
        return Series(direct, direct, (loop,), ("direct",), ({},))
    return _chosen(study, direct, (direct[0], *(found[k - 1, k] for k in range(2, count))), places)


def _chosen(study: Study, direct: tuple[Mapping, ...], steps: tuple[Mapping, ...], places: Points) -> Series:
    """Directly where the loop returns, else the way through which the scans are more alike."""
    series = Series(direct, steps, (), ("direct",), ({},))
    baseline = study.scans[0].image
    for k in range(2, len(study.scans)):
        there = series.to(k - 1).then(steps[k - 1])
        seen = study.scans[0], study.scans[k - 1], study.scans[k]
        loop = _loop(seen, study.baseline, places, there, backwards(direct[k - 1]))
        ways: dict[Way, Mapping] = {"direct": direct[k - 1], "in sequence": there}
        image, windows = study.scans[k].image, places[:: max(1, len(places) // _WINDOWS)]
        alike = {way: alike_locally(baseline, image, mapping, windows) for way, mapping in ways.items()}
        way: Way = "direct" if loop.returns or alike["direct"] >= alike["in sequence"] else "in sequence"
        series = Series(direct, steps, (*series.loops, loop), (*series.ways, way), (*series.alike, alike))
    return series


def _loop(
    scans: tuple[Scan, ...],
    lesions: tuple[Lesion, ...],
    places: Points,
    there: Mapping,
    back: Callable[[Points], Points],
) -> Loop:
    centers = np.array([one.center for one in lesions]).reshape(-1, 3)
    at = np.concatenate([places, centers])
    errors = tre(back(there(at)), at)
    named = {one.name: float(error) for one, error in zip(lesions, errors[len(places) :], strict=True)}
    return Loop(tuple(scan.name for scan in scans), errors[: len(places)], named)
