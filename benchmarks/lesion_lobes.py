"""Shapes of made-up lesions: ellipsoids melted together, with uneven surfaces; geometry only, no voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.grid import Points

DIAMETERS_MM = (3.0, 30.0)
"""Of the sphere of the same volume, at the first timepoint or when new."""
WOBBLE, JITTER = 0.12, 0.05
"""Of a lesion's surface beside its ellipsoid, and of each outline beside that surface, as shares of its radius."""
SPLITTABLE_MM = 8.0
"""Smaller ones stay in one piece."""


@dataclass(frozen=True, eq=False)
class Lobe:
    """An ellipsoid: world = center + axes @ unit ball; mm."""

    center: Points
    axes: NDArray[np.float64]

    @property
    def volume_mm3(self) -> float:
        return float(4 / 3 * np.pi * np.linalg.det(self.axes))

    @property
    def radius_mm(self) -> float:
        """Of the sphere of the same volume."""
        return float((3 * self.volume_mm3 / (4 * np.pi)) ** (1 / 3))

    @cached_property
    def to_ball(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.inv(self.axes))

    def toward_mm(self, direction: Points) -> float:
        """From its center to its surface."""
        return float(1 / np.linalg.norm(self.to_ball @ direction))

    def gap_mm(self, other: Lobe) -> float:
        """Between the surfaces, along the line from center to center."""
        between = other.center - self.center
        apart = float(np.linalg.norm(between))
        direction = between / apart if apart > 0 else np.eye(3)[0]
        return apart - self.toward_mm(direction) - other.toward_mm(direction)

    def scaled(self, factor: float, about: Points) -> Lobe:
        return Lobe(about + factor * (self.center - about), factor * self.axes)


@dataclass(frozen=True, eq=False)
class Shape:
    """Ellipsoids melted together, with an uneven surface of its own (`phase`, three waves)."""

    lobes: tuple[Lobe, ...]
    phase: Points

    @property
    def volume_mm3(self) -> float:
        """Of its ellipsoids, overlap counted twice."""
        return sum(lobe.volume_mm3 for lobe in self.lobes)

    @property
    def radius_mm(self) -> float:
        return float((3 * self.volume_mm3 / (4 * np.pi)) ** (1 / 3))

    @cached_property
    def center(self) -> Points:
        weights = [lobe.volume_mm3 for lobe in self.lobes]
        return np.average([lobe.center for lobe in self.lobes], axis=0, weights=weights)

    @cached_property
    def reach_mm(self) -> float:
        """No point lies farther from the center."""
        ends = [np.linalg.norm(lobe.center - self.center) + np.linalg.norm(lobe.axes, 2) for lobe in self.lobes]
        return float((1 + WOBBLE + 3 * JITTER) * max(ends))

    def gap_mm(self, other: Shape) -> float:
        """Between the surfaces; of shapes farther apart than any of them is large, a lower bound."""
        apart = float(np.linalg.norm(self.center - other.center)) - self.reach_mm - other.reach_mm
        if apart > DIAMETERS_MM[1]:
            return apart
        return min(one.gap_mm(two) for one in self.lobes for two in other.lobes)

    def grown(self, volume_factor: float, shift: Points) -> Shape:
        factor, about = volume_factor ** (1 / 3), self.center
        moved = (lobe.scaled(factor, about) for lobe in self.lobes)
        return replace(self, lobes=tuple(replace(lobe, center=lobe.center + shift) for lobe in moved))

    def holds(self, points: Points, jitter: Points) -> NDArray[np.bool_]:
        """Which points lie inside as this reader sees it, (..., 3) -> (...); jitter: phases of three waves."""
        nearest = np.min([_from_middle(lobe, points) for lobe in self.lobes], axis=0)
        turn = (points - self.center) * (2 / self.radius_mm)
        return np.asarray(nearest <= 1 + WOBBLE * _waves(turn, self.phase) + JITTER * _waves(1.5 * turn, jitter))


def ellipsoid(radius_mm: float, rng: np.random.Generator) -> Shape:
    """Of the volume of that sphere, up to 1.6 times as long as wide, turned at random, at the origin."""
    stretch = np.exp(rng.uniform(-0.235, 0.235, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    return Shape((Lobe(np.zeros(3), turn @ np.diag(radius_mm * stretch)),), any_phase(rng))


def melted(shapes: Sequence[Shape], rng: np.random.Generator) -> Shape:
    """All grown until they touch, and bridges between the first and each of the others."""
    first, lobes = shapes[0], []
    factor = 1.0
    for other in shapes[1:]:
        apart = float(np.linalg.norm(other.center - first.center))
        factor = max(factor, 1.02 * apart / (apart - first.gap_mm(other)))
        bridge = 0.7 * min(first.radius_mm, other.radius_mm)
        lobes.append(Lobe((first.center + other.center) / 2, bridge * np.eye(3)))
    grown = [shape.grown(factor**3, np.zeros(3)) for shape in shapes]
    return Shape((*(lobe for shape in grown for lobe in shape.lobes), *lobes), any_phase(rng))


def pieces(shape: Shape, rng: np.random.Generator) -> list[Shape]:
    """Two or three left of it along its longest axis, well apart: 3 to 30 % of its volume between them."""
    lobe = max(shape.lobes, key=lambda one: one.volume_mm3)
    count = 3 if 2 * shape.radius_mm > 2 * SPLITTABLE_MM and rng.random() < 0.3 else 2
    turned, sizes, _ = np.linalg.svd(lobe.axes)
    along, half = turned[:, 0], sizes[0]
    shares = rng.dirichlet([6.0] * count)
    radii = (rng.uniform(0.3, 0.8) * shape.volume_mm3 * shares * 3 / (4 * np.pi)) ** (1 / 3)
    radii = np.minimum(radii, 0.75 * half / count)
    ends = np.concatenate([[0], np.cumsum(2 * radii)])
    gap = max(1.5, (2 * half - ends[-1]) / count)
    middles = ends[:-1] + radii + gap * np.arange(count)
    middles -= np.average(middles, weights=radii**3)
    sideways = [0.15 * half * any_direction(rng) for _ in range(count)]
    return [
        ellipsoid(radius, rng).grown(1.0, lobe.center + middle * along + side)
        for radius, middle, side in zip(radii, middles, sideways, strict=True)
    ]


def _from_middle(lobe: Lobe, points: Points) -> NDArray[np.float64]:
    """1 on its surface, 0 in its middle."""
    return np.asarray(np.linalg.norm((points - lobe.center) @ lobe.to_ball.T, axis=-1))


def _waves(points: Points, phase: Points) -> NDArray[np.float64]:
    """Between -1 and 1."""
    return np.asarray(np.sin(points + phase).mean(axis=-1))


def any_phase(rng: np.random.Generator) -> Points:
    return rng.uniform(0, 2 * np.pi, 3)


def any_direction(rng: np.random.Generator) -> Points:
    vector = rng.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))
