"""The panel as a person uses it: what it asks for, what it shows while it computes, and what it puts into the scene."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from RegistrationNetLib.core.errors import RegistrationError
from RegistrationNetLib.panel import run as runs_of_panel
from RegistrationNetLib.scene import job as scene_job
from RegistrationNetLib.scene import volumes
from slicer_standin.names import exists, used
from Testing.Python.panel.conftest import FILE
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID, KnownJob, image_on, known_mapping


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


class Slow(KnownJob):
    """A job that ends when it is told to."""

    def __init__(self, request: Any, on_progress: Any) -> None:
        super().__init__(request, known_mapping())
        self.tell, self.ended = on_progress, False
        self.watch: Any = None

    def poll(self) -> bool:
        return self.ended or self.cancelled


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


def test_the_module_names_itself_and_its_category(module: Any) -> None:
    assert (module.title, module.categories) == ("RegistrationNet", ("Registration",))
    assert "Research use only" in module.helpText
    assert (FILE.parent / "Resources/Icons/RegistrationNet.png").exists()


def test_its_own_tests_pass(app: Any, module: Any) -> None:
    sys.modules["RegistrationNet"].RegistrationNetTest().runTest()


def test_slicer_has_every_name_that_the_module_and_its_form_use() -> None:
    form = FILE.parent / "Resources/UI/RegistrationNet.ui"
    library = FILE.parent / "RegistrationNetLib/panel"
    found = {*used(FILE, form), *used(library / "advanced.py"), *used(library / "lights.py")}
    assert len(found) > 60
    assert not [f"{cls}.{member}" for cls, member in sorted(found) if not exists(cls, member)]


def test_every_field_has_a_tooltip(panel: Any) -> None:
    fields = [widget for name, widget in vars(panel.ui).items() if name.endswith(("Selector", "ComboBox", "Slider"))]
    assert len(fields) > 20
    assert not [field.name for field in fields if not field.toolTip]


def test_the_panel_is_as_it_was_after_a_reload_and_from_a_saved_scene(
    panel: Any, two: Any, module: Any, tmp_path: Path
) -> None:
    panel.ui.presetComboBox.setCurrentText("fast")
    panel.ui.transformComboBox.setCurrentText("rigid")
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    slicer.mrmlScene.Clear(0)
    assert panel.ui.presetComboBox.currentText == "balanced"
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, slicer.vtkMRMLMessageCollection())
    panel.onSceneChanged()
    assert panel.ui.presetComboBox.currentText == "fast"
    assert panel.ui.transformComboBox.currentText == "rigid"
    assert panel.ui.fixedSelector.currentNode().GetName() == "baseline"
    module.widgetRepresentation().exit()
    module.widgetRepresentation().enter()
    assert panel.ui.transformComboBox.currentText == "rigid"


def test_the_panel_says_what_is_missing_before_the_click(panel: Any) -> None:
    ui = panel.ui
    assert not ui.registerButton.enabled
    assert ui.registerButton.toolTip == "Choose the fixed volume."
    volume = slicer.mrmlScene.AddNode(volumes.volume_node(image_on(FIXED_GRID, "brain")))
    ui.fixedSelector.setCurrentNode(volume)
    ui.movingSelector.setCurrentNode(volume)
    assert not ui.registerButton.enabled
    assert "'brain' is chosen twice" in ui.movingProblemLabel.text
    hollow = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    ui.movingSelector.setCurrentNode(hollow)
    assert "'hollow' is empty" in ui.movingProblemLabel.text


def test_register_shows_progress_and_places_the_result(panel: Any, two: Any, started: list[Slow]) -> None:
    ui = panel.ui
    assert ui.registerButton.enabled
    ui.registerButton.click()
    assert ui.registerButton.text == "Cancel"
    started[0].tell("refine", 0.5, "Refining the deformation on this pair")
    panel.onLook()
    assert ui.progressBar.value == 500
    assert ui.statusLabel.text.startswith("Refining the deformation on this pair; about ")
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    started[0].ended = True
    panel.onLook()
    assert ui.registerButton.text == "Register"
    assert ui.statusLabel.text.startswith("Done in ")
    assert slicer.mrmlScene.GetNumberOfNodes() > nodes
    assert ui.resultComboBox.currentText == "followup to baseline (deformable)"
    assert "Folded voxels inside the body" in panel.lights._labels[1].text


def test_what_the_panel_shows_is_what_is_registered(panel: Any, two: Any, started: list[Slow]) -> None:
    ui = panel.ui
    ui.presetComboBox.setCurrentText("fast")
    ui.transformComboBox.setCurrentText("affine")
    panel._parameters.advanced = '{"refine__window": 4}'
    ui.registerButton.click()
    (job,) = started
    assert (job.request.settings.transform, job.request.settings.refine.window) == ("affine", 4)
    assert job.request.settings.refine.steps_full == 2
    assert (job.request.fixed.name, job.request.moving.name) == ("baseline", "followup")
    ui.registerButton.click()


def shown() -> tuple[Any, ...]:
    """What the red slice view shows."""
    view = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    return view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity()


@pytest.mark.parametrize("way", ["result", "cancel"])
def test_a_preview_is_seen_meanwhile_and_is_gone_afterwards(
    panel: Any, two: Any, started: list[Slow], way: str
) -> None:
    before, views = names(), shown()
    panel.ui.registerButton.click()
    for size in (6, 9):
        started[0].watch.preview(image_on(FIXED_GRID.resampled((size, size, size)), "coarse"))
        node = slicer.mrmlScene.GetNodeByID(shown()[1])
        assert node.GetImageData().GetDimensions() == (size, size, size)
        assert node.GetHideFromEditors()
    if way == "cancel":
        panel.ui.registerButton.click()
        assert names() == before
        assert shown() == views
    started[0].ended = True
    panel.onLook()
    if way == "result":
        panel.ui.removeButton.click()
        assert names() == before
        assert shown() == views


def test_cancel_leaves_the_scene_as_it_was(panel: Any, two: Any, started: list[Slow]) -> None:
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.registerButton.click()
    panel.ui.registerButton.click()
    assert started[0].cancelled
    panel.onLook()
    assert panel.ui.statusLabel.text == "Cancelled; the scene is as it was."
    assert panel.ui.registerButton.text == "Register"
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


def test_a_failure_is_a_sentence_in_the_panel(
    panel: Any, two: Any, started: list[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(self: Any) -> Any:
        raise RegistrationError("The registration process ended unexpectedly; your scene is unchanged.")

    monkeypatch.setattr(Slow, "wait", crash)
    panel.ui.registerButton.click()
    started[0].ended = True
    panel.onLook()
    assert "ended unexpectedly" in panel.ui.statusLabel.text
    assert panel.ui.registerButton.enabled


def test_closing_the_scene_ends_what_runs(panel: Any, two: Any, started: list[Slow]) -> None:
    panel.ui.registerButton.click()
    slicer.mrmlScene.Clear(0)
    assert started[0].cancelled
    assert panel.ui.fixedSelector.currentNode() is None
    assert not panel.ui.progressBar.visible


def names() -> list[str]:
    """Of all nodes in the scene."""
    scene = slicer.mrmlScene
    return [
        f"{scene.GetNthNode(k).GetClassName()} {scene.GetNthNode(k).GetName()}" for k in range(scene.GetNumberOfNodes())
    ]


def test_a_result_is_compared_and_removed(panel: Any, two: Any, started: list[Slow]) -> None:
    before = names()
    panel.ui.registerButton.click()
    started[0].ended = True
    panel.onLook()
    for mode in range(panel.ui.compareComboBox.count):
        panel.ui.compareComboBox.setCurrentIndex(mode)
    panel.ui.flickerCheckBox.checked = True
    panel.onFlickerTick()
    panel.ui.removeButton.click()
    assert names() == before
    assert panel.ui.resultComboBox.count == 0
    assert not panel.ui.resultsCollapsibleButton.enabled


def test_advanced_fields_follow_the_preset_and_keep_what_was_changed(panel: Any, two: Any) -> None:
    fields = panel.advanced._fields
    assert fields["refine__steps_full"].read() == 8
    fields["refine__window"].widget.setValue(3)
    assert panel._parameters.advanced == '{"refine__window": 3}'
    panel.ui.presetComboBox.setCurrentText("fast")
    assert fields["refine__steps_full"].read() == 2
    assert fields["refine__window"].read() == 3


def test_lengths_of_time_are_said_as_people_do() -> None:
    assert [runs_of_panel.in_words(s) for s in (0.2, 3.4, 89, 100, 600)] == ["1 s", "3 s", "89 s", "2 min", "10 min"]
