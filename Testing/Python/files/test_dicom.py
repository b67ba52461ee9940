"""A DICOM folder is read by the slices' own positions; what does not form one volume is refused or straightened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.files.images import read_image

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


def refusal(folder: Path, **choice: str) -> str:
    with pytest.raises(InputError) as caught:
        read_image(folder, **choice)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_oblique_series_is_read_where_its_slices_lie(tmp_path):
    write_series(tmp_path / "scan", description="T1 oblique")
    (tmp_path / "scan" / "notes.txt").write_text("no image")
    image = read_image(tmp_path / "scan")
    assert image.grid.isclose(GRID, atol_mm=1e-4)
    np.testing.assert_array_equal(image.scalar, VOXELS)
    assert image.name == "scan: T1 oblique"


def test_slices_are_ordered_by_position_even_when_stored_upside_down(tmp_path):
    turned = Grid.of(GRID.shape, GRID.spacing, GRID.directions * [-1, 1, 1], GRID.to_world([5, 0, 0]))
    write_series(tmp_path / "scan", turned, VOXELS[::-1])
    image = read_image(tmp_path / "scan")
    assert image.grid.isclose(GRID, atol_mm=1e-4)
    np.testing.assert_array_equal(image.scalar, VOXELS)


def test_several_series_are_listed_and_one_is_chosen_by_number_or_uid(tmp_path):
    folder = tmp_path / "study"
    write_series(folder, uid="1.2.9", description="FLAIR", number="7")
    write_series(folder, voxels=VOXELS[:4] + 1, uid="1.2.5", description="T2", number="3")
    message = refusal(folder)
    assert "2 DICOM series" in message
    assert "1: 'T2' (series number 3), 4 slices of 8 x 7; 2: 'FLAIR' (series number 7), 6 slices of 8 x 7" in message
    np.testing.assert_array_equal(read_image(folder, series=1).scalar, VOXELS[:4] + 1)
    np.testing.assert_array_equal(read_image(folder, series="2").scalar, VOXELS)
    np.testing.assert_array_equal(read_image(folder, series="1.2.5").scalar, VOXELS[:4] + 1)
    assert "no DICOM series 3" in refusal(folder, series="3")


def test_phases_of_one_series_are_told_apart(tmp_path):
    folder = tmp_path / "phases"
    for phase in ("1", "2"):
        write_series(folder, voxels=VOXELS + int(phase), name=phase, description="perfusion", **{"0020|0100": phase})
    message = refusal(folder)
    assert "'perfusion, time point 1'" in message
    np.testing.assert_array_equal(read_image(folder, series=2).scalar, VOXELS + 2)


def test_missing_slices_are_counted_and_refused(tmp_path):
    paths = write_series(tmp_path / "scan", description="CT")
    paths[3].unlink()
    message = refusal(tmp_path / "scan")
    assert "lacks 1 of 6 slices" in message
    assert "export the complete series again" in message


def test_uneven_slices_are_refused(tmp_path):
    write_series(tmp_path / "scan", places=[0, 1, 2.4, 3.4, 4.4, 5.4])
    assert "unevenly spaced" in refusal(tmp_path / "scan")


def test_copies_of_a_slice_that_differ_are_refused(tmp_path):
    folder = tmp_path / "scan"
    write_series(folder, name="a")
    write_series(folder, voxels=VOXELS + 1, name="b")
    assert "at the same position" in refusal(folder)


def test_a_tilted_gantry_is_straightened_and_said(tmp_path):
    tilt = np.radians(12)
    grid = Grid.of((12, 14, 16), (1, 1, 1), np.eye(3)[:, [2, 1, 0]], (5, 6, 7))
    matrix = grid.voxel_to_world.copy()
    matrix[:3, 0] = (0, 2 * np.tan(tilt), 2)
    tilted = Grid(grid.shape, matrix)
    values = tilted.points() @ [20.0, 10, 5]  # linear in the world: exactly kept by linear interpolation
    write_series(tmp_path / "tilted", tilted, np.rint(values).astype(np.int16))
    notes: list[str] = []
    image = read_image(tmp_path / "tilted", on_note=notes.append)
    assert len(notes) == 1
    assert "12.0 degrees" in notes[0]
    np.testing.assert_allclose(image.grid.directions, np.eye(3)[:, [2, 1, 0]], atol=1e-4)
    inside = tilted.contains(image.grid.points(), margin_voxels=1e-3)
    assert inside.mean() > 0.6
    np.testing.assert_allclose(image.scalar[inside], (image.grid.points() @ [20.0, 10, 5])[inside], atol=1.01)


def test_a_lone_slice_is_sent_to_its_folder(tmp_path):
    paths = write_series(tmp_path / "scan")
    with pytest.raises(InputError, match=r"one slice of a DICOM series; give the folder"):
        read_image(paths[0])
    for path in paths[1:]:
        path.unlink()
    assert "single slice" in refusal(tmp_path / "scan")


def test_values_are_rescaled_to_hounsfield_units(tmp_path):
    even = VOXELS // 2 * 2  # the file holds (value + 1000) / 2
    write_series(tmp_path / "scan", voxels=even, **{"0028|1052": "-1000", "0028|1053": "2"})
    np.testing.assert_array_equal(read_image(tmp_path / "scan").scalar, even)


def test_a_damaged_slice_is_named(tmp_path):
    paths = write_series(tmp_path / "scan")
    paths[2].write_bytes(paths[2].read_bytes()[:-60])
    with pytest.raises(InputError, match=paths[2].name):
        read_image(tmp_path / "scan")


def test_a_damaged_last_slice_is_not_just_left_out(tmp_path):
    paths = write_series(tmp_path / "scan")
    paths[-1].write_bytes(paths[-1].read_bytes()[:-60])
    with pytest.raises(InputError, match=paths[-1].name):
        read_image(tmp_path / "scan")
