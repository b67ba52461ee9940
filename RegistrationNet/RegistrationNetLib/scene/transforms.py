"""`Mapping` <-> what MRML transform nodes hold.

Nodes are stored *from parent*: a volume under the node lands in fixed space because its fixed-space points are
looked up at mapping(point). VTK transforms work on RAS mm, mappings on LPS mm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping, Step
from RegistrationNetLib.scene.geometry import (
    flip_matrix,
    flip_points,
    from_vtk_matrix,
    grid_of,
    ijk_to_ras,
    to_vtk_matrix,
)
from RegistrationNetLib.scene.runtime import slicer, vtk

_INVERSE_TOLERANCE_MM = 1e-4
"""VTK's default of 1e-3 leaves up to 8 micrometres after there and back; below 1e-4 it may never converge."""

_INVERSE_ITERATIONS = 500


def to_vtk(mapping: Mapping) -> Any:
    """A new vtkAbstractTransform with the mapping's numbers, RAS: a matrix, a grid, or steps in their order.

    Grids keep float32 and interpolate cubically, as Slicer's readers set them, so that saving and loading a scene
    changes no number.
    """
    steps = [_step_to_vtk(step) for step in mapping.steps]
    if len(steps) == 1:
        return steps[0]
    if not mapping.displacements:
        return _affine_to_vtk(mapping.affine)
    chain = vtk.vtkGeneralTransform()
    chain.PostMultiply()
    for step in steps:
        chain.Concatenate(step)
    return chain


def from_vtk(transform: Any, region: Grid) -> Mapping:
    """The mapping a vtkAbstractTransform stands for, LPS.

    Matrices and displacement grids that end in zeros are taken over as they are (between their nodes the mapping
    interpolates linearly where VTK may do so cubically); all else is sampled as it acts on `region`, at its spacing.
    """
    parts = vtk.vtkCollection()
    slicer.vtkMRMLTransformNode.FlattenGeneralTransform(parts, transform)
    mapping = Mapping()
    for index in range(parts.GetNumberOfItems()):
        part = parts.GetItemAsObject(index)
        mapping = mapping.then(Mapping((_step_from_vtk(part, mapping, region),)))
    return mapping


def from_world(parent: Any | None) -> Any:
    """World -> coordinates under a transform node (None: the world itself), RAS; later edits do not reach it."""
    return _snapshot(parent, "GetTransformFromWorld")


def to_world(parent: Any | None) -> Any:
    """Coordinates under a transform node -> world, RAS; later edits do not reach it."""
    return _snapshot(parent, "GetTransformToWorld")


def move(transform: Any, points: ArrayLike) -> Points:
    """(..., 3) LPS -> (..., 3) LPS through a VTK transform."""
    world = np.asarray(points, np.float64)
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    before.SetDataTypeToDouble()
    after.SetDataTypeToDouble()
    before.SetData(numpy_to_vtk(flip_points(world).reshape(-1, 3), deep=True))
    transform.TransformPoints(before, after)
    return flip_points(vtk_to_numpy(after.GetData())).reshape(world.shape)


def is_applied(transform: Any | None, node: Any) -> bool:
    """Whether a node already is under a transform, directly or not."""
    parent = node.GetParentTransformNode()
    while transform is not None and parent is not None:
        if parent is transform:
            return True
        parent = parent.GetParentTransformNode()
    return False


def is_linear(parent: Any | None) -> bool:
    """True where nothing but matrices lies between a node and the world."""
    return parent is None or bool(parent.IsTransformToWorldLinear())


def matrix_to_world(parent: Any | None) -> NDArray[np.float64]:
    """(4, 4) RAS of a linear parent."""
    matrix = vtk.vtkMatrix4x4()
    if parent is not None:
        parent.GetMatrixTransformToWorld(matrix)
    return from_vtk_matrix(matrix)


def _step_to_vtk(step: Step) -> Any:
    return _affine_to_vtk(step) if isinstance(step, Affine) else _displacement_to_vtk(step)


def _affine_to_vtk(affine: Affine) -> Any:
    transform = vtk.vtkTransform()
    transform.SetMatrix(to_vtk_matrix(flip_matrix(affine.matrix)))
    return transform


def _displacement_to_vtk(step: Displacement) -> Any:
    placement = ijk_to_ras(step.grid)
    spacing = np.linalg.norm(placement[:3, :3], axis=0)
    directions = np.eye(4)
    directions[:3, :3] = placement[:3, :3] / spacing
    vectors = np.moveaxis(step.field, 0, -1) * np.array([-1, -1, 1], np.float32)
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(step.grid.shape))
    image.SetSpacing(*spacing)
    image.SetOrigin(*placement[:3, 3])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(vectors).reshape(-1, 3), deep=True))
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(to_vtk_matrix(directions))
    transform.SetDisplacementGridData(image)
    transform.SetInterpolationModeToCubic()
    transform.SetInverseTolerance(_INVERSE_TOLERANCE_MM)
    transform.SetInverseIterations(_INVERSE_ITERATIONS)
    return transform.GetInverse() if step.inverted else transform


def _step_from_vtk(part: Any, before: Mapping, region: Grid) -> Step:
    if part.IsA("vtkHomogeneousTransform"):
        return Affine(flip_matrix(from_vtk_matrix(part.GetMatrix())))
    if part.IsA("vtkOrientedGridTransform"):
        step = _displacement_from_vtk(part)
        if _ends_in_zeros(step):
            return step
    return _sampled(part, before, region)


def _ends_in_zeros(step: Displacement) -> bool:
    """Only then is it the same that VTK continues beyond a grid with its edge, and a mapping with nothing."""
    ends = (step.field.take((0, -1), axis) for axis in (1, 2, 3))
    return not any(end.any() for end in ends)


def _displacement_from_vtk(part: Any) -> Displacement:
    image = part.GetDisplacementGrid()
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError("A displacement transform is empty. Choose a transform that holds a displacement field.")
    directions = part.GetGridDirectionMatrix()
    placement = np.eye(4) if directions is None else from_vtk_matrix(directions)
    placement[:3, :3] *= image.GetSpacing()
    placement[:3, 3] = image.GetOrigin()
    grid = grid_of(image.GetDimensions(), placement)
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*grid.shape, 3)
    vectors = flip_points(values * part.GetDisplacementScale() + part.GetDisplacementShift())
    return Displacement(np.moveaxis(vectors, -1, 0).astype(np.float32), grid, inverted=bool(part.GetInverseFlag()))


def _sampled(part: Any, before: Mapping, region: Grid) -> Displacement:
    """A part of any kind as a field on a lattice that covers where `before` carries `region`."""
    reached = region.to_voxel(before(region.points().reshape(-1, 3)))
    near = np.floor(reached.min(axis=0)).astype(int) - 1
    far = np.ceil(reached.max(axis=0)).astype(int) + 1
    lattice = region.padded(-near, far - (np.array(region.shape) - 1))
    points = lattice.points()
    return Displacement(np.moveaxis(move(part, points) - points, -1, 0).astype(np.float32), lattice)


def _snapshot(parent: Any | None, direction: str) -> Any:
    live, copy = vtk.vtkGeneralTransform(), vtk.vtkGeneralTransform()
    if parent is not None:
        getattr(parent, direction)(live)
        slicer.vtkMRMLTransformNode.DeepCopyTransform(copy, live)
    return copy
