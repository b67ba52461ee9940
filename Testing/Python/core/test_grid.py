"""Grids: voxels and the world are two names of the same places, whatever the order of storage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.grid import Grid
from Testing.Python.strategies import Storage, grids, probes, storages


@given(grids())
def test_voxels_to_world_and_back_is_exact_inside_and_far_outside(grid: Grid) -> None:
    world = probes(grid)
    np.testing.assert_allclose(grid.to_world(grid.to_voxel(world)), world, atol=1e-9)


@given(grids())
def test_one_voxel_along_an_axis_is_its_spacing_along_its_direction(grid: Grid) -> None:
    origin = grid.to_world((0, 0, 0))
    for axis, step in enumerate(np.eye(3)):
        moved = grid.to_world(step) - origin
        np.testing.assert_allclose(moved, grid.spacing[axis] * grid.directions[:, axis], atol=1e-9)
        assert np.linalg.norm(grid.directions[:, axis]) == pytest.approx(1)


def test_a_grid_is_made_from_spacing_directions_and_origin_per_tensor_axis() -> None:
    # Slices towards the head (z), rows towards the front (-y), columns to the left (x).
    directions = np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]], float)
    grid = Grid.of((4, 5, 6), (3.0, 2.0, 1.0), directions, (10, 20, 30))
    np.testing.assert_allclose(grid.to_world((1, 0, 0)), (10, 20, 33))
    np.testing.assert_allclose(grid.to_world((0, 1, 0)), (10, 18, 30))
    np.testing.assert_allclose(grid.to_world((0, 0, 1)), (11, 20, 30))
    assert grid.voxel_volume == pytest.approx(6)


@given(grids())
def test_points_are_the_world_positions_of_their_own_voxels(grid: Grid) -> None:
    d, h, w = (n - 1 for n in grid.shape)
    points = grid.points()
    assert points.shape == (*grid.shape, 3)
    np.testing.assert_allclose(points[d, 0, 1], grid.to_world((d, 0, 1)), atol=1e-9)
    np.testing.assert_allclose(points[1, h, w], grid.to_world((1, h, w)), atol=1e-9)
    np.testing.assert_allclose(points.reshape(-1, 3).mean(0), grid.center, atol=1e-9)


@given(grids(), st.lists(st.integers(1, 12), min_size=3, max_size=3))
def test_a_resampled_grid_keeps_the_outer_faces_of_the_volume(grid: Grid, shape: list[int]) -> None:
    other = grid.resampled(shape)
    near = np.full(3, -0.5)
    np.testing.assert_allclose(other.to_world(near), grid.to_world(near), atol=1e-9)
    np.testing.assert_allclose(
        other.to_world(np.array(other.shape) - 0.5), grid.to_world(np.array(grid.shape) - 0.5), atol=1e-9
    )
    assert other.shape == tuple(shape)


def test_halving_a_grid_puts_each_new_voxel_between_two_old_ones() -> None:
    grid = Grid.of((8, 4, 6), (1, 2, 3), np.eye(3), (0, 0, 0))
    np.testing.assert_allclose(grid.resampled((4, 2, 3)).to_world((0, 0, 0)), grid.to_world((0.5, 0.5, 0.5)))


@given(grids(), st.lists(st.integers(-1, 4), min_size=6, max_size=6))
def test_padding_and_cropping_leave_every_voxel_where_it_was(grid: Grid, ends: list[int]) -> None:
    before, after = np.array(ends[:3]), np.array(ends[3:])
    other = grid.padded(before, after)
    np.testing.assert_allclose(other.to_world(before + np.array((1, 2, 1))), grid.to_world((1, 2, 1)), atol=1e-9)
    assert other.shape == tuple(np.array(grid.shape) + before + after)


@given(grids(), storages())
def test_another_storage_order_is_the_same_places(grid: Grid, storage: Storage) -> None:
    stored = storage.grid(grid)
    places = storage.data(np.moveaxis(grid.points(), -1, 0))
    np.testing.assert_allclose(np.moveaxis(stored.points(), -1, 0), places, atol=1e-9)
    world = probes(grid)
    np.testing.assert_array_equal(stored.contains(world), grid.contains(world))


@given(grids(), storages())
def test_a_point_on_the_outer_face_is_inside_in_every_storage_order(grid: Grid, storage: Storage) -> None:
    faces = [(-0.5, 1, 1), (1, -0.5, 1), (1, 1, grid.shape[2] - 0.5), (grid.shape[0] - 0.5, 1, 1)]
    world = grid.to_world(faces)
    assert storage.grid(grid).contains(world).all()
    outside = grid.to_world(np.array([(-0.51, 1, 1), (1, grid.shape[1] - 0.49, 1)]))
    assert not storage.grid(grid).contains(outside).any()


@given(grids())
def test_isclose_sees_a_tenth_of_a_voxel_and_not_rounding(grid: Grid) -> None:
    assert grid.isclose(Grid(grid.shape, grid.voxel_to_world.astype(np.float64) + 1e-9 * np.eye(4, k=3)))
    moved = grid.voxel_to_world.copy()
    moved[:3, 3] += 0.1 * moved[:3, 0]
    assert not grid.isclose(Grid(grid.shape, moved))
    assert not grid.isclose(grid.padded((0, 0, 0), (0, 0, 1)))


def test_a_grids_matrix_cannot_be_changed_afterwards() -> None:
    matrix = np.eye(4)
    grid = Grid((2, 3, 4), matrix)
    matrix[0, 3] = 99
    assert grid.voxel_to_world[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.voxel_to_world[0, 3] = 1


SINGULAR = np.diag([1.0, 1.0, 0.0, 1.0])
PARALLEL = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
TRANSPOSED = np.eye(4) + 5 * np.eye(4, k=-3)


@pytest.mark.parametrize(
    ("shape", "matrix", "message"),
    [
        ((2, 2), np.eye(4), "three axes"),
        ((2, 0, 2), np.eye(4), "at least one voxel"),
        ((2, 2, 2), np.eye(3), "4x4"),
        ((2, 2, 2), np.full((4, 4), np.nan), "finite"),
        ((2, 2, 2), SINGULAR, "singular"),
        ((2, 2, 2), PARALLEL, "singular"),
        ((2, 2, 2), TRANSPOSED, "transposed"),
    ],
)
def test_what_is_no_grid_is_refused(shape: tuple[int, ...], matrix: np.ndarray, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        Grid(shape, matrix)
