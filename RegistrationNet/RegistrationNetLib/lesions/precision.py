"""How well an outline on voxels tells size: 95 % intervals of volume, diameters, means and positions.

Three independent errors are added: what slices miss between them (partial volume), what pixels miss within a slice, and
how far another reader's outline would lie away (`Jitter`). The constants below are those of ellipsoids cut at random
places, where they have a closed form; `python -m benchmarks.lesion_intervals` measures how often the intervals hold on
other shapes with another jitter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.lesions.diameters import Diameters
from RegistrationNetLib.lesions.estimate import RADIUS95, Z95, Estimate, Jitter
from RegistrationNetLib.lesions.outline import Outline, Surface, slice_thickness_mm

PIXELS = 0.22
"""Relative SD of a counted volume is this times (pixel / radius in the slice)^2; measured on ellipsoids from 3 mm."""

TALLNESS = 0.3
"""SD of the logarithm of a lesion's height across the slices over its width in them."""

PIXEL_DIAMETER, PIXEL_BORDER = 0.25, 0.15
"""SD in pixels of the diameter of an ellipse between subpixel ends, and of a place on its smoothed border; measured on
ellipses of 3 to 40 pixels."""

TREND, UNBIASED = 0.14, 11.0
"""The longest diameter between subpixel ends is TREND ln(pixels / UNBIASED) pixels too long; measured on exact outlines
of ellipses of 4 to 37 pixels."""

ACROSS = 1.1
"""SD of the short axis over what outlines drawn anew from a single one show, in which the longest diameter's direction
is more certain than it is; measured."""

DRAWS, DIRECTIONS, PLACES, SLICES_LOOKED_AT = 200, 40, 40, 7
"""Outlines drawn, directions looked in, and border places and slices, to see what jitter does to longest diameters."""


def volume_estimate(outline: Outline, surface: Surface, jitter: Jitter) -> Estimate:
    """Cubic millimetres: the voxels' own volume, with the interval in which the lesion's lies.

    Counting is unbiased wherever a lesion falls between the voxels, and no surface laid through them came closer on
    analytic shapes. The interval is symmetric in the volume's cube root: jitter moves the radius.
    """
    volume = float(outline.mask.sum()) * outline.grid.voxel_volume
    rounder = max(1.0, (36 * np.pi * volume**2) ** (1 / 3) / surface.area_mm2)  # no body has less surface than a ball
    moved = rounder * jitter.sd(surface, surface.areas_mm2) / (3 * volume)
    pixel, radius = _in_plane(outline)
    rest = Z95 * np.hypot(moved, PIXELS * (pixel / radius) ** 2 / 3)
    low, middle, high = np.cbrt(_cut_anywhere(outline)[0])
    low, high = middle - np.hypot(middle - low, rest * middle), middle + np.hypot(high - middle, rest * middle)
    return Estimate(volume, volume * max(0.0, min(low, 1.0)) ** 3, volume * max(high, 1.0) ** 3)


def _in_plane(outline: Outline) -> tuple[float, float]:
    """The pixel's side and the radius of a disc as large as the largest section, mm."""
    axis = outline.slice_axis
    pixel2 = outline.grid.voxel_volume / slice_thickness_mm(outline.grid)
    largest = outline.mask.sum(axis=tuple(a for a in range(3) if a != axis)).max()
    return float(np.sqrt(pixel2)), float(np.sqrt(largest * pixel2 / np.pi))


def _cut_anywhere(outline: Outline) -> NDArray[np.float64]:
    """What slices leave unseen, (2, 3): true over counted volume, true over seen diameter; 2.5, 50 and 97.5 % points.

    An ellipsoid as wide as the widest section says, of unknown height (TALLNESS), its middle anywhere between two
    slices, shows in as many slices as this lesion does. All sizes are equally likely on a log scale.
    """
    thick, (_, radius) = slice_thickness_mm(outline.grid), _in_plane(outline)
    middle, tall = np.meshgrid((np.arange(60) + 0.5) / 120 * thick, np.linspace(-2.5, 2.5, 41), indexing="ij")
    height = np.hypot(np.exp(TALLNESS * tall) * radius, middle)
    weight = np.exp(-(tall**2) / 2) * (1 - (middle / height) ** 2)
    weight *= (_depths(middle, height, thick, outline.slices) > 0).sum(0) == outline.slices
    if not weight.any():
        height, weight = np.full_like(height, outline.slices * thick / 2), np.ones_like(weight)
    depths = _depths(middle, height, thick, outline.slices)
    volume = 4 / 3 * height / (thick * np.maximum(depths, 0).sum(0))
    return np.array([_quantiles(ratio, weight) for ratio in (volume, 1 / np.sqrt(depths[outline.slices]))])


def _depths(middle: NDArray[np.float64], height: NDArray[np.float64], thick: float, slices: int) -> NDArray[np.float64]:
    """Areas of an ellipsoid's sections over its largest, for slices around the one next to its middle; < 0 outside."""
    steps = np.arange(-slices, slices + 1)[:, None, None] * thick
    return np.asarray(1 - ((middle + steps) / height) ** 2)


