"""What following lesions writes: lesions.csv, study.json, carried outlines, transforms, the reader's links."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from RegistrationNetLib.core.version import __version__
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.files.links import write_links
from RegistrationNetLib.files.report import write_report
from RegistrationNetLib.files.transforms import write_transform
from RegistrationNetLib.lesions.events import Event
from RegistrationNetLib.lesions.follow import Tracking
from RegistrationNetLib.lesions.series import Loop
from RegistrationNetLib.lesions.study import Scan, Study, label_map
from RegistrationNetLib.lesions.table import Cell, cells, entries, header
from RegistrationNetLib.lesions.word import Word

LINKS, KEPT = "links.csv", "registrations"
CANDIDATES = {
    "date": "of the follow-up",
    "sigma": "the largest difference from the baseline, in units of what is expected; above 0 where it is brighter",
    "volume_mm3": "of where they differ",
    "lesion": "the outlined lesion that it lies in or beside; empty where there is none",
    **{f"baseline_{axis}": "its centre on the baseline, LPS mm" for axis in "xyz"},
    **dict.fromkeys("xyz", "its centre on the follow-up, LPS mm"),
}
"""Columns of candidates.csv."""


def write_tracking(tracking: Tracking, words: Sequence[Word], report: dict[str, Any], draft: Path) -> list[str]:
    """Every file into an empty folder; returns their names. report: further plain values for study.json."""
    rows = [cells(one) for one in entries(tracking)]
    _write_table(rows, header(), draft / "lesions.csv")
    _write_table(_candidates(tracking), list(CANDIDATES), draft / "candidates.csv")
    for scan, mapping in zip(tracking.study.scans[1:], tracking.mappings, strict=True):
        first = tracking.study.scans[0].name
        write_transform(mapping, draft / f"{first}_to_{scan.name}.h5")
        found = [tracking.forwards[scan.name, one.name].lesion for one in tracking.study.baseline]
        if any(found):
            labels = label_map(
                [one for one in found if one is not None], scan.image.grid, numbers=numbers(tracking.study)
            )
            write_image(labels, draft / f"carried_{scan.name}.nii.gz")
        drawn = [tracking.proposals.get((scan.name, one.name)) for one in tracking.study.baseline]
        if any(one is not None and one.lesion is not None for one in drawn):
            lesions = [one.lesion for one in drawn if one is not None and one.lesion is not None]
            labels = label_map(lesions, scan.image.grid, numbers=numbers(tracking.study))
            write_image(labels, draft / f"proposed_{scan.name}.nii.gz")
    if words:
        write_links(words, draft / LINKS)
    write_report(_document(tracking, words, rows) | report, draft / "study.json")
    return sorted(path.name for path in draft.iterdir())


def numbers(study: Study) -> dict[str, int]:
    """Of the baseline lesions in label maps that are written: their own where all have one, else 1, 2, 3."""
    names = [one.name for one in study.baseline]
    if all(name.isdigit() and 0 < int(name) < 2**15 for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names, 1)}


def _write_table(rows: Sequence[dict[str, Cell]], columns: Sequence[str], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Cell) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _document(tracking: Tracking, words: Sequence[Word], rows: Sequence[dict[str, Cell]]) -> dict[str, Any]:
    study, series = tracking.study, tracking.series
    ways = zip(study.scans[1:], series.ways, series.alike, strict=True)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "patient": study.patient,
        "notes": list(tracking.notes),
        "lesions_protected": tracking.protected,
        "timepoints": [_timepoint(scan) for scan in study.scans],
        "labels": numbers(study),
        "loops": [_loop(loop) for loop in series.loops],
        "ways": [{"to": scan.name, "way": way, "alike": alike} for scan, way, alike in ways],
        "local": {name: [asdict(one) for one in found] for name, found in tracking.again.items()},
        "events": [_event(event) for event in tracking.history.events],
        "names": [
            {"date": day, "label": label, "lesion": name} for (day, label), name in tracking.history.names.items()
        ],
        "links": [asdict(word) for word in words],
        "lesions": list(rows),
        "candidates": _candidates(tracking),
    }


def _candidates(tracking: Tracking) -> list[dict[str, Any]]:
    """The rows of candidates.csv."""
    return [
        {
            "date": day,
            "sigma": one.sigma,
            "volume_mm3": one.outline.volume_mm3,
            "lesion": one.lesion or tracking.history.names.get((day, one.lesion_there), ""),
            **{f"baseline_{axis}": value for axis, value in zip("xyz", one.center.tolist(), strict=True)},
            **dict(zip("xyz", one.center_there.tolist(), strict=True)),
        }
        for day, found in tracking.candidates.items()
        for one in found
    ]


def _timepoint(scan: Scan) -> dict[str, Any]:
    outlined = None if scan.lesions is None else [one.name for one in scan.lesions]
    return {"date": scan.name, "image": scan.image.name, "grid": scan.image.grid.describe(), "outlined": outlined}


def _loop(loop: Loop) -> dict[str, Any]:
    return {
        "through": list(loop.through),
        "mean_mm": loop.mean_mm,
        "largest_mm": loop.largest_mm,
        "share_within_1_mm": loop.returning,
        "returns": loop.returns,
        "at_lesions_mm": loop.at_lesions_mm,
        "in_words": loop.in_words(),
    }


def _event(event: Event) -> dict[str, Any]:
    sides = {
        side: [{"date": day, "label": label} for day, label in nodes]
        for side, nodes in (("earlier", event.earlier), ("later", event.later))
    }
    return {"kind": event.kind, **sides, "probability": event.probability, "by_reader": event.by_reader}
