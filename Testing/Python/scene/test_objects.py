"""Whatever hangs under a result lands in fixed space: seen through it, and hardened."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from vtkmodules.util.numpy_support import vtk_to_numpy

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.scene import register_nodes, transforms, volumes
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID, finds, image_on, known_mapping, rigid

Add = Callable[..., Any]
PARENT = rigid((0.1, -0.2, 0.1), (3, 1, -2))
RADIUS = 7.0


@pytest.fixture(params=[None, PARENT], ids=["no parent", "linear parent"])
def parent(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def under(add_volume: Add, add_transform: Add, parent: Any) -> Any:
    """The transform that a registration put the moving volume under."""
    own = None if parent is None else add_transform(parent, "own")
    fixed, moving = add_volume(image_on(FIXED_GRID, "fixed")), add_volume(image_on(MOVING_GRID, "moving"), own)
    return register_nodes(fixed, moving, start=finds(known_mapping())).moving_parent


def local(points: np.ndarray, parent: Any) -> np.ndarray:
    """Where points of fixed space lie in the coordinates of things that belong to the moving image, LPS."""
    in_moving_world = known_mapping()(points)
    return in_moving_world if parent is None else parent(in_moving_world)


def ras(points: np.ndarray) -> np.ndarray:
    return points * (-1, -1, 1)


def inner_points(count: int = 15) -> np.ndarray:
    rng = np.random.default_rng(4)
    return FIXED_GRID.to_world(rng.uniform(5, np.array(FIXED_GRID.shape) - 6, (count, 3)))


def ball(points: np.ndarray, parent: Any) -> np.ndarray:
    """Inside a ball that belongs to the moving image, asked at points in the coordinates of its nodes."""
    return np.linalg.norm(points - local(FIXED_GRID.center, parent), axis=-1) < RADIUS


def test_landmarks_land_on_the_fixed_image_and_can_be_hardened(scene: Any, under: Any, parent: Any) -> None:
    expected = inner_points()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for point in ras(local(expected, parent)):
        node.AddControlPoint(*point)
    node.SetAndObserveTransformNodeID(under.GetID())

    def positions() -> np.ndarray:
        found, place = [], [0.0, 0.0, 0.0]
        for index in range(node.GetNumberOfControlPoints()):
            node.GetNthControlPointPositionWorld(index, place)
            found.append(list(place))
        return ras(np.array(found))

    np.testing.assert_allclose(positions(), expected, atol=0.2)
    assert node.HardenTransform()
    assert node.GetParentTransformNode() is None
    np.testing.assert_allclose(positions(), expected, atol=0.2)


def test_a_model_lands_on_the_fixed_image_when_hardened(scene: Any, under: Any, parent: Any) -> None:
    source = vtk.vtkSphereSource()
    source.SetCenter(*ras(local(FIXED_GRID.center, parent)))
    source.SetRadius(RADIUS)
    source.Update()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode")
    node.SetAndObservePolyData(source.GetOutput())
    before = ras(vtk_to_numpy(source.GetOutput().GetPoints().GetData()).astype(float))
    node.SetAndObserveTransformNodeID(under.GetID())
    assert node.HardenTransform()
    after = ras(vtk_to_numpy(node.GetPolyData().GetPoints().GetData()).astype(float))
    np.testing.assert_allclose(local(after, parent), before, atol=0.25)
    assert np.abs(after - before).max() > 1


def test_a_hardened_volume_shows_the_moving_image_in_fixed_space(add_volume: Add, under: Any, parent: Any) -> None:
    image = image_on(MOVING_GRID, "another of the same patient")
    node = add_volume(image, under)
    seen = volumes.resampled(image, transforms.from_world(under), FIXED_GRID)
    assert node.HardenTransform()
    assert node.GetParentTransformNode() is None
    hardened = volumes.resampled(volumes.local_image(node), vtk.vtkTransform(), FIXED_GRID)
    both = (seen.scalar > 0) & (hardened.scalar > 0)
    assert both.sum() > 2000
    assert np.median(np.abs(seen.scalar - hardened.scalar)[both]) < 1  # of 200: interpolated once more


def test_a_segmentation_lands_on_the_fixed_image_when_hardened(
    scene: Any, add_volume: Add, under: Any, parent: Any
) -> None:
    fine = MOVING_GRID.resampled(np.array(MOVING_GRID.shape) * 2)
    labels = Image(ball(fine.points(), parent).astype(np.uint8)[None], fine, 0.0, "ball")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.ImportLabelmapToSegmentationNode(add_volume(labels, labels=True), node)
    node.SetAndObserveTransformNodeID(under.GetID())
    assert node.HardenTransform()
    back = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert logic.ExportAllSegmentsToLabelmapNode(node, back)
    exported = volumes.local_image(back)
    found = exported.scalar > 0
    truth = ball(local(exported.grid.points(), parent), parent)
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.93
