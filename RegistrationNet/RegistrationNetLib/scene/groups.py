"""Groups of volumes in a scene, of which all can be registered: folders, sequences, or one volume alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from RegistrationNetLib.scene import runs
from RegistrationNetLib.scene.runtime import vtk

_FRAME = "RegistrationNet.Frame"
"""Attribute of a volume that was a frame: the sequence's ID and the frame's number."""


@dataclass(frozen=True)
class Group:
    """volumes: gives its volume nodes; frames of a sequence become volumes of the scene then."""

    name: str
    volumes: Callable[[], list[Any]]


def groups(scene: Any) -> list[Group]:
    """What a scene has: folders with volumes in them, sequences of volumes, single volumes. No results of ours."""
    own = [node for node in _volumes(scene) if node.GetAttribute(runs.RUN) is None]
    folders = [Group(f"folder {name}", partial(list, inside)) for name, inside in _folders(scene, own)]
    sequences = [
        Group(f"sequence {node.GetName()}, {node.GetNumberOfDataNodes()} frames", partial(frames, node))
        for node in runs.nodes_of(scene)
        if node.IsA("vtkMRMLSequenceNode") and node.GetDataNodeClassName() == "vtkMRMLScalarVolumeNode"
    ]
    return [*folders, *sequences, *(Group(node.GetName(), partial(list, [node])) for node in own)]


def frames(sequence: Any) -> list[Any]:
    """A volume of the scene for each frame, named by its index; the one at hand where it was made before."""
    return [_frame(sequence, index) for index in range(sequence.GetNumberOfDataNodes())]


def _frame(sequence: Any, index: int) -> Any:
    scene, place = sequence.GetScene(), f"{sequence.GetID()} {index}"
    for node in _volumes(scene):
        if node.GetAttribute(_FRAME) == place:
            return node
    name = f"{sequence.GetName()} {sequence.GetIndexName()} {sequence.GetNthIndexValue(index)}"
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    volume.CopyContent(sequence.GetNthDataNode(index))
    volume.SetAttribute(_FRAME, place)
    volume.CreateDefaultDisplayNodes()
    return volume


def _volumes(scene: Any) -> list[Any]:
    return [
        node
        for node in runs.nodes_of(scene)
        if node.IsA("vtkMRMLScalarVolumeNode") and not node.IsA("vtkMRMLLabelMapVolumeNode")
    ]


def _folders(scene: Any, volumes: list[Any]) -> list[tuple[str, list[Any]]]:
    """Folders, studies and patients with the volumes that lie in them or below, more than one."""
    hierarchy: Any = runs.hierarchy_of(scene)
    items = [item for item in runs.items_of(scene) if hierarchy.GetItemDataNode(item) is None]
    inside = ([node for node in _below(hierarchy, item) if node in volumes] for item in items)
    named = zip((hierarchy.GetItemName(item) for item in items), inside, strict=True)
    return [(name, nodes) for name, nodes in named if len(nodes) > 1]


def _below(hierarchy: Any, item: int) -> list[Any]:
    found = vtk.vtkCollection()
    hierarchy.GetDataNodesInBranch(item, found, "vtkMRMLScalarVolumeNode")
    return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]
