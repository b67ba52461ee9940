"""A result written into nodes that the user chose, and what they held before, which comes back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.scene import register_nodes, results, runs, transforms, volumes
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID, finds, image_on, known_mapping, rigid, world_points
from Testing.Python.scene.test_runs import two as two
from Testing.Python.scene.test_runs import view, whole

Add = Callable[..., Any]
OLD = rigid((0.1, 0.0, -0.2), (1, 2, 3))


@pytest.fixture
def chosen(scene: Any, two: Any, add_volume: Add, add_transform: Add) -> dict[str, Any]:
    """A transform and a volume that hold something, are named, lie under another transform, and are shown."""
    parent = add_transform(rigid((0, 0, 0.3), (4, 0, 0)), "above")
    transform, volume = add_transform(OLD, "my transform"), add_volume(image_on(MOVING_GRID, "my volume"), parent)
    transform.SetAndObserveTransformNodeID(parent.GetID())
    volume.CreateDefaultDisplayNodes()
    volume.SetAttribute("mine", "kept")
    return {"output_transform": transform, "output_volume": volume}


def held(chosen: dict[str, Any]) -> list[Any]:
    """All that is known of the two nodes."""
    transform, volume = chosen.values()
    found = [transforms.move(transform.GetTransformFromParent(), world_points(20)), volumes.local_image(volume).data]
    for node in (transform, volume):
        roles = [node.GetNthNodeReferenceRole(k) for k in range(node.GetNumberOfNodeReferenceRoles())]
        found.append({role: node.GetNodeReferenceID(role) for role in roles if node.GetNodeReferenceID(role)})
        found.append({name: node.GetAttribute(name) for name in node.GetAttributeNames()})
        found.append(node.GetName())
    return found


def on_fixed(volume: Any) -> np.ndarray:
    return volumes.resampled(volumes.local_image(volume), vtk.vtkTransform(), FIXED_GRID).scalar


def same(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in zip(one, other, strict=True))


def test_the_chosen_nodes_hold_the_result_under_their_own_names(scene: Any, two: Any, chosen: dict[str, Any]) -> None:
    transform, volume = chosen.values()
    new = register_nodes(*two, start=finds(known_mapping(1)))
    expected = volumes.local_image(new.warped)
    runs.remove(new.transform)
    result = register_nodes(*two, **chosen, start=finds(known_mapping(1)))
    assert (result.transform, result.warped) == (transform, volume)
    assert (transform.GetName(), volume.GetName()) == ("my transform", "my volume")
    points = world_points()
    np.testing.assert_allclose(
        transforms.move(transforms.from_world(transform), points), known_mapping(1)(points), atol=0.2
    )
    found = volumes.image_of(volume)
    np.testing.assert_array_equal(found.data, expected.data)
    assert found.grid.isclose(expected.grid)
    assert volume.GetAttribute("mine") == "kept"
    assert transform.GetNodeReference(slicer.vtkMRMLTransformNode.GetFixedNodeReferenceRole()) is two[0]
    assert runs.transforms(scene) == [transform]
    shown = [
        scene.GetNthNode(k) for k in range(scene.GetNumberOfNodes()) if not scene.GetNthNode(k).GetHideFromEditors()
    ]
    assert not [node.GetName() for node in shown if "before" in (node.GetName() or "")]


def test_removing_the_result_brings_back_what_they_held(scene: Any, two: Any, chosen: dict[str, Any]) -> None:
    before, was, views = held(chosen), whole(scene), view(scene, "Red")
    result = register_nodes(*two, **chosen, start=finds(known_mapping()))
    scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode").SetForegroundVolumeID(result.warped.GetID())
    assert not same(held(chosen), before)
    runs.remove(result.transform)
    assert same(held(chosen), before)
    assert whole(scene) == was
    assert view(scene, "Red") == views


def test_an_empty_node_that_was_made_for_it_is_empty_again(scene: Any, two: Any) -> None:
    empty = {
        "output_transform": scene.AddNewNodeByClass("vtkMRMLTransformNode", "new"),
        "output_volume": scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "new too"),
    }
    was = whole(scene)
    runs.remove(register_nodes(*two, **empty, start=finds(known_mapping())).transform)
    assert whole(scene) == was
    assert empty["output_volume"].GetImageData() is None
    assert empty["output_volume"].GetDisplayNode() is None


def test_it_comes_back_after_a_save_too(scene: Any, two: Any, chosen: dict[str, Any], tmp_path: Any) -> None:
    before, values = held(chosen)[0], on_fixed(chosen["output_volume"])
    register_nodes(*two, **chosen, start=finds(known_mapping()))
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, slicer.vtkMRMLMessageCollection())
    (transform,) = runs.transforms(scene)
    runs.remove(transform)
    after = {"transform": transform, "volume": scene.GetFirstNodeByName("my volume")}
    np.testing.assert_allclose(held(after)[0], before, atol=1e-9)
    np.testing.assert_allclose(on_fixed(after["volume"]), values, atol=1e-2)  # a file may store its axes otherwise
    assert [node.GetParentTransformNode().GetName() for node in after.values()] == ["above", "above"]
    assert not [node for node in runs.nodes_of(scene) if "before" in (node.GetName() or "")]


def test_each_of_two_results_in_the_same_nodes_is_taken_back_in_turn(
    scene: Any, two: Any, chosen: dict[str, Any]
) -> None:
    """The second begins where the first has brought the moving volume, which is under the very transform."""
    states = [(held(chosen), whole(scene))]
    for seed in (1, 2):
        result = register_nodes(*two, **chosen, start=finds(known_mapping(seed)))
        assert runs.transforms(scene) == [result.transform]
        states.append((held(chosen), whole(scene)))
    points = world_points()
    moved = transforms.move(transforms.from_world(two[1].GetParentTransformNode()), points)
    own = transforms.from_vtk(transforms.from_world(scene.GetFirstNodeByName("parent")), FIXED_GRID)
    np.testing.assert_allclose(moved, own(known_mapping(1)(known_mapping(2)(points))), atol=0.5)
    for nodes, was in states[1::-1]:
        (transform,) = runs.transforms(scene)
        runs.remove(transform)
        assert same(held(chosen), nodes)
        assert whole(scene) == was


def test_a_moving_volume_right_under_the_chosen_transform_comes_back_to_it(
    scene: Any, two: Any, chosen: dict[str, Any]
) -> None:
    transform, moving = chosen["output_transform"], two[1]
    moving.SetAndObserveTransformNodeID(transform.GetID())
    was = whole(scene)
    result = register_nodes(*two, output_transform=transform, start=finds(known_mapping()))
    assert moving.GetParentTransformNode() is result.moving_parent is not transform
    runs.remove(transform)
    assert whole(scene) == was


def test_without_an_own_parent_the_moving_volume_leaves_the_transform_that_stays(
    scene: Any, pair: Add, add_transform: Add
) -> None:
    fixed, moving = pair()
    transform = add_transform(OLD)
    register_nodes(fixed, moving, output_transform=transform, start=finds(known_mapping()))
    assert moving.GetParentTransformNode() is transform
    runs.remove(transform)
    assert moving.GetParentTransformNode() is None
    assert transform.GetScene() is scene


def test_what_an_earlier_result_in_the_node_knew_is_no_longer_known(
    scene: Any, two: Any, chosen: dict[str, Any]
) -> None:
    moving = two[1]
    transform = register_nodes(*two, **chosen, start=finds(known_mapping(1))).transform
    moving.SetAndObserveTransformNodeID(None)
    register_nodes(*two, **chosen, start=finds(known_mapping(2)))
    assert runs.member(transform, "own transform") is None
    runs.remove(transform)
    assert moving.GetParentTransformNode() is None


@pytest.mark.parametrize("broken", ["table_node", "_folder", "_show_like", "_tell_origin"])
def test_a_failure_leaves_the_chosen_nodes_as_they_were(
    scene: Any, two: Any, chosen: dict[str, Any], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    before, was = held(chosen), whole(scene)
    original = getattr(results, broken)

    def breaks(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        raise MemoryError

    monkeypatch.setattr(results, broken, breaks)
    with pytest.raises(MemoryError):
        register_nodes(*two, **chosen, start=finds(known_mapping()))
    assert same(held(chosen), before)
    assert whole(scene) == was


def test_a_chosen_node_that_is_gone_by_then_is_made_anew(scene: Any, two: Any, chosen: dict[str, Any]) -> None:
    underway = register_nodes(*two, **chosen, wait=False, start=finds(known_mapping()))
    scene.RemoveNode(chosen["output_volume"])
    result = underway.result()
    assert result.transform is chosen["output_transform"]
    assert result.warped.GetName() == "moving to fixed warped"


def test_what_cannot_take_the_result_is_refused_with_what_to_do(
    scene: Any, two: Any, chosen: dict[str, Any], add_volume: Add
) -> None:
    fixed, moving = two
    labels = add_volume(Image(np.ones((1, *MOVING_GRID.shape), np.int16), MOVING_GRID, 0.0, "labels"), labels=True)
    stiff = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "stiff")
    was = whole(scene)

    def refused(why: str, moved: Any = moving, **outputs: Any) -> None:
        with pytest.raises(InputError, match=why):
            register_nodes(fixed, moved, **outputs, start=finds(known_mapping()))

    refused("'moving' itself is registered", output_volume=moving)
    refused("'fixed' itself is registered", output_volume=fixed)
    refused("does not fit into 'labels'", output_volume=labels)
    refused("does not fit into 'my volume'", moved=labels, output_volume=chosen["output_volume"])
    refused("does not fit into 'stiff'", output_transform=stiff)
    assert whole(scene) == was
    fixed.SetAndObserveTransformNodeID(chosen["output_transform"].GetID())
    refused("holds the fixed volume", output_transform=chosen["output_transform"])
