"""Mappings: functions of world points that chain, turn round and become dense without changing what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import INVERSE_TOLERANCE_MM, Affine, Displacement, Mapping
from Testing.Python.strategies import (
    Storage,
    affines,
    displacements,
    grids,
    linear_fields,
    probes,
    sampled,
    storages,
    wave_fields,
)


@given(grids(), st.data())
def test_at_the_nodes_a_displacement_is_the_field_it_was_made_from(grid: Grid, data: st.DataObject) -> None:
    field = data.draw(wave_fields(grid))
    nodes = grid.points()
    np.testing.assert_allclose(sampled(field, grid)(nodes), nodes + field(nodes), atol=1e-4)


@given(grids(), st.data())
def test_between_the_nodes_it_is_linear_on_any_oblique_anisotropic_grid(grid: Grid, data: st.DataObject) -> None:
    field = data.draw(linear_fields(grid))
    inside = grid.to_world(np.random.default_rng(0).uniform(0, np.array(grid.shape) - 1, (50, 3)))
    np.testing.assert_allclose(sampled(field, grid)(inside), inside + field(inside), atol=1e-4)


def test_within_half_a_voxel_beyond_the_border_the_edge_holds_and_farther_out_nothing() -> None:
    grid = Grid.of((4, 5, 6), (2.0, 1.0, 3.0), np.eye(3), (0, 0, 0))
    field = np.zeros((3, 4, 5, 6), np.float32)
    field[:, 0, 2, 3] = (1, 2, 3)
    step = Displacement(field, grid)
    np.testing.assert_allclose(step.at(grid.to_world((-0.49, 2, 3))), (1, 2, 3))
    np.testing.assert_allclose(step.at(grid.to_world((-0.51, 2, 3))), (0, 0, 0))


@given(displacements(), storages())
def test_the_storage_order_of_a_field_changes_nothing_in_the_world(step: Displacement, storage: Storage) -> None:
    world = probes(step.grid)
    np.testing.assert_allclose(storage.displacement(step)(world), step(world), atol=1e-5)


@settings(max_examples=40)
@given(displacements())
def test_a_displacement_and_its_inverse_undo_each_other(step: Displacement) -> None:
    world = probes(step.grid)
    there = step.inverse()(world)
    assert np.linalg.norm(step(there) - world, axis=-1).max() <= INVERSE_TOLERANCE_MM
    # Back first, forth second: the tolerance is stretched by at most what the field stretches.
    assert np.linalg.norm(step.inverse()(step(world)) - world, axis=-1).max() <= 3 * INVERSE_TOLERANCE_MM
    np.testing.assert_array_equal(step.inverse().inverse()(world), step(world))


def test_where_nothing_is_mapped_to_a_point_the_inverse_is_refused_with_the_number_and_the_cure() -> None:
    grid = Grid.of((6, 7, 9), (1, 1, 1), np.eye(3), (0, 0, 0))
    field = np.zeros((3, 6, 7, 9), np.float32)
    field[0] = 3  # moves all by 3 mm and stops at the border: the first 3 mm are left bare
    bare, covered = grid.to_world([(0.5, 3, 4), (1.5, 3, 4)]), grid.to_world([(4.5, 3, 4)])
    with pytest.raises(GeometryError, match=r"cannot be inverted at 2 of 3 points .* more smoothing"):
        Displacement(field, grid).inverse()(np.concatenate([bare, covered]))


def test_strong_compression_next_to_strong_expansion_is_still_inverted() -> None:
    grid = Grid.of((3, 3, 41), (1, 1, 1), np.eye(3)[:, ::-1], (0, 0, 0))
    x = grid.points()[..., 0]
    field = np.zeros((3, *grid.shape), np.float32)
    field[0] = -6 * np.sin(2 * np.pi * x / 40)  # d(x + u)/dx from 0.06 to 1.94
    step = Displacement(field, grid)
    world = grid.to_world(np.random.default_rng(2).uniform((0, 0, 0), (2, 2, 40), (200, 3)))
    assert np.abs(step(step.inverse()(world)) - world).max() <= INVERSE_TOLERANCE_MM


def test_a_swirl_of_more_than_a_quarter_turn_is_inverted_although_steps_towards_the_target_lead_away() -> None:
    grid = Grid.of((3, 61, 61), (1, 1, 1), np.eye(3)[:, ::-1], (0, 0, 0))
    x, y, _ = np.moveaxis(grid.points() - grid.center, -1, 0)
    turn = 2.2 * np.exp(-((x**2 + y**2) / 12**2))
    field = np.stack([np.cos(turn) * x - np.sin(turn) * y - x, np.sin(turn) * x + np.cos(turn) * y - y, 0 * x])
    swirl = Displacement(field.astype(np.float32), grid)
    world = grid.to_world(np.random.default_rng(2).uniform((0, 5, 5), (2, 55, 55), (300, 3)))
    assert np.abs(swirl(swirl.inverse()(world)) - world).max() <= INVERSE_TOLERANCE_MM


@given(affines(), affines(), displacements())
def test_steps_act_in_order_and_chains_join(first: Affine, last: Affine, step: Displacement) -> None:
    world = probes(step.grid)
    chain = Mapping((first,)).then(Mapping((step, last)))
    expected = last(step(first(world)))
    np.testing.assert_allclose(chain(world), expected, atol=1e-9)


@settings(max_examples=40)
@given(affines(), displacements())
def test_an_inverse_undoes_the_whole_chain(affine: Affine, step: Displacement) -> None:
    mapping = Mapping((step, affine))
    world = probes(step.grid)
    np.testing.assert_allclose(mapping.inverse()(mapping(world)), world, atol=5 * INVERSE_TOLERANCE_MM)


@given(affines(), affines(), displacements())
def test_the_affine_part_leaves_displacements_out_and_keeps_the_order(
    first: Affine, last: Affine, step: Displacement
) -> None:
    world = probes(step.grid)
    np.testing.assert_allclose(Mapping((first, step, last)).affine(world), last(first(world)), atol=1e-9)


@given(grids(), affines(), displacements())
def test_a_dense_field_says_at_its_nodes_what_the_mapping_says(grid: Grid, affine: Affine, step: Displacement) -> None:
    mapping = Mapping((step, affine))
    nodes = grid.points()
    np.testing.assert_allclose(mapping.on(grid)(nodes), mapping(nodes), atol=1e-3)


def test_fields_of_any_type_and_memory_layout_are_taken() -> None:
    grid = Grid.of((3, 4, 5), (1, 1, 1), np.eye(3), (0, 0, 0))
    values = np.random.default_rng(0).normal(size=(5, 4, 3, 3))
    values.setflags(write=False)
    step = Displacement(values.T[:, ::-1], grid)
    np.testing.assert_allclose(step.at(grid.to_world((0, 1, 2))), values.T[:, 2, 1, 2], rtol=1e-6)
    assert step.field.dtype == np.float32


def test_what_is_no_transform_is_refused() -> None:
    with pytest.raises(GeometryError, match="invertible"):
        Affine(np.diag([1.0, 1.0, 0.0, 1.0]))
    with pytest.raises(GeometryError, match="transposed"):
        Affine(np.eye(4) + 5 * np.eye(4, k=-3))
    with pytest.raises(GeometryError, match="does not fit"):
        Displacement(np.zeros((3, 2, 2, 2), np.float32), Grid((2, 2, 3), np.eye(4)))


def test_no_points_are_no_trouble() -> None:
    step = Displacement(np.zeros((3, 2, 2, 3), np.float32), Grid((2, 2, 3), np.eye(4)))
    assert Mapping((step, Affine(np.eye(4)))).inverse()(np.empty((0, 3))).shape == (0, 3)
