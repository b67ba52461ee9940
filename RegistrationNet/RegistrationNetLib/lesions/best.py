"""The best overall response of a course by RECIST 1.1 (section 4.6), with or without confirmation."""

from __future__ import annotations

from datetime import date, timedelta

from RegistrationNetLib.lesions.criteria import Assessment, Course
from RegistrationNetLib.lesions.recist import ORDER, WORDS

CONFIRMATION = timedelta(weeks=4)
"""The least time until a response is confirmed."""
STABLE = timedelta(weeks=6)
"""From baseline to the first visit that may count as stable disease for the best response; protocols set it."""


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
