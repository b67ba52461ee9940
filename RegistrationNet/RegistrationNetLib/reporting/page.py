"""What a report of a followed study says, in words and pictures, before any format: `Page`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from RegistrationNetLib.core.version import __version__
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.lesions.criteria import Assessment
from RegistrationNetLib.lesions.follow import Tracking
from RegistrationNetLib.lesions.study import Scan
from RegistrationNetLib.lesions.table import Entry, entries
from RegistrationNetLib.reporting.course import course_picture
from RegistrationNetLib.reporting.crops import Crop, crops
from RegistrationNetLib.reporting.figures import doubling, figure, number, percent
from RegistrationNetLib.reporting.graph import graph_picture
from RegistrationNetLib.reporting.pictures import Picture, drawn

USE = "For research use only. Not a medical device; not for diagnosis or treatment decisions."
CERTAIN = 0.995
"""From this probability on a match is not doubted in words."""
COLUMNS = (
    *("Scan", "Status", "Volume, mm\u00b3", "Longest diameter, mm", "Short axis, mm"),
    *("Volume since the scan before", "Volume since baseline", "Doubling time, days"),
)
"""Of the table of lesions; status also by colour."""


class Followed(Protocol):
    """What is reported of a study; see `tracking.Tracked`."""

    @property
    def tracking(self) -> Tracking: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def registrations(self) -> tuple[dict[str, Any], ...]: ...
    @property
    def assessments(self) -> dict[str, tuple[Assessment, ...]]: ...
    @property
    def missing(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Response:
    """One scan judged by one criterion."""

    criterion: str
    day: str
    response: str
    total: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A lesion on a scan. cells: as `COLUMNS`, the second of which is the status."""

    cells: tuple[str, ...]
    status: str
    note: str


@dataclass(frozen=True)
class Told:
    """All of one lesion. about: type, organ, role. pictures: one for each scan."""

    name: str
    about: str
    rows: tuple[Row, ...]
    pictures: tuple[Picture, ...]
    caption: str


@dataclass(frozen=True)
class Page:
    """facts, made: names and what is to be said of them. counts: of each scan, what became of how many lesions."""

    patient: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    responses: tuple[Response, ...]
    counts: tuple[tuple[str, str], ...]
    lesions: tuple[Told, ...]
    course: Picture | None
    graph: Picture | None
    made: tuple[tuple[str, str], ...]


def page(followed: Followed) -> Page:
    """Everything that `html.write_html` and `pdf.write_pdf` show."""
    tracking = followed.tracking
    told = entries(tracking)
    return Page(
        tracking.study.patient or "Patient not named",
        _facts(tracking),
        _warnings(followed, told),
        _responses(followed.assessments),
        tuple((scan.name, _counted(scan, told)) for scan in tracking.study.scans),
        tuple(_lesion(name, tracking, told) for name in dict.fromkeys(one.lesion for one in told)),
        course_picture(told),
        graph_picture(tracking.history, [scan.day for scan in tracking.study.scans]),
        _made(followed),
    )


def _facts(tracking: Tracking) -> tuple[tuple[str, str], ...]:
    scans = tracking.study.scans
    return tuple((_when(scan.day, scans[0].day), _scan_in_words(scan)) for scan in scans)


def _when(day: date, first: date) -> str:
    return f"{day} ({'baseline' if day == first else f'day {(day - first).days}'})"


def _scan_in_words(scan: Scan) -> str:
    spacing = " x ".join(f"{part:.2f}" for part in scan.image.grid.spacing[::-1])
    count = len(scan.lesions or ())
    if scan.lesions is None:
        looked = (
            "nobody outlined lesions on it: their places are what registration says, and proposed outlines are the "
            "program's, to be looked at"
        )
    else:
        looked = f"{count} {'lesion' if count == 1 else 'lesions'} outlined" if count else "a reader found no lesion"
    return f"{scan.image.name}, voxels of {spacing} mm; {looked}"


def _warnings(followed: Followed, told: list[Entry]) -> tuple[str, ...]:
    """What limits all of it; what limits one lesion is said beside it."""
    tracking = followed.tracking
    found = [*tracking.notes, *followed.missing]
    for one in followed.registrations:
        if one["overall"]["verdict"] in ("bad", "look"):
            names = f"{one['moving']['name']} registered to {one['fixed']['name']}"
            found.append(f"{names}: {one['overall']['sentence']}")
    doubted = sorted({one.lesion for one in told if one.notes})
    if doubted:
        found.append(f"Something limits the figures of {len(doubted)} of the lesions; it is said beside each.")
    places = {day: len(all_of) for day, all_of in tracking.candidates.items() if all_of}
    if places:
        listed = ", ".join(f"{count} on {day}" for day, count in places.items())
        found.append(
            f"Follow-ups differ from the baseline at further places ({listed}; candidates.csv). They are no findings: "
            "look at them."
        )
    return tuple(found)


