"""RECIST 1.1: Eisenhauer et al., Eur J Cancer 2009;45:228-247. Section numbers below are of that paper.

Clarifications: Schwartz et al., Eur J Cancer 2016;62:132-137.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.lesions.criteria import (
    Assessment,
    Course,
    Finding,
    Lesion,
    Visit,
    ask,
    names,
    roles_missing,
    within_error,
)
from RegistrationNetLib.lesions.estimate import Estimate, exactly, total

NAME = "RECIST 1.1"
MOST_TARGETS, MOST_PER_ORGAN = 5, 2
"""Section 3.2."""
MEASURABLE_MM, TARGET_NODE_MM, NORMAL_NODE_MM = 10.0, 15.0, 10.0
"""Section 3.1: a lesion's longest diameter; a node's short axis; below the last a node is normal."""
TOO_SMALL_MM = 5.0
"""Recorded for what is seen but cannot be measured (4.3.2)."""
PARTIAL, PROGRESSION, PROGRESSION_MM = 0.70, 1.20, 5.0
"""Of the baseline sum; of the smallest sum; and at least so much more than that (4.3.1)."""
CONFIRMATION = timedelta(weeks=4)
"""The least time until a response is confirmed (4.6)."""
STABLE = timedelta(weeks=6)
"""From baseline to the first visit that may count as stable disease for the best response; protocols set it (4.6)."""
SLACK = 1e-9
WORDS = {
    "CR": "complete response",
    "PR": "partial response",
    "SD": "stable disease",
    "PD": "progression",
    "NE": "not evaluable",
    "non-CR/non-PD": "neither complete response nor progression",
}


def recist(course: Course) -> tuple[Assessment, ...]:
    """Every visit after the baseline, judged.

    Raises InputError that names all that is missing (roles, organs, nodes, diameters), or too many target lesions.
    """
    check(course, NAME)
    done: list[Assessment] = []
    for index in range(1, len(course.visits)):
        done.append(judge(course, index, done))
    return tuple(done)


def judge(course: Course, index: int, before: list[Assessment]) -> Assessment:
    """One visit, given those before it."""
    visit = course.visits[index]
    target, why_target = target_response(course, index, before)
    other, why_other = other_response(course, visit, before)
    new = [lesion.name for lesion in course.new if visit.of(lesion).seen]
    response = overall(target, other, bool(new))
    why_new = [f"New: {names(new)}."] if new else []
    closing = f"Overall: {WORDS[response]} ({response})."
    reasons = (*why_target, *why_other, *why_new, closing)
    return Assessment(visit.day, response, target, other, tuple(new), sum_at(course, visit), reasons)


def check(course: Course, criterion: str) -> None:
    """Raises InputError where roles, organs, nodes or diameters are missing, or target lesions are too many."""
    missing = roles_missing(course)
    missing += [f"the organ of target lesion '{one.name}'" for one in course.having("target") if not one.organ]
    missing += [f"whether '{one.name}' is a lymph node" for one in course.baseline if one.role and one.node is None]
    for visit in course.visits:
        needed = ("measured", "not assessed") if visit is course.visits[0] else ("measured",)
        missing += [
            f"the {'short axis' if lesion.node else 'longest diameter'} of '{lesion.name}' on {visit.day}"
            for lesion in course.baseline
            if _needs_size(lesion) and visit.of(lesion).state in needed and diameter(lesion, visit) is None
        ]
    ask(criterion, missing)
    few_targets(course.having("target"), criterion)


def _needs_size(lesion: Lesion) -> bool:
    return lesion.role == "target" or bool(lesion.role and lesion.node)


def few_targets(targets: tuple[Lesion, ...], criterion: str) -> None:
    organs = Counter(lesion.organ for lesion in targets)
    if len(targets) > MOST_TARGETS:
        raise InputError(
            f"{criterion} has at most {MOST_TARGETS} target lesions; these are {len(targets)}: "
            f"{names(one.name for one in targets)}. Make the others non-target."
        )
    for organ, count in organs.items():
        if count > MOST_PER_ORGAN:
            among = names(one.name for one in targets if one.organ == organ)
            raise InputError(
                f"{criterion} has at most {MOST_PER_ORGAN} target lesions an organ; in '{organ}' are {among}. Make the "
                "others non-target."
            )


def measurability(course: Course) -> tuple[str, ...]:
    """Sentences on baseline lesions whose size does not fit their role (3.1)."""
    visit = course.visits[0]
    sized = [(lesion, diameter(lesion, visit)) for lesion in course.baseline]
    return tuple(said for lesion, size in sized if size and (said := _unfit(lesion, size.value)))


def _unfit(lesion: Lesion, size_mm: float) -> str:
    if lesion.node and size_mm < NORMAL_NODE_MM:
        return f"Node '{lesion.name}' has a short axis of {size_mm:.0f} mm; below {NORMAL_NODE_MM:.0f} mm it is normal."
    least = TARGET_NODE_MM if lesion.node else MEASURABLE_MM
    if lesion.role == "target" and size_mm < least:
        kind = "a target node's short axis" if lesion.node else "a target lesion's longest diameter"
        return f"'{lesion.name}' measures {size_mm:.0f} mm; {kind} is at least {least:.0f} mm."
    return ""


def diameter(lesion: Lesion, visit: Visit) -> Estimate | None:
    finding = visit.of(lesion)
    return finding.short_axis_mm if lesion.node else finding.longest_mm


def size_mm(lesion: Lesion, visit: Visit) -> Estimate | None:
    """What a lesion adds to the sum: a node's short axis, else the longest diameter; None where it was not assessed."""
    finding = visit.of(lesion)
    measured = diameter(lesion, visit)
    if finding.state == "not assessed":
        return None
    if finding.state in ("gone", "merged"):
        return exactly(0.0)
    return measured or exactly(TOO_SMALL_MM)


