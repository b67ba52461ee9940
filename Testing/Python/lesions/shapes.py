"""Lesions of known shape on any grid."""

import numpy as np
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.outline import Outline

TILT = Rotation.from_rotvec((0.2, -0.3, 0.4)).as_matrix()[:, ::-1]
"""Directions of an oblique stack: slices, rows, columns."""


def oblique(spacing: tuple[float, float, float] = (2.5, 0.8, 0.8), size_mm: float = 40) -> Grid:
    shape = np.ceil(size_mm / np.array(spacing)).astype(int)
    return Grid.of(shape, spacing, TILT, (12.0, -80.0, 150.0))


def ellipsoid(
    grid: Grid, semi_mm: tuple[float, float, float], offset_mm: tuple[float, float, float] = (0, 0, 0)
) -> Outline:
    """Around the grid's middle, semi axes along the grid's own."""
    away = (grid.points() - grid.center) @ grid.directions - offset_mm
    return Outline(((away / semi_mm) ** 2).sum(-1) <= 1, grid)


def flat(grid: Grid, value: float = 100) -> Image:
    return Image(np.full((1, *grid.shape), value, np.float32), grid)
