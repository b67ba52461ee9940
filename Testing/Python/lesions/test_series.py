"""Which way a follow-up is reached: round the loop, by what agrees."""

import numpy as np
import pytest

from Python.lesions.heads import Balls, timepoint, truth
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.lesions.series import Series, registered
from RegistrationNetLib.lesions.study import Study

A, B = (30, -20, 20), (-30, 10, 25)
BALLS: Balls = {1: (A, 8), 2: (B, 8)}


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(tuple(timepoint(time, BALLS, voxel_mm=4.0) for time in range(3)))


def found(study: Study, wrong: dict[tuple[int, int], float], scans: int = 3) -> Series:
    """wrong: registrations that err by so many mm around lesion 1."""

    def register(here: int, there: int, to_here: Mapping) -> Mapping:
        return truth(here, there, wrong.get((here, there), 0.0), to_here(study.baseline[0].center))

    image = study.scans[0].image
    body = image.grid.to_world(np.argwhere(image.scalar > 100))
    return registered(Study(study.scans[:scans]), register, body, lambda fraction, message: None)


def test_true_registrations_return(study: Study):
    series = found(study, {})
    assert series.loops[0].returns
    assert series.loops[0].mean_mm < 0.05
    assert series.ways == ("direct", "direct")
    assert "returns to 0.0 mm" in series.loops[0].in_words()


@pytest.mark.parametrize(("wrong", "way"), [((0, 2), "in sequence"), ((1, 2), "direct"), ((0, 1), "direct")])
def test_where_ways_disagree_the_one_that_makes_scans_alike_is_taken(study: Study, wrong, way):
    series = found(study, {wrong: 6.0})
    (loop,) = series.loops
    assert not loop.returns
    assert loop.at_lesions_mm["1"] == pytest.approx(6, abs=0.4)
    assert loop.at_lesions_mm["2"] < 1
    assert "2024-01-01 -> 2024-03-01 -> 2024-04-30 -> 2024-01-01 does not return" in loop.in_words()
    assert "Lesions there: 1." in loop.in_words()
    assert series.ways[1] == way
    center = study.baseline[0].center
    assert np.linalg.norm(series.to(2)(center) - truth(0, 2)(center)) < 0.1


def test_of_two_scans_there_and_back_is_the_loop(study: Study):
    assert found(study, {}, scans=2).loops[0].returns
    (loop,) = found(study, {(1, 0): 6.0}, scans=2).loops
    assert loop.through == ("2024-01-01", "2024-03-01")
    assert loop.at_lesions_mm["1"] > 5


def test_from_one_follow_up_to_the_next_it_goes_by_their_own_registration(study: Study):
    point = truth(0, 1)(study.baseline[0].center)
    np.testing.assert_allclose(found(study, {}).between(1, 2)(point), truth(1, 2)(point), atol=1e-6)
