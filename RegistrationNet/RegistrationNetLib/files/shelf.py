"""Registrations kept in a folder until they are asked for again, so that a run goes on where an earlier one stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.version import __version__
from RegistrationNetLib.files.output import output_file
from RegistrationNetLib.files.report import write_report
from RegistrationNetLib.files.transforms import read_transform, write_transform

Kept = tuple[Mapping, dict[str, Any]]
"""A mapping and what is to be said of it, in plain values."""


def key_of(images: Iterable[Image | None], settings: dict[str, Any]) -> str:
    """Of all that decides a registration's result: voxels, grids, settings, version; not names nor places of files."""
    told = hashlib.sha256(json.dumps([__version__, settings], sort_keys=True).encode())
    for image in images:
        told.update(b"none" if image is None else image.grid.voxel_to_world.tobytes())
        if image is not None:
            told.update(f"{image.data.shape} {image.data.dtype} {image.background}".encode())
            told.update(image.data.tobytes())
    return told.hexdigest()[:20]


def kept(folder: Path, key: str) -> Kept | None:
    """None where there is none, or what is there was damaged."""
    try:
        return read_transform(folder / f"{key}.h5"), json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
    except (InputError, OSError, ValueError):
        return None


def put(folder: Path, key: str, mapping: Mapping, report: dict[str, Any]) -> Kept:
    """As it is read again: files round, and every run is to have the same result. Raises InputError."""
    with output_file(folder / f"{key}.json") as draft:
        write_report(report, draft)
    with output_file(folder / f"{key}.h5") as draft:  # last: what it stands for is complete
        write_transform(mapping, draft)
    return read_transform(folder / f"{key}.h5"), json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
