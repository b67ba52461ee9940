"""qMRMLNodeComboBox follows the real scene."""

import gc
import weakref
from typing import Any

import pytest
import slicer
from PySide6 import QtCore

from slicer_standin import pythonqt


@pytest.fixture
def scene(app: Any) -> Any:
    return app.mrmlScene()


def add(scene: Any, name: str, kind: str = "vtkMRMLScalarVolumeNode") -> Any:
    return scene.AddNewNodeByClass(kind, name)


def combo_box(scene: Any = None, **properties: Any) -> Any:
    box = slicer.qMRMLNodeComboBox()
    for name, value in {"nodeTypes": ["vtkMRMLScalarVolumeNode"], "noneEnabled": True, **properties}.items():
        setattr(box, name, value)
    if scene is not None:
        box.setMRMLScene(scene)
    return box


def names(box: Any) -> list[str]:
    return [box.nodeFromIndex(i).GetName() for i in range(box.nodeCount())]


def choose(box: Any, text: str) -> None:
    """As the user does."""
    inner = box.findChild("ctkComboBox")
    row = inner.findText(text)
    assert row >= 0
    inner.activated.emit(row)


def test_it_is_disabled_until_it_has_a_scene(scene: Any) -> None:
    box = combo_box()
    assert not box.enabled
    box.setMRMLScene(scene)
    assert box.enabled


def test_nodes_of_its_types_come_and_go_with_the_scene(scene: Any) -> None:
    box = combo_box(scene)
    first, _, _ = add(scene, "a"), add(scene, "b"), add(scene, "text", "vtkMRMLTextNode")
    assert names(box) == ["a", "b"]
    scene.RemoveNode(first)
    assert names(box) == ["b"]
    scene.Clear(0)
    assert names(box) == []


def test_subclasses_are_shown_unless_it_is_told_otherwise(scene: Any) -> None:
    add(scene, "labels", "vtkMRMLLabelMapVolumeNode")
    assert names(combo_box(scene)) == ["labels"]
    assert names(combo_box(scene, showChildNodeTypes=False)) == []
    assert names(combo_box(scene, hideChildNodeTypes=["vtkMRMLLabelMapVolumeNode"])) == []


def test_hidden_nodes_are_shown_only_on_demand(scene: Any) -> None:
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetHideFromEditors(1)
    scene.AddNode(node)
    assert combo_box(scene).nodeCount() == 0
    assert combo_box(scene, showHidden=True).nodeCount() == 1


@pytest.mark.parametrize(("value", "expected"), [(None, ["a", "b"]), ("CT", ["a"]), ("", [])])
def test_attribute_filters(scene: Any, value: Any, expected: list[str]) -> None:
    for name, modality in (("a", "CT"), ("b", "MR"), ("c", None)):
        add(scene, name).SetAttribute("Modality", modality)
    box = combo_box(scene)
    box.addAttribute("vtkMRMLScalarVolumeNode", "Modality", value)
    assert names(box) == expected


def test_choice_is_told_by_all_its_signals(scene: Any) -> None:
    box, node, got = combo_box(scene), add(scene, "a"), []
    box.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: got.append(node))
    box.connect("currentNodeChanged(bool)", lambda valid: got.append(valid))
    box.connect("currentNodeIDChanged(QString)", lambda node_id: got.append(node_id))
    box.setCurrentNode(node)
    assert got == [node, True, node.GetID()]
    got.clear()
    box.setCurrentNode(node)
    assert got == []
    box.setCurrentNode(None)
    assert got == [None, False, ""]


def test_node_of_another_type_is_not_chosen(scene: Any) -> None:
    box = combo_box(scene)
    box.setCurrentNode(add(scene, "text", "vtkMRMLTextNode"))
    assert box.currentNode() is None


def test_node_set_before_the_scene_is_remembered(scene: Any) -> None:
    box, node = combo_box(), add(scene, "a")
    box.setCurrentNode(node)
    box.setMRMLScene(scene)
    assert box.currentNode() is node


