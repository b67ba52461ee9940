"""The panel as a person uses it: what it asks for, what it shows while it computes, and what it puts into the scene."""

import importlib.util
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer

from RegistrationNetLib.core.errors import RegistrationError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine.settings import PRESETS, Settings
from RegistrationNetLib.panel import packages
from RegistrationNetLib.panel import run as runs_of_panel
from RegistrationNetLib.scene import volumes
from slicer_standin.names import exists, used
from Testing.Python.panel.cases import Slow, names, shown
from Testing.Python.panel.conftest import FILE
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID, image_on


def test_the_module_names_itself_and_its_category(module: Any) -> None:
    assert (module.title, module.categories) == ("RegistrationNet", ("Registration",))
    assert "Research use only" in module.helpText
    assert (FILE.parent / "Resources/Icons/RegistrationNet.png").exists()


def test_its_own_tests_pass(app: Any, module: Any) -> None:
    sys.modules["RegistrationNet"].RegistrationNetTest().runTest()


def test_what_ctest_runs_in_slicer_passes(app: Any, module: Any) -> None:
    """As `slicer.testing.runUnitTest` loads it."""
    pytest.importorskip("torch", reason="It registers, which takes PyTorch.")
    path = FILE.parents[1] / "Testing/Python/RegistrationNetInSlicerTest.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    result = unittest.TestResult()
    unittest.TestLoader().loadTestsFromModule(tests).run(result)
    assert [text for _, text in (*result.errors, *result.failures)] == []
    assert result.testsRun == 2


def test_slicer_has_every_name_that_the_module_and_its_form_use() -> None:
    form = FILE.parent / "Resources/UI/RegistrationNet.ui"
    files = [FILE, *(FILE.parent / "RegistrationNetLib/panel").glob("*.py")]
    found = {name for file in files for name in used(file, form)}
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


class Installing:
    """An installation that goes as it is told."""

    fraction, sentence, failure, cancelled = 0.4, "Downloading torch (203.5 MB)", "", False
    ended = False

    def look(self) -> bool:
        return self.ended

    def cancel(self) -> None:
        self.cancelled = self.ended = True


