"""RECIST 1.1: Eisenhauer et al., Eur J Cancer 2009;45:228-247. Section numbers below are of that paper.

Clarifications: Schwartz et al., Eur J Cancer 2016;62:132-137.
"""

from __future__ import annotations

from collections import Counter

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.lesions.criteria import (
    Assessment,
    Course,
    Finding,
    Followed,
    Visit,
    ask,
    figure,
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
NODES = "lymph nodes"
"""One organ, wherever they are: recist.eortc.org, as are the answers on new nodes and on lesions that come back."""
TOO_SMALL_MM = 5.0
"""Recorded for what is seen but cannot be measured (4.3.2)."""
PARTIAL, PROGRESSION, PROGRESSION_MM = 0.70, 1.20, 5.0
"""Of the baseline sum; of the smallest sum; and at least so much more than that (4.3.1)."""
SLACK = 1e-9
ORDER = ("CR", "PR", "non-CR/non-PD", "SD", "PD", "NE")
"""From the best response to the worst."""
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
    new, why_new = new_lesions(course, visit)
    response = overall(target, other, bool(new))
    closing = (*_kept(response, before), f"Overall: {WORDS[response]} ({response}){_since(response, before)}.")
    reasons = (*why_target, *why_other, *why_new, *closing)
    return Assessment(visit.day, response, target, other, tuple(new), sum_at(course, visit), reasons)


def new_lesions(course: Course, visit: Visit) -> tuple[list[str], list[str]]:
    """Those seen, nodes of normal size left out, and why they count (4.3.5)."""
    seen = [lesion for lesion in course.new if visit.of(lesion).seen and not _cleared(lesion, visit.of(lesion))]
    sizes = [(lesion.name, size) for lesion in seen if lesion.node and (size := diameter(lesion, visit))]
    small = [
        f"New node '{name}' has a short axis of {figure(size.value)} mm; below {TARGET_NODE_MM:.0f} mm it may not be "
        "disease, so where nothing else progresses, see at the next visit whether it grows."
        for name, size in sizes
        if size.value < TARGET_NODE_MM
    ]
    new = [lesion.name for lesion in seen]
    return new, [f"New: {names(new)}.", *small] if new else []


def _since(response: str, before: list[Assessment]) -> str:
    day = next((one.day for one in before if one.response == "PD"), None)
    return f", after progression on {day}" if day and response != "PD" else ""


def _kept(response: str, before: list[Assessment]) -> list[str]:
    """A word on a response that was reached earlier, where the visit no longer meets it."""
    best = next((one for kind in ("CR", "PR") for one in before if one.response == kind), None)
    if response != "SD" or best is None or any(one.response == "PD" for one in before):
        return []
    return [f"There was a {WORDS[best.response]} on {best.day}, and there has been no progression since."]


def check(course: Course, criterion: str) -> None:
    """Raises InputError where roles, organs, nodes or diameters are missing, or target lesions are too many."""
    missing = roles_missing(course)
    missing += [f"the organ of target lesion '{one.name}'" for one in course.having("target") if not one.organ]
    missing += [f"whether '{one.name}' is a lymph node" for one in course.baseline if one.role and one.node is None]
    missing += [
        f"the {'short axis' if lesion.node else 'longest diameter'} of '{lesion.name}' on {visit.day}"
        for visit in course.visits
        for lesion in course.baseline
        if diameter(lesion, visit) is None and _needs_size(lesion, visit, visit is course.visits[0])
    ]
    ask(criterion, missing)
    few_targets(course.having("target"), criterion)


def _needs_size(lesion: Followed, visit: Visit, at_baseline: bool) -> bool:
    """Targets and nodes that were measured; at baseline every target, as there is none that cannot be."""
    counts = lesion.role == "target" or bool(lesion.role and lesion.node)
    return (at_baseline and lesion.role == "target") or (counts and visit.of(lesion).state == "measured")


def few_targets(targets: tuple[Followed, ...], criterion: str) -> None:
    organ_of = {lesion: NODES if lesion.node else lesion.organ for lesion in targets}
    organs = Counter(organ_of.values())
    if len(targets) > MOST_TARGETS:
        raise InputError(
            f"{criterion} has at most {MOST_TARGETS} target lesions; these are {len(targets)}: "
            f"{names(one.name for one in targets)}. Make the others non-target."
        )
    for organ, count in organs.items():
        if count > MOST_PER_ORGAN:
            among = names(one.name for one in targets if organ_of[one] == organ)
            raise InputError(
                f"{criterion} has at most {MOST_PER_ORGAN} target lesions an organ; in '{organ}' are {among}. Make the "
                "others non-target."
            )


def measurability(course: Course) -> tuple[str, ...]:
    """Sentences on baseline lesions whose size does not fit their role (3.1)."""
    visit = course.visits[0]
    sized = [(lesion, diameter(lesion, visit)) for lesion in course.baseline]
    return tuple(said for lesion, size in sized if size and (said := _unfit(lesion, size.value)))


def _unfit(lesion: Followed, size_mm: float) -> str:
    if lesion.node and size_mm < NORMAL_NODE_MM:
        return f"Node '{lesion.name}' has a short axis of {figure(size_mm)} mm: below {NORMAL_NODE_MM:.0f} mm, normal."
    least = TARGET_NODE_MM if lesion.node else MEASURABLE_MM
    if lesion.role == "target" and size_mm < least:
        kind = "a target node's short axis" if lesion.node else "a target lesion's longest diameter"
        return f"'{lesion.name}' measures {figure(size_mm)} mm; {kind} is at least {least:.0f} mm."
    return ""


def diameter(lesion: Followed, visit: Visit) -> Estimate | None:
    finding = visit.of(lesion)
    return finding.short_axis_mm if lesion.node else finding.longest_mm


def size_mm(lesion: Followed, visit: Visit) -> Estimate | None:
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
    now, baseline = summed.value, at_baseline.value
    if all(_cleared(lesion, visit.of(lesion)) for lesion in targets):
        return "CR", [f"All target lesions are gone{_nodes_normal(targets)}: complete response."]
    back = _reappeared(targets, visit, before)
    if back:
        return "PD", [f"{names(back)} can be seen again after a complete response: progression."]
    said = f"The sum of diameters is {figure(now)} mm"
    doubt = within_error(summed, smallest, "mm")
    if progressed(now, smallest.value):
        return "PD", [f"{said}, {_rise(now, smallest.value, when)}: progression.", *doubt]
    if now <= PARTIAL * baseline + SLACK:
        doubt = within_error(summed, at_baseline, "mm", "the baseline")
        rise = f", and {_rise(now, smallest.value, when, NOT_YET)}" if now > smallest.value else ""
        return "PR", [f"{said}, {_fall(now, baseline)}{rise}: partial response.", *doubt]
    parts = [_fall(now, baseline, NOT_ENOUGH)] if now <= baseline else []
    parts += [_rise(now, smallest.value, when, NOT_YET)] if now > smallest.value else []
    return "SD", [f"{said}, {', and '.join(parts)}: stable disease.", *doubt]


def _reappeared(lesions: tuple[Followed, ...], visit: Visit, before: list[Assessment]) -> list[str]:
    """Those seen again where the last assessment was a complete response overall; nodes only at 10 mm and more.

    What is seen again otherwise counts by its size alone (appendix III). A non-target node's return is for the reader
    to call.
    """
    evaluable = [one for one in before if one.response != "NE"]
    if not evaluable or evaluable[-1].response != "CR":
        return []
    judged = [one for one in lesions if not (one.node and one.role == "non-target")]
    return [one.name for one in judged if visit.of(one).seen and not _cleared(one, visit.of(one))]


def progressed(now_mm: float, smallest_mm: float) -> bool:
    """At least 20 % and at least 5 mm above the smallest sum."""
    return now_mm >= PROGRESSION * smallest_mm - SLACK and now_mm - smallest_mm >= PROGRESSION_MM - SLACK


NOT_ENOUGH = f"; a partial response takes {100 * (1 - PARTIAL):.0f} %"
NOT_YET = f"; progression takes {100 * (PROGRESSION - 1):.0f} % and {PROGRESSION_MM:.0f} mm"


def _rise(now: float, smallest: float, when: Visit, short_of: str = "") -> str:
    share = f"{figure(100 * (now / smallest - 1))} % and " if smallest > 0 else ""
    above, from_mm = figure(now - smallest), figure(smallest)
    return f"{share}{above} mm above the smallest so far ({from_mm} mm on {when.day}{short_of})"


def _fall(now: float, baseline: float, short_of: str = "") -> str:
    share = f"{figure(100 * (1 - now / baseline))} % below" if now < baseline else "as at"
    return f"{share} the baseline ({figure(baseline)} mm{short_of if now < baseline else ''})"


def _incomplete(targets: tuple[Followed, ...], visit: Visit, smallest: Estimate, when: Visit) -> tuple[str, list[str]]:
    """Not all were assessed: progression where those alone show it (4.4.1), else not evaluable."""
    absent = names(one.name for one in targets if visit.of(one).state == "not assessed")
    part = sum(size.value for one in targets if (size := size_mm(one, visit)) is not None)
    if progressed(part, smallest.value):
        return "PD", [
            f"{absent} was not assessed, but the others alone add up to {figure(part)} mm, "
            f"{_rise(part, smallest.value, when)}: progression."
        ]
    return "NE", [f"Target lesion {absent} was not assessed: the sum of diameters is not known."]


def _cleared(lesion: Followed, finding: Finding) -> bool:
    """Gone, or a node of normal size."""
    if lesion.node and finding.state == "measured" and finding.short_axis_mm:
        return finding.short_axis_mm.value < NORMAL_NODE_MM
    return finding.state == "gone" or bool(lesion.node and finding.state == "too small")


def _nodes_normal(lesions: tuple[Followed, ...]) -> str:
    return f", or nodes below {NORMAL_NODE_MM:.0f} mm" if any(lesion.node for lesion in lesions) else ""


def other_response(course: Course, visit: Visit, before: list[Assessment]) -> tuple[str, list[str]]:
    """CR, non-CR/non-PD, PD or NE of the non-target lesions and tumour markers (4.3.3), and why; "" without either."""
    others = course.having("non-target")
    if not others:
        marked = visit.markers_normal is False
        return ("non-CR/non-PD", ["Tumour markers are not normal: no complete response."]) if marked else ("", [])
    grown = [one.name for one in others if visit.of(one).progression]
    if grown:
        return "PD", [f"Non-target lesion {names(grown)} has grown unequivocally, the reader says: progression."]
    back = _reappeared(others, visit, before)
    if back:
        return "PD", [f"Non-target lesion {names(back)} can be seen again after a complete response: progression."]
    absent = [one.name for one in others if visit.of(one).state == "not assessed"]
    if absent:
        return "NE", [f"Non-target lesion {names(absent)} was not assessed."]
    still = [one.name for one in others if visit.of(one).seen and not _cleared(one, visit.of(one))]
    if still:
        return "non-CR/non-PD", [f"Non-target lesion {names(still)} can still be seen."]
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
