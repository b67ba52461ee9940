"""RegistrationNet: deformable registration of 3D medical images.

This face hands names on and imports nothing until one is used, so that Slicer starts as fast with us as without:

    from RegistrationNetLib import register
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from RegistrationNetLib.core.version import __version__ as __version__

if TYPE_CHECKING:
    from RegistrationNetLib.api import register as register
    from RegistrationNetLib.api import save as save
    from RegistrationNetLib.core.grid import Grid as Grid
    from RegistrationNetLib.core.image import Image as Image
    from RegistrationNetLib.core.mapping import Affine as Affine
    from RegistrationNetLib.core.mapping import Displacement as Displacement
    from RegistrationNetLib.core.mapping import Mapping as Mapping
    from RegistrationNetLib.engine.models import Model as Model
    from RegistrationNetLib.engine.models import models as models
    from RegistrationNetLib.engine.result import Registration as Registration
    from RegistrationNetLib.engine.settings import Settings as Settings
    from RegistrationNetLib.tracking import track as track
    from RegistrationNetLib.training.settings import Train as Train
    from RegistrationNetLib.training.train import train as train

_HOMES = {
    "register": "RegistrationNetLib.api",
    "save": "RegistrationNetLib.api",
    "models": "RegistrationNetLib.engine.models",
    "Model": "RegistrationNetLib.engine.models",
    "Registration": "RegistrationNetLib.engine.result",
    "Settings": "RegistrationNetLib.engine.settings",
    "track": "RegistrationNetLib.tracking",
    "train": "RegistrationNetLib.training.train",
    "Train": "RegistrationNetLib.training.settings",
    "Image": "RegistrationNetLib.core.image",
    "Grid": "RegistrationNetLib.core.grid",
    "Mapping": "RegistrationNetLib.core.mapping",
    "Affine": "RegistrationNetLib.core.mapping",
    "Displacement": "RegistrationNetLib.core.mapping",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
