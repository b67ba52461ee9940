"""A DICOM folder is read by the slices' own positions; what does not form one volume is refused or straightened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from Python.files.series import GRID, VOXELS, write_series
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.files.images import read_image


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
    for option in ("--fixed-series", "--moving-series", "--series", "--reference-series"):
        assert option in message


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
