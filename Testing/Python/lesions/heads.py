"""One head scanned several times, with lesions that are known exactly: drawn, never resampled.

Between scans the head turns, shifts and is swirled, which keeps every volume. Lesions are bright balls of the anatomy.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import ArrayLike

from RegistrationNetLib.anatomy import Head
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.lesions.lesion import outlined
from RegistrationNetLib.lesions.study import Scan
from RegistrationNetLib.phantom import Swirl, Truth

FIRST = date(2024, 1, 1)
LESION = 230.0
"""Intensity; white matter has about 140."""

Balls = dict[int, tuple[tuple[float, float, float], float]]
"""Label -> centre in the head's frame and radius, mm."""


def pose(time: int) -> Truth:
    """From a scan's world to the head's frame."""
    matrix = np.eye(4)
    angle = np.deg2rad(2.0 * time)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = time * np.array([3.0, -2.0, 2.5])
    swirls = (
        Swirl((20.0, -10.0, 0.0), (0.2, 1.0, 0.3), 0.10 * time, 30.0),
        Swirl((-25.0, 20.0, 10.0), (0.1, 0.3, 1.0), -0.12 * time, 30.0),
    )
    return Truth(swirls, matrix)


def carried(points: Points, here: int, there: int) -> Points:
    """Where points of one scan truly are on another."""
    return pose(there).undo(pose(here)(points))


def scan(time: int, balls: Balls, voxel_mm: float = 4.0, seed: int = 0) -> tuple[Image, Image]:
    """The image and the label map of its lesions at a timepoint."""
    shape = np.rint(np.array([190, 200, 170]) / voxel_mm).astype(int)
    spacing = voxel_mm * np.array([1.0, 1.02, 0.98])
    directions = Affine(pose(time).matrix).inverse().matrix[:3, :3] @ np.eye(3)[:, ::-1]
    middle = pose(time).undo((0.0, -2.0, -5.0))
    grid = Grid.of(shape, spacing, directions, middle - directions @ (spacing * (shape - 1) / 2))
    places = pose(time)(grid.points())
    values = Head(seed).draw(places)[0].astype(np.float64)
    labels = np.zeros(grid.shape, np.uint8)
    for label, (center, radius) in balls.items():
        far = np.linalg.norm(places - center, axis=-1) - radius
        share = np.clip(0.5 - far / voxel_mm, 0, 1)
        values = values * (1 - share) + LESION * share
        labels[far <= 0] = label
    noise = np.random.default_rng((seed, time)).normal(0, 2.5, grid.shape)
    image = np.rint(4 * np.abs(values + noise)).astype(np.int16)
    return Image(image[None], grid, name=f"head {time}"), Image(labels[None], grid, name=f"lesions {time}")


def timepoint(time: int, balls: Balls, look: bool = True, voxel_mm: float = 4.0) -> Scan:
    """look: whether somebody outlined its lesions."""
    image, labels = scan(time, balls, voxel_mm)
    return Scan(FIRST + timedelta(days=60 * time), image, outlined(labels) if look else None)


def truth(here: int, there: int, bump_mm: float = 0.0, at: ArrayLike = (0.0, 0.0, 0.0)) -> Mapping:
    """One scan's world to another's, to about 0.01 mm; bump_mm: an error of that length in x around a point of the
    earlier scan's world."""
    middle = pose(here).undo((0.0, -2.0, -5.0))
    grid = Grid.of((60, 70, 60), (4.0, 4.0, 4.0), np.eye(3)[:, ::-1], middle - 4.0 * (np.array((60, 70, 60)) - 1) / 2)
    points = grid.points()
    field = carried(points, here, there) - points
    field[..., 0] += bump_mm * np.exp(-((points - at) ** 2).sum(-1) / (2 * 18.0**2))
    return Mapping((Displacement(np.moveaxis(field, -1, 0).astype(np.float32), grid),))


@dataclass(frozen=True, eq=False)
class Oracle:
    """An engine that knows the truth, unless it was told to err. heard: what it was asked, in order."""

    errs: dict[tuple[int, int], tuple[float, ArrayLike]] = field(default_factory=dict)
    heard: list[tuple[str, Image | None, Image | None]] = field(default_factory=list)

    def register(self, fixed: Image, moving: Image, keep: Image | None, apart: Image | None) -> Mapping:
        here, there = int(fixed.name[-1]), int(moving.name[-1])
        self.heard.append((f"{here}{there}", keep, apart))
        return truth(here, there, *self.errs.get((here, there), ()))

    def nudge(self, fixed: Image, moving: Image, mapping: Mapping, hidden: Image, apart: Image | None) -> Affine:
        return Affine(np.eye(4))

    def body(self, image: Image) -> Image:
        return Image((image.data > 100).astype(np.uint8), image.grid)
