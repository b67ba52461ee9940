"""What a reader said of lesions, as a table: links.csv <-> `Word`s, which are kept by place."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.files.tables import Row, read_day, read_table
from RegistrationNetLib.lesions.study import Scan, Study
from RegistrationNetLib.lesions.word import Place, Word

COLUMNS = {
    "earlier_date": "of the earlier scan",
    "earlier": "the lesion there: its label or name, or a point inside it as `x y z` in LPS mm",
    "later_date": "of the later scan",
    "later": "the lesion there, in the same way",
    "same": "yes: these are one lesion; no: they are not",
}
"""Of links.csv, and what each means."""


def read_links(path: str | Path, study: Study) -> list[Word]:
    """In the table's order: of two rows about the same lesions the last one holds. Raises InputError naming the row."""
    rows = read_table(Path(path), list(COLUMNS), list(COLUMNS))
    return [_word(row, {scan.day: scan for scan in study.scans}) for row in rows]


def write_links(words: Sequence[Word], path: Path) -> None:
    """By points, so that it holds however lesions are numbered again."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for word in words:
            sides = ((place.timepoint, _text(place)) for place in (word.earlier, word.later))
            table.writerow([*(cell for side in sides for cell in side), "yes" if word.same else "no"])


def _text(place: Place) -> str:
    return " ".join(f"{value:.3f}" for value in place.point_mm)


def _word(row: Row, scans: dict[date, Scan]) -> Word:
    sides = []
    for side in ("earlier", "later"):
        day = read_day(row.needed(f"{side}_date"), row.where)
        if day not in scans:
            raise InputError(f"{row.where} names a scan of {day}; the study has none of that day.")
        sides.append(_place(row, side, scans[day]))
    same = row.yes("same")
    if same is None:
        raise InputError(f"{row.where} does not say whether these lesions are the same; write yes or no in 'same'.")
    if sides[0].timepoint >= sides[1].timepoint:
        raise InputError(f"{row.where} has its earlier scan after its later one; exchange the two.")
    return Word(sides[0], sides[1], same)


def _place(row: Row, side: str, scan: Scan) -> Place:
    said = row.needed(side)
    called = {about.label: name for name, about in scan.about.items() if about.label}
    lesion = next((one for one in scan.lesions or () if one.name == called.get(said, said)), None)
    if lesion is not None:
        return Place.of(lesion, scan.name)
    try:
        x, y, z = (float(value) for value in said.replace(",", " ").split())
    except ValueError as error:
        known = ", ".join(one.name for one in scan.lesions or ()) or "none"
        raise InputError(
            f"{row.where} names a lesion '{said}' of {scan.day}, which has: {known}. Give one of these, or a point "
            "inside it as x y z in LPS mm."
        ) from error
    if not np.isfinite((x, y, z)).all():
        raise InputError(f"{row.where}: '{said}' is no point; give three numbers in LPS mm.")
    return Place(scan.name, (x, y, z))
