"""Point files <-> points in LPS mm: CSV, Slicer markups (.mrk.json, .fcsv), elastix, transformix and ITK point files.

What a file says besides the coordinates (labels, colours, comments, further columns) is kept when it is rewritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.files.checks import require_file
from RegistrationNetLib.files.point_documents import CsvPoints, Document, ElastixPoints, FcsvPoints, MarkupsPoints

POINTS_IN = ("lps", "ras", "voxel")
"""What the numbers of a CSV file may mean; voxel: (i, j, k) as viewers show them, first axis fastest."""

_FORMATS: dict[str, type[Document]] = {
    ".mrk.json": MarkupsPoints,
    ".json": MarkupsPoints,
    ".fcsv": FcsvPoints,
    ".csv": CsvPoints,
    ".tsv": CsvPoints,
    ".txt": ElastixPoints,
    ".pts": ElastixPoints,
}
SUFFIXES = tuple(_FORMATS)
"""Endings of the files that are read and written here."""


@dataclass(frozen=True, eq=False)
class PointList:
    """points: (N, 3) LPS mm; labels: one text per point; document: the rest of the file they came from."""

    points: Points
    labels: tuple[str, ...]
    document: Document

    def moved(self, mapping: Callable[[Points], Points]) -> PointList:
        """The same points elsewhere: `points.moved(mapping)`."""
        return replace(self, points=mapping(self.points))


def read_points(path: str | Path, *, points_in: str = "lps", grid: Grid | None = None) -> PointList:
    """All points of a file, in the file's order.

    points_in: what a CSV file's numbers are, "lps" or "ras" mm or "voxel" indices; other formats say it themselves.
    grid: of the image that voxel indices belong to. Raises InputError naming the file, the line and the cure.
    """
    path = Path(path)
    require_file(path)
    document = _format(path).parse(_text(path), str(path))
    space = document.space or points_in
    if not len(document.numbers):
        raise InputError(f"'{path}' holds no points; place at least one.")
    bad = np.flatnonzero(~np.isfinite(document.numbers).all(axis=1))
    if len(bad):
        raise InputError(f"Point {bad[0] + 1} of '{path}' is not finite; place it again.")
    return PointList(_to_lps(document.numbers, space, grid, path), document.labels, document.in_space(space))


def write_points(points: PointList, path: str | Path) -> None:
    """In the format the file's name says; everything else the source said is kept where it had the same format.

    Points read as voxel indices are written in LPS mm, because the result belongs to another image. Raises InputError.
    """
    path = Path(path)
    kind = _format(path)
    document = points.document if isinstance(points.document, kind) else kind.new(points.labels)
    numbers = points.points * ([-1, -1, 1] if document.space == "ras" else [1, 1, 1])
    try:
        path.write_text(document.text(numbers), encoding="utf-8")
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); check the folder.") from error


def _format(path: Path) -> type[Document]:
    for suffix, kind in _FORMATS.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise InputError(f"'{path}' is no point file known here; give {', '.join(SUFFIXES)}.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is not a text file; give points as .csv, .mrk.json, .fcsv or .txt.") from error


def _to_lps(numbers: Points, space: str, grid: Grid | None, path: Path) -> Points:
    if space == "ras":
        return numbers * [-1, -1, 1]
    if space == "lps":
        return numbers
    if space != "voxel":
        raise InputError(f"Points are in {', '.join(POINTS_IN)}, not in '{space}'; choose one of these for '{path}'.")
    if grid is None:
        raise InputError(
            f"'{path}' holds voxel indices, so the image they were picked in is needed; name it with --reference."
        )
    return grid.to_world(numbers[:, ::-1])