def sum_at(course: Course, visit: Visit) -> Estimate | None:
    """The sum of diameters of the target lesions; None where one was not assessed or there is none."""
    sizes = [size_mm(lesion, visit) for lesion in course.having("target")]
    known = [size for size in sizes if size is not None]
    return total(known) if known and len(known) == len(sizes) else None


def smallest_before(course: Course, index: int) -> tuple[Estimate, Visit]:
    """The smallest complete sum before a visit, the baseline's included, and when that was (the nadir)."""
    sums = [(summed, visit) for visit in course.visits[:index] if (summed := sum_at(course, visit)) is not None]
    return min(sums, key=lambda one: one[0].value)


def target_response(course: Course, index: int, before: list[Assessment]) -> tuple[str, list[str]]:
    """CR, PR, SD, PD or NE of the target lesions (4.3.1), and why; "" where there are none."""
    targets, visit = course.having("target"), course.visits[index]
    if not targets:
        return "", []
    smallest, when = smallest_before(course, index)
    at_baseline, summed = sum_at(course, course.visits[0]), sum_at(course, visit)
    assert at_baseline is not None  # `check` has asked for it
    if summed is None:
        return _incomplete(targets, visit, smallest, when)
    said = _compared(summed.value, smallest.value, when, at_baseline.value)
    doubt = within_error(summed, smallest, "mm")
    if all(_cleared(lesion, visit.of(lesion)) for lesion in targets):
        return "CR", [f"All target lesions are gone{_nodes_normal(targets)}: complete response."]
    back = [one.name for one in targets if not one.node and visit.of(one).seen]
    if back and before and before[-1].target == "CR":
        return "PD", [f"{names(back)} had disappeared and can be seen again: progression."]
    if progressed(summed.value, smallest.value):
        return "PD", [f"{said}: progression.", *doubt]
    if summed.value <= PARTIAL * at_baseline.value + SLACK:
        return "PR", [f"{said}: partial response.", *doubt]
    return "SD", [f"{said}: stable disease.", *doubt]


def progressed(now_mm: float, smallest_mm: float) -> bool:
    """At least 20 % and at least 5 mm above the smallest sum."""
    return now_mm >= PROGRESSION * smallest_mm - SLACK and now_mm - smallest_mm >= PROGRESSION_MM - SLACK


def _compared(now: float, smallest: float, when: Visit, baseline: float) -> str:
    if now > smallest:
        share = f"{100 * (now / smallest - 1):.0f} % and " if smallest > 0 else ""
        than = f"{share}{now - smallest:.0f} mm above the smallest so far ({smallest:.0f} mm on {when.day})"
    else:
        share = f"{100 * (1 - now / baseline):.0f} % below" if now < baseline else "as at"
        than = f"{share} the baseline ({baseline:.0f} mm)"
    return f"The sum of diameters is {now:.0f} mm, {than}"


def _incomplete(targets: tuple[Lesion, ...], visit: Visit, smallest: Estimate, when: Visit) -> tuple[str, list[str]]:
    """Not all were assessed: progression where those alone show it (4.4.1), else not evaluable."""
    absent = names(one.name for one in targets if visit.of(one).state == "not assessed")
    part = sum(size.value for one in targets if (size := size_mm(one, visit)) is not None)
    if progressed(part, smallest.value):
        return "PD", [
            f"{absent} was not assessed, but the others alone add up to {part:.0f} mm, "
            f"{part - smallest.value:.0f} mm above the smallest sum so far ({smallest.value:.0f} mm on {when.day}): "
            "progression."
        ]
    return "NE", [f"Target lesion {absent} was not assessed: the sum of diameters is not known."]


