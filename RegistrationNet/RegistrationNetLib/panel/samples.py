"""Sample data that nobody has to host: the phantom is drawn on the user's computer."""

from __future__ import annotations

from typing import Any

from RegistrationNetLib.phantom import phantom_pair
from RegistrationNetLib.scene import volumes

NAME = "RegistrationNet head phantom"
_VOXEL_MM = 2.0  # drawn in about two seconds


def add_phantom(scene: Any) -> list[Any]:
    """Two scans of a made-up head as volumes of the scene, fixed and moving."""
    pair = phantom_pair(voxel_mm=_VOXEL_MM)
    nodes = [scene.AddNode(volumes.volume_node(image)) for image in (pair.fixed, pair.moving)]
    for node in nodes:
        node.CreateDefaultDisplayNodes()
    return nodes
