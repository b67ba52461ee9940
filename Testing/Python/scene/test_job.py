"""What is handed to the worker, what is refused before, and what happens meanwhile."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import Cancelled, InputError, RegistrationError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.scene import SceneResult, register_nodes, transforms, volumes
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.scene.cases import (
    FIXED_GRID,
    LINEAR,
    MOVING_GRID,
    KnownJob,
    finds,
    image_on,
    known_mapping,
    points_node,
    snapshot,
    world_points,
)

Add = Callable[..., Any]


def test_an_initial_transform_reaches_the_worker_as_the_mapping_it_stands_for(pair: Add, add_transform: Add) -> None:
    seen: list[KnownJob] = []

    def start(request: Any, on_progress: Any, watch: Any) -> KnownJob:
        seen.append(KnownJob(request, known_mapping()))
        return seen[-1]

    initial = add_transform(known_mapping(), "rough")
    register_nodes(*pair(), initial_transform=initial, model="udrnet", preset="fast", start=start)
    points = world_points()
    np.testing.assert_allclose(seen[0].request.initial(points), known_mapping()(points), atol=1e-4)
    assert seen[0].request.settings == Settings.preset("fast").with_values(model="udrnet")


def test_masks_reach_the_worker(pair: Add, add_volume: Add) -> None:
    mask = Image((image_on(FIXED_GRID, "x").data > 100).astype(np.uint8), FIXED_GRID, 0.0, "mask")
    seen = []

    def start(request: Any, on_progress: Any, watch: Any) -> KnownJob:
        seen.append(request)
        return KnownJob(request, known_mapping())

    register_nodes(*pair(), fixed_mask=add_volume(mask, labels=True), start=start)
    np.testing.assert_array_equal(seen[0].fixed_mask.data, mask.data)
    assert seen[0].moving_mask is None


def marked() -> Image:
    """Two labels on the fixed volume."""
    x = FIXED_GRID.points()[..., 0]
    values = np.where(image_on(FIXED_GRID, "x").scalar > 120, np.where(x > np.median(x), 2, 1), 0)
    return Image(values.astype(np.uint8)[None], FIXED_GRID, 0.0, "marked")


def segmentation_of(scene: Any, node: Any) -> Any:
    """A segmentation node with what a label map node shows, under the same parent."""
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    assert slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(node, segmentation)
    return segmentation


@pytest.mark.parametrize("kind", ["none", "linear"])
def test_constraints_reach_the_worker_as_they_lie_in_the_world(
    scene: Any, pair: Add, add_volume: Add, add_transform: Add, kind: str
) -> None:
    fixed, moving = pair(kind)
    parent = fixed.GetParentTransformNode()
    drawn = add_volume(marked(), parent, labels=True)
    segmentation = segmentation_of(scene, drawn)
    points = world_points(4)
    nodes = [points_node(scene, points, under) for under in (parent, None)]
    seen = []

    def start(request: Any, on_progress: Any, watch: Any) -> KnownJob:
        seen.append(request.constraints)
        return KnownJob(request, known_mapping())

    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)  # there from the beginning in the application
    before = snapshot(scene)
    asked = {"keep_rigid": drawn, "keep_volume": segmentation, "region": segmentation, "region_margin_mm": 4.0}
    job = register_nodes(fixed, moving, **asked, fixed_hints=nodes[0], moving_hints=nodes[1], wait=False, start=start)
    assert snapshot(scene) == before
    job.cancel()
    world = volumes.image_of(drawn)
    np.testing.assert_array_equal(seen[0].rigid.data, world.data)
    assert seen[0].rigid.grid.isclose(world.grid)
    assert seen[0].margin_mm == 4.0
    for segmented in (seen[0].volume, seen[0].region):
        again = warp(segmented, Mapping(), world.grid, "nearest")
        assert (again.data == world.data).mean() > 0.999
        assert segmented.name == "segmentation"
    own = (LINEAR if parent is not None else Mapping()).inverse()
    np.testing.assert_allclose(seen[0].hints[0], own(points), atol=1e-6)
    np.testing.assert_allclose(seen[0].hints[1], points, atol=1e-6)


def test_hints_of_one_side_or_of_another_kind_are_refused(scene: Any, pair: Add) -> None:
    fixed, moving = pair()
    node = points_node(scene, world_points(2), None)
    with pytest.raises(InputError, match="Only one side's hints"):
        register_nodes(fixed, moving, fixed_hints=node, start=finds(known_mapping()))
    with pytest.raises(InputError, match="The moving hints are 'moving', which is no point list"):
        register_nodes(fixed, moving, fixed_hints=node, moving_hints=moving, start=finds(known_mapping()))
    with pytest.raises(InputError, match=r"The part to keep rigid is .*which is no volume"):
        register_nodes(fixed, moving, keep_rigid=node, start=finds(known_mapping()))


def two_segments(scene: Any, labels: Any, first: str, second: str) -> Any:
    """Label 1 and 2 of a label map as segments of these names, in this order."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labels, node)
    for index, name in enumerate((first, second)):
        node.GetSegmentation().GetNthSegment(index).SetName(name)
    return node


