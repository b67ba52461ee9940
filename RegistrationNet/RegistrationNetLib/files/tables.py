"""Tables that people write: a header row, comma, semicolon or tab between cells, in any order of columns."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.files.checks import require_file

_YES, _NO = ("yes", "y", "true", "1"), ("no", "n", "false", "0")


@dataclass(frozen=True)
class Row:
    """cells: by column, stripped; empty where the table has none. where: how messages call the row."""

    cells: Mapping[str, str]
    where: str

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    def needed(self, column: str) -> str:
        if not self[column]:
            raise InputError(f"{self.where} has no {column}; fill in its column '{column}'.")
        return self[column]

    def yes(self, column: str) -> bool | None:
        """None where nothing is said."""
        said = self[column].lower()
        if said and said not in (*_YES, *_NO):
            raise InputError(f"{self.where} says '{self[column]}' in '{column}'; write yes or no, or leave it empty.")
        return said in _YES if said else None

    def day(self, column: str) -> date | None:
        """None where nothing is said."""
        return read_day(self[column], f"{self.where}, column '{column}'") if self[column] else None


def read_table(path: Path, columns: Sequence[str], needed: Sequence[str]) -> list[Row]:
    """Rows that are not empty. Raises InputError for a missing or unknown column, naming the file and the columns."""
    require_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is not a text file; save the table as CSV in UTF-8.") from error
    lines = text.splitlines()
    header = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader((line for line in lines if line.strip()), delimiter=delimiter, restkey="")
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    _check_columns(path, reader.fieldnames, columns, needed)
    rows = []
    for number, cells in enumerate(reader, 2):
        if cells.get(""):
            raise InputError(
                f"Row {number} of '{path}' has more cells than columns; put quotes around cells with commas."
            )
        kept = {name: (value or "").strip() for name, value in cells.items() if name}
        if any(kept.values()):
            rows.append(Row(kept, f"Row {number} of '{path}'"))
    return rows


def read_day(text: str, where: str) -> date:
    """2024-03-31 or 20240331; other orders of day and month are refused, because they can be misread."""
    for form in ("%Y-%m-%d", "%Y%m%d"):
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise InputError(f"{where}: '{text}' is no date; write year-month-day, as in 2024-03-31.")


def _check_columns(path: Path, found: Sequence[str], columns: Sequence[str], needed: Sequence[str]) -> None:
    known = ", ".join(columns)
    missing = [name for name in needed if name not in found]
    if missing:
        raise InputError(f"'{path}' has no column '{missing[0]}'. Its first row must name the columns; known: {known}.")
    unknown = [name for name in found if name and name not in columns]
    if unknown:
        raise InputError(f"'{path}' has a column '{unknown[0]}' that is not known. Known are: {known}.")
