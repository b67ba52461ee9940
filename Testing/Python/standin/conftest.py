"""The stand-ins running, and a small module in Slicer's convention that uses most of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from slicer_standin.factory import load_module
from slicer_standin.fixtures import app as app
from slicer_standin.fixtures import application as application

EXAMPLE = Path(__file__).parent / "example/Example.py"


@pytest.fixture(scope="module")
def module(application: Any) -> Any:
    """The example, loaded from its file."""
    return load_module(EXAMPLE)


@pytest.fixture
def panel(app: Any, module: Any) -> Iterator[Any]:
    """The example's widget, entered as when the user opens the module."""
    module.widgetRepresentation().enter()
    yield module.widgetRepresentation().self()
    module.widgetRepresentation().exit()
