"""The text of point files, format by format: numbers out, numbers in, everything else kept as it was."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Points

Rows = tuple[tuple[str, ...], ...]
_XYZ = ("x", "y", "z")


class Document(Protocol):
    """numbers: (N, 3) as they stand in the file; space: "lps", "ras", "voxel", or "" where the file does not say."""

    @property
    def numbers(self) -> Points: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def space(self) -> str: ...

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """Raises InputError naming the file and the line."""
        ...

    @classmethod
    def new(cls, labels: Sequence[str]) -> Self:
        """A document for that many points, in LPS mm."""
        ...

    def in_space(self, space: str) -> Self:
        """The same document, to be written in RAS for "ras" and in LPS for anything else."""
        ...

    def text(self, numbers: Points) -> str:
        """The file with other coordinates, in `space`."""
        ...


@dataclass(frozen=True, eq=False)
class CsvPoints:
    """Rows of x, y, z and whatever else; a header line and comment lines are kept."""

    rows: Rows
    numbers: Points
    heading: tuple[str, ...] = ()
    columns: tuple[int, ...] = (0, 1, 2)
    label_column: int | None = None
    delimiter: str = ","
    space: str = ""

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        lines = text.splitlines()
        start = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
        delimiter = next((d for d in ";\t," if d in (lines[start] if start < len(lines) else "")), ",")
        heading = lines[:start]
        titles = [title.strip().lower() for title in lines[start].split(delimiter)] if start < len(lines) else []
        has_titles = bool(titles) and not all(_is_number(cell) for cell in titles[:3])
        if has_titles:
            heading.append(lines[start])
        rows = _rows(lines[len(heading) :], len(heading) + 1, delimiter)
        columns = [titles.index(axis) for axis in _XYZ] if set(_XYZ) <= set(titles) else [0, 1, 2]
        label = next((titles.index(title) for title in ("label", "name") if title in titles), None)
        if not has_titles and len(titles) > 3:
            label = 3
        numbers = _numbers(rows, columns, name)
        return cls(tuple(rows.values()), numbers, tuple(heading), tuple(columns), label, delimiter)

    @classmethod
    def new(cls, labels: Sequence[str]) -> Self:
        rows = tuple(("0", "0", "0", label) for label in labels)
        return cls(rows, np.zeros((len(rows), 3)), ("x,y,z,label",), label_column=3, space="lps")

    @property
    def labels(self) -> tuple[str, ...]:
        column = self.label_column
        return tuple(
            row[column] if column is not None and column < len(row) else str(n) for n, row in enumerate(self.rows, 1)
        )

    def in_space(self, space: str) -> Self:
        return replace(self, space="ras" if space == "ras" else "lps")

    def text(self, numbers: Points) -> str:
        lines = io.StringIO()
        writer = csv.writer(lines, delimiter=self.delimiter, lineterminator="\n")
        writer.writerows(_with_numbers(row, self.columns, point) for row, point in zip(self.rows, numbers, strict=True))
        return "".join(f"{line}\n" for line in self.heading) + lines.getvalue()


@dataclass(frozen=True, eq=False)
class FcsvPoints:
    """Slicer's older fiducial list: a header of comments that names the coordinate system and the columns."""

    heading: tuple[str, ...]
    rows: Rows
    numbers: Points
    space: str

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        lines = text.splitlines()
        heading = tuple(line for line in lines if line.startswith("#"))
        system = re.search(r"CoordinateSystem\s*=\s*(\w+)", "\n".join(heading))
        said = system.group(1).upper() if system else "RAS"
        space = {"LPS": "lps", "1": "lps", "RAS": "ras", "0": "ras", "IJK": "voxel", "2": "voxel"}.get(said)
        if space is None:
            raise InputError(f"'{name}' is in the unknown coordinate system '{said}'; save it again from Slicer.")
        rows = _rows(lines, 1, ",")
        return cls(heading, tuple(rows.values()), _numbers(rows, (1, 2, 3), name), space)

    @classmethod
    def new(cls, labels: Sequence[str]) -> Self:
        heading = (
            "# Markups fiducial file version = 4.11",
            "# CoordinateSystem = LPS",
            "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID",
        )
        tail = ("0", "0", "0", "1", "1", "1", "0")
        rows = tuple((str(n), "", "", "", *tail, s, "", "") for n, s in enumerate(labels, 1))
        return cls(heading, rows, np.zeros((len(rows), 3)), "lps")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(row[11] if len(row) > 11 else row[0] for row in self.rows)

    def in_space(self, space: str) -> Self:
        if space != "voxel":
            return self
        lines = (re.sub(r"(CoordinateSystem\s*=\s*)\w+", r"\1LPS", line) for line in self.heading)
        return replace(self, heading=tuple(lines), space="lps")

    def text(self, numbers: Points) -> str:
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(
            _with_numbers(row, (1, 2, 3), point) for row, point in zip(self.rows, numbers, strict=True)
        )
        return "".join(f"{line}\n" for line in self.heading) + lines.getvalue()


