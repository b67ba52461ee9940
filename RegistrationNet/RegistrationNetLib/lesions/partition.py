"""The best way to cover every item exactly once by overlapping explanations, and how probable each of them is.

Assignment, generalised: an explanation may cover any number of items, so that two lesions may become one. The best
cover is found exactly, as an integer program. Marginal probabilities over all covers are by belief propagation, as
in multi-target tracking (Williams and Lau, 2014, "Approximate evaluation of marginal association probabilities with
belief propagation"), which is exact where no chain of explanations closes to a ring.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array

_ROUNDS, _CHANGE, _DAMPING = 200, 1e-6, 0.3


def best_cover(members: Sequence[Sequence[int]], scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which explanations to take, (H,): each item in exactly one, the sum of log scores the largest.

    members: the items (0 to N - 1) of each explanation; each item must be one explanation by itself.
    """
    if not len(members):
        return np.zeros(0, bool)
    incidence = _incidence(members)
    each_once = LinearConstraint(incidence, 1, 1)
    return np.asarray(milp(-scores, integrality=1, bounds=(0, 1), constraints=each_once).x > 0.5)


def marginals(members: Sequence[Sequence[int]], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of each explanation, (H,): a cover is as probable as the exponential of its scores' sum."""
    which = np.repeat(np.arange(len(members)), [len(items) for items in members])
    item = np.concatenate([np.asarray(items, int) for items in members] or [np.zeros(0, int)])
    count = int(item.max(initial=-1)) + 1
    against = np.zeros(len(item))  # what each item's other explanations say against this one, in log odds
    for _ in range(_ROUNDS):
        total = scores + np.bincount(which, against, len(scores))
        said = total[which] - against
        new = -_log_sum_of_others(said, item, count)
        change = np.abs(new - against).max(initial=0)
        against = _DAMPING * against + (1 - _DAMPING) * new
        if change < _CHANGE:
            break
    odds = scores + np.bincount(which, against, len(scores))
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -700, 700))))


def _log_sum_of_others(values: NDArray[np.float64], item: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """log of the sum of exp over the entries of the same item, this one left out; very low where there is none."""
    out = np.full(len(values), -1e3)
    for one in range(count):
        here = np.flatnonzero(item == one)
        rows = np.where(np.eye(len(here), dtype=bool), -np.inf, values[here])
        if len(here) > 1:
            out[here] = np.logaddexp.reduce(rows, axis=1)
    return out


def _incidence(members: Sequence[Sequence[int]]) -> csr_array:
    """(N, H): 1 where the explanation covers the item."""
    rows = [item for items in members for item in items]
    columns = [column for column, items in enumerate(members) for _ in items]
    return csr_array((np.ones(len(rows)), (rows, columns)))
