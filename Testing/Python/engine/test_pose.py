"""How alike a pair is under a pose: exact derivatives, and a way uphill that needs few steps from any frame."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.engine.pose import Pair, about, optimise
from RegistrationNetLib.engine.prepare import prepare
from RegistrationNetLib.engine.settings import Prepare
from Testing.Python.engine.anatomy import grid, image

TURN = Rotation.from_euler("xyz", (80, -50, 120), degrees=True).as_matrix()
TRUTH = about(np.zeros(3), TURN, np.array([30.0, -10, 5]))


@pytest.fixture(scope="module", params=[False, True], ids=["correlation ratio", "local correlation"])
def pair(request) -> Pair:
    fixed = image(grid())
    along = grid(half=72, center=(30, -10, 5))
    stored = replace(along, voxel_to_world=along.voxel_to_world[:, [1, 2, 0, 3]])  # its axes in another order
    moving = image(stored, Mapping((TRUTH.inverse(),)))
    return Pair.of(prepare(fixed, moving, Prepare()), 6.0, local=request.param)


def near(degrees: float, shift: float) -> Affine:
    """A pose that far from the truth."""
    turn = Rotation.from_rotvec(np.array([0.6, 0.0, -0.8]) * degrees, degrees=True).as_matrix()
    return about(np.zeros(3), TURN @ turn, TRUTH(np.zeros(3)) + shift * np.array([0.0, 0.6, 0.8]))


def test_the_derivatives_are_those_of_the_loss(pair):
    start = near(6, 4)
    _, by_linear, by_offset = pair.gradient(start)
    middle, step = pair.grid.center, 1e-2
    rng = np.random.default_rng(0)
    for _ in range(4):
        linear, offset = rng.standard_normal((3, 3)) / 50, rng.standard_normal(3)
        ends = [
            pair.loss(about(middle, start.matrix[:3, :3] + sign * step * linear, start(middle) + sign * step * offset))
            for sign in (-1, 1)
        ]
        expected = (by_linear * linear).sum() + by_offset @ offset
        # Local correlation holds fixed what share of its windows is seen, which changes a little.
        assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(expected, rel=0.05, abs=6e-4 if pair.local else 5e-5)


@pytest.mark.parametrize(("kind", "within_mm"), [("rigid", 0.3), ("affine", 1.0)])
def test_a_dozen_steps_lead_to_the_truth_in_whatever_frame_the_moving_image_lies(pair, kind, within_mm):
    found = optimise(pair, near(10, 6), kind, 12)
    points = 30 * np.concatenate([np.eye(3), -np.eye(3)])
    assert np.linalg.norm(found(points) - TRUTH(points), axis=1).max() < within_mm


def test_a_rigid_pose_stays_one(pair):
    linear = optimise(pair, near(10, 6), "rigid", 5).matrix[:3, :3]
    np.testing.assert_allclose(linear.T @ linear, np.eye(3), atol=1e-9)


def test_too_little_overlap_costs(pair):
    apart = about(np.zeros(3), TURN, TRUTH((0, 0, 0)) + np.array([0, 0, 110.0]))
    assert pair.overlap(apart) < 0.4
    assert pair.overlap(TRUTH) > 0.9
    assert pair.gradient(apart)[2][2] > 0  # back is downhill
