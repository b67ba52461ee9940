"""How far a found alignment is to be trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from RegistrationNetLib.core.mapping import Affine

CLEARLY = 0.1
"""So much more alike must images be elsewhere for what a user gave to be wrong."""

ALIKE = 0.4
AGREEMENT, MARGIN = 0.5, 0.3
STRETCH = 1.5


@dataclass(frozen=True)
class Trust:
    """What speaks for an alignment.

    similarity: squared local correlation inside the fixed image's body, 0 to 1.
    agreement: share of the starts that led to it.
    margin: by what share its loss is below that of the next best place; 1 where there is none, 0 where
        that fits better.
    overlap: how much of what the smaller field of view could share is shared.
    stretch: the largest factor by which a direction grows or shrinks.
    """

    similarity: float
    agreement: float
    margin: float
    overlap: float
    stretch: float

    @property
    def high(self) -> bool:
        """Alike, found from many starts or far better than elsewhere, and of a size that bodies have."""
        found = self.agreement >= AGREEMENT or self.margin >= MARGIN
        return found and self.similarity >= ALIKE and self.stretch <= STRETCH

    @property
    def rank(self) -> tuple[bool, float]:
        """For comparing: higher is better."""
        return self.high, self.similarity

    def to_dict(self) -> dict[str, Any]:
        """Plain values for reports."""
        rounded = {name: round(value, 4) for name, value in asdict(self).items()}
        return {"confidence": "high" if self.high else "low", **rounded}


@dataclass(frozen=True, eq=False)
class Alignment(Affine):
    """An affine map from fixed to moving world that was found, and what speaks for it."""

    trust: Trust
