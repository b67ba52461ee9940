"""What is around a lesion on each scan, all cut alike: same width, same millimetres a pixel, same grey values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.planes import Plane, planes, sampled
from RegistrationNetLib.lesions.follow import Tracking
from RegistrationNetLib.lesions.forward import backwards
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.measure import Measures
from RegistrationNetLib.lesions.outline import slice_axis
from RegistrationNetLib.lesions.study import Scan
from RegistrationNetLib.lesions.table import Entry
from RegistrationNetLib.reporting.figures import figure

PIXELS = 224
SMALLEST_MM, TIMES_LONGEST = 40.0, 2.2
"""Width of a picture: so much, or so many times the lesion at its longest."""
_NO_DATA = (0.42, 0.44, 0.47)
_DARKEST, _BRIGHTEST = 1.0, 99.5
"""Percentiles of all pictures of a lesion, shown black and white."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A lesion's place on one scan, in the slice in which its diameter is measured, else the one nearest to its centre.

    values: grey values (PIXELS, PIXELS), rows from top to bottom; known: where the scan has any. window: what is black
    and white. inside: 0 to 1, above 0.5 within the outline. carried: that is where registration carries the baseline's
    to. line: both ends of the longest diameter, (2, 2) millimetres from the left and from the top. letters: what lies
    left, right, above and below.
    """

    day: str
    status: str
    values: NDArray[np.float64]
    known: NDArray[np.bool_]
    inside: NDArray[np.float64]
    side_mm: float
    letters: str
    seen: str
    caption: str
    carried: bool = False
    line: NDArray[np.float64] | None = None
    window: tuple[float, float] = (0.0, 1.0)

    @property
    def mm_per_pixel(self) -> float:
        return self.side_mm / PIXELS

    @property
    def colours(self) -> NDArray[np.float64]:
        """(PIXELS, PIXELS, 3), 0 to 1."""
        dark, bright = self.window
        grey = np.clip((self.values - dark) / (bright - dark), 0, 1)[..., None]
        return np.where(self.known[..., None], np.repeat(grey, 3, axis=-1), _NO_DATA)


@dataclass(frozen=True, eq=False)
class Frame:
    """A square in the world. middle: (3,) LPS mm; right, down: unit directions in which its rows and columns run."""

    middle: Points
    right: Points
    down: Points
    side_mm: float

    @property
    def points(self) -> Points:
        """Of its pixels' centres, (PIXELS, PIXELS, 3)."""
        at = (np.arange(PIXELS) + 0.5) * self.side_mm / PIXELS - self.side_mm / 2
        return np.asarray(self.middle + at[:, None, None] * self.down + at[None, :, None] * self.right)

    def place(self, points: Points) -> NDArray[np.float64]:
        """World points (n, 3) -> millimetres from the left and from the top, (n, 2)."""
        off = points - self.middle
        return np.stack((off @ self.right, off @ self.down), axis=1) + self.side_mm / 2


def crops(name: str, tracking: Tracking, rows: Sequence[Entry]) -> tuple[Crop, ...]:
    """One for each scan that shows the lesion's place, in the order of time. rows: all entries of this lesion."""
    longest = max((one.measures.longest_mm.value for one in rows if one.measures), default=0.0)
    side = max(SMALLEST_MM, TIMES_LONGEST * longest)
    by_day = {one.day: one for one in rows}
    centers = _centers(name, tracking)
    found = []
    for scan, center in zip(tracking.study.scans, centers, strict=True):
        if scan.image.grid.contains(center):
            found.append(_crop(scan, by_day.get(scan.day), _outline(name, tracking, scan), center, side))
    return _alike(found)


def _crop(scan: Scan, entry: Entry | None, outline: Lesion | None, center: Points, side_mm: float) -> Crop:
    measures = entry.measures if entry else None
    here = center if measures is None else measures.lines.longest.ends.mean(axis=0)
    shown = _acquired(scan.image.grid, here)
    frame = _frame(shown, scan.image.grid, here, side_mm)
    values, known = sampled(scan.image, frame.points)
    forward = entry.forward.lesion if entry and entry.forward else None
    drawn = outline or forward
    status = entry.status if entry else ""
    return Crop(
        *(scan.name, status, values, known, _inside(drawn, frame.points), side_mm, shown.letters, _seen(shown)),
        caption=_caption(status, measures),
        carried=outline is None,
        line=None if measures is None else frame.place(measures.lines.longest.ends),
    )


def _acquired(grid: Grid, through: Points) -> Plane:
    """The slice as it was scanned, in which diameters are measured."""
    return next(plane for plane in planes(grid, through) if plane.axis == slice_axis(grid))


def _frame(plane: Plane, grid: Grid, center: Points, side_mm: float) -> Frame:
    """Around the centre, in the very slice."""
    voxel = grid.to_voxel(center)
    voxel[plane.axis] = np.clip(np.rint(voxel[plane.axis]), 0, grid.shape[plane.axis] - 1)
    right, below = plane.points[0, -1] - plane.points[0, 0], plane.points[-1, 0] - plane.points[0, 0]
    right = right / np.linalg.norm(right)
    down = below - (below @ right) * right
    return Frame(grid.to_world(voxel), right, down / np.linalg.norm(down), side_mm)


def _inside(lesion: Lesion | None, points: Points) -> NDArray[np.float64]:
    if lesion is None or lesion.clicked:
        return np.zeros(points.shape[:2])
    mask = np.pad(lesion.outline.data != 0, ((0, 0), (1, 1), (1, 1), (1, 1))).astype(np.float64)
    return sampled(Image(mask, lesion.outline.grid.padded((1, 1, 1), (1, 1, 1))), points)[0]


def _seen(plane: Plane) -> str:
    tilt = f", tilted by {plane.tilt:.0f}\u00b0" if plane.tilt >= 3 else ""
    return f"{plane.name} slice{tilt}"


def _caption(status: str, measures: Measures | None) -> str:
    if measures is not None:
        return f"{status}, {figure(measures.longest_mm)} mm"
    return status or "its place"


def _outline(name: str, tracking: Tracking, scan: Scan) -> Lesion | None:
    """As drawn on that scan."""
    names = tracking.history.names
    return next((one for one in scan.lesions or () if names[scan.name, one.name] == name), None)


def _centers(name: str, tracking: Tracking) -> list[Points]:
    """Of the lesion on each scan: as outlined, else as carried from where it was first seen."""
    scans, maps = tracking.study.scans, tracking.mappings
    drawn = [_outline(name, tracking, scan) for scan in scans]
    first, seen = next((number, one) for number, one in enumerate(drawn) if one is not None)
    at_baseline = seen.center if first == 0 else backwards(maps[first - 1])(seen.center[None])[0]
    carried = [at_baseline, *(mapping(at_baseline) for mapping in maps)]
    return [carried[number] if one is None else one.center for number, one in enumerate(drawn)]


def _alike(found: list[Crop]) -> tuple[Crop, ...]:
    """All in one window of grey values."""
    known = [crop.values[crop.known] for crop in found if crop.known.any()]
    if not known:
        return tuple(found)
    dark, bright = np.percentile(np.concatenate(known), (_DARKEST, _BRIGHTEST))
    return tuple(replace(crop, window=(float(dark), max(float(bright), float(dark) + 1e-6))) for crop in found)
