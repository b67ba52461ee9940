"""A study: one patient's scans in the order of time, and what a reader outlined or clicked on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

import numpy as np

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.criteria import Role
from RegistrationNetLib.lesions.evidence import radius_mm
from RegistrationNetLib.lesions.lesion import Lesion

_ON_LATTICE = 0.01
"""Voxels that an outline's lattice may lie beside its image's."""


@dataclass(frozen=True)
class About:
    """What a reader says of a lesion besides its outline; only criteria ask for it.

    label: what it is called in the outlines, where the reader gave it another name.
    """

    label: str = ""
    kind: str = ""
    organ: str | None = None
    role: Role | None = None
    node: bool | None = None


@dataclass(frozen=True, eq=False)
class Scan:
    """One timepoint.

    lesions: None where nobody looked for them; empty where a reader found none. about: of some of them, by name.
    confirms: the date of the scan whose finding this one was made to confirm. markers_normal: tumour markers.
    source, series: the file or DICOM folder that the image was read from, and which series of it; "" where not known.
    Raises InputError for lesions of one name, what is said about one that is not there, or an outline that was not
    drawn on this image.
    """

    day: date
    image: Image
    lesions: tuple[Lesion, ...] | None = None
    about: Mapping[str, About] = field(default_factory=dict)
    confirms: date | None = None
    markers_normal: bool | None = None
    source: str = ""
    series: str = ""

    def __post_init__(self) -> None:
        twice = [name for name, count in Counter(one.name for one in self.lesions or ()).items() if count > 1]
        if twice:
            raise InputError(f"Two lesions of {self.day} are called '{twice[0]}'; give each a name of its own.")
        unknown = sorted(set(self.about) - {one.name for one in self.lesions or ()})
        if unknown:
            known = ", ".join(sorted(one.name for one in self.lesions or ())) or "none"
            raise InputError(f"There is no lesion '{unknown[0]}' on the scan of {self.day}; its lesions are: {known}.")
        for lesion in self.lesions or ():
            if not (lesion.clicked or on_lattice(lesion.outline.grid, self.image.grid)):
                raise InputError(
                    f"'{lesion.outline.name}' was not drawn on the voxels of '{self.image.name}' ({self.day}), and "
                    "lesions are measured on their own scan. Draw it there, or resample it onto that image."
                )
            if lesion.clicked and not self.image.grid.contains(lesion.center):
                raise InputError(
                    f"Point '{lesion.name}' of {self.day} lies outside '{self.image.name}'. Check that it belongs to "
                    "that image and is in LPS mm."
                )

    @property
    def name(self) -> str:
        """The date, by which everything calls this timepoint."""
        return self.day.isoformat()


@dataclass(frozen=True, eq=False)
class Study:
    """scans: the first is the baseline. region: a mask of the baseline, where lesions that nobody outlined may be;
    everywhere in the body, if None. notes: what reading corrected.

    Raises InputError unless there are two scans or more, of different dates, the earliest first.
    """

    scans: tuple[Scan, ...]
    patient: str = ""
    region: Image | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.scans) < 2:
            raise InputError(f"Lesions are followed over two or more scans; here is {len(self.scans)}. Add the others.")
        for before, after in pairwise(self.scans):
            if before.day == after.day:
                raise InputError(f"Two scans are of {after.day}. Give each its own date, or leave one out.")
            if before.day > after.day:
                raise InputError(f"The scan of {after.day} comes after that of {before.day}; put the earliest first.")

    def about(self, timepoint: str, lesion: str) -> About:
        """What was said of a lesion of a scan."""
        return next(scan.about.get(lesion, About()) for scan in self.scans if scan.name == timepoint)

    @property
    def baseline(self) -> tuple[Lesion, ...]:
        return self.scans[0].lesions or ()


def on_lattice(part: Grid, whole: Grid) -> bool:
    """Whether the voxel centres of one grid are some of another's lattice, inside of it or beyond."""
    first, second = (whole.to_voxel(part.to_world(corner)) for corner in ((0, 0, 0), np.array(part.shape) - 1))
    straight = np.abs(second - first - (np.array(part.shape) - 1)).max() < _ON_LATTICE
    return bool(straight and np.abs(first - np.rint(first)).max() < _ON_LATTICE)


def box_around(points: Points, grid: Grid, margin_mm: float) -> Grid:
    """The part of a grid that holds world points (N, 3) and a margin."""
    voxels, margin, last = grid.to_voxel(points), margin_mm / grid.spacing, np.array(grid.shape) - 1
    low = np.clip(np.floor(voxels.min(axis=0) - margin), 0, last).astype(int)
    high = np.clip(np.ceil(voxels.max(axis=0) + margin), 0, last).astype(int)
    return grid.padded(-low, high - last)


def solid(lesion: Lesion) -> Lesion:
    """The lesion itself; of a click, whose size is not known, a ball as large as a middling lesion."""
    if not lesion.clicked:
        return lesion
    reach = int(np.ceil(radius_mm(None)))
    axes = np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij")
    ball = np.sum(np.square(axes), axis=0) <= radius_mm(None) ** 2
    grid = lesion.outline.grid.padded([reach] * 3, [reach] * 3)
    return Lesion(lesion.name, Image(ball[None].astype(np.uint8), grid, name=lesion.name))


def label_map(
    lesions: Sequence[Lesion], grid: Grid, name: str = "lesions", numbers: Mapping[str, int] | None = None
) -> Image:
    """Lesions on this grid as 1, 2, 3 in their order, or by name as `numbers` say, int16; where two overlap, the
    smaller one. Voxel by voxel, so for outlines on this grid's own lattice.
    """
    labels = np.zeros(grid.shape, np.int16)
    for number, lesion in sorted(enumerate(lesions, 1), key=lambda one: -len(one[1].points)):
        number = number if numbers is None else numbers[lesion.name]
        where = np.rint(grid.to_voxel(lesion.points)).astype(int)
        where = where[np.all((where >= 0) & (where < grid.shape), axis=1)]
        labels[tuple(where.T)] = number
    return Image(labels[None], grid, name=name)
