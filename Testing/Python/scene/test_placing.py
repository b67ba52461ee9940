"""What a registration leaves in the scene, all or nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.files.colours import jacobian_colours
from RegistrationNetLib.scene import register_nodes, results, runs, transforms, volumes
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.scene.cases import (
    FIXED_GRID,
    MOVING_GRID,
    NONLINEAR,
    PARENTS,
    finds,
    image_on,
    known_affine,
    known_mapping,
    smooth_field,
    snapshot,
    world_points,
)

Add = Callable[..., Any]


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
    assert result.legend.GetTitleText() == "Jacobian determinant\n(> 1: tissue is larger\nin the moving image)"
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
    titles = [table.GetTable().GetColumnName(c) for c in range(table.GetNumberOfColumns())]
    assert titles == ["Figure", "Value", "Unit", "Verdict", "In words", "Threshold", "Source"]
    rows = [[table.GetCellText(row, c) for c in range(len(titles))] for row in range(table.GetNumberOfRows())]
    assert [row[0] for row in rows] == ["Overall", "Folded voxels inside the body", "Landmark error (mean TRE)"]
    assert rows[2][1:] == ["9.10 before, 1.20 after", "mm", "good", "They meet.", "good up to 2 mm", "TG-132"]


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


@pytest.mark.parametrize("broken", ["table_node", "_folder", "_show_like", "_tell_origin"])
def test_an_error_while_placing_leaves_the_scene_exactly_as_it_was(
    scene: Any, pair: Add, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    fixed, moving = pair("none", "linear")
    register_nodes(fixed, moving, start=finds(known_mapping()))
    before, items = snapshot(scene), runs.items_of(scene)
    original = getattr(results, broken)

    def breaks(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        raise MemoryError

    monkeypatch.setattr(results, broken, breaks)
    with pytest.raises(MemoryError):
        register_nodes(fixed, moving, start=finds(known_mapping()))
    assert snapshot(scene) == before
    assert runs.items_of(scene) == items
