"""Dense resampling: the fast twin of `Mapping`, held to SimpleITK and to plain point by point interpolation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from scipy.ndimage import map_coordinates

from RegistrationNetLib.core import resample
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.core.resample import warp
from Testing.Python.strategies import Storage, affines, blobs, displacements, grids, storages

CUBE = Grid.of((5, 6, 7), (1.0, 2.0, 1.5), np.eye(3), (0, 0, 0))


def point_by_point(image: Image, mapping: Mapping, onto: Grid) -> np.ndarray:
    """Linear interpolation at mapped points with scipy; NaN beyond the voxel centres, where rules differ."""
    voxels = image.grid.to_voxel(mapping(onto.points()))
    values = map_coordinates(image.scalar.astype(float), np.moveaxis(voxels, -1, 0), order=1, mode="nearest")
    inside = image.grid.contains(mapping(onto.points()), margin_voxels=0)
    return np.where(inside, values, np.nan)


def in_itk(image: Image) -> sitk.Image:
    """By hand, so that the product's own conversion is not trusted here."""
    out = sitk.GetImageFromArray(image.scalar)
    out.SetSpacing(image.grid.spacing[::-1].tolist())
    out.SetOrigin(image.grid.voxel_to_world[:3, 3].tolist())
    out.SetDirection(image.grid.directions[:, ::-1].ravel().tolist())
    return out


def transform_in_itk(step: Displacement, affine: Affine) -> sitk.Transform:
    vectors = sitk.GetImageFromArray(np.moveaxis(step.field, 0, -1).astype(np.float64), isVector=True)
    vectors.CopyInformation(in_itk(Image(step.field[:1], step.grid)))
    composite = sitk.CompositeTransform(3)  # the last one added acts first
    composite.AddTransform(sitk.AffineTransform(affine.matrix[:3, :3].ravel().tolist(), affine.matrix[:3, 3].tolist()))
    composite.AddTransform(sitk.DisplacementFieldTransform(vectors))
    return composite


def near(grid: Grid, affine: Affine, moving: Grid) -> Affine:
    """The affine with a shift that brings the middle of `grid` to the middle of `moving`."""
    matrix = affine.matrix.copy()
    matrix[:3, 3] += moving.center - affine(grid.center)
    return Affine(matrix)


@settings(max_examples=50)
@given(displacements(), affines(), grids(), grids())
def test_every_voxel_is_what_the_mapping_says_point_by_point(
    step: Displacement, affine: Affine, onto: Grid, source: Grid
) -> None:
    image = blobs(source)
    mapping = Mapping((step, near(onto, affine, source)))
    expected = point_by_point(image, mapping, onto)
    got = warp(image, mapping, onto).scalar
    inside = np.isfinite(expected)
    np.testing.assert_allclose(got[inside], expected[inside], atol=2e-3)  # of 200 grey levels
    far = ~source.contains(mapping(onto.points()), margin_voxels=0.502)
    assert (got[far] == image.background).all()


@settings(max_examples=50)
@given(displacements(), affines(), grids(), grids())
def test_every_voxel_is_what_simpleitk_makes_of_it(
    step: Displacement, affine: Affine, onto: Grid, source: Grid
) -> None:
    image = replace(blobs(source), background=-7.0)
    affine = near(onto, affine, source)
    reference = in_itk(Image(np.zeros((1, *onto.shape), np.float32), onto))
    expected = sitk.Resample(in_itk(image), reference, transform_in_itk(step, affine), sitk.sitkLinear, -7.0)
    got = warp(image, Mapping((step, affine)), onto).scalar
    on_the_rim = source.contains(Mapping((step, affine))(onto.points()), 0.502) & ~source.contains(
        Mapping((step, affine))(onto.points()), 0.498
    )
    difference = np.abs(got - sitk.GetArrayFromImage(expected))[~on_the_rim]
    assert difference.max(initial=0) < 5e-3


@settings(max_examples=40)
@given(displacements(), grids(), grids(), storages(), storages())
def test_storage_order_and_direction_of_anything_change_nothing_in_the_world(
    step: Displacement, onto: Grid, source: Grid, storage: Storage, other: Storage
) -> None:
    image, shift = blobs(source), near(onto, Affine(np.eye(4)), source)
    plain = warp(image, Mapping((step, shift)), onto)
    turned = warp(other.image(image), Mapping((storage.displacement(step), shift)), storage.grid(onto))
    np.testing.assert_allclose(turned.data, storage.data(plain.data), atol=5e-3)


