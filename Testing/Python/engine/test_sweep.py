"""Every shift at once: the right one wins, wherever it lies and whatever the fields of view."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine.pose import about
from RegistrationNetLib.engine.prepare import prepare
from RegistrationNetLib.engine.settings import Prepare
from RegistrationNetLib.engine.sweep import all_turns, near_turns, sweep
from Testing.Python.engine.anatomy import RADII, grid, image


@pytest.mark.parametrize("shift", [(0, 0, 0), (35, -20, 10), (-60, 55, -50), (300, 0, -250)])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (50, -30, 100)])
def test_the_shift_of_a_turned_image_is_found_to_a_cell(shift, degrees):
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    truth = about(np.zeros(3), turn, np.array(shift, float))
    prepared = prepare(image(grid()), image(grid(half=72, center=shift), Mapping((truth.inverse(),))), Prepare())
    best = sweep(prepared, [turn])[0]
    assert best.score > 0.5
    assert np.abs(best.affine(np.zeros(3)) - shift).max() < RADII.max() / 8
    np.testing.assert_allclose(best.affine.matrix[:3, :3], turn)


@pytest.mark.parametrize("center", [(20, 10, 0), (-20, -30, 10), (25, 30, -15)])
def test_a_part_is_found_in_the_whole_wherever_it_lies_and_the_whole_around_it(center):
    whole, part = image(grid()), image(grid(half=24, center=center))
    for fixed, moving in ((whole, part), (part, whole)):
        best = sweep(prepare(fixed, moving, Prepare()), [np.eye(3)])[0]
        assert np.linalg.norm(best.affine(np.zeros(3))) < 12


def test_the_best_of_many_turns_comes_first():
    turns = near_turns(60, 30)
    truth = about(np.zeros(3), turns[17], np.array([10.0, 0, 0]))
    found = sweep(prepare(image(grid()), image(grid(half=72), Mapping((truth.inverse(),))), Prepare()), turns)
    np.testing.assert_allclose(found[0].affine.matrix[:3, :3], turns[17])
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_every_turn_up_to_the_farthest_has_one_near_it():
    angles = Rotation.random(2000, random_state=0)
    wanted = angles[angles.magnitude() < np.deg2rad(66 - 26 / 2)]
    for turns, asked, degrees in ((near_turns(66, 26), wanted, 15), (all_turns(45), angles, 29)):
        ours = Rotation.from_matrix(np.stack(turns))
        nearest = [np.rad2deg((one.inv() * ours).magnitude().min()) for one in asked]
        assert max(nearest) < degrees


def test_all_turns_hold_the_24_ways_to_turn_a_box_and_none_twice():
    turns = np.stack(all_turns(45))
    for way in Rotation.create_group("O").as_matrix():
        assert np.abs(turns - way).max(axis=(1, 2)).min() < 1e-9
    assert len(np.unique(turns.round(5), axis=0)) == len(turns)
