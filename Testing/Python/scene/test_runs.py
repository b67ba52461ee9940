"""A run is known by its nodes, can be repeated, and is taken back without a trace, today or after a save."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.scene import SceneResult, register_nodes, runs
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID, finds, image_on, known_mapping, rigid

Add = Callable[..., Any]
PARENT = rigid((0.2, 0.1, -0.3), (5, -7, 9))


@pytest.fixture
def two(scene: Any, add_volume: Add, add_transform: Add) -> tuple[Any, Any]:
    """A fixed and a moving volume, the moving one under a parent, and slice views that show other things."""
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    fixed = add_volume(image_on(FIXED_GRID, "fixed"))
    moving = add_volume(image_on(MOVING_GRID, "moving", np.int16), add_transform(PARENT, "parent"))
    for name, (background, foreground) in {"Red": (fixed, moving), "Green": (moving, None)}.items():
        node = slicer.vtkMRMLSliceCompositeNode()
        node.SetSingletonTag(name)  # as the application has one for each view
        node.SetLayoutName(name)
        node = scene.AddNode(node)
        node.SetBackgroundVolumeID(background.GetID())
        node.SetForegroundVolumeID(None if foreground is None else foreground.GetID())
        node.SetForegroundOpacity(0.25)
    return fixed, moving


def view(scene: Any, name: str) -> tuple[str | None, str | None, float]:
    """Names of background and foreground, and the opacity."""
    node = scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")
    shown = (scene.GetNodeByID(one or "") for one in (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()))
    return *(one and one.GetName() for one in shown), node.GetForegroundOpacity()  # type: ignore[return-value]


def show(scene: Any, result: SceneResult) -> None:
    for k in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        node = scene.GetNthNodeByClass(k, "vtkMRMLSliceCompositeNode")
        node.SetForegroundVolumeID(result.jacobian.GetID())
        node.SetForegroundOpacity(0.5)
        node.SetBackgroundVolumeID(result.warped.GetID())


def whole(scene: Any) -> list[tuple[Any, ...]]:
    """Every node with its parent, and what each subject hierarchy item is called."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    parents = [node.GetTransformNodeID() if node.IsA("vtkMRMLTransformableNode") else None for node in nodes]
    hierarchy, items = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode"), vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    names = sorted(hierarchy.GetItemName(items.GetId(k)) for k in range(items.GetNumberOfIds()))
    return [*((node.GetID(), parent) for node, parent in zip(nodes, parents, strict=True)), tuple(names)]


def test_a_run_is_taken_back_without_a_trace(scene: Any, two: tuple[Any, Any]) -> None:
    before, views = whole(scene), [view(scene, name) for name in ("Red", "Green")]
    result = register_nodes(*two, start=finds(known_mapping()))
    show(scene, result)
    assert whole(scene) != before
    (transform,) = runs.transforms(scene)
    assert transform is result.transform
    runs.remove(transform)
    assert whole(scene) == before
    assert [view(scene, name) for name in ("Red", "Green")] == views
    assert runs.transforms(scene) == []


def test_what_a_view_shows_meanwhile_is_left_alone(scene: Any, two: tuple[Any, Any], add_volume: Add) -> None:
    result = register_nodes(*two, start=finds(known_mapping()))
    show(scene, result)
    other = add_volume(image_on(FIXED_GRID, "other"))
    scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode").SetBackgroundVolumeID(other.GetID())
    runs.remove(result.transform)
    assert view(scene, "Red") == ("other", "moving", 0.25)


def test_what_else_was_put_under_the_run_stays_and_lies_where_it_lay(
    scene: Any, two: tuple[Any, Any], add_volume: Add
) -> None:
    """Under the transform itself as without one; beside the moving volume under what that was under."""
    result = register_nodes(*two, start=finds(known_mapping()))
    under, beside = (add_volume(image_on(MOVING_GRID, name)) for name in ("under", "beside"))
    under.SetAndObserveTransformNodeID(result.transform.GetID())
    beside.SetAndObserveTransformNodeID(result.moving_parent.GetID())
    runs.remove(result.transform)
    assert under.GetParentTransformNode() is None
    assert beside.GetParentTransformNode().GetName() == "parent"
    assert two[1].GetParentTransformNode().GetName() == "parent"


def test_each_of_several_runs_is_taken_back_alone(scene: Any, two: tuple[Any, Any]) -> None:
    first = register_nodes(*two, start=finds(known_mapping(1)))
    between = whole(scene)
    second = register_nodes(*two, start=finds(known_mapping(2)))
    assert runs.transforms(scene) == [first.transform, second.transform]
    runs.remove(second.transform)
    assert whole(scene) == between
    again = register_nodes(*two, start=finds(known_mapping(3)))
    runs.remove(first.transform)
    assert runs.transforms(scene) == [again.transform]
    assert two[1].GetParentTransformNode() is again.moving_parent


def test_a_run_is_taken_back_after_a_save_and_says_how_it_was_made(
    scene: Any, two: tuple[Any, Any], tmp_path: Any
) -> None:
    result = register_nodes(*two, start=finds(known_mapping()))
    show(scene, result)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, slicer.vtkMRMLMessageCollection())
    (transform,) = runs.transforms(scene)
    assert runs.settings_of(transform) == {"transform": "deformable"}
    runs.remove(transform)
    left = [scene.GetNthNode(k) for k in range(scene.GetNumberOfNodes())]
    assert not [node for node in left if node.GetAttribute(runs.RUN) or "to fixed" in (node.GetName() or "")]
    moving = scene.GetFirstNodeByName("moving")
    assert moving.GetParentTransformNode().GetName() == "parent"
    assert view(scene, "Red") == ("fixed", "moving", 0.25)


def test_how_the_similarity_rose_is_a_plot_of_the_run(scene: Any, two: tuple[Any, Any]) -> None:
    before, values = whole(scene), [(4.0, 0.2), (4.0, 0.5), (2.0, 0.4), (2.0, 0.6)]

    def start(request: Any, on_progress: Any, watch: Any) -> Any:
        for value in values:
            watch.similarity(*value)
        return finds(known_mapping())(request, on_progress, watch)

    result = register_nodes(*two, start=start)
    table = runs.member(result.transform, "similarity values").GetTable()
    shown = [[table.GetValue(row, column).ToDouble() for column in (1, 2)] for row in range(table.GetNumberOfRows())]
    assert shown == [list(value) for value in values]
    chart = runs.member(result.transform, "similarity plot")
    assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable() is table
    runs.remove(result.transform)
    assert whole(scene) == before
