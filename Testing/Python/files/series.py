"""DICOM series as scanners write them: one file a slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.grid import Grid

ROTATION = Rotation.from_rotvec([0.2, -0.3, 0.1]).as_matrix()
GRID = Grid.of((6, 7, 8), (2.5, 0.75, 1.25), ROTATION[:, [2, 1, 0]], (-30, 40, 50))
VOXELS = np.random.default_rng(0).integers(-900, 900, GRID.shape).astype(np.int16)


def write_series(
    folder: Path,
    grid: Grid = GRID,
    voxels: np.ndarray = VOXELS,
    places: Sequence[float] | None = None,
    **tags: str,
) -> list[Path]:
    """One file per slice, named against their order; slice d lies at places[d] of the grid's first axis, else at d.

    tags: by keyword ("uid", "description", "number") or by their number; name: part of the file names.
    """
    folder.mkdir(exist_ok=True)
    names = {"uid": "0020|000e", "description": "0008|103e", "number": "0020|0011", "kind": "0008|0060"}
    uid = tags.get("uid", "1.2.3")
    given = {names.get(key, key): value for key, value in ({"uid": uid, "kind": "CT"} | tags).items()}
    _, h, w = grid.voxel_to_world[:3, :3].T
    axes = [*(w / np.linalg.norm(w)), *(h / np.linalg.norm(h))]
    paths = []
    for index, pixels in enumerate(voxels):
        image = sitk.GetImageFromArray(pixels[None])
        image.SetSpacing((float(grid.spacing[2]), float(grid.spacing[1]), 1.0))
        position = grid.to_world([index if places is None else places[index], 0, 0])
        said = given | {
            "0020|0032": "\\".join(f"{v:.9g}" for v in position),
            "0020|0037": "\\".join(f"{v:.9g}" for v in axes),
            "0020|0013": str(index),
            "0008|0018": f"{uid}.{len(list(folder.iterdir()))}.{index}",
        }
        for key, value in said.items():
            image.SetMetaData(key, value)
        paths.append(folder / f"{uid}_{len(voxels) - index:03d}{'_' + tags['name'] if 'name' in tags else ''}.dcm")
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(paths[-1]))
        writer.Execute(image)
    return paths
