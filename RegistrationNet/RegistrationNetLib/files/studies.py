"""A patient's scans from a table (STUDY.csv) or from a folder -> `Study`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
from scipy import ndimage

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.dicom import dicom_series
from RegistrationNetLib.files.images import read_image, read_labels, read_mask
from RegistrationNetLib.files.points import read_points
from RegistrationNetLib.files.segmentations import read_lesions
from RegistrationNetLib.files.suffixes import IMAGES, SEGMENTATIONS, ends
from RegistrationNetLib.files.tables import Row, read_day, read_table
from RegistrationNetLib.lesions.criteria import Role
from RegistrationNetLib.lesions.lesion import Lesion, clicked, outlined
from RegistrationNetLib.lesions.study import About, Scan, Study

COLUMNS = {
    "date": "day of the scan, as 2024-03-31; may be left out where the image is a DICOM folder, which says it",
    "image": "the scan: an image file or a DICOM folder, beside the table or with its whole path",
    "outlines": "the lesions drawn on this scan: a label map (one label a lesion), a mask of one value, whose separate "
    "pieces are the lesions, or a Slicer segmentation; `none` where somebody looked and found none; empty "
    "where nobody looked",
    "points": "lesions of which only a point is known: a file of points in LPS mm (.mrk.json, .fcsv, .csv)",
    "lesions": "a table that names this scan's lesions and says what criteria ask for (columns below); needed where a "
    "lesion is first seen, so of the baseline as a rule",
    "region": "of the baseline: a mask of where to look for lesions that nobody outlined (a brain mask, say); by "
    "default the whole body",
    "patient": "name or number of the patient, the same in every row",
    "series": "which series of a DICOM folder with several, by its number in the list or its UID",
    "confirms": "date of the earlier scan whose finding this one was made to confirm (iRECIST)",
    "markers_normal": "yes or no: tumour markers, where they are followed",
}
"""Of STUDY.csv, and what each means."""

LESION_COLUMNS = {
    "lesion": "its label in the outlines, its segment's or its point's name",
    "name": "what to call it; the label itself by default",
    "type": "anything, such as metastasis",
    "organ": "where it is; RECIST allows two targets an organ",
    "role": "target or non-target",
    "node": "yes or no: a lymph node, measured by its short axis",
}
"""Of the table of lesions."""

NOBODY = "none"
TABLE = "study.csv"
_DATE = re.compile(r"(?<!\d)(\d{4}-\d{2}-\d{2}|(?:19|20)\d{6})(?!\d)")
_DRAWN = re.compile(r"outline|lesion|label|mask|seg|roi", re.IGNORECASE)
_DATES = ("0008|0022", "0008|0021", "0008|0020")
"""Acquisition, series and study date."""
_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


def read_study(source: str | Path) -> Study:
    """A table, or a folder: with a table named study.csv in it, else its files and DICOM folders by their dates.

    Raises InputError naming the row or the file and the cure.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"'{path}' does not exist; give a table of scans (STUDY.csv) or a folder with them.")
    if path.is_dir():
        tables = [file for file in path.iterdir() if file.name.lower() == TABLE]
        return _from_table(tables[0]) if tables else _from_folder(path)
    return _from_table(path)


def _from_table(path: Path) -> Study:
    rows = read_table(path, list(COLUMNS), ["image"])
    if not rows:
        raise InputError(f"'{path}' has no rows below its header; write one for each scan.")
    notes: list[str] = []
    dated = _in_order([(_day(row, path.parent), row) for row in rows])
    scans = [_scan(day, row, path.parent, notes) for day, row in dated]
    patients = {row["patient"] for row in rows if row["patient"]}
    if len(patients) > 1:
        raise InputError(f"'{path}' has scans of {', '.join(sorted(patients))}; write a table of its own for each.")
    return Study(
        tuple(scans), next(iter(patients), ""), _region([row for _, row in dated], path.parent, notes), tuple(notes)
    )


def _region(rows: Sequence[Row], folder: Path, notes: list[str]) -> Image | None:
    late = next((row for row in rows[1:] if row["region"]), None)
    if late is not None:
        raise InputError(f"{late.where} has a region, which belongs to the baseline; put it into that row.")
    return read_mask(_path(rows[0]["region"], folder), on_note=notes.append) if rows[0]["region"] else None


