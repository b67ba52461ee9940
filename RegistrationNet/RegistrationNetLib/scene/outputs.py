"""Results in nodes that the user chose: what such a node held is kept beside it, in a hidden node, and comes back.

The hidden node is saved with the scene, so that a result can be taken back from one that was opened again.
"""

from __future__ import annotations

import json
from typing import Any

from RegistrationNetLib.scene import transforms, volumes
from RegistrationNetLib.scene.runtime import slicer

_OF, _PARENT, _ATTRIBUTES = (f"RegistrationNet.Former{what}" for what in ("Of", "Parent", "Attributes"))
"""Of a hidden node: roles of its references to the node it was taken from and to that one's parent; what attributes
that one had, as JSON."""
_OURS = "RegistrationNet."


def problem(transform: Any | None, volume: Any | None, fixed: Any, moving: Any) -> str:
    """Why a result cannot go into these nodes, and the cure; empty where it can. None: a new node."""
    if volume is not None and volume in (fixed, moving):
        return f"'{volume.GetName()}' itself is registered. Choose another output volume, or a new one."
    kinds = [(volume, f"vtkMRML{'LabelMap' if volumes.is_labels(moving) else 'Scalar'}VolumeNode")]
    for node, kind in [(transform, "vtkMRMLTransformNode"), *kinds]:
        if node is not None and node.GetClassName() != kind:
            return (
                f"The result does not fit into '{node.GetName()}', which is of another type ({node.GetNodeTagName()}). "
                "Choose a new one."
            )
    if transform is not None and transforms.is_applied(transform, fixed):
        return (
            f"'{transform.GetName()}' holds the fixed volume, which would move with the result. Choose another output "
            "transform, or a new one."
        )
    return ""


def write(node: Any, made: Any) -> Any:
    """The content of a node that is in no scene into one of its kind that is in a scene; returns that one.

    It lies in the world then; its name and what else is known of it stay.
    """
    _keep(node)
    names = [name for name in node.GetAttributeNames() if not name.startswith(_OURS)]
    known = {name: node.GetAttribute(name) for name in names}
    node.CopyContent(made, False)  # its attributes too
    node.SetAndObserveTransformNodeID(None)
    for name, value in known.items():
        node.SetAttribute(name, value)
    for role in _roles(node):
        node.RemoveNodeReferenceIDs(role)
    return node


def written(former: Any) -> Any | None:
    """The node that was written into, of a hidden node that keeps what was in it; None for any other node."""
    return former.GetNodeReference(_OF)


def restore(former: Any) -> None:
    """Give a node back what it held; the hidden node can go then."""
    node: Any = written(former)
    node.CopyContent(former, False)
    for name in node.GetAttributeNames():
        node.RemoveAttribute(name)
    for name, value in json.loads(former.GetAttribute(_ATTRIBUTES)).items():
        node.SetAttribute(name, value)
    for role in _roles(node):
        node.RemoveNodeReferenceIDs(role)
    for role in _roles(former):
        if role not in (_OF, _PARENT):
            node.SetNodeReferenceID(role, former.GetNodeReferenceID(role))
    node.SetAndObserveTransformNodeID(former.GetNodeReferenceID(_PARENT))


def _keep(node: Any) -> None:
    """A hidden node with all that this one holds. It has none of its attributes, by which it would be taken for it."""
    former = node.CreateNodeInstance()
    former.UnRegister(None)
    former.CopyContent(node, False)
    attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
    for name in attributes:
        former.RemoveAttribute(name)
    former.SetAttribute(_ATTRIBUTES, json.dumps(attributes))
    former.SetName(f"{node.GetName()} before")
    former.SetHideFromEditors(True)
    former = node.GetScene().AddNode(former)
    former.SetNodeReferenceID(_OF, node.GetID())
    former.SetNodeReferenceID(_PARENT, node.GetTransformNodeID())
    for role in _roles(node):
        former.SetNodeReferenceID(role, node.GetNodeReferenceID(role))


def _roles(node: Any) -> list[str]:
    """Of its references to what a registration knows of it."""
    roles = [node.GetNthNodeReferenceRole(index) for index in range(node.GetNumberOfNodeReferenceRoles())]
    kind = slicer.vtkMRMLTransformNode
    pair = {kind.GetFixedNodeReferenceRole(), kind.GetMovingNodeReferenceRole()}
    return [role for role in roles if role.startswith(_OURS) or role in pair]
