"""iRECIST: Seymour et al., Lancet Oncol 2017;18:e143-e152, and the answers of recist.eortc.org on it.

Progression is first unconfirmed (iUPD) and confirmed (iCPD) only where it goes on at the next assessment, 4 to 8 weeks
later. Where the disease shrinks instead, the bar is reset: progression has to be reached and confirmed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

from RegistrationNetLib.lesions import recist
from RegistrationNetLib.lesions.criteria import Assessment, Course, Followed, Visit, ask, figure, names

NAME = "iRECIST"
EARLIEST, LATEST = timedelta(weeks=4), timedelta(weeks=8)
"""After iUPD, between which it is to be confirmed."""
GRACE = timedelta(days=2)
"""By which a visit may come earlier than that."""
FURTHER_MM = 5.0
"""Further increase of a sum of diameters that confirms; increases over several visits add up."""
TARGET, OTHER, NEW = "target", "non-target", "new"
IMMUNE = {"CR": "iCR", "PR": "iPR", "SD": "iSD", "non-CR/non-PD": "non-iCR/non-iUPD", "NE": "NE"}


@dataclass(frozen=True)
class Pending:
    """Progression that waits to be confirmed: since when, in which of TARGET, OTHER, NEW, and the sums (mm) then.

    last: the visit that found it unconfirmed last. target: the target lesions' category when it began. sum_mm: of
    target lesions. new_mm: of new lesions that are measured.
    """

    since: date
    last: date
    target: str
    where: frozenset[str]
    sum_mm: float | None
    new_mm: float


@dataclass(frozen=True)
class Standing:
    """What earlier visits leave behind. known: the new lesions seen; new_low_mm: the smallest sum of the measured ones
    since; confirmed: when progression was."""

    pending: Pending | None = None
    known: frozenset[str] = frozenset()
    new_low_mm: float | None = None
    confirmed: date | None = None


def irecist(course: Course) -> tuple[Assessment, ...]:
    """Every visit after the baseline, judged.

    Raises InputError that names all that is missing: what RECIST 1.1 needs, for new lesions whether they are measured
    and their sizes, and whether non-target lesions grew once that decides.
    """
    recist.check(course, NAME)
    _check_new(course)
    standing, done = Standing(), []
    for visit, plain in zip(course.visits[1:], recist.recist(course), strict=True):
        assessment, standing = _judge(course, visit, plain, standing)
        done.append(assessment)
    return tuple(done)


def _check_new(course: Course) -> None:
    seen = [lesion for lesion in course.new if any(visit.of(lesion).seen for visit in course.visits)]
    missing = [
        f"whether new lesion '{one.name}' is measured (target) or not (non-target)" for one in seen if not one.role
    ]
    measured = [lesion for lesion in seen if lesion.role == "target"]
    missing += [f"the organ of new lesion '{one.name}'" for one in measured if not one.organ]
    missing += [f"whether new lesion '{one.name}' is a lymph node" for one in measured if one.node is None]
    missing += [
        f"the {'short axis' if one.node else 'longest diameter'} of new lesion '{one.name}' on {visit.day}"
        for visit in course.visits
        for one in measured
        if visit.of(one).state == "measured" and recist.diameter(one, visit) is None
    ]
    ask(NAME, missing)
    recist.few_targets(tuple(measured), f"{NAME}, among new lesions,")


def _judge(course: Course, visit: Visit, plain: Assessment, standing: Standing) -> tuple[Assessment, Standing]:
    """One visit, from RECIST 1.1's view of it and what earlier visits left."""
    new_mm = _new_sum(course, visit)
    lows = [low for low in (standing.new_low_mm, new_mm if plain.new else None) if low is not None]
    after = replace(standing, known=standing.known | set(plain.new), new_low_mm=min(lows, default=None))
    why = plain.reasons[:-1]
    if standing.confirmed:
        return _say(plain, "iCPD", (*why, f"Progression was confirmed on {standing.confirmed}.")), after
    if standing.pending is None:
        where = _progress(course, visit, plain, standing, new_mm)
        if not where:
            return _calm(plain, why), after
        total = plain.total.value if plain.total else None
        pending = Pending(plain.day, plain.day, plain.target, frozenset(where), total, new_mm)
        return _unconfirmed(plain, (*why, *where.values())), replace(after, pending=pending)
    return _follow_up(course, visit, plain, standing, after, new_mm)


