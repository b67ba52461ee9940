"""Preparation: what is tissue, what is not, and what cannot be used."""

from dataclasses import replace

import numpy as np
import pytest

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.threshold import otsu
from RegistrationNetLib.engine.prepare import foreground, prepare, working_grid
from RegistrationNetLib.engine.settings import Prepare

SIZE = 24


def grid(shape=(SIZE, SIZE, SIZE), spacing=(2.0, 2.0, 2.0)) -> Grid:
    return Grid.of(shape, spacing, np.eye(3), (0, 0, 0))


def mr(seed: int = 0) -> Image:
    values = np.zeros((SIZE, SIZE, SIZE), np.float32)
    values[4:-4, 4:-4, 4:-4] = 300 + 60 * np.random.default_rng(seed).standard_normal((16, 16, 16))
    return Image(values[None], grid(), name="mr.nii.gz")


def ct() -> Image:
    values = np.full((SIZE, SIZE, SIZE), -1000, np.int16)
    values[4:-4, 4:-4, 4:-4] = np.random.default_rng(1).integers(-100, 900, (16, 16, 16))
    return Image(values[None], grid(), -1000, name="ct.mha")


def with_values(image: Image, values: np.ndarray) -> Image:
    return replace(image, data=values)


def test_mr_lands_between_zero_and_one_whatever_its_scale_and_type():
    one = prepare(mr(), mr(), Prepare())
    other = prepare(with_values(mr(), (7 * mr().data + 20).astype(np.int16)), mr(), Prepare())
    assert (float(one.fixed.min()), float(one.fixed.max())) == (0, 1)
    np.testing.assert_allclose(other.fixed.numpy(), one.fixed.numpy(), atol=2e-3)
    assert one.modality == "other"
    assert one.fixed_mask is None
    assert one.notes == []


def test_ct_is_recognised_and_windowed():
    prepared = prepare(ct(), ct(), Prepare(ct_low=-1000, ct_high=500))
    assert prepared.modality == "ct"
    expected = np.clip((ct().data + 1000) / 1500, 0, 1)
    np.testing.assert_allclose(prepared.fixed[0].numpy(), expected, atol=1e-5)
    assert any("recognised as CT" in note for note in prepared.notes)


def test_a_crop_without_air_is_ct_beside_another_ct_and_not_alone():
    crop = with_values(ct(), np.random.default_rng(2).integers(-100, 900, ct().data.shape).astype(np.int16))
    for pair in ((crop, ct()), (ct(), crop)):
        prepared = prepare(*pair, Prepare())
        assert prepared.modality == "ct"
        side = prepared.fixed if pair[0] is crop else prepared.moving
        np.testing.assert_allclose(side[0].numpy(), np.clip((crop.data + 1000) / 1500, 0, 1), atol=1e-5)
    assert prepare(crop, crop, Prepare()).modality == "other"
    assert prepare(ct(), mr(), Prepare()).modality == "mixed"


@pytest.mark.parametrize("padding", [-2048, -3024])
def test_values_below_any_air_are_padding_not_tissue(padding):
    values = ct().data.copy()
    values[..., :3] = padding
    prepared = prepare(with_values(ct(), values), ct(), Prepare())
    assert prepared.modality == "ct"
    np.testing.assert_array_equal(prepared.fixed_mask[0].numpy(), values != padding)
    assert prepared.moving_mask is None
    np.testing.assert_allclose(prepared.fixed[0, 0, ..., :3].numpy(), 0, atol=1e-6)  # continued from air beside it
    assert any("Padding in 'ct.mha' (12.5 %" in note for note in prepared.notes)


def test_ct_that_was_resampled_with_its_padding_is_still_ct():
    values = ct().data.copy()
    values[..., :3] = -2048
    values[..., 3] = -1400  # between padding and air
    assert prepare(with_values(ct(), values), ct(), Prepare()).modality == "ct"


