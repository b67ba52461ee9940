"""Slicer segmentations (.seg.nrrd): carried layer by layer, with names, colours and terminology as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.errors import GeometryError, InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.checks import damaged, require_file, singular
from RegistrationNetLib.files.geometry import to_itk
from RegistrationNetLib.files.suffixes import SEGMENTATIONS, ends
from RegistrationNetLib.lesions.lesion import Lesion, outlined

_LPS_SIGNS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_GEOMETRY_FIELDS = {
    *("type", "dimension", "sizes", "space", "space dimension", "space directions", "space origin", "kinds"),
    *("encoding", "endian", "data file", "datafile", "spacings", "axis mins", "axis maxs", "centerings"),
}
_REFERENCE = "Reference image geometry|"


@dataclass(frozen=True, eq=False)
class Segmentation:
    """layers: (C, D, H, W), each a label map of segments that do not overlap; fields: everything else in the header."""

    layers: Image
    fields: dict[str, Any]

    @property
    def numbers(self) -> list[int]:
        """By which the header calls the segments, in the file's order."""
        return sorted(int(key[7:-3]) for key in self.fields if re.fullmatch(r"Segment\d+_ID", key))

    @property
    def names(self) -> list[str]:
        """Of the segments, in the file's order."""
        return [str(self.fields.get(f"Segment{n}_Name", self.fields[f"Segment{n}_ID"])) for n in self.numbers]


def carry_segmentation(source: str | Path, output: str | Path, warp: Callable[[Image], Image]) -> list[str]:
    """Read a segmentation, send every layer through `warp` and write it; returns the segments' names.

    warp: a one-channel label map -> the same on another grid, without new values. Raises InputError.
    """
    segmentation = read_segmentation(source)
    layers = [warp(replace(segmentation.layers, data=layer[None])) for layer in segmentation.layers.data]
    carried = replace(layers[0], data=np.concatenate([layer.data for layer in layers]))
    write_segmentation(replace(segmentation, layers=carried), output)
    return segmentation.names


def read_segmentation(path: str | Path) -> Segmentation:
    """A .seg.nrrd file with one or more layers. Raises InputError naming the file and the cure."""
    path = Path(path)
    require_file(path)
    try:
        data, header = nrrd.read(str(path))
    except (nrrd.NRRDError, OSError, EOFError, ValueError) as error:
        raise InputError(damaged(path, "it is no complete NRRD file")) from error
    if not any(re.fullmatch(r"Segment\d+_ID", key) for key in header):
        raise InputError(f"'{path}' is no Slicer segmentation (its header names no segment); save it as .seg.nrrd.")
    layers = _layers_first(data, header, path)
    fields = {key: value for key, value in header.items() if key not in _GEOMETRY_FIELDS}
    return Segmentation(Image(layers, _grid(header, layers.shape[1:], path), 0.0, path.name), fields)


def read_lesions(path: str | Path) -> tuple[Lesion, ...]:
    """Each segment that is not empty as a lesion of its name. Raises InputError."""
    segmentation = read_segmentation(path)
    fields, layers = segmentation.fields, segmentation.layers
    found = []
    for number, name in zip(segmentation.numbers, segmentation.names, strict=True):
        layer = int(fields.get(f"Segment{number}_Layer", 0))
        inside = layers.data[layer] == int(fields.get(f"Segment{number}_LabelValue", 1))
        if inside.any():
            labels = replace(layers, data=inside[None].astype(np.uint8), name=f"{layers.name} {name}")
            found += [replace(one, name=name) for one in outlined(labels)]
    return tuple(found)


def write_segmentation(segmentation: Segmentation, path: str | Path) -> None:
    """As .seg.nrrd or .seg.nhdr; what the header says about the old grid is brought up to date. Raises InputError."""
    if not ends(path, SEGMENTATIONS):
        raise InputError(f"'{path}' is no name for a segmentation; name it {' or '.join(SEGMENTATIONS)}.")
    grid, layers = segmentation.layers.grid, segmentation.layers.data
    several = len(layers) > 1
    rows = grid.voxel_to_world[:3, 2::-1].T
    header = _up_to_date(segmentation.fields, grid) | {
        "space": "left-posterior-superior",
        "space directions": np.vstack([np.full((1, 3), np.nan), rows]) if several else rows,
        "space origin": grid.voxel_to_world[:3, 3],
        "kinds": ["list"] * several + ["domain"] * 3,
        "encoding": "gzip",
    }
    fastest_first = layers.transpose(0, 3, 2, 1)
    try:
        nrrd.write(str(path), fastest_first if several else fastest_first[0], header)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); check the folder.") from error


def _layers_first(data: NDArray[Any], header: dict[str, Any], path: Path) -> NDArray[Any]:
    """(C, D, H, W) from (list, I, J, K) in whatever place the list is, or from (I, J, K)."""
    if data.ndim == 3:
        return data.transpose(2, 1, 0)[None]
    kinds = list(header.get("kinds", []))
    if data.ndim != 4 or kinds.count("list") + kinds.count("vector") != 1:
        raise InputError(
            f"'{path}' is {data.ndim}-D without a list of layers; save the segmentation again from Slicer."
        )
    place = next(n for n, kind in enumerate(kinds) if kind in ("list", "vector"))
    return np.moveaxis(data, place, 0).transpose(0, 3, 2, 1)


def _grid(header: dict[str, Any], shape: tuple[int, ...], path: Path) -> Grid:
    signs = _LPS_SIGNS.get(str(header.get("space", "")).lower())
    if signs is None or "space directions" not in header or "space origin" not in header:
        raise InputError(f"'{path}' does not say where it lies in space; save the segmentation again from Slicer.")
    directions = np.array([row for row in np.atleast_2d(header["space directions"]) if np.isfinite(row).all()], float)
    if directions.shape != (3, 3):
        raise InputError(singular(path))
    matrix = np.eye(4)
    matrix[:3, :3] = (directions * signs)[::-1].T
    matrix[:3, 3] = np.asarray(header["space origin"], float) * signs
    try:
        return Grid((shape[0], shape[1], shape[2]), matrix)
    except GeometryError as error:
        raise InputError(singular(path)) from error


def _up_to_date(fields: dict[str, Any], grid: Grid) -> dict[str, Any]:
    """The fields with extents, offset and reference geometry of the new grid."""
    i, j, k = to_itk(grid).size
    changed = dict(fields)
    for key in fields:
        if re.fullmatch(r"Segment\d+_Extent", key):
            changed[key] = f"0 {i - 1} 0 {j - 1} 0 {k - 1}"
        elif key == "Segmentation_ReferenceImageExtentOffset":
            changed[key] = "0 0 0"
        elif key == "Segmentation_ConversionParameters":
            changed[key] = _with_reference(str(fields[key]), grid)
    return changed


def _with_reference(parameters: str, grid: Grid) -> str:
    """The sixteen numbers of IJK to RAS and the six of the extent, where a reference geometry was set."""
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.voxel_to_world[:, [2, 1, 0, 3]]
    i, j, k = to_itk(grid).size
    numbers = [*(f"{v:.17g}" for v in matrix.ravel()), *map(str, (0, i - 1, 0, j - 1, 0, k - 1))]
    text = "".join(f"{number};" for number in numbers)
    return re.sub(re.escape(_REFERENCE) + r"[^|]+\|", lambda _: f"{_REFERENCE}{text}|", parameters)
