"""ITK and our grids say the same about where voxels lie."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from Python.files.strategies import grids, number
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.geometry import (
    from_itk,
    grid_of,
    image_from_sitk,
    image_to_sitk,
    orthogonal_cover,
    to_itk,
)


def numbered(grid: Grid) -> Image:
    """Every voxel holds its own number."""
    return Image(np.arange(grid.voxels, dtype=np.int32).reshape(1, *grid.shape), grid, name="numbered")


@given(grids(), st.data())
def test_a_voxel_lies_where_simpleitk_says(grid, data):
    image = image_to_sitk(numbered(grid))
    d, h, w = (data.draw(st.integers(0, n - 1)) for n in grid.shape)
    assert image.GetPixel(w, h, d) == numbered(grid).scalar[d, h, w]
    np.testing.assert_allclose(
        grid.to_world([d, h, w]), image.TransformIndexToPhysicalPoint((w, h, d)), atol=1e-9, rtol=0
    )


@given(grids(), st.data())
def test_a_world_point_lies_in_the_voxel_simpleitk_says(grid, data):
    image = image_to_sitk(numbered(grid))
    voxel = np.array([data.draw(number(-2, n + 1)) for n in grid.shape])
    point = grid.to_world(voxel)
    theirs = image.TransformPhysicalPointToContinuousIndex(point.tolist())
    np.testing.assert_allclose(grid.to_voxel(point), theirs[::-1], atol=1e-9, rtol=0)


@given(grids())
def test_grid_survives_the_way_to_itk_and_back(grid):
    assert from_itk(*to_itk(grid)).isclose(grid, atol_mm=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_image_keeps_type_values_and_place(dtype):
    grid = Grid.of((3, 4, 5), (3, 1, 0.5), np.eye(3)[[2, 0, 1]], (5, -7, 11))
    image = Image(np.arange(60).reshape(1, 3, 4, 5).astype(dtype), grid, name="a")
    back = image_from_sitk(image_to_sitk(image), "a")
    assert back.data.dtype == dtype
    np.testing.assert_array_equal(back.data, image.data)
    assert back.grid.isclose(grid, atol_mm=1e-9)


def test_channels_become_a_vector_image():
    grid = Grid.of((2, 3, 4), (1, 1, 1), np.eye(3), (0, 0, 0))
    image = Image(np.random.default_rng(0).normal(size=(3, 2, 3, 4)), grid)
    vectors = image_to_sitk(image)
    assert vectors.GetPixel(3, 2, 1) == pytest.approx(tuple(image.data[:, 1, 2, 3]))
    np.testing.assert_array_equal(image_from_sitk(vectors, "a").data, image.data)


def test_storage_order_and_direction_change_nothing_in_the_world():
    grid = Grid.of((4, 5, 6), (2, 1, 1.5), np.eye(3), (1, 2, 3))
    image = image_to_sitk(numbered(grid))
    turned = sitk.Flip(sitk.PermuteAxes(image, [2, 0, 1]), [True, False, True])
    ours = image_from_sitk(turned, "turned")
    voxels = np.rint(ours.grid.to_voxel(grid.points())).astype(int)
    np.testing.assert_array_equal(ours.scalar[tuple(np.moveaxis(voxels, -1, 0))], numbered(grid).scalar)


@settings(max_examples=30)
@given(grids(), number(-0.6, 0.6), number(-0.6, 0.6))
def test_cover_of_a_sheared_grid_has_right_angles_and_holds_every_voxel(grid, along_h, along_w):
    matrix = grid.voxel_to_world.copy()
    _, h, w = grid.directions.T
    matrix[:3, 0] += grid.spacing[0] * (along_h * h + along_w * w)
    sheared = Grid(grid.shape, matrix)
    cover = orthogonal_cover(sheared)
    np.testing.assert_allclose(cover.directions.T @ cover.directions, np.eye(3), atol=1e-9)
    assert cover.contains(sheared.corners(), margin_voxels=1e-6).all()
    assert cover.shape[0] == grid.shape[0]
    np.testing.assert_allclose(cover.spacing, grid.spacing, rtol=1e-9)


def test_grid_of_an_image_is_that_of_its_header():
    image = sitk.Image(4, 5, 6, sitk.sitkUInt8)
    image.SetSpacing((1, 2, 3))
    image.SetOrigin((7, 8, 9))
    grid = grid_of(image)
    assert grid.shape == (6, 5, 4)
    np.testing.assert_array_equal(grid.spacing, (3, 2, 1))
    np.testing.assert_array_equal(grid.to_world([1, 0, 0]), (7, 8, 12))
