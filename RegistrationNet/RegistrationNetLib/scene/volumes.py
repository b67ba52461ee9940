"""Volume nodes <-> `Image`.

An image is what the user sees: the node's voxels in the world. Linear parent transforms are folded into the grid.
Under a nonlinear parent (or one that shears) the voxels lie on no lattice with right angles, so the volume is resampled
once onto one in the world; what is made from it later goes back to the node's own voxels, so that nothing is
interpolated twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image, background_of
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.scene import transforms
from RegistrationNetLib.scene.geometry import from_vtk_matrix, grid_of, ijk_to_ras, to_vtk_matrix
from RegistrationNetLib.scene.runtime import slicer, vtk

_SAMPLES_PER_AXIS = 17
"""Points along each axis that find where a nonlinear parent puts a volume."""

_GLIMPSED = 48
"""Voxels along an axis that show well enough what a volume is of."""

_RIGHT_ANGLE = 1e-3
"""Largest cosine between two axes that still counts as a right angle."""


def image_of(node: Any, labels: bool = False) -> Image:
    """A scalar volume or label map node as it lies in the world; its own pixel type. Raises InputError.

    labels: whether a scalar volume too holds labels, which are not blended.
    """
    return image_under(node, node.GetParentTransformNode(), labels)


def image_under(node: Any, parent: Any | None, labels: bool = False) -> Image:
    """As `image_of`, had the node this parent transform."""
    local = local_image(node)
    if lies_on_lattice(node, parent):
        return replace(local, grid=_in_world(node, parent))
    return resampled(local, transforms.from_world(parent), world_grid(node, parent), labels or is_labels(node))


def lies_on_lattice(node: Any, parent: Any | None) -> bool:
    """True where the node's voxels, seen in the world under that parent, still form a lattice with right angles."""
    if not transforms.is_linear(parent):
        return False
    directions = _in_world(node, parent).directions
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() <= _RIGHT_ANGLE)


def local_image(node: Any) -> Image:
    """The node's voxels on its own lattice, parent transforms left out. Raises InputError."""
    data = _voxels(node)
    finite = np.isfinite(data)
    if not finite.any():
        raise InputError(f"'{node.GetName()}' holds no finite value (all voxels are NaN or infinite); load it again.")
    background = 0.0 if is_labels(node) else background_of(data[finite])
    if not finite.all():
        data = np.where(finite, data, background).astype(data.dtype)
    return Image(data[None], local_grid(node), background, node.GetName())