def test_what_measures_reaches_the_worker_and_segments_belong_together_by_name(
    scene: Any, pair: Add, add_volume: Add
) -> None:
    fixed, moving = pair()
    both = marked()
    both = Image(both.data + (both.data & (FIXED_GRID.points()[None, ..., 0] > FIXED_GRID.center[0])), both.grid)
    drawn = add_volume(both, labels=True)
    fixed_labels = two_segments(scene, drawn, "liver", "tumour")
    moving_labels = two_segments(scene, drawn, "tumour", "liver")
    points = points_node(scene, world_points(3), None)
    seen = []

    def start(request: Any, on_progress: Any, watch: Any) -> KnownJob:
        seen.append(request.reference)
        return KnownJob(request, known_mapping())

    labels = {"fixed_labels": fixed_labels, "moving_labels": moving_labels}
    register_nodes(fixed, moving, **labels, fixed_landmarks=points, moving_landmarks=points, start=start)
    (reference,) = seen
    one, other = (
        warp(image, Mapping(), FIXED_GRID, "nearest").data
        for image in (reference.fixed_labels, reference.moving_labels)
    )
    assert set(np.unique(one)) == {0, 1, 2}
    np.testing.assert_array_equal(np.choose(one, [0, 2, 1]), other)  # what is liver here is tumour there
    np.testing.assert_allclose(reference.fixed_landmarks, world_points(3), atol=1e-6)
    register_nodes(fixed, moving, start=start)
    assert seen[-1] is None
    with pytest.raises(InputError, match="have no segment of one name"):
        register_nodes(fixed, moving, fixed_labels=fixed_labels, moving_labels=two_segments(scene, drawn, "a", "b"))
    with pytest.raises(InputError, match="Only one side's landmarks were chosen"):
        register_nodes(fixed, moving, fixed_landmarks=points)


class FailingJob(KnownJob):
    def wait(self) -> Any:
        raise RegistrationError("The registration process ended unexpectedly.")


def test_a_crash_leaves_the_scene_exactly_as_it_was(scene: Any, pair: Add) -> None:
    fixed, moving = pair("linear", "nonlinear")
    before = snapshot(scene)
    with pytest.raises(RegistrationError, match="unexpectedly"):
        register_nodes(fixed, moving, start=lambda request, on_progress, watch: FailingJob(request, known_mapping()))
    assert snapshot(scene) == before


def test_without_waiting_the_scene_changes_only_when_the_result_is_asked_for(scene: Any, pair: Add) -> None:
    fixed, moving = pair()
    before = snapshot(scene)
    job = register_nodes(fixed, moving, wait=False, start=finds(known_mapping()))
    assert job.poll()
    assert job.done
    assert snapshot(scene) == before
    result = job.result()
    assert isinstance(result, SceneResult)
    assert job.result() is result
    assert result.transform.GetScene() is scene


def test_a_cancelled_job_leaves_the_scene_alone(scene: Any, pair: Add) -> None:
    fixed, moving = pair()
    before = snapshot(scene)
    job = register_nodes(fixed, moving, wait=False, start=finds(known_mapping()))
    job.cancel()
    with pytest.raises(Cancelled):
        job.result()
    assert snapshot(scene) == before


def test_a_parent_moved_while_the_worker_runs_does_not_spoil_the_result(pair: Add) -> None:
    fixed, moving = pair("none", "linear")
    job = register_nodes(fixed, moving, wait=False, start=finds(known_mapping()))
    moving.GetParentTransformNode().SetMatrixTransformFromParent(vtk.vtkMatrix4x4())
    job.result()
    points = world_points(20)
    found = transforms.move(transforms.from_world(moving.GetParentTransformNode()), points)
    np.testing.assert_allclose(found, LINEAR(known_mapping()(points)), atol=0.2)


def test_a_volume_deleted_meanwhile_is_said_by_name(scene: Any, pair: Add) -> None:
    fixed, moving = pair()
    job = register_nodes(fixed, moving, wait=False, start=finds(known_mapping()))
    scene.RemoveNode(fixed)
    with pytest.raises(InputError, match="'fixed' is no longer in the scene"):
        job.result()


def test_an_initial_transform_that_is_already_applied_is_refused(pair: Add) -> None:
    fixed, moving = pair("none", "linear")
    with pytest.raises(InputError, match="already applied to 'moving'"):
        register_nodes(fixed, moving, initial_transform=moving.GetParentTransformNode(), start=finds(known_mapping()))


@pytest.mark.parametrize(
    ("choose", "words"),
    [
        (lambda fixed, moving, scene: (fixed, fixed), "both the fixed and the moving"),
        (lambda fixed, moving, scene: (fixed, None), "moving image is missing"),
        (lambda fixed, moving, scene: (scene.AddNewNodeByClass("vtkMRMLModelNode", "bone"), moving), "'bone'.*no vol"),
    ],
    ids=["same", "none", "model"],
)
def test_a_wrong_choice_of_nodes_is_refused_in_words(scene: Any, pair: Add, choose: Add, words: str) -> None:
    with pytest.raises(InputError, match=words):
        register_nodes(*choose(*pair(), scene), start=finds(known_mapping()))


def test_a_constant_volume_is_refused_by_name(pair: Add, add_volume: Add) -> None:
    fixed, _ = pair()
    flat = add_volume(Image(np.full((1, *MOVING_GRID.shape), 7, np.int16), MOVING_GRID, 0.0, "flat"))
    with pytest.raises(InputError, match="'flat' is constant"):
        register_nodes(fixed, flat, start=finds(known_mapping()))


def test_an_empty_mask_is_refused_by_name(pair: Add, add_volume: Add) -> None:
    empty = add_volume(Image(np.zeros((1, *FIXED_GRID.shape), np.uint8), FIXED_GRID, 0.0, "nothing"), labels=True)
    with pytest.raises(InputError, match="'nothing' is empty"):
        register_nodes(*pair(), fixed_mask=empty, start=finds(known_mapping()))
