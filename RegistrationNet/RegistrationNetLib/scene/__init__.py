"""Slicer scenes: register nodes, write a scene file, carry surfaces. Imports nothing until a name is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from RegistrationNetLib.scene.bundle import write_scene as write_scene
    from RegistrationNetLib.scene.job import SceneJob as SceneJob
    from RegistrationNetLib.scene.job import register_nodes as register_nodes
    from RegistrationNetLib.scene.refining import refine_result as refine_result
    from RegistrationNetLib.scene.results import SceneResult as SceneResult
    from RegistrationNetLib.scene.surfaces import carry_surface as carry_surface

_HOMES = {
    "register_nodes": "RegistrationNetLib.scene.job",
    "SceneJob": "RegistrationNetLib.scene.job",
    "refine_result": "RegistrationNetLib.scene.refining",
    "SceneResult": "RegistrationNetLib.scene.results",
    "write_scene": "RegistrationNetLib.scene.bundle",
    "carry_surface": "RegistrationNetLib.scene.surfaces",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
