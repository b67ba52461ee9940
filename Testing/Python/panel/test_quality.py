"""How good a result is, seen at a glance in the panel; and a result refined there, beside the earlier one."""

import re
from typing import Any

import numpy as np
import pytest
import slicer

from RegistrationNetLib.engine.limits import VERDICTS
from RegistrationNetLib.scene import refine_result, register_nodes, runs, volumes
from RegistrationNetLib.scene.results import TABLE_COLUMNS
from Testing.Python.panel.cases import Slow
from Testing.Python.panel.cases import names as names_in_scene
from Testing.Python.panel.cases import shown as shown_in_red
from Testing.Python.scene.cases import FIXED_GRID, image_on, points_node, world_points


@pytest.fixture
def done(panel: Any, two: Any, started: list[Slow], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The transform of a result that the panel shows; refining starts such jobs too."""
    monkeypatch.setitem(refine_result.__kwdefaults__, "start", register_nodes.__kwdefaults__["start"])
    panel.ui.registerButton.click()
    started[0].ended = True
    panel.onLook()
    return panel._chosen()


def plain(label: Any) -> str:
    return re.sub(r"<[^>]*>|&nbsp;", "", label.text.replace("<br/>", "\n"))


def lights(panel: Any) -> list[Any]:
    """The labels that are not hidden."""
    return panel.lights.labels


def box_on(node: str = "vtkMRMLMarkupsROINode") -> Any:
    box = slicer.mrmlScene.AddNewNodeByClass(node, "wrong here")
    box.SetCenter(*(FIXED_GRID.center * (-1, -1, 1)))
    box.SetSize(20, 20, 20)
    return box


def test_each_check_is_a_light_with_a_sign_a_word_and_a_sentence_the_worst_first(panel: Any, done: Any) -> None:
    said = [plain(label).split("\n") for label in lights(panel)]
    assert said == [
        ["\u2716 Bad Overall [mm]: 1 of 2 good", "One check is beyond the limit."],
        ["\u2716 Bad Folded voxels inside the body [mm]: 3 (0.010 %)", "Smooth more."],
        ["\u2714 Good Landmark error (mean TRE) [mm]: 9.10 before, 1.20 after", "They meet."],
    ]
    colours = [re.search(r"color:(#\w+)", label.text)[1] for label in lights(panel)]
    assert colours[0] == colours[1] != colours[2]
    assert all(label.toolTip == "Threshold: good up to 2 mm\nSource: TG-132" for label in lights(panel))


@pytest.fixture
def written(panel: Any) -> Any:
    """The module that writes lights; it needs Slicer's application."""
    from RegistrationNetLib.panel import lights

    return lights


def test_no_two_verdicts_share_a_sign_or_a_word(written: Any) -> None:
    words = {"name": "a", "value": "1", "unit": "", "sentence": "s.", "threshold": "t", "source": ""}
    said = [
        re.findall(r">(.) ([^<]+)</span>", written.in_words(words | {"verdict": verdict}))[0] for verdict in VERDICTS
    ]
    assert [len(set(each)) for each in zip(*said, strict=True)] == [4, 4]
    assert written.held_against(words) == "Threshold: t"


def test_names_from_the_scene_cannot_change_how_a_light_is_written(written: Any) -> None:
    words = {"name": "<b>x", "value": "a < b", "unit": "", "sentence": "1 & 2", "verdict": "good"}
    said = written.in_words(words)
    assert "&lt;b&gt;x" in said
    assert "a &lt; b" in said
    assert "1 &amp; 2" in said


def test_the_panel_shows_what_the_table_in_the_scene_says(panel: Any, done: Any) -> None:
    table = runs.member(done, "table")
    assert panel.logic.checks(done)[2]["verdict"] == "good"
    table.GetTable().GetColumn([*TABLE_COLUMNS].index("Verdict")).SetValue(2, "look")
    panel.showResult()
    assert plain(lights(panel)[2]).startswith("\u25b2 Look Landmark error")
    slicer.mrmlScene.RemoveNode(table)
    panel.showResult()
    assert lights(panel) == []


def test_a_removed_result_takes_its_lights_along(panel: Any, done: Any) -> None:
    panel.ui.removeButton.click()
    assert lights(panel) == []
    assert not panel.ui.refineButton.enabled


def test_what_refining_lacks_is_said_before_the_click(panel: Any, done: Any) -> None:
    ui = panel.ui
    assert not ui.refineButton.enabled
    assert ui.refineProblemLabel.text.startswith("Choose a region where the result is wrong")
    ui.fixedRefinePointsSelector.setCurrentNode(points_node(slicer.mrmlScene, world_points(2), None))
    assert "on one volume only" in ui.refineProblemLabel.text
    ui.movingRefinePointsSelector.setCurrentNode(points_node(slicer.mrmlScene, world_points(3), None))
    assert "has 2 points and " in ui.refineProblemLabel.text
    assert not ui.refineButton.enabled
    ui.fixedRefinePointsSelector.setCurrentNode(None)
    ui.movingRefinePointsSelector.setCurrentNode(None)
    ui.refineRegionSelector.setCurrentNode(box_on())
    assert ui.refineButton.enabled
    assert ui.refineProblemLabel.text == ""


def test_refine_asks_for_the_shown_result_and_keeps_it_beside_the_new_one(
    panel: Any, two: Any, done: Any, started: list[Slow]
) -> None:
    ui = panel.ui
    ui.refineRegionSelector.setCurrentNode(box_on())
    before, first = names_in_scene(), panel._chosen()
    ui.presetComboBox.setCurrentText("fast")
    ui.refineButton.click()
    assert not ui.refineButton.enabled
    assert ui.registerButton.text == "Cancel"
    request = started[1].request
    assert request.constraints.region.name == "wrong here"
    assert request.settings.refine.steps_full == 2
    points = world_points()
    np.testing.assert_allclose(request.initial(points), started[0].mapping(points), atol=1e-4)
    started[1].ended = True
    panel.onLook()
    assert [ui.resultComboBox.itemText(row) for row in range(2)] == [
        "followup to baseline (deformable, refined)",
        "followup to baseline (deformable)",
    ]
    assert runs.refined_by(panel._chosen()) is first
    ui.removeButton.click()
    assert names_in_scene() == before
    assert panel._chosen() is first


def test_the_chosen_result_is_the_one_that_the_views_show(panel: Any, done: Any, started: list[Slow]) -> None:
    panel.ui.refineRegionSelector.setCurrentNode(box_on())
    panel.ui.refineButton.click()
    started[1].ended = True
    panel.onLook()
    assert shown_in_red()[1] == runs.member(panel._chosen(), "warped").GetID()
    panel.ui.resultComboBox.setCurrentIndex(1)
    assert panel._chosen() is done
    assert shown_in_red()[1] == runs.member(done, "warped").GetID()


def test_a_refinement_can_be_cancelled(panel: Any, done: Any, started: list[Slow]) -> None:
    panel.ui.refineRegionSelector.setCurrentNode(box_on())
    before = names_in_scene()
    panel.ui.refineButton.click()
    panel.ui.registerButton.click()
    assert started[1].cancelled
    panel.onLook()
    assert names_in_scene() == before
    assert panel.ui.refineButton.enabled


def test_the_region_of_any_kind_is_kept_with_the_scene(panel: Any, done: Any, tmp_path: Any) -> None:
    drawn = image_on(FIXED_GRID, "drawn", np.int16)
    for node in (box_on(), slicer.mrmlScene.AddNode(volumes.volume_node(drawn, labels=True))):
        panel.ui.refineRegionSelector.setCurrentNode(node)
        assert panel._parameters.refineRegion is node
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    slicer.mrmlScene.Clear(0)
    assert panel.ui.refineRegionSelector.currentNode() is None
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, slicer.vtkMRMLMessageCollection())
    panel.onSceneChanged()
    assert panel.ui.refineRegionSelector.currentNode().GetName() == "drawn"
    assert plain(lights(panel)[0]).startswith("\u2716 Bad Overall")


