"""One lesion on two scans: all that changed, in one call, and sentences that say it."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from RegistrationNetLib.lesions.change import (
    change_in_words,
    comparable,
    displacement_mm,
    distinguishable,
    doubling_time,
    relative_change,
)
from RegistrationNetLib.lesions.estimate import Estimate, difference
from RegistrationNetLib.lesions.jacobian import JacobianMeans, disagreement
from RegistrationNetLib.lesions.measure import Measures


@dataclass(frozen=True)
class Comparison:
    """The later scan beside the earlier one; what was not given to compare is None.

    volume: relative change, 0.25 is a quarter more. changed: whether that can be told from no change. longest_mm,
    short_axis_mm: later less earlier. doubling_days: negative where it halves, None where it may as well not change.
    said: the change and the doubling time as sentences. notes: warnings, as sentences.
    """

    volume: Estimate
    changed: bool
    longest_mm: Estimate
    short_axis_mm: Estimate
    doublings_per_day: Estimate | None
    doubling_days: Estimate | None
    displacement_mm: Estimate | None
    jacobian: JacobianMeans | None
    said: tuple[str, ...]
    notes: tuple[str, ...]


def compare(
    before: Measures,
    after: Measures,
    *,
    days_between: float | None = None,
    carried: ArrayLike | None = None,
    carrying_error_mm: float = 0.0,
    jacobian: JacobianMeans | None = None,
) -> Comparison:
    """days_between: from scan to scan; without it there is no doubling time.

    carried: the centroid of `before`, mapped onto the later scan, world LPS mm (3,), for the displacement;
    carrying_error_mm: within which the registration is right in 95 % of cases. jacobian: of the mapping from the
    earlier scan to the later one (`jacobian_means`), to be flagged where it contradicts the outlines.
    """
    volume = relative_change(before.volume_mm3, after.volume_mm3)
    time = None if days_between is None else doubling_time(before, after, days_between)
    moved = None if carried is None else displacement_mm(carried, before, after, carrying_error_mm)
    contradiction = disagreement(volume, jacobian.inside) if jacobian else ""
    return Comparison(
        volume=volume,
        changed=distinguishable(volume),
        longest_mm=difference(after.longest_mm, before.longest_mm),
        short_axis_mm=difference(after.short_axis_mm, before.short_axis_mm),
        doublings_per_day=time.doublings_per_day if time else None,
        doubling_days=time.days if time else None,
        displacement_mm=moved,
        jacobian=jacobian,
        said=(change_in_words(volume), *((time.in_words(),) if time else ())),
        notes=(*comparable(before, after), *((contradiction,) if contradiction else ())),
    )
