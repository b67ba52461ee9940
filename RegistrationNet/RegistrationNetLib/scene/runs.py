"""The registrations that a scene holds: which nodes each one made, what was before it, and how to take it back.

All of it lies in the nodes themselves, so that a run can be removed from a scene that was saved and opened again.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from uuid import uuid4

from RegistrationNetLib.scene import outputs
from RegistrationNetLib.scene.runtime import vtk
from RegistrationNetLib.scene.views import slice_views

RUN, SETTINGS = "RegistrationNet.Run", "RegistrationNet.Settings"
"""Attributes: of every node of a run its name; of its transform the settings as JSON, so that it can be repeated."""
_OPACITY, _MEMBER = "RegistrationNet.OpacityBefore", "RegistrationNet.Member."
_EARLIER = "RegistrationNet.Refines"
_PARENT, _BACKGROUND, _FOREGROUND = (f"RegistrationNet.{what}Before" for what in ("Parent", "Background", "Foreground"))
"""Roles of references from a run's transform to what was before; those of slice views end in their name."""


def remember(transform: Any, moving: Any, earlier: Any | None = None) -> None:
    """Before anything changes: what the moving volume is under, what the slice views show, and which result is refined,
    if any. The transform is in the scene."""
    transform.SetAttribute(RUN, uuid4().hex)
    _refer(transform, _EARLIER, earlier)
    _refer(transform, _PARENT, moving.GetParentTransformNode())
    opacities = {}
    for view in slice_views(transform.GetScene()):
        name = view.GetLayoutName()
        _refer(transform, _BACKGROUND + name, _node(view, view.GetBackgroundVolumeID()))
        _refer(transform, _FOREGROUND + name, _node(view, view.GetForegroundVolumeID()))
        opacities[name] = view.GetForegroundOpacity()
    transform.SetAttribute(_OPACITY, json.dumps(opacities))


def belong(
    transform: Any, nodes: dict[str, Any], folder: int, settings: dict[str, Any], before: Collection[str]
) -> None:
    """Nodes, by what they are, and a folder of the subject hierarchy, to the run of its transform.

    before: IDs of the nodes that the scene had; what keeps the former content of those belongs to the run too.
    """
    scene = transform.GetScene()
    transform.SetAttribute(SETTINGS, json.dumps(settings))
    for what, node in nodes.items():
        join(transform, node, what, before)
    for node in nodes_of(scene):
        if node.GetID() not in before and outputs.written(node) is not None:
            node.SetAttribute(RUN, transform.GetAttribute(RUN))
    hierarchy: Any = hierarchy_of(scene)
    hierarchy.SetItemAttribute(folder, RUN, transform.GetAttribute(RUN))


def join(transform: Any, node: Any, what: str, before: Collection[str] = ()) -> None:
    """A node, with what displays and stores it, to the run of a transform, where `member` finds it as `what`.

    before: IDs of what displayed and stored it already, which does not belong to the run.
    """
    for own in (node, *(one for one in _attached(node) if one.GetID() not in before)):
        own.SetAttribute(RUN, transform.GetAttribute(RUN))
    if node is not transform:
        _refer(transform, _MEMBER + what, node)


def member(transform: Any, what: str) -> Any | None:
    """What a run made: "warped", "jacobian", "affine", "table" ...; None where it is no longer there."""
    return transform.GetNodeReference(_MEMBER + what)


def refined_by(transform: Any) -> Any | None:
    """The transform of the result that this one refines; None where it refines none that is there."""
    return transform.GetNodeReference(_EARLIER)


def pair(transform: Any) -> tuple[Any | None, Any | None]:
    """The fixed and the moving volume of a run, as far as they are still there."""
    roles = transform.GetFixedNodeReferenceRole(), transform.GetMovingNodeReferenceRole()
    return transform.GetNodeReference(roles[0]), transform.GetNodeReference(roles[1])


def transforms(scene: Any) -> list[Any]:
    """The transforms of all runs, the oldest first."""
    return [node for node in nodes_of(scene) if node.GetAttribute(SETTINGS) is not None]


def settings_of(transform: Any) -> dict[str, Any]:
    """With which a run was made."""
    return dict(json.loads(transform.GetAttribute(SETTINGS)))


