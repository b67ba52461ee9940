"""scene.mrb: a whole registration as one file that 3D Slicer opens with the result in view."""

from __future__ import annotations

import re
import tempfile
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk

from RegistrationNetLib.core.errors import RegistrationError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine.result import Registration
from RegistrationNetLib.files.colours import jacobian_colours
from RegistrationNetLib.files.transforms import write_transform
from RegistrationNetLib.scene import views, volumes
from RegistrationNetLib.scene.results import SceneResult, place
from RegistrationNetLib.scene.runtime import Runtime, silence, vtk

_JACOBIAN_STEP = 2.0**-12
"""The Jacobian volume is stored in whole steps of this, which nearly halves its file."""

_TRANSFORM_FILE = "transform.h5"

_THUMBNAIL_PIXELS = 256
_FILE_SUFFIX = re.compile(r"\.(nii|nii\.gz|nrrd|nhdr|mha|mhd|hdr|img|gipl|gipl\.gz|dcm|vtk)$", re.IGNORECASE)


def write_scene(path: str | Path, fixed: Image, moving: Image, registration: Registration) -> None:
    """Write fixed, moving (under the transform), warped, Jacobian over the fixed volume with its legend, and the table.

    Built in a scene of its own; a scene that is open elsewhere in this process stays as it is.
    Raises RegistrationError, and nothing else, where the file cannot be written; no partial file is left then.
    """
    try:
        _write(Path(path), fixed, moving, registration)
    except RegistrationError:
        raise
    except Exception as error:  # MRML fails in many ways, and none of them may cost a caller its other results
        raise RegistrationError(
            f"'{path}' cannot be written ({error!r}); the transform and the volumes in their own "
            "files are not affected. Please report this."
        ) from error


def _write(path: Path, fixed: Image, moving: Image, registration: Registration) -> None:
    fixed_name, moving_name = _names(fixed, moving)
    with closing(Runtime()) as runtime, tempfile.TemporaryDirectory(prefix="registrationnet-mrb-") as folder:
        scene = runtime.scene
        fixed_node = scene.AddNode(volumes.volume_node(replace(fixed, name=fixed_name)))
        moving_node = scene.AddNode(volumes.volume_node(replace(moving, name=moving_name)))
        for node in (fixed_node, moving_node):
            node.CreateDefaultDisplayNodes()
        result = place(fixed_node, moving_node, replace(registration, jacobian=_rounded(registration.jacobian)))
        _name_files(fixed_node, moving_node, result)
        for node in (fixed_node, moving_node, result.warped, result.jacobian):
            node.GetStorageNode().SetCompressionParameter("gzip_fastest")
        views.arrange(runtime, fixed_node, result.jacobian, fixed.grid)
        content = Path(folder) / path.stem
        content.mkdir()
        with silence():
            saved = scene.SaveSceneToSlicerDataBundleDirectory(str(content), _thumbnail(fixed, registration.jacobian))
        if not saved:
            raise RegistrationError(f"'{path}' cannot be written: the scene could not be saved in {folder}.")
        _shrink_transform(content, registration.mapping)
        _pack(content, path)


def _names(fixed: Image, moving: Image) -> tuple[str, str]:
    """Node names: the images' without file endings, told apart where both are called alike."""
    names = _FILE_SUFFIX.sub("", fixed.name), _FILE_SUFFIX.sub("", moving.name)
    return names if names[0] != names[1] else (f"{names[0]} fixed", f"{names[1]} moving")


def _name_files(fixed: Any, moving: Any, result: SceneResult) -> None:
    """Plain file names; of a node's name Slicer makes a shortened and encoded one, and of some an unreadable scene."""
    files = {
        "fixed.nrrd": fixed,
        "moving.nrrd": moving,
        "warped.nrrd": result.warped,
        "jacobian.nrrd": result.jacobian,
        _TRANSFORM_FILE: result.transform,
        "affine.h5": result.affine,
        "quality.tsv": result.table,
    }
    for name, node in files.items():
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(name)


def _rounded(jacobian: Image) -> Image:
    values = jacobian.data.astype(np.float32)
    np.rint(np.divide(values, _JACOBIAN_STEP, out=values), out=values)  # in place: a whole body has no room for copies
    values *= _JACOBIAN_STEP
    return replace(jacobian, data=values)


def _shrink_transform(content: Path, mapping: Mapping) -> None:
    """Slicer saves fields uncompressed in double precision; ours is a fifth of that or less, and reads the same."""
    if not any(step.inverted for step in mapping.displacements):
        [file] = content.rglob(_TRANSFORM_FILE)
        write_transform(mapping, file)


def _pack(content: Path, path: Path) -> None:
    """A .mrb is a zip of one folder; what is in it is compressed already."""
    draft = path.with_name(f".{path.name}.part")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(content.rglob("*")):
                archive.write(file, file.relative_to(content.parent))
        draft.replace(path)
    except OSError as error:
        raise RegistrationError(f"'{path}' cannot be written ({error.strerror}); check the folder.") from error
    finally:
        draft.unlink(missing_ok=True)


def _thumbnail(fixed: Image, jacobian: Image) -> Any:
    """The middle axial slice as the views show it, anterior up, the patient's left on the right."""
    grid = fixed.grid
    down, left = (int(np.abs(grid.directions[axis]).argmax()) for axis in (1, 0))
    up = 3 - down - left
    if sorted((down, left, up)) != [0, 1, 2]:
        up, down, left = 0, 1, 2  # halfway between two planes: any will do
    grey = _middle_slice(fixed.scalar, up, down, left)
    low, high = np.percentile(grey, (1, 99))
    shown = np.clip((grey - low) / max(high - low, 1e-9), 0, 1)[..., None]
    over = jacobian_colours(_middle_slice(jacobian.scalar, up, down, left))
    picture = (1 - views.HEATMAP_OPACITY) * shown + views.HEATMAP_OPACITY * over
    picture = picture[:: -1 if grid.directions[1, down] < 0 else 1, :: -1 if grid.directions[0, left] < 0 else 1]
    return _to_vtk_picture(_in_true_aspect(picture, grid.spacing[down], grid.spacing[left]))


def _middle_slice(values: NDArray[np.generic], up: int, down: int, left: int) -> NDArray[np.float64]:
    return values.transpose(up, down, left)[values.shape[up] // 2].astype(np.float64)


def _in_true_aspect(picture: NDArray[np.float64], row_mm: float, column_mm: float) -> NDArray[np.float64]:
    height, width = picture.shape[0] * row_mm, picture.shape[1] * column_mm
    scale = _THUMBNAIL_PIXELS / max(height, width)
    rows = np.linspace(0, picture.shape[0] - 1, max(1, round(height * scale))).round().astype(int)
    columns = np.linspace(0, picture.shape[1] - 1, max(1, round(width * scale))).round().astype(int)
    return picture[rows][:, columns]


def _to_vtk_picture(picture: NDArray[np.float64]) -> Any:
    """(rows, columns, 3) 0..1, first row on top -> vtkImageData, whose first row is at the bottom."""
    pixels = np.ascontiguousarray((picture[::-1] * 255).round().astype(np.uint8))
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(pixels.reshape(-1, 3), deep=True))
    return image
