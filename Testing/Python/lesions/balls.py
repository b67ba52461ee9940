"""Round lesions on a fine lattice, for tests."""

import numpy as np
from numpy.typing import ArrayLike

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.lesion import Lesion


def ball(name: str, center: ArrayLike, radius_mm: float = 5.0) -> Lesion:
    return balls(name, (center, radius_mm))


def balls(name: str, *parts: tuple[ArrayLike, float]) -> Lesion:
    """Several that overlap, as one lesion: centre (LPS mm) and radius (mm) of each."""
    centers, radii = np.array([center for center, _ in parts], float), np.array([radius for _, radius in parts])
    low = np.floor((centers - radii[:, None]).min(axis=0)) - 1
    size = np.ceil((centers + radii[:, None]).max(axis=0)) + 1 - low
    grid = Grid.of(size[::-1].astype(int) + 1, (1, 1, 1), np.eye(3)[:, ::-1], low)
    far = np.linalg.norm(grid.points()[..., None, :] - centers, axis=-1) - radii
    return Lesion(name, Image((far.min(axis=-1) <= 0)[None].astype(np.uint8), grid, name=name))