def _from_folder(folder: Path) -> Study:
    """Files whose names hold a date, and DICOM folders; of two of a date, one must be named as outlines."""
    found: dict[date, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not (path.is_dir() or ends(path, (*IMAGES, *SEGMENTATIONS))):
            continue
        day = _day_in(path)
        if day is None and path.is_dir():  # no scan: results, notes
            continue
        if day is None:
            raise InputError(
                f"'{path}' does not say when it was made. Put the date into its name, as in 2024-03-31_ct.nii.gz, or "
                f"write a table '{TABLE}' (columns {', '.join(COLUMNS)})."
            )
        found[day].append(path)
    if len(found) < 2:
        raise InputError(
            f"'{folder}' holds scans of {len(found)} dates; two or more are needed, as files with their date in their "
            f"name (2024-03-31_ct.nii.gz) or DICOM folders, or a table '{TABLE}'."
        )
    notes: list[str] = []
    rows = [(day, _row(day, paths)) for day, paths in sorted(found.items())]
    return Study(tuple(_scan(day, row, folder, notes) for day, row in rows), folder.name, notes=tuple(notes))


def _row(day: date, paths: Sequence[Path]) -> Row:
    """What a table would say of these files."""
    drawn = [path for path in paths if not path.is_dir() and (_DRAWN.search(path.name) or ends(path, SEGMENTATIONS))]
    images = [path for path in paths if path not in drawn]
    for kind, files in (("image", images), ("outlines", drawn)):
        if len(files) > 1 or (kind == "image" and not files):
            names = ", ".join(f"'{path.name}'" for path in files) or "no image"
            raise InputError(
                f"Of {day} there is {names}; one image is needed, and at most one file of outlines beside it, with "
                f"'lesions' in its name. Leave the others out, or write a table '{TABLE}'."
            )
    cells = {"image": str(images[0].absolute()), "outlines": str(drawn[0].absolute()) if drawn else ""}
    return Row(cells, f"'{images[0]}'")


def _day_in(path: Path) -> date | None:
    """From the name, else from the DICOM slices of a folder."""
    written = _DATE.search(path.name)
    if written:
        return read_day(written[1], f"'{path}'")
    return _dicom_day(path) if path.is_dir() else None


def _dicom_day(folder: Path) -> date | None:
    tags = [item.tags for stack in dicom_series(folder) for item in stack.slices[:1]]
    found = {next((tag[key][:8] for key in _DATES if tag.get(key)), "") for tag in tags} - {""}
    if len(found) > 1:
        raise InputError(f"'{folder}' holds DICOM series of {len(found)} dates; give each scan a folder of its own.")
    return read_day(found.pop(), f"'{folder}'") if found else None


def _day(row: Row, folder: Path) -> date:
    day = row.day("date")
    image = _path(row.needed("image"), folder)
    if day is None and image.is_dir():
        day = _dicom_day(image)
    if day is None:
        raise InputError(f"{row.where} has no date; write it into the column 'date', as in 2024-03-31.")
    return day


def _in_order(dated: list[tuple[date, Row]]) -> list[tuple[date, Row]]:
    ordered = sorted(dated, key=lambda one: one[0])
    for (day, row), (other, second) in pairwise(ordered):
        if day == other:
            raise InputError(
                f"{row.where} and {second.where[0].lower()}{second.where[1:]} are both of {day}; give each "
                "scan its own date."
            )
    return ordered


def _path(text: str, folder: Path) -> Path:
    return folder / Path(text).expanduser()


def _scan(day: date, row: Row, folder: Path, notes: list[str]) -> Scan:
    """Raises InputError that names the row."""
    try:
        image = read_image(_path(row.needed("image"), folder), series=row["series"] or None, on_note=notes.append)
        image = replace(image, name=Path(row["image"]).name)
        looked = bool(row["outlines"] or row["points"])
        lesions = _lesions(row, folder, image, notes) if looked else ()
        about: dict[str, About] = {}
        if row["lesions"]:
            lesions, about = _described(lesions, _path(row["lesions"], folder))
        confirms, markers = row.day("confirms"), row.yes("markers_normal")
        source = str(_path(row["image"], folder))
        return Scan(day, image, lesions if looked else None, about, confirms, markers, source, row["series"])
    except InputError as error:
        said = str(error)
        raise error if said.startswith(row.where) else InputError(f"{row.where}: {said}") from error


def _lesions(row: Row, folder: Path, image: Image, notes: list[str]) -> tuple[Lesion, ...]:
    found: tuple[Lesion, ...] = ()
    if row["outlines"] and row["outlines"].lower() != NOBODY:
        found = read_outlines(_path(row["outlines"], folder), notes.append)
    if row["points"]:
        points = read_points(_path(row["points"], folder), grid=image.grid)
        taken = {"", *(one.name for one in found)}
        names = [f"point {number}" if label in taken else label for number, label in enumerate(points.labels, 1)]
        found += tuple(clicked(name, point) for name, point in zip(names, points.points, strict=True))
    return found


def read_outlines(path: Path, on_note: Callable[[str], None]) -> tuple[Lesion, ...]:
    """The lesions of a label map, of a mask by its separate pieces, or of a Slicer segmentation by their names."""
    if ends(path, SEGMENTATIONS):
        return read_lesions(path)
    labels = read_labels(path, on_note=on_note)
    if len(np.unique(labels.data[labels.data > 0])) == 1:
        pieces, _ = ndimage.label(labels.scalar > 0, _EVERY_NEIGHBOUR)
        labels = replace(labels, data=pieces[None])
    return outlined(replace(labels, data=labels.data.astype(np.int32)))


def _described(lesions: tuple[Lesion, ...], path: Path) -> tuple[tuple[Lesion, ...], dict[str, About]]:
    """The lesions with the names that their table gives them, and what it says of each."""
    rows = {row.needed("lesion"): row for row in read_table(path, list(LESION_COLUMNS), ["lesion"])}
    strange = [row for label, row in rows.items() if label not in {one.name for one in lesions}]
    if strange:
        known = ", ".join(one.name for one in lesions) or "none"
        raise InputError(f"{strange[0].where} describes a lesion '{strange[0]['lesion']}', but this scan has: {known}.")
    names = {label: row["name"] or label for label, row in rows.items()}
    named = tuple(replace(one, name=names.get(one.name, one.name)) for one in lesions)
    return named, {names[label]: _about(row) for label, row in rows.items()}


def _about(row: Row) -> About:
    role: Role | None = next((one for one in get_args(Role) if one == row["role"].lower()), None)
    if row["role"] and role is None:
        raise InputError(f"{row.where} says '{row['role']}' in 'role'; write target or non-target, or leave it empty.")
    label = row["lesion"] if row["name"] else ""
    return About(label, row["type"], row["organ"] or None, role, row.yes("node"))
