"""report.json says plain values, in order, and nothing JSON does not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.files.report import write_report


def test_numbers_arrays_and_paths_become_plain_and_what_is_not_finite_null(tmp_path):
    report = {
        "zeta": np.float32(0.5),
        "alpha": [1, np.int64(2), float("nan"), float("-inf")],
        "spacing": np.array([1.0, np.nan]),
        "file": Path("a/b.nii.gz"),
        "ok": np.bool_(True),
        "nothing": None,
        "word": "Größe",
    }
    write_report(report, tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert "Größe" in text
    assert json.loads(text) == {
        "zeta": 0.5,
        "alpha": [1, 2, None, None],
        "spacing": [1.0, None],
        "file": "a/b.nii.gz",
        "ok": True,
        "nothing": None,
        "word": "Größe",
    }
    assert list(json.loads(text)) == list(report)


def test_what_json_cannot_say_is_a_mistake_of_ours(tmp_path):
    with pytest.raises(TypeError, match="set"):
        write_report({"a": {1, 2}}, tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()


def test_an_unwritable_path_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        write_report({}, tmp_path / "nowhere" / "report.json")
