"""How alike two scans are through a mapping at places of the body, point by point: to choose between two mappings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.measure import sampled

RIM_MM, STEP_MM = 12.0, 2.0
"""How far around a lesion its surroundings reach, and how far apart their points lie."""
_WINDOW = STEP_MM * np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def surroundings(lesion: Lesion, others: tuple[Lesion, ...], clear_mm: float) -> Points:
    """World points within `RIM_MM` of a lesion that lie farther than so from any lesion's voxel, (N, 3) LPS mm."""
    low, high = lesion.points.min(axis=0) - RIM_MM, lesion.points.max(axis=0) + RIM_MM
    axes = [np.arange(a, b + STEP_MM, STEP_MM) for a, b in zip(low, high, strict=True)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = np.concatenate([lesion.points, *(one.points for one in others)])
    own, any_lesion = (cKDTree(points).query(lattice)[0] for points in (lesion.points, inside))
    return np.asarray(lattice[(own <= RIM_MM) & (any_lesion > clear_mm)])


def alike(fixed: Image, moving: Image, mapping: Mapping, points: Points) -> float:
    """Squared correlation of two scans over points of the fixed one, 0 to 1; 0 where either is constant."""
    return float(
        _squared(sampled(fixed.scalar, fixed.grid, points), sampled(moving.scalar, moving.grid, mapping(points)))
    )


def alike_locally(fixed: Image, moving: Image, mapping: Mapping, places: Points) -> float:
    """The mean of `alike` over a window of 8 mm around each place, (N, 3) LPS mm."""
    points = (places[:, None] + _WINDOW).reshape(-1, 3)
    one, other = (
        sampled(image.scalar, image.grid, where).reshape(len(places), -1)
        for image, where in ((fixed, points), (moving, mapping(points)))
    )
    return float(_squared(one, other).mean())


def matching_levels(one: NDArray[np.floating], other: NDArray[np.floating]) -> tuple[float, float]:
    """Gain and offset by which values of one scan become those of another at the same places, (N,) each.

    The line that treats both alike (reduced major axis), twice, the tenth of the places that fits it worst left out.
    Gain 1 where one of them is flat.
    """
    kept = np.ones(len(one), bool)
    gain, offset = 1.0, 0.0
    for _ in range(2):
        here, there = one[kept].astype(np.float64), other[kept].astype(np.float64)
        gain = float(there.std() / here.std()) if len(here) > 1 and here.std() > 0 < there.std() else 1.0
        offset = float(there.mean() - gain * here.mean()) if len(here) else 0.0
        apart = np.abs(other - gain * one - offset)
        kept = apart <= np.percentile(apart, 90) if len(apart) else kept
    return gain, offset


def _squared(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared correlation along the last axis."""
    one, other = (values - values.mean(axis=-1, keepdims=True) for values in (one, other))
    size = (one**2).sum(axis=-1) * (other**2).sum(axis=-1)
    return np.asarray(np.divide((one * other).sum(axis=-1) ** 2, size, out=np.zeros_like(size), where=size > 0))
