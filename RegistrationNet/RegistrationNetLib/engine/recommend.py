"""Which network to start with, from what two images show and what each network's card says that it is for.

Light: no PyTorch. Where nothing fits, or cannot be told, it is none: refinement alone is made for all images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.threshold import otsu

SIDES = "left_right_mm", "front_back_mm", "head_foot_mm"
_CT_AIR_HU = -900.0
_BRIGHTEST = 99.5  # percent; brighter is metal or noise
_EDGE = 1.0  # percent of the body at either end, which may be noise
_FEWEST = 50  # voxels of a body


@dataclass(frozen=True)
class Seen:
    """modality: "CT", "MR" ..., empty where it cannot be told. sides: mm from left to right, front to back and head to
    foot of what an image shows; None where it shows nothing that stands out."""

    modality: str
    sides: tuple[float, float, float] | None


@dataclass(frozen=True)
class Recommendation:
    """model: a network, or none; weights: the name of its trained weights; reason: in a sentence."""

    model: str
    weights: str
    reason: str


def look(image: Image, modality: str = "") -> Seen:
    """What an image shows; a coarse one will do. modality: where it is known from elsewhere."""
    values = image.scalar.astype(np.float32)
    low, high = float(values.min()), float(np.percentile(values, _BRIGHTEST))
    if not high > low:
        return Seen(modality, None)
    bright = np.clip((values - low) / (high - low), 0, 1)
    body = np.argwhere(bright > otsu(bright))
    told = modality or ("CT" if low <= _CT_AIR_HU else "")
    if len(body) < _FEWEST:
        return Seen(told, None)
    near, far = np.percentile(image.grid.to_world(body), (_EDGE, 100 - _EDGE), axis=0)
    return Seen(told, tuple(float(side) for side in far - near))  # type: ignore[arg-type]


def recommend(fixed: Seen, moving: Seen, trained: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Recommendation:
    """trained: name of weights -> their network and what they are for, as in their `Card`; the first that fits."""
    if not trained:
        return _none("No network has been trained yet, and the refinement does all the work")
    if fixed.sides is None or moving.sides is None:
        return _none("What the volumes show cannot be told")
    known = {name: entry for name, entry in trained.items() if {"body", "modality", *SIDES} <= entry[1].keys()}
    for weights, (model, purpose) in known.items():
        if _fits(fixed, purpose) and _fits(moving, purpose):
            reason = (
                f"{model}. It was trained on {purpose['body']}, and both volumes are of that size ({_size(fixed)}). "
            )
            return Recommendation(model, weights, f"{reason}If they show something else, choose none.")
    return _none(f"No network was trained on what the fixed volume seems to show ({_size(fixed)})")


def _none(why: str) -> Recommendation:
    return Recommendation("none", "", f"none. {why}.")


def _fits(seen: Seen, purpose: Mapping[str, Any]) -> bool:
    """CT has to be known as such; a card for MR takes what is not known to be of another kind."""
    wanted = purpose["modality"]
    kind = wanted == "any" or seen.modality == wanted or (wanted == "MR" and not seen.modality)
    assert seen.sides is not None
    ranges = (purpose[side] for side in SIDES)
    return kind and all(low <= side <= high for side, (low, high) in zip(seen.sides, ranges, strict=True))


def _size(seen: Seen) -> str:
    assert seen.sides is not None
    kind = f"{seen.modality}, " if seen.modality else ""
    return f"{kind}{' x '.join(f'{side:.0f}' for side in seen.sides)} mm"
