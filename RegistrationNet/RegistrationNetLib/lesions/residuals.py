"""Where registration errs, as a random field: what is expected at a lesion, and what studies are made up with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Displacement

CHI3_LOG_MEAN, CHI3_LOG_VARIANCE = 0.36482, 0.23370
"""Of log r, r the length of a vector of three independent normal components: (psi(3/2) + log 2) / 2, psi'(3/2) / 4."""
CHI3_MEAN = 1.59577
"""Of r itself: 2 sqrt(2 / pi)."""


@dataclass(frozen=True)
class Residuals:
    """Errors of a registration as a smooth random field: e(x) = scale exp(spread g(x)) n(x).

    n: three independent normal components, g: a normal amplitude, all smooth: white noise through a Gaussian of
    length_mm. scale_mm: of each component where g is 0. The defaults were measured (benchmarks/lesion_residuals.py).
    """

    scale_mm: float = 0.41
    spread: float = 0.92
    length_mm: float = 20.7

    @property
    def mean_mm(self) -> float:
        """Expected length of e."""
        return CHI3_MEAN * self.scale_mm * float(np.exp(self.spread**2 / 2))

    def times(self, level: float) -> Residuals:
        return replace(self, scale_mm=self.scale_mm * level)

    def drawn(self, rng: np.random.Generator, box_mm: ArrayLike) -> Displacement:
        """One field over a box from the origin of the world on, and a margin around it."""
        margin, node = 2 * self.length_mm + 40, self.length_mm / 3
        shape = np.ceil((np.asarray(box_mm) + 2 * margin) / node).astype(int) + 1
        grid = Grid.of(shape, (node,) * 3, np.eye(3), (-margin,) * 3)
        noise = [gaussian_filter(rng.standard_normal(grid.shape), 3.0, mode="wrap") for _ in range(4)]
        *components, amplitude = (values / values.std() for values in noise)
        field = self.scale_mm * np.exp(self.spread * amplitude) * np.stack(components)
        return Displacement(field.astype(np.float32), grid)
