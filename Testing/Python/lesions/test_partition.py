"""The best cover and the probabilities are those that counting all covers gives."""

from itertools import product

import numpy as np
import pytest

from RegistrationNetLib.lesions.partition import best_cover, marginals


def every_cover(members: list[list[int]], count: int) -> np.ndarray:
    """All choices that cover each item once, (C, H)."""
    incidence = np.array([[item in items for items in members] for item in range(count)], int)
    choices = np.array(list(product((0, 1), repeat=len(members))))
    return choices[(choices @ incidence.T == 1).all(axis=1)]


CHAIN = [[0], [1], [2], [3], [0, 2], [1, 2], [1, 3]]
GROUPS = [[0], [1], [2], [3], [0, 2], [1, 2], [0, 1, 2], [1, 3]]
RING = [[0], [1], [2], [3], [0, 2], [0, 3], [1, 2], [1, 3]]


@pytest.mark.parametrize("members", [CHAIN, GROUPS, RING])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_cover_is_the_best_of_all(members: list[list[int]], seed: int):
    scores = np.random.default_rng(seed).normal(0, 2, len(members))
    covers = every_cover(members, 4)
    assert np.array_equal(best_cover(members, scores), covers[np.argmax(covers @ scores)].astype(bool))


def test_what_is_taken_is_a_cover_where_halves_of_three_would_be_better():
    members = [[0], [1], [2], [0, 1], [1, 2], [0, 2]]
    taken = best_cover(members, np.array([0.1, 0.1, 0.2, 1, 1, 1]))
    assert taken.tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize(("members", "off"), [(CHAIN, 1e-4), (GROUPS, 0.1), (RING, 0.1)])
@pytest.mark.parametrize("seed", range(4))
def test_probabilities_are_those_of_all_covers_exactly_without_rings(members: list[list[int]], off: float, seed: int):
    scores = np.random.default_rng(seed).normal(0, 2, len(members))
    covers = every_cover(members, 4)
    weights = np.exp(covers @ scores)
    np.testing.assert_allclose(marginals(members, scores), weights @ covers / weights.sum(), atol=off)


def test_nothing_to_cover_is_covered():
    assert len(best_cover([], np.zeros(0))) == len(marginals([], np.zeros(0))) == 0
