"""Where the body ends and what surrounds it begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BINS = 256


def otsu(volume: NDArray[np.floating]) -> float:
    """The threshold in [0, 1] that parts the histogram into the two classes farthest apart (Otsu 1979)."""
    counts, edges = np.histogram(volume, bins=_BINS, range=(0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = below * above * (total / below - (total[-1] - total) / above) ** 2
    best = np.flatnonzero(spread >= np.nanmax(spread) * (1 - 1e-9)) if np.nanmax(spread) > 0 else [0]
    return float(edges[1:][best].mean())
