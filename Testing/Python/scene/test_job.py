from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import Cancelled, InputError, RegistrationError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.files.colours import jacobian_colours
from RegistrationNetLib.phantom import phantom_pair
from RegistrationNetLib.scene import SceneResult, register_nodes, results, transforms, volumes
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.scene.cases import (
    FIXED_GRID,
    MOVING_GRID,
    KnownJob,
    finds,
    image_on,
    known_affine,
    known_mapping,
    rigid,
    smooth_field,
)

Add = Callable[..., Any]
LINEAR = rigid((0.2, 0.1, -0.3), (5, -7, 9))
NONLINEAR = Mapping((smooth_field(FIXED_GRID.padded((4, 4, 4), (4, 4, 4)), 3, seed=7), known_affine()))
PARENTS = {"none": None, "linear": LINEAR, "nonlinear": NONLINEAR}


@pytest.fixture
def pair(add_volume: Add, add_transform: Add) -> Callable[..., tuple[Any, Any]]:
    """A fixed and a moving volume, each under the named kind of parent."""

    def make(fixed_parent: str = "none", moving_parent: str = "none") -> tuple[Any, Any]:
        def parent(kind: str, name: str) -> Any:
            mapping = PARENTS[kind]
            return None if mapping is None else add_transform(mapping, name)

        fixed = add_volume(image_on(FIXED_GRID, "fixed"), parent(fixed_parent, "fixed parent"))
        moving = add_volume(image_on(MOVING_GRID, "moving", np.int16), parent(moving_parent, "moving parent"))
        return fixed, moving

    return make


def snapshot(scene: Any) -> list[tuple[str, str | None]]:
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return [(n.GetID(), n.GetTransformNodeID() if n.IsA("vtkMRMLTransformableNode") else None) for n in nodes]


