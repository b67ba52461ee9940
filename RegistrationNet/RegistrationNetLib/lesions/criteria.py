"""What response criteria judge, and what they say: lesions, findings and visits in; categories with their reasons out.

`recist`, `irecist` and `volumetric` are beside this; each asks, by name, for what it needs and was not given, and for
nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Literal

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.lesions.estimate import Estimate, difference, total
from RegistrationNetLib.lesions.measure import Measures

Role = Literal["target", "non-target"]
State = Literal["measured", "too small", "gone", "merged", "not assessed"]


@dataclass(frozen=True)
class Followed:
    """A lesion of a course. One without a finding on the first visit is a new lesion.

    role: as chosen at baseline; of a new lesion, whether it is measured (only iRECIST asks). node: a lymph node.
    """

    name: str
    role: Role | None = None
    organ: str | None = None
    node: bool | None = None


@dataclass(frozen=True)
class Finding:
    """One lesion at one visit; mm and mm3.

    state: "too small" is seen but cannot be measured; "merged" is measured as a part of another; "gone" cannot be seen.
    Of a lesion that fell apart, longest_mm is the sum of its parts' longest diameters (RECIST 1.1, 4.3.2).
    progression: a reader calls a non-target lesion's growth unequivocal. larger: it grew at all since the last visit.
    """

    lesion: str
    state: State = "measured"
    longest_mm: Estimate | None = None
    short_axis_mm: Estimate | None = None
    volume_mm3: Estimate | None = None
    progression: bool = False
    larger: bool | None = None

    @property
    def seen(self) -> bool:
        return self.state in ("measured", "too small", "merged")


def measured(lesion: str, *parts: Measures, progression: bool = False, larger: bool | None = None) -> Finding:
    """The finding of a lesion that was measured: as one, or as the parts into which it fell."""
    longest, short, volume = (
        total(getattr(part, name) for part in parts) for name in ("longest_mm", "short_axis_mm", "volume_mm3")
    )
    return Finding(lesion, "measured", longest, short, volume, progression, larger)


@dataclass(frozen=True)
class Visit:
    """A scan. markers_normal: tumour markers, where they are followed. confirms: the date of the visit whose finding
    this one was made to confirm, where that is known."""

    day: date
    findings: tuple[Finding, ...]
    markers_normal: bool | None = None
    confirms: date | None = None

    def of(self, lesion: Followed) -> Finding:
        """The lesion's finding; "not assessed" where there is none."""
        return next((one for one in self.findings if one.lesion == lesion.name), Finding(lesion.name, "not assessed"))


@dataclass(frozen=True)
class Course:
    """All lesions of a patient and all visits, the first of which is the baseline.

    Raises InputError where visits are out of order or a finding names an unknown lesion.
    """

    lesions: tuple[Followed, ...]
    visits: tuple[Visit, ...]

    def __post_init__(self) -> None:
        days = [visit.day for visit in self.visits]
        if not days or any(later <= earlier for earlier, later in pairwise(days)):
            raise InputError("Visits need different dates, the earliest first; check the dates of this course.")
        known = {lesion.name for lesion in self.lesions}
        unknown = {one.lesion for visit in self.visits for one in visit.findings} - known
        if unknown:
            raise InputError(f"There are findings of {names(sorted(unknown))}, but no such lesion in the list; add it.")

    @property
    def baseline(self) -> tuple[Followed, ...]:
        recorded = {one.lesion for one in self.visits[0].findings}
        return tuple(lesion for lesion in self.lesions if lesion.name in recorded)

    @property
    def new(self) -> tuple[Followed, ...]:
        return tuple(lesion for lesion in self.lesions if lesion not in self.baseline)

    def having(self, role: Role) -> tuple[Followed, ...]:
        """The baseline lesions of a role."""
        return tuple(lesion for lesion in self.baseline if lesion.role == role)


@dataclass(frozen=True)
class Assessment:
    """A visit judged.

    response: the visit's overall category. target, non_target: theirs; "" where there are no such lesions. new: those
    seen. total: the target lesions' sum (mm, or mm3 of volumetric criteria); None where one is missing. reasons: plain
    sentences. next_between: the first and last day on which progression is to be confirmed, where it has to be.
    """

    day: date
    response: str
    target: str
    non_target: str
    new: tuple[str, ...]
    total: Estimate | None
    reasons: tuple[str, ...]
    next_between: tuple[date, date] | None = None


def figure(value: float) -> str:
    """To a tenth where it has one: 56 and 24.9, so that what just misses a threshold does not look as if it met it."""
    return f"{value:.1f}".removesuffix(".0")


def names(all_of: Iterable[str]) -> str:
    """'A', 'B' and 'C'."""
    quoted = [f"'{name}'" for name in all_of]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def ask(criterion: str, missing: Sequence[str]) -> None:
    """Raises InputError naming all that a criterion needs and was not given."""
    if missing:
        raise InputError(f"{criterion} also needs {'; '.join(missing)}. Add this, or leave {criterion} out.")


def roles_missing(course: Course) -> list[str]:
    """What is to be asked for where a baseline lesion is neither target nor non-target."""
    return [
        f"whether '{lesion.name}' is a target or a non-target lesion" for lesion in course.baseline if not lesion.role
    ]


def within_error(summed: Estimate, earlier: Estimate, unit: str, called: str = "the smallest sum so far") -> list[str]:
    """A sentence where a sum's change from an earlier one may be measuring error alone."""
    if summed.low == summed.high and earlier.low == earlier.high:
        return []
    change = difference(summed, earlier)
    if 0.0 not in change:
        return []
    return [
        f"The difference of {change.value:+.0f} {unit} from {called} (95 % interval "
        f"{change.low:+.0f} to {change.high:+.0f} {unit}) is not distinguishable from no change."
    ]