@dataclass(frozen=True, eq=False)
class MarkupsPoints:
    """Slicer's markups: every placed control point of the point lists, lines, angles and curves in one file."""

    content: dict[str, Any]
    numbers: Points
    space: str = "lps"

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        try:
            content = json.loads(text)
            kinds = {markup["type"] for markup in content["markups"]}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"'{name}' is no markups file ({error}); save it again from Slicer.") from error
        foreign = kinds - {"Fiducial", "Line", "Angle", "Curve", "ClosedCurve"}
        if foreign:
            raise InputError(f"'{name}' holds a {min(foreign)}, which is more than points; give a point list or curve.")
        units = {markup.get("coordinateUnits", "mm") for markup in content["markups"]}
        if units - {"mm"}:
            raise InputError(f"'{name}' is in other units than mm; save it again with millimetres.")
        found = []
        for markup in content["markups"]:
            signs = _lps_signs(markup, name)
            for number, point in enumerate(_placed(markup), 1):
                try:
                    found.append(np.array(point["position"], float).reshape(3) * signs)
                except (KeyError, ValueError, TypeError) as error:
                    raise InputError(
                        f"Control point {number} of '{name}' has no three coordinates; save it again from Slicer."
                    ) from error
        return cls(content, np.array(found).reshape(-1, 3))

    @classmethod
    def new(cls, labels: Sequence[str]) -> Self:
        points = [{"id": str(n), "label": s, "positionStatus": "defined"} for n, s in enumerate(labels, 1)]
        schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema"
        markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
        return cls(
            {"@schema": f"{schema}/markups-schema-v1.0.3.json#", "markups": [markup]}, np.zeros((len(labels), 3))
        )

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(str(point.get("label", "")) for markup in self.content["markups"] for point in _placed(markup))

    def in_space(self, space: str) -> Self:
        return self

    def text(self, numbers: Points) -> str:
        content = json.loads(json.dumps(self.content))
        left = iter(numbers)
        for markup in content["markups"]:
            for point in _placed(markup):
                point["position"] = [round(float(v), 9) for v in next(left) * _lps_signs(markup, "")]
        return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


@dataclass(frozen=True, eq=False)
class ElastixPoints:
    """`point` (LPS mm) or `index` (voxels), the number of points, then one a line; also transformix's outputpoints."""

    numbers: Points
    space: str

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        moved = re.findall(r"OutputPoint\s*=\s*\[([^]]*)\]", text)
        if moved:
            return cls(np.array([_floats(values.split(), name, n) for n, values in enumerate(moved, 1)]), "lps")
        lines = text.splitlines()
        kind = lines[0].strip().lower() if lines else ""
        if kind not in ("point", "index") or len(lines) < 2 or not lines[1].strip().isdigit():
            raise InputError(
                f"'{name}' is no elastix point file: its first line must be 'point' (LPS mm) or 'index' (voxels), "
                "its second the number of points; add them, or name the file .csv."
            )
        rows = [(n, line.split()) for n, line in enumerate(lines[2:], 3) if line.strip()]
        if len(rows) != int(lines[1]):
            raise InputError(f"'{name}' says {int(lines[1])} points and holds {len(rows)}; correct its second line.")
        points = np.array([_floats(values, name, n) for n, values in rows], float).reshape(-1, 3)
        return cls(points, "lps" if kind == "point" else "voxel")

    @classmethod
    def new(cls, labels: Sequence[str]) -> Self:
        return cls(np.zeros((len(labels), 3)), "lps")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(str(n) for n in range(1, len(self.numbers) + 1))

    def in_space(self, space: str) -> Self:
        return replace(self, space="lps")

    def text(self, numbers: Points) -> str:
        return f"point\n{len(numbers)}\n" + "".join(f"{x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in numbers)


def _placed(markup: dict[str, Any]) -> list[dict[str, Any]]:
    """Control points that have a place; the others wait to be clicked."""
    return [p for p in markup.get("controlPoints", []) if p.get("positionStatus", "defined") == "defined"]


def _lps_signs(markup: dict[str, Any], name: str) -> Points:
    system = str(markup.get("coordinateSystem", "LPS")).upper()
    if system in ("LPS", "1"):
        return np.ones(3)
    if system in ("RAS", "0"):
        return np.array([-1.0, -1.0, 1.0])
    raise InputError(f"'{name}' is in the unknown coordinate system '{system}'; save it again from Slicer.")


def _rows(lines: Sequence[str], first: int, delimiter: str) -> dict[int, tuple[str, ...]]:
    """Line number -> cells, without comments and empty lines."""
    kept = {n: line for n, line in enumerate(lines, first) if line.strip() and not line.startswith("#")}
    cells = csv.reader(kept.values(), delimiter=delimiter)
    return {n: tuple(cell.strip() for cell in row) for n, row in zip(kept, cells, strict=True)}


def _numbers(rows: dict[int, tuple[str, ...]], columns: Sequence[int], name: str) -> Points:
    found = []
    for line, row in rows.items():
        if len(row) <= max(columns):
            raise InputError(f"'{name}', line {line}, has {len(row)} columns; every line needs x,y,z.")
        found.append(_floats([row[column] for column in columns], name, line))
    return np.array(found, float).reshape(-1, 3)


def _floats(cells: Sequence[str], name: str, line: int) -> list[float]:
    if len(cells) != 3:
        raise InputError(f"'{name}', line {line}, has {len(cells)} numbers; every point needs x, y and z.")
    for cell in cells:
        if not _is_number(cell):
            raise InputError(f"'{name}', line {line}: '{cell}' is not a number; every line needs x,y,z.")
    return [float(cell) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _with_numbers(row: Sequence[str], columns: Sequence[int], point: Points) -> list[str]:
    cells = list(row)
    for column, value in zip(columns, point, strict=True):
        cells[column] = f"{value:.6f}"
    return cells
