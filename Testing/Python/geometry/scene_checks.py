"""What must hold of a mapping known in advance once it is in a Slicer scene, or Slicer has read its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.files.transforms import write_transform
from RegistrationNetLib.scene import results, transforms, volumes
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.geometry.checks import Case, same_points


def a_node_maps_points_as_known(case: Case, folder: Path) -> None:
    node = results._node_of(transforms.to_vtk(case.mapping), "transform")
    same_points(by_vtk(linear(node.GetTransformFromParent()), case.probes), case.truth(case.probes), "node")


def what_is_put_under_the_node_lands_in_fixed_space(case: Case, folder: Path) -> None:
    node = results._node_of(transforms.to_vtk(case.mapping), "transform")
    linear(node.GetTransformFromParent())
    to_world = vtk.vtkGeneralTransform()
    node.GetTransformToWorld(to_world)
    same_points(by_vtk(to_world, case.truth(case.probes)), case.probes, "points under the node")


def a_volume_under_the_node_is_resampled_by_slicer_as_by_us(case: Case, folder: Path) -> None:
    """Through Slicer's own chain of node, reference and IJK matrices."""
    scene = slicer.vtkMRMLScene()
    node = scene.AddNode(results._node_of(transforms.to_vtk(case.mapping), "transform"))
    moving = scene.AddNode(volumes.volume_node(case.moving_image))
    moving.SetAndObserveTransformNodeID(node.GetID())
    between = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node, between)
    linear(node.GetTransformFromParent())
    ijk = by_matrix(world_to_ijk(moving), by_vtk(between, case.lattice.nodes.reshape(-1, 3)) * (-1, -1, 1))
    expected = case.moving.voxels(case.truth(case.lattice.nodes.reshape(-1, 3)))[:, ::-1]
    assert np.abs(ijk - expected).max() < 0.01, "voxel of the moving volume"


def a_node_read_back_is_the_mapping(case: Case, folder: Path) -> None:
    node = results._node_of(transforms.to_vtk(case.mapping), "transform")
    back = transforms.from_vtk(transforms.from_world(node), case.lattice.grid)
    same_points(back(case.probes), case.truth(case.probes), "node read back")


def points_go_through_a_node_as_known(case: Case, folder: Path) -> None:
    node = results._node_of(transforms.to_vtk(case.mapping), "transform")
    moved = transforms.move(linear(node.GetTransformFromParent()), case.probes)
    same_points(moved, case.truth(case.probes), "points moved by the scene layer")


def slicer_reads_the_file_as_known(case: Case, folder: Path) -> None:
    node = loaded(case.mapping, folder)
    moved = by_vtk(linear(node.GetTransformFromParent()), case.probes)
    same_points(moved, case.truth(case.probes), "transform.h5 in Slicer")


def a_volume_node_keeps_every_voxel_in_its_place(case: Case, folder: Path) -> None:
    node = volumes.volume_node(case.moving_image)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    image = node.GetImageData()
    last = np.array(case.moving.shape) - 1
    for voxel in ((0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 3), tuple(last.tolist())):
        ras = np.array(matrix.MultiplyPoint((*voxel[::-1], 1)))[:3]
        place = case.moving.origin + np.array(voxel) @ case.moving.steps
        same_points(ras * (-1, -1, 1), place, "voxel in the volume node", 1e-6)
        assert image.GetScalarComponentAsDouble(*voxel[::-1], 0) == case.moving_values[voxel]
    same_points(volumes.local_image(node).grid.points(), case.moving.nodes, "volume node read back", 1e-6)


def by_vtk(transform: Any, points: np.ndarray) -> np.ndarray:
    """LPS mm in and out, point by point, signs turned by hand."""
    return np.array([transform.TransformPoint((-x, -y, z)) for x, y, z in points.tolist()]) * (-1, -1, 1)


def linear(transform: Any) -> Any:
    """The same VTK transform with its grids interpolated linearly."""
    parts = vtk.vtkCollection()
    slicer.vtkMRMLTransformNode.FlattenGeneralTransform(parts, transform)
    for index in range(parts.GetNumberOfItems()):
        if parts.GetItemAsObject(index).IsA("vtkGridTransform"):
            parts.GetItemAsObject(index).SetInterpolationModeToLinear()
    return transform


def loaded(mapping: Mapping, folder: Path) -> Any:
    """The node that Slicer's own reader makes of our file: from parent, with cubic interpolation."""
    write_transform(mapping, folder / "transform.h5")
    storage, node = slicer.vtkMRMLTransformStorageNode(), slicer.vtkMRMLTransformNode()
    storage.SetFileName(str(folder / "transform.h5"))
    assert storage.ReadData(node), "Slicer cannot read transform.h5"
    return node


def world_to_ijk(volume: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(matrix)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def by_matrix(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


SCENE = (
    a_node_maps_points_as_known,
    what_is_put_under_the_node_lands_in_fixed_space,
    a_volume_under_the_node_is_resampled_by_slicer_as_by_us,
    a_node_read_back_is_the_mapping,
    points_go_through_a_node_as_known,
    slicer_reads_the_file_as_known,
    a_volume_node_keeps_every_voxel_in_its_place,
)