def _cleared(lesion: Lesion, finding: Finding) -> bool:
    """Gone, or a node of normal size."""
    if lesion.node and finding.state == "measured" and finding.short_axis_mm:
        return finding.short_axis_mm.value < NORMAL_NODE_MM
    return finding.state == "gone" or bool(lesion.node and finding.state == "too small")


def _nodes_normal(lesions: tuple[Lesion, ...]) -> str:
    return f", or nodes below {NORMAL_NODE_MM:.0f} mm" if any(lesion.node for lesion in lesions) else ""


def other_response(course: Course, visit: Visit, before: list[Assessment]) -> tuple[str, list[str]]:
    """CR, non-CR/non-PD, PD or NE of the non-target lesions (4.3.3), and why; "" where there are none."""
    others = course.having("non-target")
    if not others:
        return "", []
    grown = [one.name for one in others if visit.of(one).progression]
    if grown:
        return "PD", [f"Non-target lesion {names(grown)} has grown unequivocally, the reader says: progression."]
    back = [one.name for one in others if visit.of(one).seen and not _cleared(one, visit.of(one))]
    if back and before and before[-1].non_target == "CR":
        return "PD", [f"Non-target lesion {names(back)} had disappeared and can be seen again: progression."]
    absent = [one.name for one in others if visit.of(one).state == "not assessed"]
    if absent:
        return "NE", [f"Non-target lesion {names(absent)} was not assessed."]
    if back:
        return "non-CR/non-PD", [f"Non-target lesion {names(back)} can still be seen."]
    if visit.markers_normal is False:
        return "non-CR/non-PD", ["All non-target lesions are gone, but tumour markers are not normal."]
    return "CR", [f"All non-target lesions are gone{_nodes_normal(others)}."]


def overall(target: str, other: str, new: bool) -> str:
    """Tables 1 and 2 (4.4): the visit's category from those of target, non-target and new lesions."""
    if new or "PD" in (target, other):
        return "PD"
    if not target:
        return other or "NE"
    if target == "CR":
        return "CR" if other in ("", "CR") else "PR"
    return target


ORDER = ("CR", "PR", "non-CR/non-PD", "SD", "PD", "NE")
"""From the best response to the worst."""


def best_response(course: Course, done: tuple[Assessment, ...], confirmed: bool = False) -> tuple[str, str]:
    """The best overall response up to progression (4.6), and why.

    confirmed: CR and PR count only once confirmed (Table 3), as where response is a trial's primary endpoint.
    """
    until = next((at for at, one in enumerate(done) if one.response == "PD"), len(done) - 1)
    counted = [
        (*(_confirmed(done, at) if confirmed and one.response in ("CR", "PR") else (one.response, "")), one.day)
        for at, one in enumerate(done[: until + 1])
    ]
    if not counted:
        return "NE", "There is no visit after the baseline."
    kind, why, day = min((_held(course, *one) for one in counted), key=lambda one: ORDER.index(one[0]))
    return kind, why or f"The best response is {WORDS[kind]}, first seen on {day}."


def _held(course: Course, kind: str, why: str, day: date) -> tuple[str, str, date]:
    """Stable disease counts only from some time after the baseline."""
    if kind == "SD" and day < course.visits[0].day + STABLE:
        return "NE", f"Stable disease on {day} is less than {STABLE.days} days after baseline.", day
    return kind, why, day


def _confirmed(done: tuple[Assessment, ...], at: int) -> tuple[str, str]:
    """What a CR or PR is worth, given the first evaluable visit at least CONFIRMATION later (Table 3)."""
    first = done[at]
    later = (one for one in done[at + 1 :] if one.response != "NE" and one.day - first.day >= CONFIRMATION)
    second = next(later, None)
    if second is None:
        return "SD", f"The {WORDS[first.response]} of {first.day} was not confirmed by a later visit: stable disease."
    if second.response == "CR" or (first.response, second.response) == ("PR", "PR"):
        return first.response, f"The {WORDS[first.response]} of {first.day} was confirmed on {second.day}."
    return "SD", (
        f"The {WORDS[first.response]} of {first.day} was followed by {WORDS[second.response]} on {second.day} and is "
        "not confirmed: stable disease."
    )
