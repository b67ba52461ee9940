"""Lesions of known size, and readers who outline them: what `benchmarks.lesion_intervals` is measured on.

Nothing here is shared with the model that makes the intervals: shapes are no ellipsoids, their truth comes from
integrals and not from voxels, and the readers' displacements have other correlations than a Gaussian one.

Positions are in mm along the image's own axes (slices first), from the lesion's middle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.spatial.transform import Rotation
from scipy.special import ndtr

from RegistrationNetLib.lesions.estimate import Jitter

Array = NDArray[np.float64]

CONTRAST, EDGE_MM = 100.0, 0.8
"""Of the lesion in its image, and the width (SD) of its edge."""

SUBPLANES = 5
"""In which a thick slice is averaged."""


@dataclass(frozen=True, eq=False)
class Blob:
    """An ellipsoid with bumps, seen from its middle: one radius a direction.

    semi_mm (3,), turn (3, 3); waves (m, 3) and phases (m,) of the bumps, which change radii by `bump` (SD, relative).
    """

    semi_mm: Array
    turn: Array
    waves: Array
    phases: Array
    bump: float = 0.06

    @classmethod
    def random(cls, longest_mm: float, rng: np.random.Generator) -> Blob:
        semi = longest_mm / 2 * np.array((1, *rng.uniform(0.65, 1, 2)))
        turn = Rotation.random(random_state=int(rng.integers(1 << 31))).as_matrix()
        return cls(semi, turn, rng.normal(0, 1.5, (6, 3)), rng.uniform(0, 2 * np.pi, 6))

    def scaled(self, factor: float) -> Blob:
        return Blob(self.semi_mm * factor, self.turn, self.waves, self.phases, self.bump)

    def radius(self, directions: Array) -> Array:
        """(..., 3) unit -> (...) mm."""
        ellipsoid = 1 / np.linalg.norm(directions @ self.turn / self.semi_mm, axis=-1)
        bumps = np.sin(directions @ self.waves.T + self.phases).sum(-1) * np.sqrt(2 / len(self.phases))
        return np.asarray(ellipsoid * (1 + self.bump * bumps))

    def height(self, points: Array) -> Array:
        """(..., 3) mm -> (...) mm beyond the surface along the line from the middle; negative inside."""
        distance = np.linalg.norm(points, axis=-1)
        return np.asarray(distance - self.radius(points / np.maximum(distance, 1e-9)[..., None]))

    @property
    def volume_mm3(self) -> float:
        return float(4 / 3 * np.pi * (self.radius(_sphere(6000)) ** 3).mean())

    def mean_of(self, values: Callable[[Array], Array]) -> float:
        """Of a function of points (n, 3), over the inside."""
        directions = _sphere(1500)
        nodes, weights = np.polynomial.legendre.leggauss(12)
        share = (nodes + 1) / 2
        radius = self.radius(directions)
        points = (radius[:, None] * share)[..., None] * directions[:, None]
        weight = radius[:, None] ** 3 * share**2 * weights
        return float((values(points.reshape(-1, 3)).reshape(weight.shape) * weight).sum() / weight.sum())

    def sections(self, levels: Array, rays: int = 120) -> Array:
        """Its borders at heights across the slices, (k, rays, 2) mm; without those where the axis is outside."""
        axis = np.stack((levels, np.zeros_like(levels), np.full_like(levels, 1e-9)), axis=-1)
        across = levels[self.height(axis) < 0][:, None]
        angles = np.arange(rays) * 2 * np.pi / rays
        rim = np.stack((np.cos(angles), np.sin(angles)), axis=1)
        low, high = np.zeros((len(across), rays)), np.full((len(across), rays), 2 * self.semi_mm.max())
        for _ in range(22):
            middle = (low + high) / 2
            places = np.concatenate((np.broadcast_to(across[..., None], (*low.shape, 1)), middle[..., None] * rim), -1)
            outside = self.height(places) >= 0
            low, high = np.where(outside, low, middle), np.where(outside, middle, high)
        return np.asarray(low[..., None] * rim)

    def diameters_mm(self) -> tuple[float, float]:
        """The longest over all heights, between the slices too, and the longest across it at that height."""
        levels = np.linspace(-0.6, 0.6, 25) * self.semi_mm.max()
        best = max(self.sections(levels), key=lambda border: pdist(border).max())
        apart = squareform(pdist(best))
        first, second = np.unravel_index(apart.argmax(), apart.shape)
        return float(apart.max()), _widest_across(best, best[second] - best[first])


def _sphere(count: int) -> Array:
    """Directions evenly over the sphere (a Fibonacci lattice), (count, 3)."""
    index = np.arange(count) + 0.5
    z, turn = 1 - 2 * index / count, index * np.pi * (1 + np.sqrt(5))
    return np.stack((np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z), axis=1)


def _widest_across(border: Array, direction: Array) -> float:
    """The longest chord of a closed border (n, 2) perpendicular to a direction."""
    along = direction / np.linalg.norm(direction)
    x, y = border @ along, border @ np.array((-along[1], along[0]))
    nx, ny = np.roll(x, -1), np.roll(y, -1)
    best = 0.0
    for at in np.linspace(x.min(), x.max(), 101)[1:-1]:
        cut = (x <= at) != (nx <= at)
        crossing = y[cut] + (at - x[cut]) / (nx[cut] - x[cut]) * (ny[cut] - y[cut])
        best = max(best, float(np.ptp(crossing)))
    return best


def intensity(blob: Blob) -> Callable[[Array], Array]:
    """The image of a blob: a soft edge, and brighter to one side."""
    return lambda points: CONTRAST * ndtr(-blob.height(points) / EDGE_MM) + 2 * points[..., 1]


Reader = Callable[[Blob, Array, Jitter, np.random.Generator], NDArray[np.bool_]]
"""(blob, voxel centres (D, H, W, 3) mm, how far readers differ, chance) -> mask (D, H, W)."""


def by_surface(blob: Blob, points: Array, jitter: Jitter, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The surface moved along its normals by a field with a Matern 3/2 correlation; a voxel is in by its centre."""
    height = blob.height(points)
    near = np.abs(height) < 5 * np.hypot(jitter.shift_mm, jitter.local_mm)
    at = points[near]
    at = at / np.maximum(np.linalg.norm(at, axis=1, keepdims=True), 1e-9)
    places = blob.radius(at)[:, None] * at
    moved = rng.normal(0, jitter.shift_mm) + jitter.local_mm * _matern(places, jitter.correlation_mm, rng)
    mask = height < 0
    mask[near] = height[near] < moved / _cosine(blob, places)
    return np.asarray(mask)


