"""Images are read as they are, and what is wrong with a file is said in one sentence that names it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings

from Python.files.strategies import grids
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image, background_of
from RegistrationNetLib.files.images import (
    image_of,
    read_image,
    read_labels,
    read_mask,
    read_volume,
    write_image,
)

GRID = Grid.of((6, 7, 8), (3, 1, 0.8), np.eye(3)[:, [2, 0, 1]] * [1, -1, 1], (10, -20, 30))
VALUES = np.random.default_rng(0).normal(100, 20, (1, 6, 7, 8))


def refusal(path: Path, read=read_image) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    assert message.endswith(".")
    return message


def written(path: Path, data=VALUES, grid=GRID) -> Path:
    write_image(Image(np.asarray(data), grid), path)
    return path


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_what_was_written_is_read_again(tmp_path, suffix, dtype):
    image = read_image(written(tmp_path / f"a{suffix}", VALUES.astype(dtype)))
    assert image.data.dtype == dtype
    np.testing.assert_array_equal(image.data, VALUES.astype(dtype))
    assert image.grid.isclose(GRID, atol_mm=1e-4)
    assert image.name == f"a{suffix}"


@settings(max_examples=25, deadline=None)
@given(grids())
def test_any_oblique_grid_survives_a_file(tmp_path_factory, grid):
    path = tmp_path_factory.mktemp("grids") / "a.nrrd"
    data = np.arange(grid.voxels, dtype=np.int32).reshape(1, *grid.shape)
    image = read_volume(written(path, data, grid))
    np.testing.assert_array_equal(image.data, data)
    assert image.grid.isclose(grid, atol_mm=1e-6)


def test_missing_empty_and_foreign_files_are_named(tmp_path):
    assert "does not exist" in refusal(tmp_path / "missing.nii.gz")
    (tmp_path / "empty.nii.gz").touch()
    assert "empty" in refusal(tmp_path / "empty.nii.gz")
    (tmp_path / "text.nii.gz").write_text("no image")
    assert "not an image" in refusal(tmp_path / "text.nii.gz")
    (tmp_path / "folder").mkdir()
    assert "no DICOM" in refusal(tmp_path / "folder")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_a_truncated_file_is_refused_and_nothing_else_is_printed(tmp_path, capfd, suffix, kept):
    path = written(tmp_path / f"cut{suffix}")
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert "damaged" in refusal(path)
    assert capfd.readouterr() == ("", "")


def test_other_dimensions_and_channels_are_refused(tmp_path):
    volume = sitk.GetImageFromArray(VALUES[0])
    sitk.WriteImage(volume[:, :, 2], tmp_path / "flat.nii.gz")
    assert "2-D" in refusal(tmp_path / "flat.nii.gz")
    sitk.WriteImage(volume[:, :, 2:3], tmp_path / "thin.nii.gz")
    assert "2-D" in refusal(tmp_path / "thin.nii.gz")
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), tmp_path / "series.nii.gz")
    assert "4-D" in refusal(tmp_path / "series.nii.gz")
    sitk.WriteImage(sitk.Compose(volume, volume, volume), tmp_path / "colour.nii.gz")
    assert "3 channels" in refusal(tmp_path / "colour.nii.gz")
    sitk.WriteImage(sitk.RealAndImaginaryToComplex(volume, volume), tmp_path / "waves.nii.gz")
    assert "complex" in refusal(tmp_path / "waves.nii.gz")


def test_a_fourth_dimension_of_one_is_no_obstacle(tmp_path):
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(VALUES[0])]), tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "one.nii.gz").data, VALUES)


@pytest.mark.parametrize("constant", [0.0, 7.0])
def test_a_constant_image_is_refused_but_only_for_registration(tmp_path, constant):
    path = written(tmp_path / "flat.nrrd", np.full_like(VALUES, constant))
    assert f"every voxel is {constant:g}" in refusal(path)
    assert read_volume(path).data.max() == constant


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_finite_voxel_is_refused_and_a_few_bad_ones_are_replaced_and_said(tmp_path, value):
    path = written(tmp_path / "all.nrrd", np.full_like(VALUES, value))
    assert "no finite value" in refusal(path)
    data = VALUES - 100
    data[0, 2, 3, 4:6] = value
    notes: list[str] = []
    image = read_image(written(tmp_path / "few.nrrd", data), on_note=notes.append)
    assert np.isfinite(image.data).all()
    assert (image.data[0, 2, 3, 4:6] == image.background).all()
    assert len(notes) == 1
    assert "few.nrrd" in notes[0]
    assert "2 NaN" in notes[0]


def test_a_singular_direction_is_refused(tmp_path, capfd):
    sitk.WriteImage(sitk.GetImageFromArray(VALUES[0]), tmp_path / "a.mha")
    meta = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "b.mha").write_bytes(meta.replace(b"Matrix = 1 0 0 0 1 0 0 0 1", b"Matrix = 1 0 0 1 0 0 0 0 1"))
    assert "singular" in refusal(tmp_path / "b.mha")
    sitk.WriteImage(sitk.GetImageFromArray(VALUES[0]), tmp_path / "a.nrrd")
    nrrd = (tmp_path / "a.nrrd").read_bytes()
    for number, vector in enumerate([b"(1,0,0)", b"(0,0,0)", b"(nan,0,0)"]):
        (tmp_path / f"{number}.nrrd").write_bytes(nrrd.replace(b"(0,1,0)", vector))
        assert "singular" in refusal(tmp_path / f"{number}.nrrd")
    nifti = bytearray(written(tmp_path / "a.nii").read_bytes())
    for number, rows in enumerate([(1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0), (np.nan,) * 12, (0,) * 12]):
        struct.pack_into("<2h", nifti, 252, 0, 1)
        struct.pack_into("<12f", nifti, 280, *rows)
        (tmp_path / f"{number}.nii").write_bytes(nifti)
        assert "singular" in refusal(tmp_path / f"{number}.nii")
    assert capfd.readouterr() == ("", "")


def test_a_sheared_image_is_straightened_and_said(tmp_path):
    shear = np.eye(3)
    shear[1, 0] = np.tan(np.radians(15))
    grid = Grid.of((10, 12, 14), (2 / np.cos(np.radians(15)), 1, 1), shear / np.linalg.norm(shear, axis=0), (1, 2, 3))
    line = grid.points() @ [0.5, 1.0, -0.25] + 40  # linear in the world, so that any exact resampling reproduces it
    notes: list[str] = []
    image = read_image(written(tmp_path / "tilted.nrrd", line[None], grid), on_note=notes.append)
    assert "15.0 degrees" in notes[0]
    np.testing.assert_allclose(image.grid.directions.T @ image.grid.directions, np.eye(3), atol=1e-6)
    inside = grid.contains(image.grid.points(), margin_voxels=1e-9)
    assert inside.mean() > 0.6
    expected = image.grid.points() @ [0.5, 1.0, -0.25] + 40
    np.testing.assert_allclose(image.scalar[inside], expected[inside], atol=1e-4)


@pytest.mark.parametrize(
    ("values", "background"),
    [
        ([-2048, -1000, 30], -2048),
        ([-3024, -1024, 900], -3024),
        ([-1024, 40], -1024),
        ([-1207, 40], -1024),
        ([-1000, 40], -1000),
        ([5, 900], 0),
        ([-3, 0, 0, 0, 90], 0),
        ([-1.5, 0.2, 3], -1.5),
    ],
)
def test_background_is_padding_air_zero_or_the_minimum(values, background):
    assert background_of(np.array(values)) == background


def test_labels_are_whole_numbers_and_not_all_zero(tmp_path):
    labels = np.zeros_like(VALUES)
    assert "labels no voxel" in refusal(written(tmp_path / "none.nrrd", labels), read_labels)
    labels[0, 3] = 12
    read = read_labels(written(tmp_path / "some.nrrd", labels))
    assert read.background == 0
    assert set(np.unique(read.data)) == {0, 12}
    labels[0, 3, 3, 3] = 0.5
    assert "fractions such as 0.5" in refusal(written(tmp_path / "broken.nrrd", labels), read_labels)


def test_a_mask_is_zero_and_one_and_not_empty(tmp_path):
    mask = np.zeros_like(VALUES)
    assert "empty" in refusal(written(tmp_path / "none.nrrd", mask), read_mask)
    mask[0, 3] = 255
    read = read_mask(written(tmp_path / "some.nrrd", mask))
    assert read.data.dtype == np.uint8
    np.testing.assert_array_equal(read.data, mask / 255)


def test_a_simpleitk_image_is_checked_like_a_file():
    image = image_of(sitk.GetImageFromArray(VALUES[0]), "theirs")
    np.testing.assert_array_equal(image.data, VALUES)
    with pytest.raises(InputError, match="'flat' is constant"):
        image_of(sitk.Image(4, 4, 4, sitk.sitkUInt8), "flat")
    with pytest.raises(InputError, match="'slice' is a 2-D image"):
        image_of(sitk.Image(4, 4, sitk.sitkUInt8), "slice")


def test_an_unwritable_path_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.*cannot be written"):
        written(tmp_path / "nowhere" / "a.nii.gz")


@pytest.mark.skipif("REGISTRATIONNET_DATA" not in os.environ, reason="REGISTRATIONNET_DATA names no folder of images")
@pytest.mark.parametrize(
    ("name", "background"),
    [("lung_ct/baseline.mha", -2048), ("brain_oasis/1000_t1.nii.gz", 0), ("abdomen_ct/ct.nii.gz", -1024)],
)
def test_real_images_are_read_with_their_background(name, background):
    image = read_image(Path(os.environ["REGISTRATIONNET_DATA"]) / name)
    assert image.background == background
