"""report.json: the report's plain values, readable and always in the same order."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping as Dictionary
from pathlib import Path
from typing import Any

import numpy as np

from RegistrationNetLib.core.errors import InputError


def write_report(report: Dictionary[str, Any], path: str | Path) -> None:
    """Write a report as JSON; numbers that are not finite become null, arrays lists. Raises InputError."""
    text = json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); check the folder.") from error


def plain(value: Any) -> Any:
    """The same as dictionaries, lists, texts, numbers and None. Raises TypeError for anything JSON cannot say."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Dictionary):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"A report cannot hold a {type(value).__name__}.")
