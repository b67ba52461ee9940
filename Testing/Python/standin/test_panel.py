"""The life of a module in the application: loaded, entered, restored from a scene, reloaded, unloaded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from slicer_standin import parameters, pythonqt


@pytest.fixture(autouse=True)
def disconnecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Slicer's issue 7547 mended, so that what is tested here is the module's own life."""
    monkeypatch.setattr(parameters, "RETURNS_TAG", True)


def add(name: str) -> Any:
    return slicer.util.addVolumeFromArray(np.arange(24, dtype=np.float32).reshape(2, 3, 4), name=name)


def test_module_says_what_it_is(module: Any) -> None:
    assert (module.name, module.title, module.categories) == ("Example", "Example", ("Examples",))
    assert slicer.util.modulePath("Example") == module.path
    assert slicer.app.moduleManager().module("Example") is module


def test_panel_is_set_up_from_its_form(panel: Any) -> None:
    assert panel.ui.inputSelector.mrmlScene() is slicer.mrmlScene
    assert panel.ui.inputSelector.noneEnabled
    assert panel.ui.outputSelector.findChild("ctkComboBox").currentText == "(new volume)"
    assert panel.ui.advancedCollapsibleButton.collapsed
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose an input volume."


def test_chosen_node_enables_the_button(panel: Any) -> None:
    volume = add("a")
    panel.ui.inputSelector.setCurrentNode(volume)
    assert panel.ui.applyButton.enabled
    slicer.mrmlScene.RemoveNode(volume)
    assert not panel.ui.applyButton.enabled


def test_click_computes_and_shows_the_result(panel: Any) -> None:
    panel.ui.inputSelector.setCurrentNode(add("a"))
    panel.ui.applyButton.click()
    assert panel.ui.outputSelector.currentNode().GetName() == "inverted"


def test_error_of_a_click_is_seen(panel: Any) -> None:
    panel.ui.inputSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow"))
    panel.ui.applyButton.click()
    assert [str(error) for error in pythonqt.errors] == ["'hollow' is empty."]
    pythonqt.errors.clear()


def test_saved_scene_restores_the_panel(panel: Any, tmp_path: Path) -> None:
    ui = panel.ui
    ui.inputSelector.setCurrentNode(add("kept"))
    ui.thresholdSlider.value, ui.stepsSpinBox.value, ui.commentLineEdit.text = 42.5, 7, "thorax"
    ui.sideComboBox.currentIndex, ui.invertCheckBox.checked = 1, True
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"), None, None)
    slicer.mrmlScene.Clear(0)
    ui.thresholdSlider.value, ui.stepsSpinBox.value, ui.commentLineEdit.text = 1.0, 1, ""
    assert ui.inputSelector.currentNode() is None
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, None)
    assert ui.inputSelector.currentNode().GetName() == "kept"
    assert (ui.thresholdSlider.value, ui.stepsSpinBox.value, ui.commentLineEdit.text) == (42.5, 7, "thorax")
    assert (ui.sideComboBox.currentText, ui.invertCheckBox.checked) == ("RIGHT", True)
    assert ui.applyButton.enabled


def test_closed_scene_leaves_an_empty_panel_that_works(panel: Any) -> None:
    panel.ui.inputSelector.setCurrentNode(add("a"))
    slicer.mrmlScene.Clear(0)
    assert panel.ui.inputSelector.currentNode() is None
    assert not panel.ui.applyButton.enabled
    panel.ui.inputSelector.setCurrentNode(add("b"))
    assert panel.ui.applyButton.enabled


def test_reload_makes_a_new_panel_and_cleans_up_the_old(panel: Any, module: Any) -> None:
    old, old_class = panel, type(panel)
    panel.ui.inputSelector.setCurrentNode(add("a"))
    panel.onReload()
    new = module.widgetRepresentation().self()
    assert type(new) is not old_class
    assert slicer.modules.ExampleWidget is new
    assert new.ui.inputSelector.currentNode().GetName() == "a"
    assert not old.hasObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, old.onSceneEndClose)


def test_self_test_runs_by_its_name(app: Any, module: Any) -> None:
    slicer.selfTests["Example"]()


def test_unknown_widget_in_a_form_is_refused(app: Any, tmp_path: Path) -> None:
    form = tmp_path / "Panel.ui"
    form.write_text(
        '<ui version="4.0"><widget class="ctkWheel" name="wheel"/>'
        "<customwidgets><customwidget><class>ctkWheel</class><extends>QWidget</extends></customwidget></customwidgets></ui>"
    )
    with pytest.raises(RuntimeError, match="No stand-in for the widgets ctkWheel"):
        slicer.util.loadUI(str(form))