def test_a_constant_border_that_stands_apart_is_padding_in_mr_too():
    values = mr().data.copy()
    values[:, :3] = -500
    prepared = prepare(with_values(mr(), values), mr(), Prepare())
    np.testing.assert_array_equal(prepared.fixed_mask[0].numpy(), values != -500)


def test_zero_around_a_stripped_brain_is_background_and_compared():
    values = mr().data + np.where(mr().data > 0, 1000, 0).astype(np.float32)
    assert prepare(with_values(mr(), values), mr(), Prepare()).fixed_mask is None


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_few_broken_voxels_are_replaced_and_said(broken):
    values = mr().data.copy()
    values[0, 12, 12, 10:13] = broken
    prepared = prepare(with_values(mr(), values), mr(), Prepare())
    good = prepare(mr(), mr(), Prepare())
    assert np.isfinite(prepared.fixed.numpy()).all()
    assert abs(float(prepared.fixed[0, 0, 12, 12, 11] - good.fixed[0, 0, 10:15, 10:15, 10:15].mean())) < 0.25
    assert prepared.notes[0].startswith("3 NaN or infinite voxels of 'mr.nii.gz'")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((1, SIZE, SIZE, SIZE), np.nan, np.float32), "no usable values"),
        (np.full((1, SIZE, SIZE, SIZE), 7, np.int16), "constant"),
    ],
)
def test_an_image_that_shows_nothing_is_refused_by_name(values, words):
    with pytest.raises(InputError, match=f"'mr.nii.gz'.*{words}"):
        prepare(mr(), with_values(mr(), values), Prepare())


def test_a_mask_limits_the_comparison_and_may_lie_on_another_grid():
    coarse = np.zeros((1, 12, 12, 12), np.uint8)
    coarse[:, :6] = 1
    prepared = prepare(mr(), mr(), Prepare(), fixed_mask=Image(coarse, grid().resampled((12, 12, 12)), name="mask"))
    assert prepared.fixed_mask[0, 0, :12].min() == 1
    assert prepared.fixed_mask[0, 0, 12:].max() == 0


@pytest.mark.parametrize("count", [0, 1, 199])
def test_a_mask_of_next_to_nothing_is_refused_with_its_size(count):
    with pytest.raises(InputError, match=f"mask of 'mr.nii.gz' leaves {count} voxels.*fewer than 200.*larger"):
        prepare(mr(), mr(), Prepare(), moving_mask=mask_of(count))


def test_a_small_mask_is_used():
    assert float(prepare(mr(), mr(), Prepare(), fixed_mask=mask_of(200)).fixed_mask.sum()) == 200


def mask_of(count: int) -> Image:
    values = np.zeros(SIZE**3, np.uint8)
    values[5000 : 5000 + count] = 1
    return Image(values.reshape(1, SIZE, SIZE, SIZE), grid(), name="mask")


def test_the_working_grid_is_the_image_s_own_where_that_serves():
    own = grid(spacing=(2.5, 1.4, 1.4))
    assert working_grid(own, 8_000_000) is own


def test_thick_slices_and_large_images_get_a_working_grid_of_the_same_field_of_view():
    thick = working_grid(grid((20, 200, 200), (5.0, 0.5, 0.5)), 8_000_000)
    assert thick.spacing.max() <= 2.3 * thick.spacing.min()
    large = working_grid(grid((300, 300, 300), (1.0, 1.0, 1.0)), 1_000_000)
    assert large.voxels <= 1_050_000
    np.testing.assert_allclose(large.center, grid((300, 300, 300), (1.0, 1.0, 1.0)).center)


def test_otsu_parts_two_classes_and_the_body_has_no_holes():
    volume = np.zeros((20, 20, 20), np.float32)
    volume[3:-3, 3:-3, 3:-3] = 0.7
    volume[8:12, 8:12, 8:12] = 0.02
    assert 0.02 < otsu(volume) < 0.7
    np.testing.assert_array_equal(foreground(volume), np.pad(np.ones((14, 14, 14), bool), 3))
