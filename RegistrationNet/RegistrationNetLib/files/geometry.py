"""The one home of ITK's conventions: axis order (i, j, k) <-> tensor order (d, h, w), SimpleITK image <-> `Image`.

The world is LPS millimetres on both sides, so only the order of axes changes, never a sign.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image

_ORTHOGONAL_WITHIN = 1e-3
"""Largest cosine between two axes of a grid that ITK's file formats still write."""


class ItkGeometry(NamedTuple):
    """A grid as ITK says it: axes in the order (i, j, k), `direction` nine numbers row by row, world LPS mm."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


def to_itk(grid: Grid) -> ItkGeometry:
    """Grid -> size, spacing, origin and direction in ITK's axis order."""
    # Cosines of 1e-308 make ITK's inverse of the direction NaN.
    directions = np.where(np.abs(grid.directions) < 1e-15, 0.0, grid.directions)
    return ItkGeometry(
        size=tuple(reversed(grid.shape)),
        spacing=tuple(float(s) for s in grid.spacing[::-1]),
        origin=tuple(float(o) for o in grid.voxel_to_world[:3, 3]),
        direction=tuple(float(v) for v in directions[:, ::-1].ravel()),
    )


def from_itk(size: ArrayLike, spacing: ArrayLike, origin: ArrayLike, direction: ArrayLike) -> Grid:
    """ITK's size, spacing, origin and direction (nine numbers row by row) -> Grid.

    Raises GeometryError for a singular direction.
    """
    columns = np.asarray(direction, np.float64).reshape(3, 3)[:, ::-1]
    return Grid.of(np.asarray(size, int)[::-1], np.asarray(spacing, np.float64)[::-1], columns, origin)


def grid_of(image: sitk.Image) -> Grid:
    """The grid of a 3-D SimpleITK image."""
    return from_itk(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def image_from_sitk(image: sitk.Image, name: str, background: float = 0.0) -> Image:
    """A 3-D SimpleITK image -> `Image` (C, D, H, W) with the same pixel type, world and number of channels."""
    data = sitk.GetArrayFromImage(image)
    channels = data[None] if image.GetNumberOfComponentsPerPixel() == 1 else np.moveaxis(data, -1, 0)
    return Image(channels, grid_of(image), background, name)


def image_to_sitk(image: Image) -> sitk.Image:
    """`Image` -> SimpleITK image, a vector image where it has several channels."""
    data = _itk_type(image.data)
    several = data.shape[0] > 1
    out = sitk.GetImageFromArray(np.moveaxis(data, 0, -1) if several else data[0], isVector=several)
    geometry = to_itk(image.grid)
    out.SetSpacing(geometry.spacing)
    out.SetOrigin(geometry.origin)
    out.SetDirection(geometry.direction)
    return out


def is_orthogonal(grid: Grid) -> bool:
    """False where the axes of a grid are sheared, which most formats cannot store."""
    cosines = grid.directions.T @ grid.directions - np.eye(3)
    return bool(np.abs(cosines).max() <= _ORTHOGONAL_WITHIN)


def orthogonal_cover(grid: Grid) -> Grid:
    """The smallest grid with right angles that covers a sheared one: the last axis kept, spacing along the others kept.

    The slice axis becomes the normal of the slices, its spacing the distance between them.
    """
    d, h, w = grid.voxel_to_world[:3, :3].T
    w_unit = w / np.linalg.norm(w)
    h_unit = h - (h @ w_unit) * w_unit
    h_unit /= np.linalg.norm(h_unit)
    normal = np.cross(w_unit, h_unit)
    normal *= np.sign(normal @ d)
    directions = np.stack([normal, h_unit, w_unit], axis=1)
    spacing = np.array([abs(normal @ d), abs(h_unit @ h), np.linalg.norm(w)])
    along = grid.corners() @ directions / spacing
    shape = np.rint(np.ceil(along.max(0) - along.min(0) - 1e-6)).astype(int) + 1
    return Grid.of(shape, spacing, directions, directions @ (along.min(0) * spacing))


def _itk_type(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Pixel types that ITK has not: truth values become 8 bit, half precision becomes single."""
    if data.dtype == np.bool_:
        return data.astype(np.uint8)
    return data.astype(np.float32) if data.dtype == np.float16 else data
