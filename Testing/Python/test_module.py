"""RegistrationNet.py as Slicer loads it, on the real MRML runtime and Qt, with stand-ins for the rest."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("slicer")
import slicer_standin

FILE = Path(__file__).parents[2] / "RegistrationNet/RegistrationNet.py"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    slicer_standin.install(monkeypatch)
    spec = spec_from_file_location("RegistrationNet", FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def volumes(module: ModuleType) -> list[Any]:
    return [module.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in ("fixed", "moving")]


def panel(module: ModuleType) -> Any:
    widget = module.RegistrationNetWidget()
    widget.setup()
    return widget


def test_module_names_itself_and_its_category(module: ModuleType) -> None:
    parent = SimpleNamespace()
    module.RegistrationNet(parent)
    assert parent.title == "RegistrationNet"
    assert parent.categories == ["Registration"]
    assert "Research use only" in parent.helpText
    assert (FILE.parent / "Resources/Icons/RegistrationNet.png").exists()


def test_own_test_class_passes(module: ModuleType) -> None:
    module.RegistrationNetTest().runTest()


def test_button_says_what_is_missing(module: ModuleType, volumes: list[Any]) -> None:
    widget = panel(module)
    assert widget.registerButton.toolTip() == "Choose a fixed and a moving volume."
    widget.fixedSelector.setCurrentNode(volumes[0])
    widget.movingSelector.setCurrentNode(volumes[0])
    assert not widget.registerButton.isEnabled()
    assert "'fixed' is chosen as fixed and as moving" in widget.registerButton.toolTip()
    widget.movingSelector.setCurrentNode(volumes[1])
    assert widget.registerButton.isEnabled()


def test_button_registers_the_chosen_volumes(
    module: ModuleType, volumes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, Any]] = []
    scene = ModuleType("RegistrationNetLib.scene")
    scene.register_nodes = lambda fixed, moving: asked.append((fixed, moving))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "RegistrationNetLib.scene", scene)
    widget = panel(module)
    widget.fixedSelector.setCurrentNode(volumes[0])
    widget.movingSelector.setCurrentNode(volumes[1])
    widget.registerButton.click()
    assert asked == [(volumes[0], volumes[1])]
    assert widget.statusLabel.text() == "'moving' now lies in the space of 'fixed'."


def test_missing_package_is_named_with_its_cure(
    module: ModuleType, volumes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def register_nodes(fixed: Any, moving: Any) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    scene = ModuleType("RegistrationNetLib.scene")
    scene.register_nodes = register_nodes  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "RegistrationNetLib.scene", scene)
    with pytest.raises(RuntimeError, match="'torch' is missing in Slicer: install torch by the PyTorch extension"):
        module.RegistrationNetLogic().register(*volumes)


def test_panel_opens_without_torch() -> None:
    """In an interpreter of its own, because other tests of this run have loaded PyTorch."""
    code = (
        "import sys, runpy, slicer_standin; from pytest import MonkeyPatch; patch = MonkeyPatch();"
        "slicer_standin.install(patch);"
        f"module = runpy.run_path({str(FILE)!r}, run_name='RegistrationNet');"
        "module['RegistrationNetWidget']().setup(); print(*sorted({'torch', 'RegistrationNetLib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=FILE.parents[1] / "Testing",
        env={"QT_QPA_PLATFORM": "offscreen", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
