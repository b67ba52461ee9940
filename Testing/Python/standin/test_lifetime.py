"""The application begins and ends in a process in which Qt is used otherwise too."""

import sys
from pathlib import Path
from typing import Any

import pytest
import slicer
from PySide6 import QtWidgets

from slicer_standin.application import running
from slicer_standin.factory import load_module

EXAMPLE = Path(__file__).parent / "example/Example.py"


def test_qt_and_slicer_are_as_before_once_the_application_has_ended() -> None:
    for _ in range(2):
        with running():
            assert QtWidgets.QLabel("in").text == "in"
            assert slicer.app.testingEnabled()
    label: Any = QtWidgets.QLabel("out")
    label.anything = 1
    assert label.text() == "out"
    assert not hasattr(slicer, "app")
    assert not {"qt", "ctk", "slicer.parameterNodeWrapper"} & set(sys.modules)


def test_there_is_one_application_at_a_time() -> None:
    with running(), pytest.raises(RuntimeError, match="one application"), running():
        pass


def test_end_of_the_application_cleans_up_the_panels() -> None:
    cleaned: list[str] = []
    with running():
        panel = load_module(EXAMPLE).widgetRepresentation().self()
        panel.cleanup = lambda: cleaned.append("up")
    assert cleaned == ["up"]
    assert "Example" not in sys.modules
