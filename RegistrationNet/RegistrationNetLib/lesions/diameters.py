"""The longest diameter in a slice and the longest one perpendicular to it, as they are drawn by hand for RECIST."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.ndimage import label as pieces_of
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.lesions.outline import Outline

SMOOTH_VOXELS = 1.0
"""SD of the Gaussian that takes the staircase off an outline in its slice. Over discs and ellipses of 3 to 40 pixels it
leaves a mean error within 0.4 pixels; the staircase's own corners are up to 0.8 too far apart."""

CHORDS_PER_VOXEL = 4
"""Lines tried across the longest diameter for each voxel of its length."""


@dataclass(frozen=True, eq=False)
class Diameter:
    """A straight line in one slice. ends: world LPS mm, (2, 3)."""

    ends: Points

    @property
    def length_mm(self) -> float:
        return float(np.linalg.norm(self.ends[1] - self.ends[0]))

    @property
    def along(self) -> NDArray[np.float64]:
        """Unit world direction, (3,)."""
        return np.asarray((self.ends[1] - self.ends[0]) / max(self.length_mm, 1e-9))


@dataclass(frozen=True, eq=False)
class Diameters:
    """The longest diameter of all slices and, in the same slice, the longest perpendicular to it.

    slice_index: of the slice along the grid's slice axis. borders: the outlines, world LPS mm (n, 3) each, of this
    piece and of all others, in other slices too, that are nearly as long.
    """

    longest: Diameter
    perpendicular: Diameter
    slice_index: int
    borders: tuple[Points, ...] = field(repr=False)


def diameters(outline: Outline) -> Diameters:
    """The longest straight line between two places of the outline in one slice, and the longest across it.

    Both ends lie on the same connected piece (neighbours by edge or corner). The perpendicular is a line inside the
    lesion: where the outline is hollow it does not cross the gap. The outline in a slice is the staircase of pixels
    smoothed by a Gaussian, at the level that keeps the piece's area.
    """
    axis, tight = outline.slice_axis, outline.tight(0)
    found = [
        _piece(index, piece, tight.grid, axis)
        for index, inside in enumerate(np.moveaxis(tight.mask, axis, 0))
        for piece in _pieces(inside)
    ]
    best = max(found, key=lambda piece: piece.length_mm)
    ends = best.border[list(best.ends)]
    across = _across(best.inside, best.level, tight.grid, axis, ends)
    near = tuple(piece.border for piece in found if piece.length_mm > best.length_mm - NEARLY_MM)
    return Diameters(Diameter(ends), Diameter(across), outline.box[axis].start + best.level, near)


@dataclass(frozen=True, eq=False)
class _Piece:
    """A connected piece of the outline in a slice: padded pixels, border in the world, its longest diameter's ends."""

    level: int
    inside: NDArray[np.bool_]
    border: Points
    length_mm: float
    ends: tuple[int, int]


def _piece(level: int, inside: NDArray[np.bool_], grid: Grid, axis: int) -> _Piece:
    border = _world(_border(inside), level, grid, axis)
    return _Piece(level, inside, border, *_span(border))


def _pieces(inside: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    labels, count = pieces_of(inside, np.ones((3, 3)))
    return [np.pad(labels == number, MARGIN) for number in range(1, count + 1)]


NEARLY_MM = 1.5
"""Shorter than the longest by less than this, another slice might have been the longest for another reader."""

MARGIN = 4
"""Pixels of background around a piece, which its smoothed border may reach into."""


def _border(piece: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Places (n, 2) in pixels where the smoothed piece crosses the level that keeps its area."""
    soft, level = _soft(piece)
    found = []
    for axis in range(2):
        values = np.moveaxis(soft, axis, 0)
        at = np.argwhere((values[:-1] >= level) != (values[1:] >= level))
        near, far = values[tuple(at.T)], values[tuple((at + np.array((1, 0))).T)]
        crossing = at[:, 0] + (level - near) / (far - near)
        found.append(np.stack((crossing, at[:, 1]) if axis == 0 else (at[:, 1], crossing), axis=1))
    return np.concatenate(found)


def _soft(piece: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """The smoothed piece, and the level above which lie as many pixels as it has."""
    soft = gaussian_filter(piece.astype(np.float64), SMOOTH_VOXELS, mode="constant")
    count = int(piece.sum())
    ordered = np.partition(soft.ravel(), (-count - 1, -count))
    return soft, float((ordered[-count - 1] + ordered[-count]) / 2)


def _world(pixels: NDArray[np.float64], index: int, grid: Grid, axis: int) -> Points:
    """Pixels of a padded slice -> world."""
    return grid.to_world(np.insert(pixels - MARGIN, axis, index, axis=1))


def _span(points: Points) -> tuple[float, tuple[int, int]]:
    """The greatest distance between two of n points of a plane, and which two they are."""
    kept = _hull(points)
    apart = squareform(pdist(points[kept]))
    first, second = np.unravel_index(int(np.argmax(apart)), apart.shape)
    return float(apart[first, second]), (int(kept[first]), int(kept[second]))


def _hull(points: Points) -> NDArray[np.int_]:
    """Which of the points of a plane are corners of their convex hull; all of them where they have none."""
    centred = points - points.mean(0)
    plane = np.linalg.svd(centred, full_matrices=False)[2][:2]
    try:
        return np.asarray(ConvexHull(centred @ plane.T).vertices)
    except QhullError:
        return np.arange(len(points))


def _across(piece: NDArray[np.bool_], index: int, grid: Grid, axis: int, ends: Points) -> Points:
    """The longest line inside the piece perpendicular (in the world) to the line between `ends`, (2, 3) world."""
    soft, level = _soft(piece)
    length = np.linalg.norm(ends[1] - ends[0])
    along = (ends[1] - ends[0]) / length
    sideways = np.cross(grid.world_to_voxel[axis, :3], along)
    sideways /= np.linalg.norm(sideways)
    pixel = np.delete(grid.spacing, axis).min() / CHORDS_PER_VOXEL
    at = np.linspace(0, length, max(3, int(length / pixel) + 1))
    off = np.arange(-length, length + pixel, pixel)
    starts = ends[0] + at[:, None] * along
    voxels = grid.to_voxel(starts[:, None] + off[:, None] * sideways)
    values = map_coordinates(soft, np.moveaxis(np.delete(voxels, axis, axis=-1) + MARGIN, -1, 0), order=1)
    chords = [longest_run(row - level, off) for row in values]
    line = int(np.argmax([high - low for low, high in chords]))
    return np.asarray(starts[line] + np.outer(chords[line], sideways))


def longest_run(above: NDArray[np.float64], at: NDArray[np.float64]) -> tuple[float, float]:
    """Where the longest stretch of values over 0 begins and ends; (0, 0) where there is none."""
    turns = np.flatnonzero((above[:-1] >= 0) != (above[1:] >= 0))
    if len(turns) < 2:
        return 0.0, 0.0
    crossings = at[turns] - above[turns] * (at[turns + 1] - at[turns]) / (above[turns + 1] - above[turns])
    best = int(np.argmax(crossings[1::2] - crossings[::2]))
    return float(crossings[2 * best]), float(crossings[2 * best + 1])
