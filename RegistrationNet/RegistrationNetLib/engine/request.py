"""What a registration needs, as one value, and as files in a folder that another process reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine import parcel
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.result import Reference
from RegistrationNetLib.engine.settings import Settings


@dataclass(frozen=True, eq=False)
class Request:
    """Everything a registration needs; see `engine.register.register`."""

    fixed: Image
    moving: Image
    settings: Settings
    initial: Mapping | None = None
    fixed_mask: Image | None = None
    moving_mask: Image | None = None
    constraints: Constraints = field(default_factory=Constraints)
    reference: Reference | None = None


def put_request(folder: Path, request: Request) -> None:
    parcel.put_image(folder, "fixed", request.fixed)
    parcel.put_image(folder, "moving", request.moving)
    parcel.put_image(folder, "fixed_mask", request.fixed_mask)
    parcel.put_image(folder, "moving_mask", request.moving_mask)
    parcel.put_mapping(folder, "initial", request.initial)
    parcel.put_constraints(folder, request.constraints)
    parcel.put_reference(folder, request.reference)
    parcel.write_json(folder / "settings.json", request.settings.to_dict())


def get_request(folder: Path) -> Request:
    fixed, moving = parcel.get_image(folder, "fixed"), parcel.get_image(folder, "moving")
    if fixed is None or moving is None:
        raise FileNotFoundError(f"No request in {folder}.")
    return Request(
        fixed,
        moving,
        Settings.from_dict(json.loads((folder / "settings.json").read_text())),
        parcel.get_mapping(folder, "initial"),
        parcel.get_image(folder, "fixed_mask"),
        parcel.get_image(folder, "moving_mask"),
        parcel.get_constraints(folder),
        parcel.get_reference(folder),
    )
