"""Results as plain JSON, as reports and tables take them: dataclasses to dictionaries by the names of their fields."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import date
from math import isfinite
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Of `Measures`, `Comparison`, `Assessment` and all that they hold: what `json.dumps` writes as it stands.

    Arrays and tuples become lists, dates ISO text, an end of an interval that does not exist null. Fields that are kept
    out of a dataclass's repr (working data) are left out. Raises TypeError for what is none of this.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value) if part.repr}
    if isinstance(value, tuple | list | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"No plain form of {type(value).__name__} is known.")