@settings(max_examples=30)
@given(displacements(), affines(), grids())
def test_the_inverse_is_as_good_as_a_mapping(step: Displacement, affine: Affine, source: Grid) -> None:
    image = blobs(source)
    mapping = Mapping((step, near(step.grid, affine, source)))
    back = mapping.inverse()
    onto = step.grid
    expected = point_by_point(replace(image, grid=onto, data=blobs(onto).data), back, source)
    got = warp(blobs(onto), back, source).scalar
    inside = np.isfinite(expected)
    np.testing.assert_allclose(got[inside], expected[inside], atol=2e-3)


@pytest.mark.parametrize("how", ["linear", "nearest"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", ">i2", "i4", "u4", "i8", "?", "f4", "f8"])
def test_an_identity_changes_no_value_of_any_type(dtype: str, how: str) -> None:
    random = np.random.default_rng(0).bytes(8 * CUBE.voxels)
    data = np.frombuffer(random, "i8").reshape(1, *CUBE.shape) >> 32
    data = data.astype(dtype)
    out = warp(Image(data, CUBE), Mapping(), CUBE, how)
    assert out.data.dtype == np.dtype(dtype).newbyteorder("=")
    rounding = {"f4": 1e-6, "f8": 1e-13}.get(dtype, 0) * 2**31 if how == "linear" else 0
    np.testing.assert_allclose(out.data, data, rtol=0, atol=rounding)


def test_labels_get_no_new_value_and_huge_ones_stay_exact() -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 16_777_217, 4_000_000_001], np.uint32), (1, *CUBE.shape))
    half = Affine(np.array([[1, 0, 0, 0.3], [0, 1, 0, 0.7], [0, 0, 1, 0.4], [0, 0, 0, 1]]))
    out = warp(Image(labels, CUBE), Mapping((half,)), CUBE, "nearest")
    assert set(np.unique(out.data)) <= set(np.unique(labels))


def test_whole_numbers_are_rounded_and_kept_in_range_and_a_mask_stays_a_mask() -> None:
    data = np.zeros((1, *CUBE.shape), np.uint8)
    data[..., 3:] = 255
    shift = Affine(np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.6], [0, 0, 0, 1]]))
    out = warp(Image(data, CUBE, background=-1000.0), Mapping((shift,)), CUBE)
    mask = warp(Image(data > 0, CUBE), Mapping((shift,)), CUBE)
    np.testing.assert_array_equal(mask.data, data > 0)
    assert mask.data.dtype == bool
    assert out.data[0, 0, 0].tolist() == [0, 0, 102, 255, 255, 255, 255]  # 0.4 of a voxel towards the bright side


def test_outside_is_background_and_what_is_not_finite_inside_does_not_leak_there() -> None:
    data = np.full((1, *CUBE.shape), np.nan, np.float32)
    far = Affine(np.array([[1, 0, 0, 1000], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    out = warp(Image(data, CUBE, background=-1024.0), Mapping((far,)), CUBE)
    assert (out.data == -1024).all()


def test_half_a_voxel_beyond_the_centres_still_belongs_to_the_image() -> None:
    image = Image(np.full((1, *CUBE.shape), 5, np.int16), CUBE, background=1.0)
    finer = CUBE.resampled([3 * n for n in CUBE.shape]).padded((2, 2, 2), (2, 2, 2))
    out = warp(image, Mapping(), finer).scalar
    assert (out[2:-2, 2:-2, 2:-2] == 5).all()
    assert (out[:2] == 1).all()
    assert (out[..., -2:] == 1).all()


def test_every_channel_is_carried() -> None:
    data = np.random.default_rng(0).normal(size=(3, *CUBE.shape)).astype(np.float32)
    np.testing.assert_allclose(warp(Image(data, CUBE), Mapping(), CUBE).data, data, atol=1e-5)


@pytest.mark.parametrize("how", ["linear", "nearest"])
def test_working_in_slabs_leaves_no_seam(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    image = blobs(CUBE, dtype=np.int16)
    turn = Affine(np.array([[0.9, 0.2, 0, 1], [-0.2, 0.9, 0.1, 0.5], [0, -0.1, 1, 0.2], [0, 0, 0, 1]]))
    whole = warp(image, Mapping((turn,)), CUBE, how)
    field = resample.field_on(Mapping((turn,)), CUBE)
    monkeypatch.setattr(resample, "_SLAB_VOXELS", 2 * 6 * 7)
    np.testing.assert_array_equal(warp(image, Mapping((turn,)), CUBE, how).data, whole.data)
    # Each slab has its own origin, whose rounding in float64 is all that may differ.
    np.testing.assert_allclose(resample.field_on(Mapping((turn,)), CUBE), field, rtol=0, atol=1e-14)
