"""The module file itself, in the stand-ins for Slicer's application, over the real MRML runtime."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from slicer_standin.factory import load_module
from slicer_standin.fixtures import app as app
from slicer_standin.fixtures import application as application

FILE = Path(__file__).parents[3] / "RegistrationNet/RegistrationNet.py"


@pytest.fixture(scope="module")
def module(application: Any) -> Any:
    return load_module(FILE)


@pytest.fixture
def panel(app: Any, module: Any) -> Iterator[Any]:
    """The panel, entered as when the user opens the module."""
    frame = module.widgetRepresentation()
    frame.enter()
    yield frame.self()
    frame.exit()
