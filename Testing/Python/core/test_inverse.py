"""The dense inverse leads back to where points came from, within the tolerance it states."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.inverse import dense_inverse, inverse_on, round_trip
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping

DIRECTIONS = np.array([[0, 0.8, 0.6], [0, -0.6, 0.8], [1, 0, 0]]).T
FIXED = Grid.of((24, 28, 30), (2, 1.5, 1.2), DIRECTIONS, (10, -20, 30))
AFFINE = Affine([[1.05, 0.1, 0, 12], [-0.1, 0.95, 0.05, -7], [0, 0.1, 1.0, 30], [0, 0, 0, 1]])


def field(strongest_mm: float, seed: int = 0) -> Displacement:
    """Random and smooth at half resolution, reaching past the fixed grid and ending in zeros."""
    grid = FIXED.resampled(np.array(FIXED.shape) // 2).padded((6, 6, 6), (6, 6, 6))
    rng = np.random.default_rng(seed)
    noise = np.stack([gaussian_filter(rng.normal(size=grid.shape), 2.5) for _ in range(3)])
    window = np.zeros(grid.shape)
    window[6:-6, 6:-6, 6:-6] = 1
    noise *= gaussian_filter(window, 1.5, truncate=2.0)
    return Displacement((noise * strongest_mm / np.abs(noise).max()).astype(np.float32), grid)


@pytest.mark.parametrize("strongest_mm", [1.0, 4.0])
def test_there_and_back_ends_within_the_stated_error(strongest_mm):
    mapping = Mapping((field(strongest_mm), AFFINE))
    inverse, reached = dense_inverse(mapping, FIXED, tolerance_mm=0.05)
    assert reached.largest <= 0.05
    assert reached.within == 1
    assert not any(step.inverted for step in inverse.displacements)
    points = FIXED.points()[::3, ::3, ::3]
    assert np.linalg.norm(inverse(mapping(points)) - points, axis=-1).max() <= reached.largest + 1e-4
    assert np.linalg.norm(mapping(points) - AFFINE(points), axis=-1).max() > strongest_mm / 2


def test_a_tighter_tolerance_takes_a_finer_grid_and_is_measured():
    mapping = Mapping((field(4.0),))
    coarse, loose = dense_inverse(mapping, FIXED, tolerance_mm=0.5)
    fine, tight = dense_inverse(mapping, FIXED, tolerance_mm=loose.largest / 3)
    assert coarse.displacements[0].grid.shape == mapping.displacements[0].grid.shape
    assert fine.displacements[0].grid.voxels > coarse.displacements[0].grid.voxels
    assert tight.largest < loose.largest
    assert round_trip(mapping, coarse, FIXED, 0.5) == loose


def test_what_refining_leaves_is_corrected_by_a_second_small_field():
    mapping = Mapping((field(7.0), AFFINE))
    inverse, reached = dense_inverse(mapping, FIXED, tolerance_mm=0.01)
    *_, refined, correction = inverse.steps
    without = round_trip(mapping, Mapping(inverse.steps[:-1]), FIXED, 0.01)
    assert isinstance(refined, Displacement)
    assert without.largest > 0.01
    assert reached.largest <= 0.01
    assert np.abs(correction.field).max() < 1
    for axis in (1, 2, 3):
        assert not np.take(correction.field, [0, 1, -2, -1], axis=axis).any()


def test_an_inverse_already_computed_is_turned_back_into_the_field_itself():
    displacement = field(2.0)
    inverse, _ = dense_inverse(Mapping((AFFINE, displacement.inverse())), FIXED)
    assert inverse.steps[0].field is displacement.field
    np.testing.assert_allclose(inverse.steps[1].matrix @ AFFINE.matrix, np.eye(4), atol=1e-12)


def test_affine_steps_are_inverted_exactly():
    inverse, reached = dense_inverse(Mapping((AFFINE, AFFINE)), FIXED)
    assert reached.largest < 1e-3
    np.testing.assert_allclose(inverse.affine.matrix @ AFFINE.matrix @ AFFINE.matrix, np.eye(4), atol=1e-12)


def test_strong_compression_is_still_inverted_at_the_nodes():
    """u = -0.9 x in the middle: plain fixed-point iteration would crawl, its error shrinking by a tenth a step."""
    grid = Grid.of((9, 9, 41), (1, 1, 1), np.eye(3), (0, 0, 0))
    along = np.interp(np.arange(41.0), [0, 2, 10, 30, 38, 40], [0, 0, 9, -9, 0, 0])
    squeeze = Displacement(np.broadcast_to(along, (3, 9, 9, 41)).astype(np.float32) * [[[[0]]], [[[0]]], [[[1]]]], grid)
    back = inverse_on(squeeze, grid, tolerance_mm=0.01)
    nodes = grid.points()
    assert np.linalg.norm(squeeze(nodes + np.moveaxis(back.field, 0, -1)) - nodes, axis=-1).max() <= 0.011