def remove(transform: Any) -> None:
    """Take a run back: its nodes go, those it was written into hold what they held, what it had moved lies as before,
    and slice views show what they did, as far as that is still there and they show the run's."""
    scene, run = transform.GetScene(), transform.GetAttribute(RUN)
    nodes = [node for node in nodes_of(scene) if node.GetAttribute(RUN) == run]
    formers = [node for node in nodes if outputs.written(node) is not None]
    stay = [outputs.written(former) for former in formers]
    ids, gone = ({node.GetID() for node in nodes if node not in without} for without in ([], stay))
    scene.StartState(scene.BatchProcessState)
    try:
        for view in slice_views(scene):
            _restore_view(view, transform, ids)
        before, (_, moving) = transform.GetNodeReference(_PARENT), pair(transform)
        for node in (node for node in _transformable(scene) if node.GetID() not in ids):
            if node.GetTransformNodeID() in (ids if node is moving else gone):
                node.SetAndObserveTransformNodeID(_parent_before(node, transform, before))
        for later in transforms(scene):
            if later.GetNodeReferenceID(_PARENT) in ids:  # when it is taken back, this run is no longer there
                later.SetNodeReferenceID(_PARENT, None if before is None else before.GetID())
        hierarchy: Any = hierarchy_of(scene)
        for item in items_of(scene):
            node = hierarchy.GetItemDataNode(item)
            if hierarchy.GetItemAttribute(item, RUN) == run or (node is not None and node.GetID() in gone):
                hierarchy.RemoveItem(item, False, False)
        for former in formers:
            outputs.restore(former)
        # A volume that is still shown and lost its display node would be given a new one.
        for node in sorted(nodes, key=lambda node: bool(node.IsA("vtkMRMLDisplayNode"))):
            if node not in stay:
                scene.RemoveNode(node)
    finally:
        scene.EndState(scene.BatchProcessState)


def _parent_before(node: Any, transform: Any, before: Any) -> str | None:
    """The moving volume's own, which was copied for it; nothing for what was put under the run's transform itself."""
    copied = node.GetTransformNodeID() != transform.GetID()
    moved = node is transform.GetNodeReference(transform.GetMovingNodeReferenceRole())
    return before.GetID() if before is not None and (copied or moved) else None


def _restore_view(view: Any, transform: Any, ids: set[str]) -> None:
    name = view.GetLayoutName()
    background, foreground = (transform.GetNodeReferenceID(role + name) for role in (_BACKGROUND, _FOREGROUND))
    compared = transform.GetNodeReferenceID(transform.GetFixedNodeReferenceRole())
    behind = {compared} if view.GetForegroundVolumeID() in ids else set()  # put there for the comparison
    if view.GetBackgroundVolumeID() in ids | behind:
        view.SetBackgroundVolumeID(background)
    if view.GetForegroundVolumeID() in ids:
        view.SetForegroundVolumeID(foreground)
        opacities = json.loads(transform.GetAttribute(_OPACITY) or "{}")
        view.SetForegroundOpacity(opacities.get(name, view.GetForegroundOpacity()))
    if view.GetLabelVolumeID() in ids:
        view.SetLabelVolumeID(None)


def _attached(node: Any) -> list[Any]:
    """What displays a node, its legend included, and what stores it."""
    found = []
    if node.IsA("vtkMRMLDisplayableNode"):
        found += [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        found += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    return [one for one in found if one is not None]


def _refer(transform: Any, role: str, node: Any | None) -> None:
    if node is not None:
        transform.SetNodeReferenceID(role, node.GetID())


def _node(view: Any, identity: str | None) -> Any | None:
    return view.GetScene().GetNodeByID(identity) if identity else None


def nodes_of(scene: Any) -> list[Any]:
    """All of them, in the order in which they came."""
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]


def _transformable(scene: Any) -> list[Any]:
    return [node for node in nodes_of(scene) if node.IsA("vtkMRMLTransformableNode")]


def hierarchy_of(scene: Any) -> Any | None:
    """Its subject hierarchy; None where it has none yet."""
    return scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")


def items_of(scene: Any) -> list[int]:
    """All items of its subject hierarchy, children before their parents."""
    hierarchy, items = hierarchy_of(scene), vtk.vtkIdList()
    if hierarchy is not None:
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    return [items.GetId(index) for index in reversed(range(items.GetNumberOfIds()))]
