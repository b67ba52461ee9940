"""Warps that stand in for a second scan: their truth is true, the same for everybody, and possible."""

import numpy as np
import pytest

from benchmarks.truth import known_pair, smooth_field
from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.core.resample import field_on

GRID = Grid.of((30, 36, 42), (4, 3, 3), np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]), (-50, 20, 7))


def test_the_peak_is_the_one_asked_for_and_nothing_folds():
    field = smooth_field(GRID, seed=3, peak_mm=10, sigma_mm=25)
    length = np.linalg.norm(field.at(GRID.points()), axis=-1)
    assert 9 < length.max() <= 10 + 1e-3  # between the nodes it is a little less
    assert spatial.jacobian_determinant(field_on(Mapping((field,)), GRID)).min() > 0.1


def test_the_field_ends_in_zeros_and_hardly_moves_what_lies_far_beyond():
    field = smooth_field(GRID, seed=3, peak_mm=10, sigma_mm=25)
    for axis in range(1, 4):
        assert not np.take(field.field, [0, 1, -2, -1], axis=axis).any()


def test_the_same_seed_gives_the_same_field_and_another_one_another():
    first, again, other = (smooth_field(GRID, seed, 10, 25).field for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_impossible_field_is_refused():
    with pytest.raises(ValueError, match="folds"):
        smooth_field(GRID, seed=3, peak_mm=30, sigma_mm=10)


def test_the_fixed_image_shows_at_each_point_what_the_moving_one_shows_at_its_true_place():
    ramp = Image((2 * GRID.points()[..., 0]).astype(np.float32)[None], GRID)  # linear, so interpolation is exact
    labels = Image((ramp.data > 20).astype(np.uint8), GRID)
    truth = Mapping((smooth_field(GRID, seed=5, peak_mm=8, sigma_mm=25),))
    pair = known_pair(ramp, truth, noise=0, seed=0, labels=labels)
    points, inner = GRID.points(), (slice(5, -5),) * 3
    np.testing.assert_allclose(pair.fixed.scalar[inner], 2 * truth(points)[..., 0][inner], atol=1e-2)
    clear = np.abs(truth(points)[..., 0] - 10) > 3
    assert np.array_equal(
        pair.fixed_labels.scalar[inner][clear[inner]], (truth(points)[..., 0] > 10)[inner][clear[inner]]
    )
    assert tre(truth(points), points).max() > 7


def test_noise_is_as_strong_as_asked_and_its_own_in_each_image():
    flat = Image(np.full((1, *GRID.shape), 100, np.int16), GRID)
    pair = known_pair(flat, Mapping(), noise=20, seed=0)
    fixed, moving = (image.scalar.astype(float) - 100 for image in (pair.fixed, pair.moving))
    assert pair.fixed.data.dtype == np.int16
    assert fixed.std() == pytest.approx(20, rel=0.02)
    assert abs((fixed * moving).mean()) < 4
