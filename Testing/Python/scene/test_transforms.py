from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.mapping import Displacement, Mapping
from RegistrationNetLib.files.transforms import write_transform
from RegistrationNetLib.scene import transforms
from RegistrationNetLib.scene.geometry import flip_points
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.scene.cases import FIXED_GRID, known_affine, known_mapping, smooth_field

AddTransform = Callable[..., Any]


def point_by_point(transform: Any, points: np.ndarray) -> np.ndarray:
    """Through VTK one point at a time, flipping signs by hand: nothing shared with the code under test."""
    out = [transform.TransformPoint((-x, -y, z)) for x, y, z in points.reshape(-1, 3)]
    return (np.array(out) * (-1, -1, 1)).reshape(points.shape)


def random_points(count: int = 300, margin: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    last = np.array(FIXED_GRID.shape) - 1
    return FIXED_GRID.to_world(rng.uniform(-margin, last + margin, (count, 3)))


def set_linear(transform: Any) -> None:
    parts = vtk.vtkCollection()
    slicer.vtkMRMLTransformNode.FlattenGeneralTransform(parts, transform)
    for index in range(parts.GetNumberOfItems()):
        part = parts.GetItemAsObject(index)
        if part.IsA("vtkGridTransform"):
            part.SetInterpolationModeToLinear()


def test_a_node_maps_grid_nodes_as_the_mapping_does(add_transform: AddTransform) -> None:
    mapping = known_mapping()
    nodes = mapping.displacements[0].grid.points()[2:-2, 2:-2, 2:-2].reshape(-1, 3)
    np.testing.assert_allclose(
        point_by_point(add_transform(mapping).GetTransformFromParent(), nodes), mapping(nodes), atol=1e-4
    )


def test_with_linear_interpolation_a_node_agrees_everywhere(add_transform: AddTransform) -> None:
    mapping = known_mapping()
    node = add_transform(mapping)
    set_linear(node.GetTransformFromParent())
    points = random_points(margin=20)
    np.testing.assert_allclose(point_by_point(node.GetTransformFromParent(), points), mapping(points), atol=1e-4)


def test_slicers_cubic_interpolation_stays_within_a_fifth_of_a_millimetre(add_transform: AddTransform) -> None:
    mapping = known_mapping()
    points = random_points(1000, margin=20)
    cubic = point_by_point(add_transform(mapping).GetTransformFromParent(), points)
    difference = np.linalg.norm(cubic - mapping(points), axis=1)
    assert 0.001 < difference.max() <= 0.2


def test_there_and_back_is_tight(add_transform: AddTransform) -> None:
    node = add_transform(known_mapping())
    points = random_points()
    there = point_by_point(node.GetTransformFromParent(), points)
    assert np.abs(point_by_point(node.GetTransformToParent(), there) - points).max() < 1e-3


def test_a_displacement_stays_single_precision_in_the_node(add_transform: AddTransform) -> None:
    node = add_transform(Mapping((smooth_field(FIXED_GRID, 2),)))
    assert node.GetTransformFromParent().GetDisplacementGrid().GetScalarTypeAsString() == "float"


def test_a_mapping_without_displacements_makes_a_linear_node(add_transform: AddTransform) -> None:
    node = add_transform(Mapping((known_affine(), known_affine())))
    assert node.IsLinear()
    points = random_points(20)
    np.testing.assert_allclose(
        point_by_point(node.GetTransformFromParent(), points), known_affine()(known_affine()(points)), atol=1e-9
    )


@pytest.mark.parametrize("inverted", [False, True], ids=["forward", "inverted"])
def test_a_node_gives_its_mapping_back(add_transform: AddTransform, inverted: bool) -> None:
    mapping = known_mapping().inverse() if inverted else known_mapping()
    back = transforms.from_vtk(transforms.from_world(add_transform(mapping)), FIXED_GRID)
    assert [type(step) for step in back.steps] == [type(step) for step in mapping.steps]
    points = random_points(100)
    np.testing.assert_allclose(back(points), mapping(points), atol=2e-3)


def test_a_chain_of_nodes_acts_from_the_world_inwards(scene: Any, add_transform: AddTransform) -> None:
    outer, inner = add_transform(Mapping((known_affine(),))), add_transform(Mapping((smooth_field(FIXED_GRID, 2),)))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    points = random_points(100)
    expected = smooth_field(FIXED_GRID, 2)(known_affine()(points))
    np.testing.assert_allclose(
        transforms.from_vtk(transforms.from_world(inner), FIXED_GRID)(points), expected, atol=1e-4
    )


def test_a_snapshot_ignores_later_edits(add_transform: AddTransform) -> None:
    node = add_transform(known_mapping())
    before = transforms.from_world(node)
    points = random_points(20)
    expected = transforms.move(before, points)
    scalars = (
        node.GetTransformFromParent().GetConcatenatedTransform(0).GetDisplacementGrid().GetPointData().GetScalars()
    )
    scalars.Fill(9)
    node.GetTransformFromParent().Modified()
    np.testing.assert_array_equal(transforms.move(before, points), expected)


def test_moving_points_at_once_equals_moving_them_one_by_one(add_transform: AddTransform) -> None:
    transform = add_transform(known_mapping()).GetTransformFromParent()
    points = random_points(50)
    np.testing.assert_allclose(transforms.move(transform, points), point_by_point(transform, points), atol=1e-12)


def test_a_spline_transform_is_sampled_where_it_is_needed(scene: Any) -> None:
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for number, point in enumerate(flip_points(FIXED_GRID.corners())):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point + np.array([number % 3, -1, 1 + number % 2]))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    points = random_points(100)
    mapping = transforms.from_vtk(spline, FIXED_GRID)
    np.testing.assert_allclose(mapping(points), point_by_point(spline, points), atol=0.02)