def _progress(course: Course, visit: Visit, plain: Assessment, standing: Standing, new_mm: float) -> dict[str, str]:
    """In which of TARGET, OTHER, NEW there is progression by RECIST 1.1, with a sentence each."""
    where = {}
    if plain.target == "PD":
        where[TARGET] = "Target lesions meet the definition of progression."
    if plain.non_target == "PD":
        where[OTHER] = "Non-target lesions meet the definition of progression."
    unseen = set(plain.new) - standing.known
    if unseen:
        where[NEW] = f"New lesion {names(sorted(unseen))} was not there before."
    elif standing.new_low_mm and recist.progressed(new_mm, standing.new_low_mm):
        where[NEW] = (
            f"The new lesions' sum is {new_mm:.0f} mm, {new_mm - standing.new_low_mm:.0f} mm above their smallest."
        )
    grown = [one.name for one in course.new if one.role == "non-target" and visit.of(one).progression]
    if grown:
        where[NEW] = f"New lesion {names(grown)} has grown unequivocally, the reader says."
    return where


def _follow_up(
    course: Course, visit: Visit, plain: Assessment, standing: Standing, after: Standing, new_mm: float
) -> tuple[Assessment, Standing]:
    """The assessment after unconfirmed progression: confirmed, still unconfirmed, or the bar is reset."""
    pending, why = standing.pending, plain.reasons[:-1]
    assert pending is not None
    days = (visit.day - pending.since).days
    if visit.day < pending.since + EARLIEST - GRACE:
        return _early(visit, plain, standing, days)
    grounds = _grounds(course, visit, plain, standing, new_mm)
    if grounds:
        when = f"It is confirmed {days} days after {pending.since}."
        waited = (visit.day - pending.last).days
        late = [f"The visit before it was {waited} days earlier; {NAME} provides for {LATEST.days} at most."]
        late = late if waited > LATEST.days else []
        return _say(plain, "iCPD", (*why, *grounds, when, *late)), replace(after, pending=None, confirmed=visit.day)
    if plain.target == "NE":
        still = f"Progression of {pending.since} can neither be confirmed nor ruled out."
        return _say(plain, "NE", (*why, still), _window(plain.day)), after
    if _settled(plain, pending):
        reset = f"Progression of {pending.since} did not go on: the bar is reset, and it would have to be reached anew."
        return _calm(plain, (*why, reset)), replace(after, pending=None)
    still = f"It did not go on since {pending.since}: progression remains unconfirmed."
    return _unconfirmed(plain, (*why, still)), replace(after, pending=replace(pending, last=visit.day))


def _early(visit: Visit, plain: Assessment, standing: Standing, days: int) -> tuple[Assessment, Standing]:
    """Less than four weeks after: only a further new lesion confirms, on a scan that was made to look into it."""
    pending, why = standing.pending, plain.reasons[:-1]
    assert pending is not None
    more = sorted(set(plain.new) - standing.known)
    if more and visit.confirms == pending.since:
        found = f"It was made to look into the progression of {pending.since} and shows a further new lesion"
        confirmed = replace(standing, pending=None, confirmed=visit.day)
        return _say(plain, "iCPD", (*why, f"{found}, {names(more)}: confirmed.")), confirmed
    early = f"This is {days} days after unconfirmed progression on {pending.since}: too early to confirm it."
    return _unconfirmed(plain, (*why, early), pending.since), standing