def test_of_many_checks_those_that_ask_for_a_look_stay_and_the_rest_is_folded_away(panel: Any, module: Any) -> None:
    module.widgetRepresentation().show()
    said = ["look", "look", "cannot tell", "good", "good", "good"]
    empty = dict.fromkeys(("value", "unit", "sentence", "threshold", "source"), "")
    checks = [empty | {"name": f"check {k}", "verdict": verdict} for k, verdict in enumerate(said)]
    panel.ui.resultsCollapsibleButton.collapsed = False
    fold = panel.lights._fold
    panel.lights.show(checks)
    assert fold.visible
    assert fold.collapsed
    assert fold.text == "More checks: 1 cannot tell, 3 good"
    assert [label.text.count("Look") for label in lights(panel)] == [1, 1, 0, 0, 0, 0]
    assert [label.text for label in panel.lights._seen.labels if "check" in label.text] == [
        label.text for label in lights(panel)[:2]
    ]
    panel.lights.show(checks[:1] + checks[3:])  # few: nothing is folded
    assert not fold.visible
    assert len(lights(panel)) == 4
    panel.lights.show([checks[4], *checks[2:]])
    assert "check 4" in panel.lights._seen.labels[0].text  # the whole, however good
    assert not any(label.text for label in panel.lights._seen.labels[1:])


def test_a_refined_result_and_the_one_before_are_seen_in_turn(panel: Any, done: Any, started: list[Slow]) -> None:
    ui = panel.ui
    assert [ui.flickerComboBox.itemText(k) for k in range(ui.flickerComboBox.count)] == ["the fixed volume"]
    ui.refineRegionSelector.setCurrentNode(box_on())
    ui.refineButton.click()
    started[1].ended = True
    panel.onLook()
    ui.flickerComboBox.setCurrentIndex(ui.flickerComboBox.findData("earlier"))
    ui.flickerCheckBox.checked = True
    seen = []
    for _ in range(4):
        panel.onFlickerTick()
        assert shown_in_red()[2] == 1.0
        seen.append(shown_in_red()[1])
    earlier, refined = (runs.member(one, "warped").GetID() for one in (done, panel._chosen()))
    assert seen == [earlier, refined, earlier, refined]
    ui.removeButton.click()
    assert [ui.flickerComboBox.itemText(k) for k in range(ui.flickerComboBox.count)] == ["the fixed volume"]


def test_table_and_plot_come_beside_the_slices_and_go(app: Any, panel: Any, done: Any, started: list[Slow]) -> None:
    views, selection = app.layoutManager(), app.applicationLogic().GetSelectionNode()
    before = views.layout
    panel.ui.figuresCheckBox.checked = True
    assert views.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotTableView != before
    assert selection.GetActiveTableID() == runs.member(done, "table").GetID()
    panel.ui.registerButton.click()
    started[1].watch.similarity(2.0, 0.5)
    started[1].ended = True
    panel.onLook()
    newer = panel._chosen()
    assert selection.GetActiveTableID() == runs.member(newer, "table").GetID()
    assert selection.GetActivePlotChartID() == runs.member(newer, "similarity plot").GetID()
    panel.ui.figuresCheckBox.checked = False
    assert views.layout == before
    panel.ui.figuresCheckBox.checked = True
    panel.ui.removeButton.click()
    panel.ui.removeButton.click()
    assert not panel.ui.figuresCheckBox.checked
    assert views.layout == before
