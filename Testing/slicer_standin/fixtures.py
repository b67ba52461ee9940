"""Fixtures for a conftest.py: the application, with an empty scene for each test and no swallowed error after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from slicer_standin import application as standin
from slicer_standin import pythonqt


@pytest.fixture(scope="module")
def application() -> Iterator[Any]:
    """`slicer.app`, for the tests of one file: the rules of PythonQt hold in no other."""
    with standin.running() as app:
        yield app


@pytest.fixture
def app(application: Any) -> Iterator[Any]:
    """`slicer.app` with an empty scene. What slots and observers raise fails the test, unless it empties `errors`."""
    application.mrmlScene().Clear(0)
    pythonqt.errors.clear()
    yield application
    application.processEvents()
    assert pythonqt.errors == []