def world_points(count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(3)
    return FIXED_GRID.to_world(rng.uniform(2, np.array(FIXED_GRID.shape) - 3, (count, 3)))


@pytest.mark.parametrize("moving_parent", PARENTS)
@pytest.mark.parametrize("fixed_parent", PARENTS)
def test_whatever_the_parents_the_moving_volume_lands_on_the_fixed_one(
    pair: Add, fixed_parent: str, moving_parent: str
) -> None:
    fixed, moving = pair(fixed_parent, moving_parent)
    mapping = known_mapping()
    result = register_nodes(fixed, moving, start=finds(mapping))
    points = world_points()
    # The node interpolates cubically, the mapping linearly: up to 0.2 mm apart between nodes.
    np.testing.assert_allclose(
        transforms.move(result.transform.GetTransformFromParent(), points), mapping(points), atol=0.2
    )
    own = PARENTS[moving_parent] or Mapping()
    found = transforms.move(transforms.from_world(moving.GetParentTransformNode()), points)
    np.testing.assert_allclose(found, own(mapping(points)), atol=0.3)


@pytest.mark.parametrize("moving_parent", ["linear", "nonlinear"])
def test_the_moving_volumes_own_parent_and_its_other_children_stay_as_they_are(
    scene: Any, pair: Add, add_volume: Add, moving_parent: str
) -> None:
    fixed, moving = pair("none", moving_parent)
    parent = moving.GetParentTransformNode()
    sibling = add_volume(image_on(MOVING_GRID, "sibling"), parent)
    points = world_points(20)
    before = transforms.move(transforms.from_world(sibling.GetParentTransformNode()), points)
    result = register_nodes(fixed, moving, start=finds(known_mapping()))
    assert sibling.GetParentTransformNode() is parent
    assert parent.GetParentTransformNode() is None
    np.testing.assert_array_equal(transforms.move(transforms.from_world(parent), points), before)
    assert result.moving_parent is moving.GetParentTransformNode()
    assert result.moving_parent is not parent
    assert result.moving_parent.GetParentTransformNode() is result.transform


@pytest.mark.parametrize("fixed_parent", PARENTS)
def test_warped_and_jacobian_lie_in_the_world_on_the_fixed_volume(pair: Add, fixed_parent: str) -> None:
    fixed, moving = pair(fixed_parent)
    result = register_nodes(fixed, moving, start=finds(known_mapping()))
    expected = volumes.image_of(fixed).grid
    for node in (result.warped, result.jacobian):
        assert node.GetParentTransformNode() is None
        assert volumes.local_grid(node).isclose(expected)
    assert result.warped.GetImageData().GetScalarType() == moving.GetImageData().GetScalarType()


def test_a_moving_volume_under_a_nonlinear_parent_is_interpolated_only_once(pair: Add) -> None:
    fixed, moving = pair("none", "nonlinear")
    mapping = known_mapping()
    result = register_nodes(fixed, moving, start=finds(mapping))
    voxels = MOVING_GRID.to_voxel(NONLINEAR(mapping(FIXED_GRID.points())))
    values = volumes.local_image(moving).scalar.astype(float)
    expected = map_coordinates(values, np.moveaxis(voxels, -1, 0), order=1)
    inside = np.all((voxels > 0) & (voxels < np.array(MOVING_GRID.shape) - 1), axis=-1)
    difference = np.abs(volumes.local_image(result.warped).scalar - expected)[inside]
    assert inside.sum() > 1000
    assert difference.max() < 2.5  # of 200: cubic against linear interpolation of the transforms
    assert np.median(difference) < 0.5  # rounding to whole grey values


@pytest.mark.parametrize("moving_parent", PARENTS)
def test_a_warped_label_map_is_a_label_map_without_new_values(
    pair: Add, add_volume: Add, add_transform: Add, moving_parent: str
) -> None:
    fixed, moving = pair("none", moving_parent)
    labels = Image((image_on(MOVING_GRID, "x").data > 100).astype(np.int16) * 700, MOVING_GRID, 0.0, "labels")
    warped = register_nodes(
        fixed, add_volume(labels, moving.GetParentTransformNode(), labels=True), start=finds(known_mapping())
    ).warped
    assert volumes.is_labels(warped)
    assert set(np.unique(volumes.local_image(warped).data)) == {0, 700}


def test_the_affine_is_a_node_of_its_own_and_a_step_of_the_transform(pair: Add) -> None:
    result = register_nodes(*pair(), start=finds(known_mapping()))
    assert result.affine.IsLinear()
    points = world_points(20)
    np.testing.assert_allclose(
        transforms.move(result.affine.GetTransformFromParent(), points), known_affine()(points), atol=1e-9
    )
    assert result.transform.IsComposite()
    steps = transforms.from_vtk(result.transform.GetTransformFromParent(), FIXED_GRID).steps
    np.testing.assert_allclose(steps[1].matrix, known_affine().matrix, atol=1e-12)


def test_a_rigid_result_is_a_linear_transform(pair: Add) -> None:
    result = register_nodes(*pair(), start=finds(Mapping((known_affine(),))))
    assert result.transform.IsLinear()


def test_the_transform_knows_its_images_and_its_maker(pair: Add) -> None:
    fixed, moving = pair()
    node = register_nodes(fixed, moving, start=finds(known_mapping())).transform
    assert node.GetNodeReference(slicer.vtkMRMLTransformNode.GetMovingNodeReferenceRole()) is moving
    assert node.GetNodeReference(slicer.vtkMRMLTransformNode.GetFixedNodeReferenceRole()) is fixed
    assert node.GetAttribute("RegistrationNet.Version") == "0.1.0"
    assert node.GetAttribute("RegistrationNet.Model") == "none"
    assert node.GetName() == "moving to fixed (deformable)"


def test_the_jacobian_has_a_diverging_map_around_one_and_a_legend(pair: Add) -> None:
    result = register_nodes(*pair(), start=finds(known_mapping()))
    display = result.jacobian.GetDisplayNode()
    assert (display.GetWindowLevelMin() + display.GetWindowLevelMax()) / 2 == pytest.approx(1)
    assert display.GetColorNode() is result.colors
    assert result.legend.GetTitleText() == "Jacobian determinant\n(> 1: tissue is larger in the moving image)"
    assert result.legend.GetVisibility()


def shown_colour(node: Any, value: float) -> np.ndarray:
    """What Slicer's own display pipeline makes of one value."""
    image = vtk.vtkImageData()
    image.SetDimensions(2, 2, 1)
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    image.GetPointData().GetScalars().Fill(value)
    copy = slicer.vtkMRMLScalarVolumeDisplayNode()
    copy.SetScene(node.GetScene())
    copy.CopyContent(node.GetDisplayNode())
    copy.SetAndObserveColorNodeID(node.GetDisplayNode().GetColorNodeID())
    producer = vtk.vtkTrivialProducer()
    producer.SetOutput(image)
    copy.SetInputImageDataConnection(producer.GetOutputPort())
    copy.GetImageDataConnection().GetProducer().Update()
    shown = copy.GetImageDataConnection().GetProducer().GetOutputDataObject(0)
    return np.array([shown.GetScalarComponentAsDouble(0, 0, 0, channel) for channel in range(3)])


def test_slicer_shows_folded_voxels_in_the_warning_colour_and_one_in_white(pair: Add) -> None:
    jacobian = register_nodes(*pair(), start=finds(known_mapping())).jacobian
    for folded in (-3.0, -0.01, 0.0):
        np.testing.assert_array_equal(shown_colour(jacobian, folded), (255, 0, 255))
    assert shown_colour(jacobian, 1.0).min() > 250
    smaller, larger = shown_colour(jacobian, 0.6), shown_colour(jacobian, 1.4)
    assert smaller[2] > smaller[0] + 50
    assert larger[0] > larger[2] + 50
    assert np.abs(jacobian_colours(np.array(0.6)) * 255 - smaller).max() < 3


def test_the_table_says_the_quality_in_words(pair: Add) -> None:
    table = register_nodes(*pair(), start=finds(known_mapping())).table
    assert [table.GetColumnName(c) for c in range(4)] == ["Figure", "Value", "Verdict", "What to do"]
    assert table.GetCellText(1, 1) == "9.10 mm before, 1.20 mm after"


def test_everything_lies_in_one_folder_of_the_subject_hierarchy(scene: Any, pair: Add) -> None:
    result = register_nodes(*pair("none", "linear"), start=finds(known_mapping()))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemName(result.folder) == "moving to fixed"
    for node in (result.transform, result.affine, result.warped, result.jacobian, result.table, result.moving_parent):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == result.folder


def test_the_warped_volume_is_shown_like_the_moving_one(pair: Add) -> None:
    fixed, moving = pair()
    moving.CreateDefaultDisplayNodes()
    moving.GetDisplayNode().SetAutoWindowLevel(0)
    moving.GetDisplayNode().SetWindowLevel(123, 45)
    shown = register_nodes(fixed, moving, start=finds(known_mapping())).warped.GetDisplayNode()
    assert (shown.GetWindow(), shown.GetLevel()) == (123, 45)


def test_registering_again_starts_from_where_the_volume_is_and_keeps_both_results(scene: Any, pair: Add) -> None:
    fixed, moving = pair()
    first = register_nodes(fixed, moving, start=finds(known_mapping()))
    again = Mapping((smooth_field(FIXED_GRID, 1, seed=5),))
    second = register_nodes(fixed, moving, start=finds(again))
    points = world_points()
    found = transforms.move(transforms.from_world(moving.GetParentTransformNode()), points)
    np.testing.assert_allclose(found, known_mapping()(again(points)), atol=0.3)
    assert second.transform.GetName() != first.transform.GetName()
    assert first.transform.GetScene() is scene


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


def points_node(scene: Any, points: np.ndarray, parent: Any) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for point in points * (-1, -1, 1):
        node.AddControlPoint(*point)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


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


@pytest.mark.parametrize("broken", ["_table_node", "_folder", "_show_like", "_tell_origin"])
def test_an_error_while_placing_leaves_the_scene_exactly_as_it_was(
    scene: Any, pair: Add, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    fixed, moving = pair("none", "linear")
    register_nodes(fixed, moving, start=finds(known_mapping()))
    before, items = snapshot(scene), results._items(scene)
    original = getattr(results, broken)

    def breaks(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        raise MemoryError

    monkeypatch.setattr(results, broken, breaks)
    with pytest.raises(MemoryError):
        register_nodes(fixed, moving, start=finds(known_mapping()))
    assert snapshot(scene) == before
    assert results._items(scene) == items


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


def test_the_real_worker_brings_a_moved_volume_back(scene: Any, add_volume: Add, add_transform: Add) -> None:
    """The whole way, torch in the worker's process only: two blobs 5 mm apart, one under a linear parent."""
    grid = FIXED_GRID.resampled((24, 28, 26))
    shift = np.array([4.0, -3.0, 2.0])

    def blob(points: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(points - grid.center, -1, 0)
        inside = (x / 13) ** 2 + (y / 9) ** 2 + (z / 11) ** 2 < 1
        return np.where(inside, 100 + 40 * np.sin(x / 3) * np.cos(y / 3) + 20 * np.sin(z / 2.5), 0).astype(np.float32)

    fixed = add_volume(Image(blob(grid.points())[None], grid, 0.0, "fixed"))
    elsewhere = Grid(grid.shape, LINEAR.affine.matrix @ grid.voxel_to_world)
    moved = Image(blob(grid.points() - shift)[None], elsewhere, 0.0, "moving")
    moving = add_volume(moved, add_transform(LINEAR))
    stages = []
    settings = Settings.preset("fast").with_values(transform="rigid")
    result = register_nodes(fixed, moving, settings=settings, on_progress=lambda stage, *_: stages.append(stage))
    points = grid.center + np.random.default_rng(0).uniform(-6, 6, (50, 3))
    found = transforms.move(result.transform.GetTransformFromParent(), points)
    assert np.linalg.norm(found - points - shift, axis=1).mean() < 1.5
    assert stages[0] == "prepare"
    assert stages[-1] == "judge"
    assert result.table.GetNumberOfRows() >= 3


def test_the_real_worker_follows_a_deformation_and_everything_lies_in_the_world(add_volume: Add) -> None:
    """A deformable registration of two coarse heads whose landmarks are known."""
    heads = phantom_pair(voxel_mm=4.5)
    fixed, moving = add_volume(heads.fixed), add_volume(heads.moving)
    result = register_nodes(fixed, moving, preset="fast")

    def error(transform: Any) -> float:
        found = transforms.move(transform.GetTransformFromParent(), heads.fixed_landmarks)
        return float(np.linalg.norm(found - heads.moving_landmarks, axis=1).mean())

    before = float(np.linalg.norm(heads.fixed_landmarks - heads.moving_landmarks, axis=1).mean())
    assert before > 10
    assert error(result.transform) < error(result.affine) < before
    assert error(result.transform) < 2.5
    assert moving.GetParentTransformNode() is result.transform is result.moving_parent
    for node in (result.transform, result.warped, result.jacobian):
        assert node.GetParentTransformNode() is None
    fixed_image, warped = heads.fixed.scalar, volumes.image_of(result.warped)
    unmoved = warp(heads.moving, Mapping(), heads.fixed.grid).scalar
    assert warped.grid.isclose(heads.fixed.grid)
    assert np.corrcoef(fixed_image.ravel(), warped.scalar.ravel())[0, 1] > 0.85
    assert np.corrcoef(fixed_image.ravel(), unmoved.ravel())[0, 1] < 0.7
    jacobian = volumes.image_of(result.jacobian)
    assert jacobian.grid.isclose(heads.fixed.grid)
    assert 0 < jacobian.data.min() < 0.95
    assert jacobian.data.max() > 1.05
    figures = [result.table.GetCellText(row, 0) for row in range(result.table.GetNumberOfRows())]
    assert figures == [check["name"] for check in result.report["checks"]]
    assert len(figures) >= 3


def test_cancelling_the_real_worker_leaves_the_scene_alone(scene: Any, pair: Add) -> None:
    fixed, moving = pair("linear", "none")
    before = snapshot(scene)
    job = register_nodes(fixed, moving, wait=False)
    assert not job.poll()
    job.cancel()
    with pytest.raises(Cancelled):
        job.result()
    assert job.done
    assert snapshot(scene) == before
