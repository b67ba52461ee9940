"""The benchmark of matching counts as it says, and a small version of it meets what is asked of the whole."""

import numpy as np
import pytest

from benchmarks import lesion_matching
from benchmarks.lesion_matching import LEAST_LINKS, Count, Score, calibration, judge, off_by
from benchmarks.lesion_studies import Fate, study
from RegistrationNetLib.lesions.residuals import Residuals

SEED = 500
"""Neither of those that are judged nor of those that were looked at while tuning."""


def test_f1_counts_what_is_missing_and_what_is_too_much():
    count = Count()
    count.add({1, 2, 3}, {2, 3, 4, 5})
    assert count.f1 == pytest.approx(2 * 2 / (3 + 4))


def test_a_merging_counts_only_with_exactly_its_lesions():
    true = (Fate(("1", "2"), ("a",), "merged"),)
    score = Score()
    score.add((Fate(("1", "2", "3"), ("a",), "merged"),), true)
    assert score.merges.f1 == 0
    assert score.links.f1 == pytest.approx(2 * 2 / (3 + 2))


def test_probabilities_that_are_too_sure_are_found_out():
    score = Score(stated=[0.95] * 100, true=[True] * 60 + [False] * 40)
    assert off_by([score]) == pytest.approx(0.35)
    (bin_,) = calibration([score])
    assert bin_ == (pytest.approx(0.95), pytest.approx(0.6), 100)


@pytest.fixture(scope="module")
def small() -> tuple[Score, Score]:
    found, baseline = Score(), Score()
    for seed in (SEED, SEED + 1):
        judge(study(40, seed).registered(Residuals()), found, baseline)
    return found, baseline


def test_links_are_as_right_as_is_asked_and_more_so_than_by_nearest_centres(small: tuple[Score, Score]):
    found, baseline = small
    assert found.links.f1 >= LEAST_LINKS
    assert found.links.f1 > baseline.links.f1


def test_merges_and_splits_are_found_more_often_than_by_nearest_centres(small: tuple[Score, Score]):
    found, baseline = small
    for name in ("merges", "splits"):
        assert getattr(found, name).f1 >= lesion_matching.LEAST_PARTS
        assert getattr(found, name).f1 >= getattr(baseline, name).f1
    assert found.merges.f1 > baseline.merges.f1


def test_probabilities_are_about_right(small: tuple[Score, Score]):
    assert off_by(small[:1]) <= 2 * lesion_matching.MOST_OFF
    assert np.mean(small[0].stated) > 0.9
