"""What a figure is worth: a value with its 95 % interval, and how far outlines of one lesion lie apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from RegistrationNetLib.lesions.outline import Surface

Z95 = 1.959964
"""Standard deviations to either side of a normal distribution's middle 95 %."""

RADIUS95 = 2.7955
"""The 95 % point of the length of a vector of three independent standard normal numbers."""

MOST_PIECES = 400
"""Of a surface, when every pair of its pieces is looked at; more change the result by less than a hundredth."""


@dataclass(frozen=True)
class Estimate:
    """A value, and the ends of its 95 % interval, in the value's unit. The value need not lie in the middle."""

    value: float
    low: float
    high: float

    def __contains__(self, true: float) -> bool:
        return self.low <= true <= self.high

    def widened(self, errors: ArrayLike) -> Estimate:
        """Further independent errors (95 % half-widths, same unit) added to both ends in quadrature."""
        more = float(np.sum(np.square(errors)))
        low = self.value - np.hypot(self.value - self.low, np.sqrt(more))
        return Estimate(self.value, float(low), float(self.value + np.hypot(self.high - self.value, np.sqrt(more))))


def exactly(value: float) -> Estimate:
    """A value whose error is not known or not asked for."""
    return Estimate(value, value, value)


def total(parts: Iterable[Estimate]) -> Estimate:
    """The sum of independent estimates; each end adds up in quadrature."""
    values, lows, highs = np.array([(part.value, part.low, part.high) for part in parts]).reshape(-1, 3).T
    value = float(values.sum())
    low, high = (float(np.linalg.norm(ends - values)) for ends in (lows, highs))
    return Estimate(value, value - low, value + high)


def difference(later: Estimate, earlier: Estimate) -> Estimate:
    """later - earlier of independent estimates."""
    return total((later, Estimate(-earlier.value, -earlier.high, -earlier.low)))


@dataclass(frozen=True)
class Jitter:
    """How far one reader's outline lies from another's of the same lesion, along the surface's normal, in mm (SD).

    shift_mm: of the whole outline, outwards or inwards (a reader's habit, the window level).
    local_mm: of one place against the others, with a Gaussian correlation exp(-d^2 / (2 correlation_mm^2)).

    The defaults give two ends of a diameter, taken together, a standard deviation of 0.62 mm, which is that of one
    reader in Revel et al., Radiology 2004;231:453 (limits of agreement between readers of +-1.73 mm for nodules of 3
    to 18 mm: 1.73 / 1.96 / sqrt 2). How it divides into shift and local is an assumption; so is the correlation.
    """

    shift_mm: float = 0.2
    local_mm: float = 0.34
    correlation_mm: float = 5.0

    def covariance(self, points: ArrayLike) -> NDArray[np.float64]:
        """mm2 between the displacements of n places, (n, 3) world mm -> (n, n)."""
        apart2 = _squared_distances(np.asarray(points, float))
        return self.shift_mm**2 + self.local_mm**2 * np.exp(-apart2 / (2 * self.correlation_mm**2))

    def sd(self, where: Surface, effect: NDArray[np.float64]) -> float:
        """Standard deviation of a figure that changes by `effect` (n,) per mm that each piece of a surface moves out.

        To first order a figure f of an outline moved by u(x) changes by the surface's integral of u times its
        sensitivity, so its variance is the double integral of both sensitivities times the covariance of u.
        """
        kept, scale = np.arange(len(effect)), 1.0
        if len(effect) > MOST_PIECES:
            kept = np.random.default_rng(0).permutation(len(effect))[:MOST_PIECES]
            scale = float(where.areas_mm2.sum() / where.areas_mm2[kept].sum())
        effect = effect[kept] * scale
        variance = float(effect @ self.covariance(where.points[kept]) @ effect)
        return max(0.0, variance) ** 0.5


def _squared_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (points**2).sum(1)
    return np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0)