def glimpse(node: Any) -> Image:
    """Some of a volume's voxels, evenly apart, at most 48 along each axis; parent transforms left out. At once, however
    large the volume; it must hold one (`problem`)."""
    image = node.GetImageData()
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*reversed(image.GetDimensions()))
    steps = [-(-n // _GLIMPSED) for n in values.shape]
    some = values[tuple(slice(None, None, step) for step in steps)]
    seen = np.where(np.isfinite(some), some, 0)
    whole = local_grid(node)
    return Image(seen[None], Grid(seen.shape, whole.voxel_to_world @ np.diag([*steps, 1.0])), name=node.GetName())


def modality(node: Any) -> str:
    """As DICOM has it ("CT", "MR" ...), where the volume came from there; else empty."""
    hierarchy = node.GetScene().GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    item = 0 if hierarchy is None else hierarchy.GetItemByDataNode(node)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return str(hierarchy.GetItemAttribute(item, name) or "") if item else ""


def is_labels(node: Any) -> bool:
    return bool(node.IsA("vtkMRMLLabelMapVolumeNode"))


def local_grid(node: Any) -> Grid:
    """The node's lattice, parent transforms left out."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return grid_of(node.GetImageData().GetDimensions(), from_vtk_matrix(matrix))


def world_grid(node: Any, parent: Any) -> Grid:
    """A regular lattice in the world that covers a volume under a nonlinear parent, about as fine as the volume."""
    local = local_grid(node)
    sizes = [min(n, _SAMPLES_PER_AXIS) for n in local.shape]
    voxels = np.stack(
        np.meshgrid(*(np.linspace(0, n - 1, m) for n, m in zip(local.shape, sizes, strict=True)), indexing="ij"), -1
    )
    before = voxels.reshape(-1, 3)
    after = transforms.move(transforms.to_world(parent), local.to_world(before))
    linear = np.linalg.lstsq(np.c_[before, np.ones(len(before))], after, rcond=None)[0][:3].T
    spacing = np.linalg.norm(linear, axis=0)
    left, _, right = np.linalg.svd(linear / spacing)
    directions = left @ right
    along = after @ directions / spacing
    near, far = np.floor(along.min(axis=0)) - 1, np.ceil(along.max(axis=0)) + 1
    return Grid.of(far - near + 1, spacing, directions, directions @ (near * spacing))


def resampled(image: Image, transform: Any, onto: Grid, nearest: bool = False) -> Image:
    """The image as seen from `onto` through a VTK transform (onto's world -> the image's world, RAS)."""
    chain = vtk.vtkGeneralTransform()
    chain.PostMultiply()
    chain.Concatenate(to_vtk_matrix(ijk_to_ras(onto)))
    chain.Concatenate(transform)
    chain.Concatenate(to_vtk_matrix(np.linalg.inv(ijk_to_ras(image.grid))))
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(_to_vtk_image(image.scalar))
    reslice.SetResliceTransform(chain)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(*(value for n in reversed(onto.shape) for value in (0, n - 1)))
    reslice.SetBackgroundLevel(image.background)
    if nearest:
        reslice.SetInterpolationModeToNearestNeighbor()
    else:
        reslice.SetInterpolationModeToLinear()
    reslice.Update()
    values = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
    return replace(image, data=values.reshape(1, *onto.shape).astype(image.data.dtype), grid=onto)


def warped_from(node: Any, own_from_world: Any | None, mapping: Mapping, onto: Grid) -> Image:
    """A volume's own voxels seen through a mapping (onto's world -> world) and its parent transform, in one go.

    own_from_world: world -> the node's own coordinates, as `transforms.from_world` gives it; None: the same.
    """
    chain = vtk.vtkGeneralTransform()
    chain.PostMultiply()
    chain.Concatenate(transforms.to_vtk(mapping))
    if own_from_world is not None:
        chain.Concatenate(own_from_world)
    return resampled(local_image(node), chain, onto, is_labels(node))


def fill(node: Any, image: Image) -> Any:
    """Put an image's voxels and geometry into a volume node; returns the node."""
    node.SetName(image.name)
    node.SetAndObserveImageData(_to_vtk_image(image.scalar))
    node.SetIJKToRASMatrix(to_vtk_matrix(ijk_to_ras(image.grid)))
    return node


def volume_node(image: Image, labels: bool = False) -> Any:
    """A new volume node, in no scene yet."""
    return fill(slicer.vtkMRMLLabelMapVolumeNode() if labels else slicer.vtkMRMLScalarVolumeNode(), image)


def _in_world(node: Any, parent: Any | None) -> Grid:
    matrix = transforms.matrix_to_world(parent)
    local = ijk_to_ras(local_grid(node))
    return grid_of(node.GetImageData().GetDimensions(), matrix @ local)


def problem(node: Any) -> str:
    """Why a volume's voxels cannot be read, and the cure; empty where they can."""
    name, image = node.GetName(), node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return f"The volume '{name}' is empty. Load an image into it, or choose another volume."
    channels, size = image.GetPointData().GetScalars().GetNumberOfComponents(), image.GetDimensions()
    if channels != 1:
        return (
            f"The volume '{name}' has {channels} channels, one grey value per voxel is needed. "
            "Extract one channel with the module Vector to Scalar Volume."
        )
    if min(size) < 2:
        return f"The volume '{name}' is a 2-D image ({' x '.join(str(n) for n in size)}). Choose a 3-D volume."
    return ""


def _voxels(node: Any) -> NDArray[np.generic]:
    why = problem(node)
    if why:
        raise InputError(why)
    image = node.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*reversed(image.GetDimensions())).copy()


def _to_vtk_image(values: NDArray[np.generic]) -> Any:
    """(D, H, W) -> vtkImageData in MRML's manner: unit spacing, zero origin, the node holds the geometry."""
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(values.shape))
    plain = values.astype(np.uint8) if values.dtype == np.bool_ else values
    plain = plain.astype(np.float32) if plain.dtype == np.float16 else plain
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(plain).ravel(), deep=True))
    return image
