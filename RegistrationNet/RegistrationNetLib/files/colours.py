"""Colours, the same in pictures, scenes and the panel: of verdicts, of what became of lesions, and of a Jacobian
determinant, blue below 1, white at 1, red above.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STOPS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""The scale is linear between these, symmetric about 1; its lower end is where folding begins."""

COLOURS = ((0.02, 0.15, 0.55), (0.20, 0.50, 0.95), (1.0, 1.0, 1.0), (0.95, 0.30, 0.20), (0.55, 0.02, 0.05))
"""Red, green, blue 0..1 at each stop."""

VERDICTS = {
    "good": ("#2e9e5b", "\u2714"),
    "cannot tell": ("#6b7480", "?"),
    "look": ("#e0a100", "\u25b2"),
    "bad": ("#d1382c", "\u2716"),
}
"""Colour and sign of a light: never colour alone, because not everyone tells green from red."""

STATUSES = {
    "baseline": ("#5c6672", "\u25cf"),
    "stable": ("#0072b2", "="),
    "grown": ("#d55e00", "\u25b2"),
    "shrunk": ("#009e73", "\u25bc"),
    "present": ("#5c6672", "\u25cf"),
    "new": ("#cc79a7", "+"),
    "merged": ("#e69f00", "\u2227"),
    "split": ("#e69f00", "\u2228"),
    "reappeared": ("#cc79a7", "\u21ba"),
    "resolved": ("#56b4e9", "\u25cb"),
    "gone": ("#56b4e9", "\u25cb"),
    "outside": ("#9aa3ad", "?"),
    "carried": ("#9aa3ad", "\u2192"),
    "proposed": ("#9aa3ad", "\u2248"),
}
"""Colour and sign of what became of a lesion (`lesions.table`); Okabe and Ito's colours, which the colour-blind tell
apart. Never without the word."""

FOLDED = (1.0, 0.0, 1.0)
"""Where the mapping folds, which no scale leads up to."""


def jacobian_colours(determinant: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(...,) determinants -> (..., 3) red, green, blue 0..1; beyond the scale as at its ends, FOLDED at 0 and below."""
    scale = np.stack([np.interp(determinant, STOPS, channel) for channel in zip(*COLOURS, strict=True)], axis=-1)
    return np.where(np.asarray(determinant)[..., None] <= 0, FOLDED, scale)
