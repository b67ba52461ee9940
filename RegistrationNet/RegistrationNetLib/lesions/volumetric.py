"""RECIST's thresholds carried over to volumes: of a sphere whose diameter shrinks by 30 % or grows by 20 %.

0.7^3 and 1.2^3 are -65.7 % and +72.8 % of volume: Prasad et al., Radiology 2002;225:416-419. Unlike RECIST there is no
rule of 5 mm, and nodes have no normal size by volume.
"""

from __future__ import annotations

from math import pi

from RegistrationNetLib.lesions.criteria import (
    Assessment,
    Course,
    Followed,
    Visit,
    ask,
    figure,
    names,
    roles_missing,
    within_error,
)
from RegistrationNetLib.lesions.estimate import Estimate, exactly, total
from RegistrationNetLib.lesions.recist import TOO_SMALL_MM, WORDS, new_lesions

NAME = "RECIST by volume"
PARTIAL, PROGRESSION = 0.7**3, 1.2**3
"""Of the baseline's and of the smallest sum of volumes."""
TOO_SMALL_MM3 = pi / 6 * TOO_SMALL_MM**3
"""A sphere of the diameter that RECIST records for what is too small to measure."""
SLACK = 1e-9
NOT_ENOUGH = f"; a partial response takes {100 * (1 - PARTIAL):.1f} %"
NOT_YET = f"; progression takes {100 * (PROGRESSION - 1):.1f} %"


def volumetric(course: Course) -> tuple[Assessment, ...]:
    """Every visit after the baseline, judged by the target lesions' summed volume and by new lesions.

    Raises InputError that names the roles and volumes that are missing.
    """
    missing = roles_missing(course)
    targets = course.having("target")
    missing += [
        f"the volume of '{one.name}' on {visit.day}"
        for visit in course.visits
        for one in targets
        if visit.of(one).state == "measured" and visit.of(one).volume_mm3 is None
    ]
    if not targets and not missing:
        missing = ["at least one target lesion"]
    ask(NAME, missing)
    return tuple(_judge(course, index) for index in range(1, len(course.visits)))


def _judge(course: Course, index: int) -> Assessment:
    visit = course.visits[index]
    summed = sum_at(course, visit)
    kind, why = _response(course, index, summed)
    new, why_new = new_lesions(course, visit)
    response = "PD" if new else kind
    reasons = (*why, *why_new, f"Overall: {WORDS[response]} ({response}).")
    return Assessment(visit.day, response, kind, "", tuple(new), summed, reasons)


def _response(course: Course, index: int, summed: Estimate | None) -> tuple[str, list[str]]:
    targets, visit = course.having("target"), course.visits[index]
    if summed is None:
        absent = names(one.name for one in targets if visit.of(one).state == "not assessed")
        return "NE", [f"Target lesion {absent} was not assessed: the sum of volumes is not known."]
    if all(visit.of(lesion).state == "gone" for lesion in targets):
        return "CR", ["All target lesions are gone: complete response."]
    earlier = [(known, past) for past in course.visits[:index] if (known := sum_at(course, past)) is not None]
    if not earlier or earlier[0][1] is not course.visits[0]:
        ask(NAME, [f"the volume of every target lesion at baseline ({course.visits[0].day})"])
    smallest, when = min(earlier, key=lambda one: one[0].value)
    baseline = earlier[0][0].value
    said = f"The sum of volumes is {summed.value:.0f} mm3"
    doubt = within_error(summed, smallest, "mm3")
    if summed.value > smallest.value and summed.value >= PROGRESSION * smallest.value - SLACK:
        return "PD", [f"{said}, {_rise(summed.value, smallest.value, when)}: progression.", *doubt]
    if summed.value <= PARTIAL * baseline + SLACK:
        doubt = within_error(summed, earlier[0][0], "mm3", "the baseline")
        return "PR", [f"{said}, {_fall(summed.value, baseline)}: partial response.", *doubt]
    parts = [_fall(summed.value, baseline, NOT_ENOUGH)] if summed.value <= baseline else []
    parts += [_rise(summed.value, smallest.value, when, NOT_YET)] if summed.value > smallest.value else []
    return "SD", [f"{said}, {', and '.join(parts)}: stable disease.", *doubt]


def sum_at(course: Course, visit: Visit) -> Estimate | None:
    """The summed volume of the target lesions, mm3; None where one was not assessed."""
    volumes = [_volume(lesion, visit) for lesion in course.having("target")]
    known = [volume for volume in volumes if volume is not None]
    return total(known) if known and len(known) == len(volumes) else None


def _volume(lesion: Followed, visit: Visit) -> Estimate | None:
    finding = visit.of(lesion)
    if finding.state == "not assessed":
        return None
    if finding.state in ("gone", "merged"):
        return exactly(0.0)
    return finding.volume_mm3 or exactly(TOO_SMALL_MM3)


def _rise(now: float, smallest: float, when: Visit, short_of: str = "") -> str:
    share = f"{figure(100 * (now / smallest - 1))} % " if smallest > 0 else ""
    return f"{share}above the smallest so far ({smallest:.0f} mm3 on {when.day}{short_of})"


def _fall(now: float, baseline: float, short_of: str = "") -> str:
    share = f"{figure(100 * (1 - now / baseline))} % below" if now < baseline else "as at"
    return f"{share} the baseline ({baseline:.0f} mm3{short_of if now < baseline else ''})"