def _cosine(blob: Blob, places: Array, step: float = 1e-3) -> Array:
    """Between the surface's normal and the line from the middle, (n,)."""
    slope = np.stack([(blob.height(places + d) - blob.height(places - d)) / (2 * step) for d in step * np.eye(3)], -1)
    return np.asarray(1 / np.linalg.norm(slope, axis=1))


def _matern(places: Array, correlation_mm: float, rng: np.random.Generator, waves: int = 100) -> Array:
    """A random field of unit variance at places (n, 3) mm, of random waves from its spectrum (Student's t, 3 d.f.).

    Its correlation (1 + a) exp(-a), a = sqrt(3) d / length, has the integral over a plane of a Gaussian's.
    """
    k = rng.standard_normal((waves, 3)) * np.sqrt(3 / rng.chisquare(3, (waves, 1))) / correlation_mm
    amplitude = rng.standard_normal(waves) * np.sqrt(1 / waves)
    other = rng.standard_normal(waves) * np.sqrt(1 / waves)
    turn = places @ k.T
    return np.asarray(np.cos(turn) @ amplitude + np.sin(turn) @ other)


def by_contours(blob: Blob, points: Array, jitter: Jitter, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Slice by slice, as by hand: inside where half of a slice's thickness is lesion, each contour moved in its slice.

    The contours' displacements are Fourier series with falling power; neighbouring slices resemble each other.
    """
    thickness = points[1, 0, 0, 0] - points[0, 0, 0, 0]
    radius = blob.semi_mm.mean()
    orders = np.arange(13)
    power = (1 + (orders * jitter.correlation_mm / radius) ** 2) ** -1.5
    power = jitter.local_mm * np.sqrt(power / power.sum())
    kept = np.exp(-thickness / jitter.correlation_mm)
    shift, wave = rng.normal(0, jitter.shift_mm), rng.standard_normal((2, 13))
    mask = np.zeros(points.shape[:3], bool)
    for index, flat in enumerate(points):
        middle = _middle(blob, flat[0, 0, 0])
        away = flat[..., 1:] - middle
        angle = np.arctan2(away[..., 1], away[..., 0])[..., None] * orders
        moved = shift + (np.cos(angle) * wave[0] + np.sin(angle) * wave[1]) @ power
        at = flat.copy()
        at[..., 1:] -= moved[..., None] * away / np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-9)
        levels = ((np.arange(SUBPLANES) + 0.5) / SUBPLANES - 0.5) * thickness
        lesion = np.mean([blob.height(at + np.array((level, 0, 0))) < 0 for level in levels], axis=0)
        mask[index] = lesion >= 0.5
        wave = kept * wave + np.sqrt(1 - kept**2) * rng.standard_normal((2, 13))
    return mask


def _middle(blob: Blob, level: float) -> Array:
    """Of the section at a height, (2,); the axis where there is none."""
    borders = blob.sections(np.array([level]), 24)
    return borders[0].mean(0) if len(borders) else np.zeros(2)
