"""The module file itself, in the stand-ins for Slicer's application, over the real MRML runtime."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

import numpy as np
import slicer

from RegistrationNetLib.engine import job
from RegistrationNetLib.scene import job as scene_job
from RegistrationNetLib.scene import volumes
from slicer_standin.factory import load_module
from slicer_standin.fixtures import app as app
from slicer_standin.fixtures import application as application
from Testing.Python.panel.cases import Slow
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID, image_on

FILE = Path(__file__).parents[3] / "RegistrationNet/RegistrationNet.py"


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing computes beside the tests."""
    monkeypatch.setattr(job, "warm_up", lambda: None)
    monkeypatch.setattr(job, "_idle", [])


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


@pytest.fixture
def two(panel: Any) -> tuple[Any, Any]:
    """A fixed and a moving volume, chosen in the panel."""
    scene = slicer.mrmlScene
    fixed = scene.AddNode(volumes.volume_node(image_on(FIXED_GRID, "baseline")))
    moving = scene.AddNode(volumes.volume_node(image_on(MOVING_GRID, "followup", np.int16)))
    for node in (fixed, moving):
        node.CreateDefaultDisplayNodes()  # as loading a volume does
    panel.ui.fixedSelector.setCurrentNode(fixed)
    panel.ui.movingSelector.setCurrentNode(moving)
    return fixed, moving


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Slow]:
    """The jobs that the panel starts."""
    jobs: list[Slow] = []

    def start(request: Any, on_progress: Any, watch: Any) -> Slow:
        jobs.append(Slow(request, on_progress))
        jobs[-1].watch = watch
        return jobs[-1]

    monkeypatch.setitem(scene_job.register_nodes.__kwdefaults__, "start", start)
    return jobs
