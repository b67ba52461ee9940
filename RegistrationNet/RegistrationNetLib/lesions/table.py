"""What a study's tracking says, lesion by lesion and scan by scan: the rows of lesions.csv."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date

from RegistrationNetLib.lesions.change import DoublingTime, displacement_mm, doubling_time, relative_change
from RegistrationNetLib.lesions.estimate import Estimate, total
from RegistrationNetLib.lesions.events import Event, History, Node
from RegistrationNetLib.lesions.follow import Tracking, measured
from RegistrationNetLib.lesions.forward import Forward
from RegistrationNetLib.lesions.jacobian import disagreement
from RegistrationNetLib.lesions.match import Group
from RegistrationNetLib.lesions.measure import Measures
from RegistrationNetLib.lesions.series import RETURNS_MM
from RegistrationNetLib.lesions.study import About

Cell = str | float | bool | None

COLUMNS = {
    "lesion": "its name over time: as in the baseline; new ones get a number; 3a and 3b are what 3 split into, 3+5 "
    "what 3 and 5 merged to",
    "date": "of the scan",
    "label": "its label, segment or point in that scan's own outlines; empty where it is not outlined there",
    "status": "baseline, stable, grown, shrunk, present (a click, so no size), new, merged, split, reappeared, "
    "resolved (outlined before, not here), gone (resolved earlier), outside (the scan does not show its place), "
    "carried (nobody outlined this scan: its place is what registration says), proposed (the same, and the program "
    "outlined it: look at it, and correct it)",
    "probability": "that the lesions of this row's event are the same, 0 to 1; 1 where a reader said so",
    "by_reader": "yes where a reader's link decides",
    "alternatives": "other explanations and their probability",
    "type": "as the table of lesions says",
    "organ": "as the table of lesions says",
    "role": "as the table of lesions says",
    "node": "as the table of lesions says",
    "volume_mm3": "voxels inside times a voxel's volume; _low and _high: ends of its 95 % interval",
    "longest_mm": "longest diameter in a slice",
    "short_axis_mm": "longest perpendicular to it, in the same slice",
    "mean": "mean intensity inside, in the image's unit",
    "highest": "highest intensity inside",
    "center_x": "centre of gravity, LPS mm; also center_y and center_z",
    "carried_x": "where registration carries the baseline's centre to, LPS mm; also carried_y and carried_z",
    "carried_error_mm": "expected distance of that from the true place",
    "moved_mm": "distance of that from the baseline's centre, the patient's position included",
    "displacement_mm": "distance of the lesion's centre from where registration carried it to",
    "change_percent": "of the volume since the scan before with outlines; of all parts together where lesions merged "
    "or split",
    "change_from_baseline_percent": "the same since the baseline",
    "doubling_days": "volume doubling time since the scan before with outlines, negative: halving; empty where the "
    "change cannot be told from none",
    "jacobian_inside": "mean determinant of the registration from the baseline inside the baseline's outline; the "
    "affine's alone where lesions are protected",
    "jacobian_rim": "the same within 5 mm around it: below 1, the surroundings are pressed together",
    "notes": "what limits these figures",
}
"""Of lesions.csv, and what each means."""

_INTERVALS = (
    *("volume_mm3", "longest_mm", "short_axis_mm", "mean", "highest"),
    *("displacement_mm", "change_percent", "change_from_baseline_percent", "doubling_days"),
)
_POINTS = ("center", "carried")


@dataclass(frozen=True, eq=False)
class Entry:
    """One lesion on one scan. event: that led here; None at baseline. change: relative, 0.25 is a quarter more."""

    lesion: str
    day: date
    status: str
    about: About
    label: str = ""
    event: Event | None = None
    alternatives: tuple[str, ...] = ()
    measures: Measures | None = None
    forward: Forward | None = None
    displacement_mm: Estimate | None = None
    change: Estimate | None = None
    change_from_baseline: Estimate | None = None
    doubling_days: Estimate | None = None
    notes: tuple[str, ...] = ()


def entries(tracking: Tracking) -> list[Entry]:
    """By lesion, in the order in which they were first seen, and by date."""
    told = [*_Told(tracking).entries()]
    order = list(dict.fromkeys(one.lesion for one in told))
    return sorted(told, key=lambda one: (order.index(one.lesion), one.day))


def origins(history: History) -> dict[Node, frozenset[Node]]:
    """For each lesion of a scan those that it comes from, as first seen."""
    found: dict[Node, frozenset[Node]] = {}
    for event in history.events:
        came = frozenset[Node]().union(*(found.get(node, {node}) for node in event.earlier))
        found |= {node: came or frozenset({node}) for node in event.later}
    return {node: found.get(node, frozenset({node})) for node in history.names}


class _Told:
    """The lookups that rows are made from."""

    def __init__(self, tracking: Tracking) -> None:
        self.tracking, self.history = tracking, tracking.history
        self.study, self.measures = tracking.study, tracking.measures
        self.days = {scan.name: scan.day for scan in self.study.scans}
        self.origins = origins(self.history)
        self.came = {node: event for event in self.history.events for node in event.later}
        self.left = {node: event for event in self.history.events if not event.later for node in event.earlier}

    def entries(self) -> Iterator[Entry]:
        for scan in self.study.scans:
            if scan.lesions is None:
                yield from (self._carried(one.name, scan.name) for one in self.study.baseline)
                continue
            yield from (self._seen((scan.name, one.name)) for one in scan.lesions)
            yield from self._absent(scan.name)

    def _next(self, timepoint: str) -> str:
        seen = [scan.name for scan in self.study.scans if scan.lesions is not None]
        return seen[seen.index(timepoint) + 1]

    def _about(self, node: Node) -> About:
        """As said where it was first seen; of what merged, nothing."""
        first, *others = self.origins[node]
        return About() if others else self.study.about(*first)

    def _seen(self, node: Node) -> Entry:
        event, measures = self.came.get(node), self.measures.get(node)
        root, baseline = self._root(node), self.study.scans[0].name
        forward = None if node[0] == baseline or root is None else self.tracking.forwards.get((node[0], root))
        first = None if root is None else self.measures.get((baseline, root))
        apart = displacement_mm(forward.center, first, measures) if forward and first and measures else None
        change, since = self._change(event), self._since_baseline(node)
        doubling = self._doubling(event)
        notes = [
            *(measures.notes if measures else ()),
            *(doubling.notes if doubling else ()),
            *self._doubt(root, node[0]),
        ]
        if forward and forward.jacobian and since and not self.tracking.protected:
            notes.append(disagreement(since, forward.jacobian.inside))
        return Entry(
            self.history.names[node],
            self.days[node[0]],
            event.kind if event else "baseline",
            self._about(node),
            self.study.about(*node).label or node[1],
            event,
            self._alternatives(event),
            measures,
            forward,
            apart,
            change,
            since,
            doubling.days if doubling else None,
            tuple(note for note in notes if note),
        )

    def _carried(self, name: str, timepoint: str) -> Entry:
        """On a scan that nobody outlined: as the program outlines it, if it does."""
        forward, proposal = self.tracking.forwards[timepoint, name], self.tracking.proposals.get((timepoint, name))
        status = "outside" if forward.lesion is None else "carried"
        about, said = self.study.about(self.study.scans[0].name, name), (proposal.said,) if proposal else ()
        plain = Entry(
            name, self.days[timepoint], status, about, forward=forward, notes=(*said, *self._doubt(name, timepoint))
        )
        if proposal is None or proposal.lesion is None:
            return plain
        scan = next(scan for scan in self.study.scans if scan.name == timepoint)
        first, now = self.measures[self.study.scans[0].name, name], measured(proposal.lesion, scan.image)
        return replace(
            plain,
            status="proposed",
            measures=now,
            displacement_mm=displacement_mm(forward.center, first, now),
            change_from_baseline=relative_change(first.volume_mm3, now.volume_mm3),
            notes=(*plain.notes, *now.notes),
        )

    def _absent(self, timepoint: str) -> Iterator[Entry]:
        """Lesions that were outlined at an earlier scan and neither are here nor have become others."""
        for node, event in self.left.items():
            resolved = self._next(node[0])
            if self.days[resolved] > self.days[timepoint] or self._returned(node, timepoint):
                continue
            root = self._root(node)
            forward = None if root is None else self.tracking.forwards.get((timepoint, root))
            here = resolved == timepoint
            kind = event.kind if here or event.kind == "outside" else "gone"
            yield Entry(
                self.history.names[node],
                self.days[timepoint],
                kind,
                self._about(node),
                event=event if here else None,
                alternatives=self._alternatives(event) if here else (),
                forward=forward,
                notes=self._doubt(root, timepoint),
            )

    def _returned(self, node: Node, by: str) -> bool:
        return any(
            event.kind == "reappeared" and node in event.earlier and self.days[event.later[0][0]] <= self.days[by]
            for event in self.history.events
        )

    def _root(self, node: Node) -> str | None:
        """The one baseline lesion that this is, or was once; None where it is new or of several."""
        came = self.origins[node]
        (timepoint, name), *others = came
        return name if not others and timepoint == self.study.scans[0].name else None

    def _doubt(self, lesion: str | None, timepoint: str) -> tuple[str, ...]:
        if timepoint == self.study.scans[0].name:
            return ()
        error = max(
            (
                loop.at_lesions_mm.get(lesion or "", 0.0)
                for loop in self.tracking.series.loops
                if timepoint in loop.through
            ),
            default=0.0,
        )
        if error <= RETURNS_MM:
            return ()
        return (f"Registrations disagree by {error:.1f} mm at its place; look whether it was found rightly.",)

    def _volume(self, nodes: tuple[Node, ...]) -> Estimate | None:
        known = [self.measures[node].volume_mm3 for node in nodes if node in self.measures]
        return total(known) if known and len(known) == len(nodes) else None

    def _change(self, event: Event | None) -> Estimate | None:
        before, after = (self._volume(nodes) for nodes in (event.earlier, event.later)) if event else (None, None)
        return relative_change(before, after) if before and after else None

    def _since_baseline(self, node: Node) -> Estimate | None:
        came = self.origins[node]
        if node[0] == self.study.scans[0].name or any(name != self.study.scans[0].name for name, _ in came):
            return None
        now = tuple(other for other in self.origins if other[0] == node[0] and self.origins[other] & came)
        roots = frozenset[Node]().union(*(self.origins[other] for other in now))
        before, after = self._volume(tuple(roots)), self._volume(now)
        return relative_change(before, after) if before and after else None

    def _doubling(self, event: Event | None) -> DoublingTime | None:
        if event is None or not len(event.earlier) == len(event.later) == 1:
            return None
        before, after = (self.measures.get(nodes[0]) for nodes in (event.earlier, event.later))
        if before is None or after is None:
            return None
        apart = self.days[event.later[0][0]] - self.days[event.earlier[0][0]]
        return doubling_time(before, after, apart.days)

    def _alternatives(self, event: Event | None) -> tuple[str, ...]:
        if event is None:
            return ()
        earlier, later = ({name for _, name in nodes} for nodes in (event.earlier, event.later))
        for pair, matching in self.history.matchings.items():
            of_pair = {node[0] for node in event.earlier} <= {pair[0]} and {node[0] for node in event.later} <= {
                pair[1]
            }
            for group in matching.chosen if of_pair else ():
                if set(group.earlier) == earlier and set(group.later) == later:
                    return tuple(self._in_words(other, pair) for other in matching.alternatives(group))
        return ()

    def _in_words(self, group: Group, pair: tuple[str, str]) -> str:
        old = " + ".join(self.history.names[pair[0], name] for name in group.earlier)
        new = " + ".join(f"label {name}" for name in group.later)
        said = f"{old} is {new}" if old and new else f"{old} is gone" if old else f"{new} is new"
        return f"{said} ({100 * group.probability:.0f} %)"


def header() -> list[str]:
    """The columns of lesions.csv: those of `COLUMNS`, with the ends of intervals and the axes of points."""
    names: list[str] = []
    for name in COLUMNS:
        stem, _, axis = name.rpartition("_")
        if axis == "x" and stem in _POINTS:
            names += [f"{stem}_{axis}" for axis in "xyz"]
        else:
            names += [name, f"{name}_low", f"{name}_high"] if name in _INTERVALS else [name]
    return names


def cells(entry: Entry) -> dict[str, Cell]:
    """A row of lesions.csv; what is not known is left out."""
    about, event, measures, forward = entry.about, entry.event, entry.measures, entry.forward
    row: dict[str, Cell] = {
        "lesion": entry.lesion,
        "date": entry.day.isoformat(),
        "label": entry.label,
        "status": entry.status,
        "probability": None if event is None else event.probability,
        "by_reader": bool(event and event.by_reader),
        "alternatives": "; ".join(entry.alternatives),
        "type": about.kind,
        "organ": about.organ,
        "role": about.role,
        "node": about.node,
        "notes": " ".join(entry.notes),
    }
    estimates = {
        "displacement_mm": entry.displacement_mm,
        "change_percent": _percent(entry.change),
        "change_from_baseline_percent": _percent(entry.change_from_baseline),
        "doubling_days": entry.doubling_days,
    }
    if measures is not None:
        estimates |= {name: getattr(measures, name) for name in _INTERVALS if hasattr(measures, name)}
        row |= _point("center", measures.centroid.tolist())
    for name, value in estimates.items():
        if value is not None:
            row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
    if forward is not None:
        row |= _point("carried", forward.center.tolist())
        row |= {"carried_error_mm": forward.error_mm, "moved_mm": float((forward.moved_mm**2).sum() ** 0.5)}
        if forward.jacobian is not None:
            row |= {"jacobian_inside": forward.jacobian.inside.value, "jacobian_rim": forward.jacobian.rim.value}
    return row


def _percent(change: Estimate | None) -> Estimate | None:
    return None if change is None else Estimate(*(100 * part for part in (change.value, change.low, change.high)))


def _point(name: str, point: list[float]) -> dict[str, Cell]:
    return {f"{name}_{axis}": value for axis, value in zip("xyz", point, strict=True)}