def test_a_field_that_does_not_taper_is_continued_as_slicer_does(add_transform: AddTransform) -> None:
    constant = Displacement(np.full((3, *FIXED_GRID.shape), 3, np.float32), FIXED_GRID)
    node = add_transform(Mapping((constant,)))
    wider = FIXED_GRID.padded((4, 4, 4), (4, 4, 4))
    mapping = transforms.from_vtk(transforms.from_world(node), wider)
    corner = wider.corners()
    np.testing.assert_allclose(mapping(corner), point_by_point(node.GetTransformFromParent(), corner), atol=1e-5)


def test_an_empty_grid_transform_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="empty"):
        transforms.from_vtk(slicer.vtkOrientedGridTransform(), FIXED_GRID)


@pytest.mark.parametrize("mapping", [known_mapping(), Mapping((known_affine(),))], ids=["composite", "linear"])
def test_a_file_written_by_slicer_changes_no_number(
    scene: Any, add_transform: AddTransform, mapping: Mapping, tmp_path: Path
) -> None:
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(tmp_path / "transform.h5"))
    assert storage.WriteData(add_transform(mapping))
    again = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    assert storage.ReadData(again)
    points = random_points(margin=5)
    np.testing.assert_allclose(
        point_by_point(again.GetTransformFromParent(), points),
        point_by_point(add_transform(mapping).GetTransformFromParent(), points),
        atol=1e-6,
    )


@pytest.mark.parametrize("mapping", [known_mapping(), Mapping((known_affine(),))], ids=["composite", "linear"])
def test_slicer_reads_our_file_as_the_node_we_place(
    scene: Any, add_transform: AddTransform, mapping: Mapping, tmp_path: Path
) -> None:
    write_transform(mapping, tmp_path / "transform.h5")
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(tmp_path / "transform.h5"))
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    assert storage.ReadData(node)
    points = random_points(margin=20)
    np.testing.assert_allclose(
        point_by_point(node.GetTransformFromParent(), points),
        point_by_point(add_transform(mapping).GetTransformFromParent(), points),
        atol=3e-4,
    )
    assert len(transforms.from_vtk(node.GetTransformFromParent(), FIXED_GRID).steps) == len(mapping.steps)
