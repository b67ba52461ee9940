"""The phantom: the same for the same seed, true by construction, and hard enough to be worth registering."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from RegistrationNetLib.anatomy import Tissue
from RegistrationNetLib.core import metrics
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.phantom import PhantomPair, Swelling, Swirl, phantom_pair, true_error


@pytest.fixture(scope="module")
def pair() -> PhantomPair:
    return phantom_pair(seed=3, voxel_mm=3.0)


def jacobian(function: Callable[[Points], Points], points: Points, step: float = 1e-3) -> Points:
    """Central differences, (..., 3, 3)."""
    columns = [(function(points + e) - function(points - e)) / (2 * step) for e in step * np.eye(3)]
    return np.stack(columns, axis=-1)


def truth_on(pair: PhantomPair) -> Mapping:
    """The truth as a field on the fixed grid, made without any of the code that samples fields."""
    points = pair.fixed.grid.points()
    field = np.moveaxis(pair.truth(points) - points, -1, 0).astype(np.float32)
    return Mapping((Displacement(field, pair.fixed.grid),))


def test_the_same_seed_draws_the_same_pair_and_another_seed_another_brain() -> None:
    first, again, other = (phantom_pair(seed=seed, voxel_mm=5.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.fixed.data, again.fixed.data)
    np.testing.assert_array_equal(first.moving.data, again.moving.data)
    assert (first.fixed_labels.data != other.fixed_labels.data).mean() > 0.02


def test_the_scans_lie_on_different_oblique_anisotropic_grids_of_opposite_handedness(pair: PhantomPair) -> None:
    fixed, moving = pair.fixed.grid, pair.moving.grid
    assert all(a != b for a, b in zip(fixed.shape, moving.shape, strict=True))
    assert np.linalg.det(fixed.directions) * np.linalg.det(moving.directions) < 0
    for grid in (fixed, moving):
        assert grid.spacing.max() / grid.spacing.min() > 1.1
        assert 0.3 < np.abs(grid.directions).max(axis=0).min() < 0.99


def test_the_truth_never_folds(pair: PhantomPair) -> None:
    points = pair.fixed.grid.points()[::2, ::2, ::2]
    determinant = np.linalg.det(jacobian(pair.truth, points)) / np.linalg.det(pair.truth.matrix)
    assert determinant.min() > 0.3
    assert determinant.max() < 3


def test_the_truth_is_undone_exactly(pair: PhantomPair) -> None:
    points = pair.fixed.grid.points()
    np.testing.assert_allclose(pair.truth.undo(pair.truth(points)), points, atol=1e-7)


def test_a_swirl_keeps_volume_and_a_swelling_changes_it_as_its_formula_says() -> None:
    points = np.random.default_rng(0).uniform(-60, 60, (200, 3))
    swirl = Swirl((3.0, -5.0, 8.0), (1.0, 2.0, -1.0), 0.9, 30.0)
    np.testing.assert_allclose(np.linalg.det(jacobian(swirl, points)), 1, atol=1e-6)
    swelling = Swelling((0.0, 0.0, 0.0), 0.5, 30.0)
    center = np.zeros((1, 3))
    np.testing.assert_allclose(np.linalg.det(jacobian(swelling, center)), 1.5**3, atol=1e-5)


def test_the_headers_alone_are_wrong_by_a_centimetre_and_the_affine_alone_by_up_to_seven_millimetres(
    pair: PhantomPair,
) -> None:
    error = true_error(Mapping((Affine(pair.truth.matrix),)), pair)
    assert 10 < error["before"]["mean"] < 20
    assert 6 < error["after"]["max"] < 8
    assert error["after"]["mean"] > 1


def test_the_truth_itself_has_no_error(pair: PhantomPair) -> None:
    assert true_error(truth_on(pair), pair)["after"]["max"] < 1e-3


def test_warping_by_the_truth_brings_the_scans_and_their_tissues_together(pair: PhantomPair) -> None:
    truth, grid = truth_on(pair), pair.fixed.grid
    fixed = pair.fixed.scalar.astype(float).ravel()
    before, after = (
        np.corrcoef(fixed, warp(pair.moving, mapping, grid).scalar.astype(float).ravel())[0, 1]
        for mapping in (Mapping(), truth)
    )
    assert before < 0.75
    assert after > 0.93
    overlap = metrics.dice(
        pair.fixed_labels.scalar,
        warp(pair.moving_labels, truth, grid, "nearest").scalar,
        [Tissue.VENTRICLES, Tissue.WHITE_MATTER, Tissue.CEREBELLUM, Tissue.BRAINSTEM],
    )
    assert min(overlap.values()) > 0.75


def test_every_tissue_is_there_in_both_scans_and_landmarks_sit_on_theirs(pair: PhantomPair) -> None:
    np.testing.assert_allclose(pair.truth(pair.fixed_landmarks), pair.moving_landmarks, atol=1e-7)
    expected = {"left thalamus": Tissue.THALAMUS, "right putamen": Tissue.PUTAMEN, "pons": Tissue.BRAINSTEM}
    for labels, landmarks in (
        (pair.fixed_labels, pair.fixed_landmarks),
        (pair.moving_labels, pair.moving_landmarks),
    ):
        assert set(np.unique(labels.data)) == set(Tissue)
        voxels = np.rint(labels.grid.to_voxel(landmarks)).astype(int)
        found = dict(zip(pair.landmark_names, labels.scalar[tuple(voxels.T)], strict=True))
        assert {name: found[name] for name in expected} == expected
