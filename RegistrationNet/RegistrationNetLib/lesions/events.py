"""What became of each lesion over two or more timepoints, as a graph: lesions are its nodes, events its edges.

stable, grown, shrunk: one lesion at both timepoints, told apart by a test of change. merged: several became one.
split: one became several. new: nothing before. resolved: nothing after. reappeared: nothing at the timepoint before,
but the same lesion at an earlier one. present: still there, of a size that is not known (a click). outside: its place
is not in the later image, so that nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import count, pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.match import Group, Matching, match
from RegistrationNetLib.lesions.word import Heard, Link, Place, Spoken, Word, heard, held_by

Change = Literal["stable", "grown", "shrunk", "present"]
Kind = Literal["stable", "grown", "shrunk", "present", "new", "resolved", "merged", "split", "reappeared", "outside"]
ChangeTest = Callable[[Lesion, Lesion], Change]
"""Of one lesion at an earlier and a later timepoint, as outlined there."""

Node = tuple[str, str]
"""A timepoint's name and a lesion's name at it."""

GROWN, SHRUNK = 1.25, 0.8
RETURNS = 0.3
"""Prior probability that a lesion that was gone is there again."""


@dataclass(frozen=True)
class Timepoint:
    """seen: the later image's grid, outside of which nothing can be found; None where that is not known."""

    name: str
    lesions: tuple[Lesion, ...]
    seen: Grid | None = None


@dataclass(frozen=True)
class Event:
    """probability: of exactly these lesions being the same, 1 where a reader said so."""

    kind: Kind
    earlier: tuple[Node, ...]
    later: tuple[Node, ...]
    probability: float
    by_reader: bool = False


@dataclass(frozen=True)
class History:
    """events: in the order of time; names: each lesion's identity over time; matchings: by the two timepoints, with the
    alternatives; lost: words of the reader whose lesions are not there any more."""

    events: tuple[Event, ...]
    names: dict[Node, str]
    matchings: dict[tuple[str, str], Matching]
    lost: tuple[Word, ...]


def by_volume(earlier: Lesion, later: Lesion) -> Change:
    """A volume a quarter larger has grown, as in lung screening (NELSON; van Klaveren et al. 2009), one that would have
    to grow by a quarter to be what it was has shrunk; the volumes' own errors are not known to this test."""
    if earlier.clicked or later.clicked:
        return "present"
    ratio = later.volume_mm3 / earlier.volume_mm3
    return "grown" if ratio >= GROWN else "shrunk" if ratio <= SHRUNK else "stable"


def history(
    timepoints: Sequence[Timepoint],
    mappings: Sequence[Mapping],
    errors_mm: Sequence[ArrayLike],
    words: Sequence[Word] = (),
    changed: ChangeTest = by_volume,
    known: Sequence[tuple[Place, str]] = (),
) -> History:
    """Match each timepoint with the next, and what is new with what was gone.

    mappings: from each timepoint's world to the next one's; errors_mm: expected of each, for its earlier lesions or one
    for all (`match.match`). words: all that a reader said, oldest first. known: names that lesions had, by place.
    """
    said = heard(words, {time.name: time.lesions for time in timepoints})
    events: list[Event] = []
    matchings: dict[tuple[str, str], Matching] = {}
    for step, (before, after) in enumerate(pairwise(timepoints)):
        matching = _matched(before, after, mappings[step], errors_mm[step], said)
        matchings[before.name, after.name] = matching
        now = [_event(group, before, after, mappings[step], changed) for group in matching.chosen]
        for then, again in _returned(timepoints, step, mappings, errors_mm, [*events, *now], said):
            matchings[then.name, after.name] = again
            back = [_returning(group, then, after) for group in again.chosen if group.earlier and group.later]
            found = {node for event in back for node in event.later}
            now = [event for event in now if not (event.kind == "new" and found.intersection(event.later))] + back
        events += now
    return History(tuple(events), _names(timepoints, events, known), matchings, said.lost)


def _matched(before: Timepoint, after: Timepoint, mapping: Mapping, error_mm: ArrayLike, said: Heard) -> Matching:
    """What a reader linked across this step, gone before it and there after it, is kept out of it."""
    skips = [
        (then == before.name, now == after.name, link)
        for (then, now), spoken in said.spoken.items()
        for link in spoken.links
        if (then, now) != (before.name, after.name)
    ]
    left = {link[0] for starts, _, link in skips if starts}
    came = {link[1] for _, ends, link in skips if ends}
    errors = np.broadcast_to(np.asarray(error_mm, np.float64), len(before.lesions))
    asked = [(one, float(error)) for one, error in zip(before.lesions, errors, strict=True) if one.name not in left]
    found = match(
        [one for one, _ in asked],
        [one for one in after.lesions if one.name not in came],
        mapping,
        [error for _, error in asked],
        said.spoken.get((before.name, after.name), Spoken()),
    )
    alone = [
        *(Group((name,), (), 1.0, by_reader=True) for name in sorted(left)),
        *(Group((), (name,), 1.0, by_reader=True) for name in sorted(came)),
    ]
    return Matching((*found.chosen, *alone), found.rejected)