def _quantiles(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(values, axis=None)
    share = np.cumsum(weight.ravel()[order])
    return values.ravel()[order][np.searchsorted(share / share[-1], (0.025, 0.5, 0.975))]


def diameter_estimates(outline: Outline, found: Diameters, jitter: Jitter) -> tuple[Estimate, Estimate]:
    """Millimetres: the longest diameter and its perpendicular as drawn, with the intervals in which the lesion's lie.

    The longest of many nearly equal diameters is one that jitter has lengthened; outlines drawn anew from this one tell
    by how much, and the interval is moved by that.
    """
    pixel, _ = _in_plane(outline)
    errors = _jittered(found, jitter, pixel)
    low, middle, high = _cut_anywhere(outline)[1]
    too_long = TREND * pixel * np.log(found.longest.length_mm / pixel / UNBIASED)
    results = []
    for diameter, error, excess in zip((found.longest, found.perpendicular), errors, (too_long, 0.0), strict=True):
        length = diameter.length_mm
        centre = length * middle - error.mean() - excess
        rest = Z95 * np.hypot(error.std(), PIXEL_DIAMETER * pixel)
        lowest = centre - np.hypot(rest, length * (middle - low))
        results.append(
            Estimate(length, max(0.0, float(lowest)), float(centre + np.hypot(rest, length * (high - middle))))
        )
    return results[0], results[1]


def _jittered(found: Diameters, jitter: Jitter, pixel_mm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much longer both diameters are on each of DRAWS outlines drawn anew, mm (DRAWS,) each."""
    rng = np.random.default_rng(0)
    borders = [border[rng.permutation(len(border))[:PLACES]] for border in _some(_in_order(found.borders))]
    covariance = jitter.covariance(np.concatenate(borders))
    covariance += np.eye(len(covariance)) * (PIXEL_BORDER * pixel_mm) ** 2
    values, vectors = np.linalg.eigh(covariance)
    drawn = (vectors * np.sqrt(np.maximum(values, 0))) @ rng.standard_normal((len(values), DRAWS))
    moved = np.split(drawn, np.cumsum([len(border) for border in borders])[:-1])
    angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
    directions = np.outer(found.longest.along, np.cos(angles)) + np.outer(found.perpendicular.along, np.sin(angles))
    seen = [(border - border.mean(0)) @ directions for border in borders]
    anew = _longest(np.array([_widths(*one) for one in zip(seen, moved, strict=True)]))
    as_drawn = _longest(np.array([_widths(one, np.zeros((len(one), 1))) for one in seen]))
    across = anew[1] - as_drawn[1]
    return anew[0] - as_drawn[0], across.mean() + ACROSS * (across - across.mean())


def _in_order(borders: tuple[Points, ...]) -> list[Points]:
    """Sorted by where they are in the world, so that the draw does not depend on how voxels are stored."""
    each = [border[np.lexsort(border.round(6).T)] for border in borders]
    return sorted(each, key=lambda border: tuple(border.mean(0).round(6)))


def _some(borders: list[Points]) -> list[Points]:
    """At most SLICES_LOOKED_AT of the borders, evenly."""
    kept = np.unique(np.linspace(0, len(borders) - 1, min(len(borders), SLICES_LOOKED_AT)).astype(int))
    return [borders[at] for at in kept]


def _longest(widths: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Widths (slices, DIRECTIONS, k) -> the longest (k,), and that across it in the same slice (k,)."""
    flat = widths.reshape(-1, widths.shape[-1])
    draw, best = np.arange(flat.shape[1]), flat.argmax(0)
    piece, direction = np.divmod(best, DIRECTIONS)
    return flat[best, draw], widths[piece, (direction + DIRECTIONS // 2) % DIRECTIONS, draw]


def _widths(seen: NDArray[np.float64], moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """From places along each direction (n, m) and how far each is moved out (n, k): widths (m, k)."""
    return np.asarray(
        [(side[:, None] + moved).max(0) + (moved - side[:, None]).max(0) for side in seen.T], dtype=np.float64
    )


def mean_estimate(
    mean: float, at_surface: NDArray[np.float64], volume_mm3: float, outline: Outline, surface: Surface, jitter: Jitter
) -> Estimate:
    """A mean inside an outline, given the values at the surface's pieces: there they enter or leave as it is moved.

    Where the first and the last slice end is not known to within a slice: of n slices, a share 1/n of each side.
    """
    pull = (at_surface - mean) * surface.areas_mm2 / volume_mm3
    normal = outline.grid.world_to_voxel[outline.slice_axis, :3] * slice_thickness_mm(outline.grid)
    sides = np.maximum(np.outer((1, -1), surface.normals @ normal), 0) @ pull
    unseen = slice_thickness_mm(outline.grid) / np.sqrt(12) * np.linalg.norm(sides) / outline.slices
    half = Z95 * np.hypot(jitter.sd(surface, pull), unseen)
    return Estimate(mean, mean - half, mean + half)


def centroid_error_mm(outline: Outline, centroid: Points, volume_mm3: float, surface: Surface, jitter: Jitter) -> float:
    """The radius around a centroid within which 95 % of centroids from other outlines and other slices lie."""
    pull = (surface.points - centroid) * (surface.areas_mm2 / volume_mm3)[:, None]
    moved = [jitter.sd(surface, pull[:, axis]) for axis in range(3)]
    between = slice_thickness_mm(outline.grid) / np.sqrt(12 * outline.slices**3)
    return float(RADIUS95 * np.linalg.norm((*moved, between)) / np.sqrt(3))


def extent_estimates(outline: Outline, jitter: Jitter) -> tuple[Estimate, Estimate, Estimate]:
    """Millimetres along each tensor axis: from the first to the last voxel, both included."""
    moved = 4 * jitter.shift_mm**2 + 2 * jitter.local_mm**2
    sizes = [
        Estimate(length, length, length).widened(Z95 * np.sqrt(moved + spacing**2 / 6))
        for spacing, length in (
            (spacing, spacing * (cut.stop - cut.start))
            for spacing, cut in zip(outline.grid.spacing.tolist(), outline.box, strict=True)
        )
    ]
    return sizes[0], sizes[1], sizes[2]
