"""The rules hold only while the application runs."""

import sys

import slicer
from PySide6 import QtWidgets
from slicer_standin.application import running


def test_qt_and_slicer_are_as_before_once_the_application_has_ended() -> None:
    for _ in range(2):
        with running():
            assert QtWidgets.QLabel("in").text == "in"
            assert slicer.app.testingEnabled()
    label = QtWidgets.QLabel("out")
    label.anything = 1
    assert label.text() == "out"
    assert not hasattr(slicer, "app")
    assert not {"qt", "ctk", "slicer.parameterNodeWrapper"} & set(sys.modules)