def _grounds(course: Course, visit: Visit, plain: Assessment, standing: Standing, new_mm: float) -> list[str]:
    """What confirms pending progression: it went on where it was, or began elsewhere."""
    pending, grounds = standing.pending, []
    assert pending is not None
    if TARGET in pending.where and plain.total and pending.sum_mm is not None:
        further = plain.total.value - pending.sum_mm
        if further >= FURTHER_MM - recist.SLACK:
            grounds.append(f"The sum of diameters has risen by a further {figure(further)} mm since {pending.since}.")
    elif TARGET not in pending.where and plain.target == "PD":
        grounds.append("Target lesions now meet the definition of progression too.")
    others = _grown(course.having("non-target"), visit) if OTHER in pending.where else []
    if others:
        grounds.append(f"Non-target lesion {names(others)} has grown further.")
    elif OTHER not in pending.where and plain.non_target == "PD":
        grounds.append("Non-target lesions now meet the definition of progression too.")
    more = set(plain.new) - standing.known
    if more:
        grounds.append(f"A further new lesion has appeared: {names(sorted(more))}.")
    if new_mm - pending.new_mm >= FURTHER_MM - recist.SLACK and not more:
        grounds.append(f"The new lesions' sum has risen by {new_mm - pending.new_mm:.0f} mm since {pending.since}.")
    earlier = tuple(one for one in course.new if one.role == "non-target" and one.name in standing.known)
    grown = _grown(earlier, visit)
    if grown:
        grounds.append(f"New lesion {names(grown)} has grown.")
    return grounds


def _grown(lesions: tuple[Followed, ...], visit: Visit) -> list[str]:
    """Those that a reader found larger than at the last visit, by however little."""
    seen = [lesion for lesion in lesions if visit.of(lesion).seen]
    ask(
        NAME,
        [
            f"whether '{one.name}' on {visit.day} is larger than at the visit before"
            for one in seen
            if visit.of(one).larger is None
        ],
    )
    return [lesion.name for lesion in seen if visit.of(lesion).larger]


def _settled(plain: Assessment, pending: Pending) -> bool:
    """No category progresses any more, and new lesions are gone or outweighed by target lesions that have shrunk since.

    A response that was there when the new lesions came does not outweigh them (recist.eortc.org).
    """
    calm = "PD" not in (plain.target, plain.non_target)
    return calm and (not plain.new or _shrunk(plain, pending))


def _shrunk(plain: Assessment, pending: Pending) -> bool:
    """To a response that was not there when progression began, or by as much as would have confirmed it."""
    if plain.target not in ("CR", "PR"):
        return False
    fallen = pending.sum_mm - plain.total.value if plain.total and pending.sum_mm is not None else 0.0
    return recist.ORDER.index(plain.target) < recist.ORDER.index(pending.target or "NE") or (
        fallen >= FURTHER_MM - recist.SLACK
    )


def _new_sum(course: Course, visit: Visit) -> float:
    """Of the measured new lesions, mm."""
    sizes = [recist.size_mm(lesion, visit) for lesion in course.new if lesion.role == "target"]
    return sum(size.value for size in sizes if size is not None)


def _calm(plain: Assessment, why: tuple[str, ...]) -> Assessment:
    response = IMMUNE[recist.overall(plain.target, plain.non_target, False)]
    if response == "iCR" and plain.new:
        return _say(plain, "iPR", (*why, f"New lesion {names(plain.new)} is still there: no complete response."))
    return _say(plain, response, why)


def _unconfirmed(plain: Assessment, why: tuple[str, ...], since: date | None = None) -> Assessment:
    first, last = window = _window(since or plain.day)
    return _say(plain, "iUPD", (*why, f"To be confirmed between {first} and {last}."), window)


def _window(since: date) -> tuple[date, date]:
    return since + EARLIEST, since + LATEST


def _say(plain: Assessment, response: str, why: tuple[str, ...], window: tuple[date, date] | None = None) -> Assessment:
    return replace(plain, response=response, reasons=(*why, f"Overall: {response}."), next_between=window)
