"""What changed between two scans of a lesion: relative change of volume, doubling time and displacement."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log

import numpy as np
from numpy.typing import ArrayLike

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.lesions.estimate import RADIUS95, Z95, Estimate
from RegistrationNetLib.lesions.measure import Measures

OTHER_THICKNESS = 0.1
"""Slices that differ by more than this share see small lesions differently."""


def relative_change(before: Estimate, after: Estimate) -> Estimate:
    """(after - before) / before of two volumes with its 95 % interval; 0.25 is a quarter more.

    The errors of cube roots are close to normal, so that their ratio has Fieller's interval (J R Stat Soc B
    1954;16:175), whose ends are cubed. Where the first volume's own interval reaches 0 there is no upper end.
    """
    ratio = after.value / before.value
    (one, one_low, one_high), (two, two_low, two_high) = (
        np.cbrt((volume.value, volume.low, volume.high)) for volume in (before, after)
    )
    low = _fieller(one, one_high - one, two, two - two_low, -1)
    high = _fieller(one, one - one_low, two, two_high - two, 1)
    return Estimate(ratio - 1, min(max(0.0, low) ** 3, ratio) - 1, max(high**3, ratio) - 1)


def _fieller(one: float, one_half: float, two: float, two_half: float, side: int) -> float:
    """An end of the interval of two / one, from their 95 % half-widths towards that end."""
    below = one**2 - one_half**2
    if below <= 0:
        return inf if side > 0 else 0.0
    root = np.sqrt(max(0.0, (one * two) ** 2 - below * (two**2 - two_half**2)))
    return float((one * two + side * root) / below)


def distinguishable(change: Estimate) -> bool:
    """Whether a change's interval leaves out no change at all."""
    return 0.0 not in change


def change_in_words(change: Estimate) -> str:
    """A sentence on a relative change of volume."""
    ends = f"95 % interval {100 * change.low:+.0f} to {100 * change.high:+.0f} %"
    if not distinguishable(change):
        return f"The volume changed by {100 * change.value:+.0f} % ({ends}): not distinguishable from no change."
    return f"The volume changed by {100 * change.value:+.0f} % ({ends})."


@dataclass(frozen=True)
class DoublingTime:
    """How fast a volume doubles (Schwartz, Cancer 1961;14:1272): ln(after / before) / ln 2 times in the days between.

    doublings_per_day: negative where it shrinks. notes: warnings, as sentences.
    """

    doublings_per_day: Estimate
    notes: tuple[str, ...]

    @property
    def days(self) -> Estimate | None:
        """Until the volume has doubled; negative, until it has halved; None where it may as well not change."""
        rate = self.doublings_per_day
        return Estimate(1 / rate.value, 1 / rate.high, 1 / rate.low) if distinguishable(rate) else None

    def in_words(self) -> str:
        rate, days = self.doublings_per_day, self.days
        if days is None:
            fastest = f"; if it grows, it doubles in no less than {1 / rate.high:.0f} days" if rate.high > 0 else ""
            return f"Growth is not distinguishable from no change{fastest}."
        verb, ends = ("doubles", (days.low, days.high)) if rate.value > 0 else ("halves", (-days.high, -days.low))
        return f"The volume {verb} every {abs(days.value):.0f} days (95 % interval {ends[0]:.0f} to {ends[1]:.0f})."


def doubling_time(before: Measures, after: Measures, days_between: float) -> DoublingTime:
    """Of a lesion's volume between two scans. Raises InputError unless the second is later."""
    if days_between <= 0:
        raise InputError(f"A doubling time needs a later second scan; these are {days_between:.0f} days apart.")
    change = relative_change(before.volume_mm3, after.volume_mm3)
    value, low, high = (_doublings(part) / days_between for part in (change.value, change.low, change.high))
    return DoublingTime(Estimate(value, low, high), comparable(before, after))


def _doublings(change: float) -> float:
    return log(1 + change) / log(2) if change > -1 else -inf


def comparable(before: Measures, after: Measures) -> tuple[str, ...]:
    """Warnings where two scans see a lesion differently."""
    first, second = before.slice_thickness_mm, after.slice_thickness_mm
    notes = []
    if abs(first - second) > OTHER_THICKNESS * min(first, second):
        notes.append(
            f"Slices are {first:.1f} mm apart on the first scan and {second:.1f} mm on the second: part of the "
            "change may be theirs. Compare scans of one slice thickness where there are any."
        )
    if before.plane != after.plane:
        notes.append(
            f"The first scan's slices are {before.plane}, the second's {after.plane}: diameters are not in one plane."
        )
    return tuple(notes)


def displacement_mm(carried: ArrayLike, before: Measures, after: Measures, carrying_error_mm: float = 0.0) -> Estimate:
    """How far a lesion lies from where the registration carried its centre to.

    carried: the centre of `before`, mapped onto the scan of `after`, world LPS mm (3,). carrying_error_mm: within which
    the registration is right in 95 % of cases, where that is known; both centres' own errors are included.
    """
    distance = float(np.linalg.norm(after.centroid - np.asarray(carried, float)))
    radii = (before.centroid_error_mm, after.centroid_error_mm, carrying_error_mm)
    half = float(np.linalg.norm(radii)) * Z95 / RADIUS95
    return Estimate(distance, max(0.0, distance - half), distance + half)