def test_nothing_is_chosen_by_itself_where_none_or_actions_are_offered(scene: Any) -> None:
    boxes = [combo_box(scene), combo_box(scene, noneEnabled=False)]
    add(scene, "a")
    assert [box.currentNode() for box in boxes] == [None, None]


def test_action_that_is_offered_later_is_not_chosen(scene: Any) -> None:
    box = combo_box(scene, noneEnabled=False, addEnabled=False, removeEnabled=False)
    box.addEnabled = True
    add(scene, "a")
    assert (box.currentNode(), box.findChild("ctkComboBox").currentText) == (None, "")


def test_first_node_is_chosen_by_itself_where_there_is_nothing_else(scene: Any) -> None:
    box = combo_box(scene, noneEnabled=False, addEnabled=False, removeEnabled=False)
    node = add(scene, "a")
    assert box.currentNode() is node


def test_choice_moves_to_the_entry_before_one_that_goes(scene: Any) -> None:
    box, first, second = combo_box(scene), add(scene, "a"), add(scene, "b")
    box.setCurrentNode(second)
    scene.RemoveNode(second)
    assert box.currentNode() is first
    scene.RemoveNode(first)
    assert box.currentNode() is None


def test_other_nodes_come_and_go_without_changing_the_choice(scene: Any) -> None:
    box, first, second, got = combo_box(scene), add(scene, "a"), add(scene, "b"), []
    box.setCurrentNode(second)
    box.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: got.append(node))
    scene.RemoveNode(first)
    add(scene, "c")
    assert (box.currentNode(), got) == (second, [])


def test_renamed_node_is_shown_by_its_new_name(scene: Any) -> None:
    box, node = combo_box(scene), add(scene, "before")
    box.setCurrentNode(node)
    node.SetName("after")
    assert box.findChild("ctkComboBox").currentText == "after"


def test_user_creates_a_node(scene: Any) -> None:
    box, got = combo_box(scene, baseName="warped"), []
    box.addAttribute("vtkMRMLScalarVolumeNode", "Role", "output")
    box.connect("nodeAddedByUserAction(vtkMRMLNode*)", lambda node: got.append(node))
    choose(box, "Create new Volume")
    node = box.currentNode()
    assert got == [node]
    assert (node.GetName(), node.GetAttribute("Role")) == ("warped", "output")


def test_user_deletes_the_current_node(scene: Any) -> None:
    box, node = combo_box(scene), add(scene, "a")
    box.setCurrentNode(node)
    choose(box, "Delete current")
    assert (box.currentNode(), names(box)) == (None, [])


def test_user_chooses_a_node(scene: Any) -> None:
    box, node, got = combo_box(scene), add(scene, "a"), []
    box.connect("nodeActivated(vtkMRMLNode*)", lambda node: got.append(node))
    choose(box, "a")
    assert (got, box.currentNode()) == ([node], node)


def test_deleted_box_no_longer_observes_the_scene(app: Any, scene: Any) -> None:
    box = combo_box(scene)
    box.delete()
    app.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    add(scene, "a")
    assert pythonqt.errors == []


def test_box_that_nobody_holds_is_not_kept_by_the_scene(scene: Any) -> None:
    add(scene, "a")
    box = weakref.ref(combo_box(scene))
    gc.collect()
    assert box() is None


def test_several_nodes_are_checked(scene: Any) -> None:
    box, got = slicer.qMRMLCheckableNodeComboBox(), []
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(scene)
    first, second = add(scene, "a"), add(scene, "b")
    box.connect("checkedNodesChanged()", lambda: got.append(len(box.checkedNodes())))
    box.check(second)
    box.check(second)
    assert (box.checkedNodes(), box.uncheckedNodes(), got) == ((second,), (first,), [1])
    scene.RemoveNode(second)
    assert box.noneChecked()