def test_what_is_missing_is_installed_from_the_panel(
    panel: Any, two: Any, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ui = panel.ui
    module.widgetRepresentation().show()
    assert not ui.packagesFrame.visible
    lacking, under_way = ["torch>=2.4"], Installing()
    monkeypatch.setattr(packages, "missing", lambda: lacking)
    monkeypatch.setattr(packages, "Installation", lambda needed: under_way)
    module.widgetRepresentation().enter()
    assert "has to be installed once" in ui.packagesLabel.text
    assert ui.packagesFrame.visible
    assert not ui.registerButton.enabled
    assert ui.registerButton.toolTip == "Install first what is missing."
    ui.packagesButton.click()
    assert (ui.packagesButton.text, ui.packagesLabel.text) == ("Cancel", under_way.sentence)
    assert ui.packagesProgressBar.value == 400
    ui.packagesButton.click()
    panel.install.look()
    assert ui.packagesFrame.visible
    assert ui.packagesButton.text == "Install"
    under_way.ended = False
    ui.packagesButton.click()
    under_way.ended = bool(lacking.pop())
    panel.install.look()
    assert not ui.packagesFrame.visible
    assert ui.registerButton.enabled


def test_an_older_slicer_is_told_so_in_a_sentence(
    panel: Any, two: Any, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["RegistrationNet"], "OLDEST_SLICER", (99, 1))
    module.widgetRepresentation().show()
    module.widgetRepresentation().enter()
    assert panel.ui.packagesLabel.text.startswith("RegistrationNet needs Slicer 99.1 or later, and this is 5.")
    assert not panel.ui.packagesButton.visible
    assert not panel.ui.registerButton.enabled
    assert "Install a newer Slicer" in panel.ui.registerButton.toolTip


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
    assert "Folded voxels inside the body" in panel.lights.labels[1].text


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
        started[0].watch.similarity(12.0, size / 10)
    panel.onLook()
    assert panel.ui.curveLabel.text == "Similarity ▁█ 0.90"
    if way == "cancel":
        panel.ui.registerButton.click()
        assert names() == before
        assert shown() == views
    started[0].ended = True
    panel.onLook()
    assert panel.ui.curveLabel.text == ""
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


def test_settings_have_plain_names_and_none_that_is_gone(panel: Any) -> None:
    from RegistrationNetLib.panel.advanced import LABELS

    fields = {name.partition("__")[2] for name in panel.advanced._fields}
    assert set(LABELS) <= fields
    assert len(set(LABELS.values())) == len(LABELS)


def test_fields_show_every_preset_as_it_is(panel: Any, two: Any) -> None:
    """With as few digits as they need."""
    for preset in PRESETS:
        panel.ui.presetComboBox.setCurrentText(preset)
        shown = {name: field.read() for name, field in panel.advanced._fields.items()}
        settings = Settings.preset(preset).to_dict()
        assert shown == {name: settings[name.split("__")[0]][name.split("__")[1]] for name in shown}


def test_a_long_curve_is_thinned_and_keeps_its_last_value() -> None:
    assert runs_of_panel.bars([0.5]) == "▁"
    assert runs_of_panel.bars([0.0, 0.5, 1.0]) == "▁▅█"
    many = runs_of_panel.bars([k / 1000 for k in range(1000)])
    assert len(many) == 40
    assert (many[0], many[-1]) == ("▁", "█")


def test_lengths_of_time_are_said_as_people_do() -> None:
    assert [runs_of_panel.in_words(s) for s in (0.2, 3.4, 89, 100, 600)] == ["1 s", "3 s", "89 s", "2 min", "10 min"]


def in_folder(*nodes: Any) -> None:
    """Lay nodes into a folder of the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "visits")
    for node in nodes:
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)


def listed(panel: Any) -> list[str]:
    return [panel.ui.manyList.item(row).text() for row in range(panel.ui.manyList.count)]


def add_group(panel: Any, name: str) -> None:
    """As a user opens the list and picks the entry that begins so."""
    panel.many.list_groups()
    box = panel.ui.manyComboBox
    index = next(k for k in range(box.count) if box.itemText(k).startswith(name))
    box.setCurrentIndex(index)
    panel.many.add(index)


def test_a_folder_is_registered_one_after_the_other_and_a_failure_stops_none(
    panel: Any, two: Any, started: list[Slow]
) -> None:
    ui = panel.ui
    assert not ui.manyButton.enabled
    flat = Image(np.full((1, *MOVING_GRID.shape), 7, np.int16), MOVING_GRID, 0.0, "flat")
    more = [slicer.mrmlScene.AddNode(volumes.volume_node(flat))]
    more.append(slicer.mrmlScene.AddNode(volumes.volume_node(image_on(MOVING_GRID, "later", np.int16))))
    in_folder(two[1], *more)
    add_group(panel, "folder visits")
    assert listed(panel) == ["followup", "flat", "later"]
    ui.manyButton.click()
    assert [text.partition(": ")[2] for text in listed(panel)] == ["Starting", "waiting", "waiting"]
    started[0].tell("refine", 0.5, "Refining the deformation on this pair")
    panel.onLook()
    assert ui.statusLabel.text.startswith("1 of 3: Refining")
    assert ui.progressBar.value == round(1000 * 0.5 / 3)
    started[0].ended = True
    panel.onLook()
    assert listed(panel)[0].startswith("followup: Done")
    assert "'flat' is constant" in listed(panel)[1]
    assert len(started) == 2
    started[1].ended = True
    panel.onLook()
    assert ui.statusLabel.text == "2 of 3 done, 1 failed."
    assert ui.resultComboBox.count == 2
    assert ui.registerButton.text == "Register"


def test_cancelling_ends_all_that_wait(panel: Any, two: Any, started: list[Slow]) -> None:
    later = slicer.mrmlScene.AddNode(volumes.volume_node(image_on(MOVING_GRID, "later", np.int16)))
    add_group(panel, "followup")
    add_group(panel, "later")
    before = names()
    panel.ui.manyButton.click()
    panel.ui.registerButton.click()
    panel.onLook()
    assert [text.partition(": ")[2] for text in listed(panel)] == ["Cancelled; the scene is as it was.", "cancelled"]
    assert (len(started), names()) == (1, before)
    assert later.GetParentTransformNode() is None


def test_frames_of_a_sequence_become_volumes_once(panel: Any, two: Any, started: list[Slow]) -> None:
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "beating")
    for time in ("0", "1"):
        sequence.SetDataNodeAtValue(two[1], time)
    for _ in range(2):
        add_group(panel, "sequence beating, 2 frames")
    assert listed(panel) == ["beating time 0", "beating time 1"]
    assert len(slicer.util.getNodes("beating time *")) == 2
    panel.ui.manyRemoveButton.click()
    assert listed(panel) == []


def test_results_are_not_offered_to_be_registered(panel: Any, two: Any, started: list[Slow]) -> None:
    panel.ui.registerButton.click()
    started[0].ended = True
    panel.onLook()
    panel.many.list_groups()
    offered = [panel.ui.manyComboBox.itemText(k) for k in range(1, panel.ui.manyComboBox.count)]
    assert offered == ["baseline", "followup"]


def test_the_phantom_is_sample_data_that_is_drawn_here(
    app: Any, panel: Any, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[dict[str, Any]] = []
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **source: offered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=logic))
    app.startupCompleted.emit()
    (source,) = offered
    assert source["sampleName"] == "RegistrationNet head phantom"
    fixed, moving = source["customDownloader"](None)
    assert [node.GetScene() for node in (fixed, moving)] == [slicer.mrmlScene] * 2
    assert shown()[:2] == (fixed.GetID(), moving.GetID())
    panel.ui.fixedSelector.setCurrentNode(fixed)
    panel.ui.movingSelector.setCurrentNode(moving)
    assert panel.ui.registerButton.enabled


def test_results_go_into_chosen_nodes_which_hold_again_what_they_held(
    panel: Any, two: Any, started: list[Slow]
) -> None:
    ui = panel.ui
    transform, volume = ui.outputTransformSelector.addNode(), ui.outputVolumeSelector.addNode()
    before = names()
    ui.registerButton.click()
    started[0].ended = True
    panel.onLook()
    assert panel._chosen() is transform
    assert volume.GetImageData() is not None
    ui.removeButton.click()
    assert names() == before
    assert volume.GetImageData() is None
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemByDataNode(volume)


def test_an_output_that_cannot_be_is_said_beside_it(panel: Any, two: Any) -> None:
    panel.ui.outputVolumeSelector.setCurrentNode(two[0])
    assert "'baseline' itself is registered" in panel.ui.outputProblemLabel.text
    assert not panel.ui.registerButton.enabled
    panel.ui.outputVolumeSelector.setCurrentNode(None)
    assert panel.ui.outputProblemLabel.text == ""
    assert panel.ui.registerButton.enabled