def _event(group: Group, before: Timepoint, after: Timepoint, mapping: Mapping, changed: ChangeTest) -> Event:
    old, new = (_named(time, names) for time, names in ((before, group.earlier), (after, group.later)))
    if not old:
        kind: Kind = "new"
    elif not new:
        gone = after.seen is None or bool(after.seen.contains(mapping(old[0].center)))
        kind = "resolved" if gone else "outside"
    elif len(old) > 1:
        kind = "merged"
    elif len(new) > 1:
        kind = "split"
    else:
        kind = changed(old[0], new[0])
    return Event(kind, _nodes(before, old), _nodes(after, new), group.probability, group.by_reader)


def _returned(
    timepoints: Sequence[Timepoint],
    step: int,
    mappings: Sequence[Mapping],
    errors_mm: Sequence[ArrayLike],
    events: Sequence[Event],
    said: Heard,
) -> Iterator[tuple[Timepoint, Matching]]:
    """What is new after a step, matched with what was last seen before it: the latest timepoint first."""
    after = timepoints[step + 1]
    absent = {node for event in events if event.kind in ("resolved", "outside") for node in event.earlier}
    absent -= {node for event in events if event.kind == "reappeared" for node in event.earlier}
    new = {node for event in events if event.kind == "new" for node in event.later}
    for then in range(step - 1, -1, -1):
        time = timepoints[then]
        earlier = [one for one in time.lesions if (time.name, one.name) in absent]
        later = [one for one in after.lesions if (after.name, one.name) in new]
        if earlier and later:
            mapping = reduce(Mapping.then, mappings[then : step + 1])
            error = float(np.sqrt(sum(np.mean(np.square(one)) for one in errors_mm[then : step + 1])))
            spoken = _of(said.spoken.get((time.name, after.name), Spoken()), earlier, later)
            found = match(earlier, later, mapping, error, spoken, RETURNS)
            new -= {(after.name, name) for group in found.chosen if group.earlier for name in group.later}
            yield time, found


def _of(spoken: Spoken, earlier: Sequence[Lesion], later: Sequence[Lesion]) -> Spoken:
    """What of it is about these lesions."""
    old, new = ({one.name for one in side} for side in (earlier, later))

    def about(links: frozenset[Link]) -> frozenset[Link]:
        return frozenset(link for link in links if link[0] in old and link[1] in new)

    return Spoken(about(spoken.links), about(spoken.unlinks))


def _returning(group: Group, then: Timepoint, after: Timepoint) -> Event:
    old, new = _named(then, group.earlier), _named(after, group.later)
    return Event("reappeared", _nodes(then, old), _nodes(after, new), group.probability, group.by_reader)


def _names(
    timepoints: Sequence[Timepoint], events: Sequence[Event], known: Sequence[tuple[Place, str]]
) -> dict[Node, str]:
    """1, 2, 3 from head to feet as they are first seen; 3a and 3b are what 3 split into, 3+5 what 3 and 5 merged to."""
    lesions = {(time.name, one.name): one for time in timepoints for one in time.lesions}
    came_from = {node: event for event in events if event.earlier for node in event.later}
    names = {}
    by_time = {time.name: time.lesions for time in timepoints}
    for place, name in known:
        lesion = held_by(place, by_time.get(place.timepoint, ()))
        if lesion is not None:
            names[place.timepoint, lesion.name] = name
    taken = set(names.values()) | {name for _, name in known}
    numbers = (str(number) for number in count(1) if str(number) not in taken)
    for node in sorted(lesions, key=lambda node: (list(by_time).index(node[0]), *_head_to_feet(lesions[node]))):
        event = came_from.get(node)
        if event is not None:
            names[node] = _inherited(event, node, names, lesions)
        elif node not in names:
            names[node] = next(numbers)
    return names


def _inherited(event: Event, node: Node, names: dict[Node, str], lesions: dict[Node, Lesion]) -> str:
    name = "+".join(sorted(names[old] for old in event.earlier))
    if len(event.later) == 1:
        return name
    order = sorted(event.later, key=lambda one: _head_to_feet(lesions[one]))
    return f"{name}{'abcdefghijklmnopqrstuvwxyz'[order.index(node)]}"


def _head_to_feet(lesion: Lesion) -> tuple[float, ...]:
    """For sorting; world z points to the head."""
    x, y, z = lesion.anchor.round(3)
    return -z, x, y


def _named(time: Timepoint, names: Sequence[str]) -> list[Lesion]:
    return [one for one in time.lesions if one.name in names]


def _nodes(time: Timepoint, lesions: Sequence[Lesion]) -> tuple[Node, ...]:
    return tuple((time.name, one.name) for one in sorted(lesions, key=_head_to_feet))