def _responses(assessments: dict[str, tuple[Assessment, ...]]) -> tuple[Response, ...]:
    return tuple(
        Response(name, one.day.isoformat(), one.response, _total(name, one), one.reasons)
        for name, found in assessments.items()
        for one in found
    )


def _total(criterion: str, one: Assessment) -> str:
    unit = "mm\u00b3" if criterion == "volumetric" else "mm"
    return "not known" if one.total is None else f"{figure(one.total)} {unit}"


def _counted(scan: Scan, told: list[Entry]) -> str:
    counts = Counter(one.status for one in told if one.day == scan.day)
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "no lesions"


def _lesion(name: str, tracking: Tracking, told: list[Entry]) -> Told:
    rows = [one for one in told if one.lesion == name]
    taken = crops(name, tracking, rows)
    about = next((one.about for one in rows), None)
    words = (about.kind, about.organ, about.role, "lymph node" if about.node else "") if about else ()
    return Told(
        name,
        ", ".join(word for word in words if word),
        tuple(_row(one) for one in rows),
        tuple(drawn(crop) for crop in taken),
        _caption(taken),
    )


def _caption(taken: tuple[Crop, ...]) -> str:
    if not taken:
        return "No scan shows its place."
    dark, bright = taken[0].window
    return (
        f"All pictures: {taken[0].side_mm:.0f} mm wide, grey values {number(dark)} (black) to {number(bright)} "
        "(white). Continuous line: the outline on that scan; dashed: where registration carries the baseline's to."
    )


def _row(one: Entry) -> Row:
    measures, event = one.measures, one.event
    cells = (
        one.day.isoformat(),
        one.status,
        figure(measures.volume_mm3) if measures else "",
        figure(measures.longest_mm) if measures else "",
        figure(measures.short_axis_mm) if measures else "",
        percent(one.change),
        percent(one.change_from_baseline),
        doubling(one.doubling_days),
    )
    said = list(one.notes)
    if event is not None and event.by_reader:
        said.append("Matched as a reader said.")
    elif event is not None and event.probability < CERTAIN:
        others = f"; otherwise {', '.join(one.alternatives)}" if one.alternatives else ""
        said.append(f"Probability of this match: {100 * event.probability:.0f} %{others}.")
    if one.status == "carried" and one.forward is not None:
        said.append(f"Its place is expected to be right to {one.forward.error_mm:.1f} mm.")
    return Row(cells, one.status, " ".join(said))


def _made(followed: Followed) -> tuple[tuple[str, str], ...]:
    tracking = followed.tracking
    versions = followed.registrations[0]["versions"] if followed.registrations else {}
    loops = " ".join(loop.in_words() for loop in tracking.series.loops)
    kept = "left out of the similarity, and kept of their volume" if tracking.protected else "not protected"
    ways = ", ".join(
        f"{scan.name} {way}" for scan, way in zip(tracking.study.scans[1:], tracking.series.ways, strict=True)
    )
    checks = [
        (f"Registration of {one['moving']['name']} to {one['fixed']['name']}", _checked(one))
        for one in followed.registrations
    ]
    return (
        ("RegistrationNet", ", ".join(f"{name} {version}" for name, version in versions.items()) or __version__),
        ("Lesions while registering", kept),
        ("How follow-ups were reached from the baseline", ways),
        ("Round the loops", loops or "There was none."),
        *checks,
        ("Settings", _settings(followed.settings)),
        ("Measurements", "On the native scans by their own outlines, each with a 95 % interval; see docs/lesions.md."),
    )


def _checked(one: dict[str, Any]) -> str:
    similarity, overall = one["similarity"], one["overall"]
    return (
        f"{overall['verdict']}: {overall['value']}. {overall['sentence']} "
        f"Similarity {similarity['before']:.3f} before, {similarity['after']:.3f} after "
        f"({similarity['measure']}). On {one['device']}."
    )


def _settings(settings: Settings) -> str:
    """What differs from the defaults."""
    plain, usual = _flat(settings.to_dict()), _flat(Settings().to_dict())
    changed = [f"{name} {value}" for name, value in plain.items() if value != usual.get(name)]
    return f"As by default, but {', '.join(changed)}." if changed else "As by default."


def _flat(values: dict[str, Any], stem: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{stem}{name} ") if isinstance(value, dict) else {f"{stem}{name}": value}
    return flat
