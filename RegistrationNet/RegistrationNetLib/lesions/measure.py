"""The figures of one lesion on one scan, each with its 95 % interval, always on the native image and its own outline.

Lengths are in millimetres, volumes in cubic millimetres, positions in LPS millimetres, intensities in the image's unit.
Definitions: docs/lesions.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, map_coordinates
from scipy.spatial import cKDTree

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.diameters import Diameters, diameters
from RegistrationNetLib.lesions.estimate import Z95, Estimate, Jitter
from RegistrationNetLib.lesions.outline import Outline, Surface, check_same_grid, plane, slice_thickness_mm, surface
from RegistrationNetLib.lesions.precision import (
    centroid_error_mm,
    diameter_estimates,
    extent_estimates,
    mean_estimate,
    volume_estimate,
)


@dataclass(frozen=True, eq=False)
class Measures:
    """One lesion on one scan.

    short_axis_mm: the longest diameter perpendicular to the longest, in the same slice. lines: both as drawn.
    mean, highest, lowest: intensity, in the image's unit. centroid: world LPS mm (3,), 95 % of repetitions within
    centroid_error_mm. extent_mm: along each tensor axis. notes: sentences on what limits these figures.
    """

    volume_mm3: Estimate
    longest_mm: Estimate
    short_axis_mm: Estimate
    lines: Diameters
    mean: Estimate
    highest: Estimate
    lowest: Estimate
    centroid: Points
    centroid_error_mm: float
    extent_mm: tuple[Estimate, Estimate, Estimate]
    plane: str
    slice_thickness_mm: float
    slices: int
    notes: tuple[str, ...]


def measure(outline: Outline, image: Image, jitter: Jitter | None = None) -> Measures:
    """All figures of a lesion. image: one channel, the native scan on which the outline was drawn.

    Raises GeometryError where outline and image lie on different grids, InputError for several channels.
    """
    check_same_grid(outline, image)
    jitter = jitter or Jitter()
    tight, values, skin, lines = outline.tight(), image.scalar, surface(outline), diameters(outline)
    inside = values[outline.mask].astype(np.float64)
    at_skin = sampled(values, outline.grid, skin.points)
    volume = volume_estimate(outline, skin, jitter)
    longest, short = diameter_estimates(outline, lines, jitter)
    centroid = tight.grid.to_world(np.argwhere(tight.mask).mean(0))
    lowest, highest = _extremes(outline, values, skin, jitter)
    return Measures(
        volume_mm3=volume,
        longest_mm=longest,
        short_axis_mm=short,
        lines=lines,
        mean=mean_estimate(float(inside.mean()), at_skin, volume.value, outline, skin, jitter),
        highest=highest,
        lowest=lowest,
        centroid=centroid,
        centroid_error_mm=centroid_error_mm(outline, centroid, volume.value, skin, jitter),
        extent_mm=extent_estimates(outline, jitter),
        plane=plane(outline.grid),
        slice_thickness_mm=slice_thickness_mm(outline.grid),
        slices=outline.slices,
        notes=_notes(outline, longest),
    )


def sampled(values: NDArray[np.generic], grid: Grid, points: Points) -> NDArray[np.float64]:
    """Values (D, H, W) between voxel centres, linearly, at world points (n, 3); the edge's value beyond it."""
    voxels = grid.to_voxel(points)
    low = np.clip(np.floor(voxels.min(0)).astype(int), 0, np.array(grid.shape) - 1)
    high = np.clip(np.ceil(voxels.max(0)).astype(int), 0, np.array(grid.shape) - 1)
    part = values[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))].astype(np.float64)
    return np.asarray(map_coordinates(part, (voxels - low).T, order=1, mode="nearest"))


def _extremes(
    outline: Outline, values: NDArray[np.generic], skin: Surface, jitter: Jitter
) -> tuple[Estimate, Estimate]:
    """The lowest and the highest intensity; their intervals are what outlines 95 % of jitter further in or out show."""
    reach = Z95 * float(np.hypot(jitter.shift_mm, jitter.local_mm))
    margin = np.ceil(reach / outline.grid.spacing).astype(int) + 1
    box = tuple(slice(max(0, cut.start - m), cut.stop + m) for cut, m in zip(outline.box, margin.tolist(), strict=True))
    mask, part = outline.mask[box], values[box].astype(np.float64)
    rounds = int(margin.max())
    near = binary_dilation(mask, iterations=rounds) & ~binary_erosion(mask, iterations=rounds, border_value=1)
    at = np.argwhere(near)
    depths = cKDTree(skin.points).query(outline.grid.to_world(at + [cut.start for cut in box]))[0]
    close = np.zeros_like(mask)
    close[tuple(at[depths <= reach].T)] = True
    core = mask & ~close
    within, sure, perhaps = part[mask], part[core if core.any() else mask], part[mask | close]
    lowest = Estimate(float(within.min()), float(perhaps.min()), float(sure.min()))
    return lowest, Estimate(float(within.max()), float(sure.max()), float(perhaps.max()))


def _notes(outline: Outline, longest: Estimate) -> tuple[str, ...]:
    thick = slice_thickness_mm(outline.grid)
    notes = []
    if outline.slices == 1:
        notes.append(
            f"'{outline.name}' is seen in one slice of {thick:.1f} mm alone: its height is not known, and its volume "
            "only to within its interval."
        )
    if outline.slices < 3:
        notes.append(
            f"'{outline.name}' is seen in fewer than three slices: its mean intensity may lie outside its interval."
        )
    if outline.cut_off:
        notes.append(f"'{outline.name}' touches the edge of the image: what lies beyond it is not measured.")
    if longest.value < 2 * thick:
        notes.append(
            f"'{outline.name}' measures less than two slices ({longest.value:.1f} mm at {thick:.1f} mm a slice): too "
            "small to be a measurable lesion by RECIST 1.1 on this scan."
        )
    return tuple(notes)
