"""Small made-up anatomy: an ellipsoid full of smooth texture on air, on any grid, through any map; and a spine."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter, map_coordinates

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping

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


def spine(slices: int, period: float, bend_mm: float = 0.0) -> Image:
    """Equal vertebrae, one every `period` mm, about the world's origin, in a curve of so many mm to the side."""
    where = Grid.of((slices, 20, 20), (3.0, 3.0, 3.0), np.eye(3)[:, ::-1], (-28.5, -28.5, -1.5 * (slices - 1)))
    x, y, z = np.moveaxis(where.points(), -1, 0)
    x = x - bend_mm * np.sin(z / period)
    across = np.exp(-((x / 14) ** 2) - ((y - 3) / 10) ** 2) * (1 + 0.3 * np.sin(x / 4) * np.cos(y / 5))
    values = 1000 * across * (1 + 0.6 * np.cos(2 * np.pi * z / period))
    return Image(values.astype(np.float32)[None], where, name="spine")


def shifted(by: ArrayLike) -> Affine:
    """x -> x + by, mm."""
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return Affine(matrix)


def _texture() -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((96, 96, 96))
    smooth = gaussian_filter(noise, 2.0, mode="wrap")
    return 0.15 * smooth / smooth.std()


_TEXTURE = _texture()
