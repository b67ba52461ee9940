"""Small made-up anatomy: an ellipsoid full of smooth texture on air, on any grid, through any map."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping

RADII = np.array([38.0, 46.0, 33.0])  # mm
_TEXTURE_MM = 2.0


def grid(spacing: float = 3.0, half: float = 60.0, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Grid:
    """A cube of `half` mm to each side of `center`."""
    size = round(2 * half / spacing)
    return Grid.of((size,) * 3, (spacing,) * 3, np.eye(3), np.array(center) - spacing * (size - 1) / 2)


def image(onto: Grid, mapping: Mapping | None = None, name: str = "made up") -> Image:
    """The anatomy, defined about the world's origin, as seen through `mapping` (onto's world -> anatomy's world)."""
    points = onto.points() if mapping is None else mapping(onto.points())
    inside = 1 / (1 + np.exp(12 * (np.linalg.norm(points / RADII, axis=-1) - 1)))
    coordinates = np.moveaxis(points, -1, 0) / _TEXTURE_MM + len(_TEXTURE) / 2
    texture = map_coordinates(_TEXTURE, coordinates, order=1, mode="wrap")
    return Image((1000 * inside * (0.6 + texture)).astype(np.float32)[None], onto, name=name)


def body(onto: Grid) -> np.ndarray:
    return np.linalg.norm(onto.points() / RADII, axis=-1) < 0.9


def _texture() -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((96, 96, 96))
    smooth = gaussian_filter(noise, 2.0, mode="wrap")
    return 0.15 * smooth / smooth.std()


_TEXTURE = _texture()
