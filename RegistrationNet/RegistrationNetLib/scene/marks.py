"""What a user has marked in a scene, as it lies in the world: regions in volumes and segmentations, points in lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.scene import volumes
from RegistrationNetLib.scene.geometry import flip_points, from_vtk_matrix, ijk_to_ras
from RegistrationNetLib.scene.runtime import slicer


def labels_of(node: Any, role: str) -> Image:
    """A mask or label map from a volume or a segmentation (each segment a label, visible or not), parent transforms
    included. Raises InputError, in which `role` says what the node is for.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        marked = _exported(node)
    elif node.IsA("vtkMRMLVolumeNode"):
        marked = volumes.image_of(node, labels=True)
    else:
        raise InputError(f"{role} is '{node.GetName()}', which is no volume. Choose a segmentation or a label map.")
    if not marked.data.any():
        raise InputError(f"{role} '{marked.name}' is empty (no voxel above 0). Draw the region, or choose none.")
    return marked


def region_of(node: Any, grid: Grid, role: str) -> Image:
    """As `labels_of`; of a box (a ROI of the markups) what is inside it, on a grid."""
    if not node.IsA("vtkMRMLMarkupsROINode"):
        return labels_of(node, role)
    own_from_ijk = np.linalg.inv(from_vtk_matrix(node.GetObjectToWorldMatrix())) @ ijk_to_ras(grid)
    inside = np.ones(grid.shape, bool)
    k, j, i = np.ogrid[tuple(slice(n) for n in grid.shape)]
    for row, size in zip(own_from_ijk, node.GetSize(), strict=False):
        inside &= np.abs((row[0] * i + row[3]) + row[1] * j + row[2] * k) <= size / 2
    if not inside.any():
        raise InputError(f"{role} '{node.GetName()}' lies beside the fixed volume. Move it onto that, or choose none.")
    return Image(inside[None].astype(np.uint8), grid, name=node.GetName())


def paired_labels(fixed: Any, moving: Any) -> tuple[Image, Image]:
    """What two nodes show alike, under the same labels: segments of one name, or labels of one value.

    Raises InputError where they have nothing in common.
    """
    sides = labels_of(fixed, "The fixed labels"), labels_of(moving, "The moving labels")
    if not (fixed.IsA("vtkMRMLSegmentationNode") and moving.IsA("vtkMRMLSegmentationNode")):
        return sides
    names = [_segments(node) for node in (fixed, moving)]
    common = [name for name in names[0] if name in names[1]]
    if not common:
        raise InputError(
            f"'{fixed.GetName()}' and '{moving.GetName()}' have no segment of one name, so none can be compared. Name "
            "the same structure alike in both."
        )
    one, other = (_renumbered(side, own, common) for side, own in zip(sides, names, strict=True))
    return one, other


def _segments(node: Any) -> list[str]:
    """Names in order: of the first, exported, the label is 1."""
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]


def _renumbered(labels: Image, names: list[str], common: list[str]) -> Image:
    number = np.array([0, *(common.index(name) + 1 if name in common else 0 for name in names)], labels.data.dtype)
    return replace(labels, data=number[labels.data])


def points_of(node: Any, role: str) -> Points:
    """The control points of a markups node, (N, 3) LPS mm, parent transforms included.

    Raises InputError, also where one of them was never placed.
    """
    if not node.IsA("vtkMRMLMarkupsNode"):
        raise InputError(f"{role} are '{node.GetName()}', which is no point list. Choose a point list.")
    number = node.GetNumberOfControlPoints()
    unplaced = [n for n in range(number) if node.GetNthControlPointPositionStatus(n) != node.PositionDefined]
    if unplaced:
        named = ", ".join(str(n + 1) for n in unplaced)
        raise InputError(f"{role} '{node.GetName()}': not placed is point {named}. Place it, or take it off the list.")
    places = np.zeros((number, 3))
    for index, place in enumerate(places):
        node.GetNthControlPointPositionWorld(index, place)
    return flip_points(places)


def _exported(segmentation: Any) -> Image:
    """All segments as one label map in the world; the scene is left as it was."""
    scene = segmentation.GetScene()
    draft = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", segmentation.GetName())
    try:
        if not slicer.vtkSlicerSegmentationsModuleLogic.ExportAllSegmentsToLabelmapNode(segmentation, draft):
            raise InputError(f"The segmentation '{segmentation.GetName()}' has no voxels. Draw a segment first.")
        exported = volumes.image_of(draft)
    finally:
        colours = draft.GetDisplayNode() and draft.GetDisplayNode().GetColorNode()
        for made in (draft, draft.GetDisplayNode(), colours):
            if made is not None and made.GetScene() is scene:
                scene.RemoveNode(made)
    return Image(exported.data, exported.grid, exported.background, segmentation.GetName())
