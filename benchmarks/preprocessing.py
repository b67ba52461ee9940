"""What papers do to their images first: to one size, or through a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp

LEVEL_HU, WIDTH_HU = -600.0, 1500.0
"""Our choice: a common lung window."""
ENDS = 8
"""Slices that are dropped at either end of the long axis: our choice; the paper says 208 to 192."""


def sized(image: Image, labels: Image, size: tuple[int, int, int]) -> tuple[Image, Image]:
    """Both at 1 mm, with so many voxels left to right, back to front and foot to head, around what is labelled; as they
    are where they already have so many, in whichever order.

    Raises InputError where they do not lie on one grid.
    """
    _require_one_grid(image, labels)
    if sorted(image.grid.shape) == sorted(size):
        return image, labels
    image, labels = _at_1_mm(image, "linear"), _at_1_mm(labels, "nearest")
    wanted = np.empty(3, int)
    wanted[list(image.grid.order)] = size
    box = ndimage.find_objects((labels.scalar > 0).astype(np.int8))[0]
    before = [(n - cut.stop + cut.start) // 2 - cut.start for n, cut in zip(wanted, box, strict=True)]
    after = wanted - image.grid.shape - before
    return cropped(image, before, after), cropped(labels, before, after)


def windowed(image: Image, labels: Image) -> tuple[Image, Image]:
    """CT through the lung window to [0, 255], each image's own range to [0, 1], then the ends of the long axis off.

    Raises InputError where that leaves no cube, or nothing shows in the window.
    """
    _require_one_grid(image, labels)
    shape = image.grid.shape
    cut = np.where(np.arange(3) == np.argmax(shape), -ENDS, 0)
    if len(set(np.array(shape) + 2 * cut)) > 1:
        raise InputError(
            f"'{image.name}' has {' x '.join(map(str, shape))} voxels; the challenge's have 192 x 192 x 208, "
            f"a cube once {ENDS} slices are off either end of the long axis."
        )
    lowest = LEVEL_HU - WIDTH_HU / 2
    seen = (image.data.astype(np.float32).clip(lowest, lowest + WIDTH_HU) - lowest) * (255 / WIDTH_HU)
    low, high = seen.min(), seen.max()
    if low == high:
        raise InputError(f"'{image.name}' shows nothing in the lung window; check that it is a CT in HU.")
    shown = replace(image, data=(seen - low) / (high - low), background=0.0)
    return cropped(shown, cut, cut), cropped(labels, cut, cut)


def cropped(image: Image, before: Sequence[int], after: Sequence[int]) -> Image:
    """With so many more slices at the near and the far end of each axis, of background; fewer where negative."""
    near, far = np.asarray(before), np.asarray(after)
    kept = tuple(slice(max(-a, 0), n - max(-b, 0)) for a, b, n in zip(near, far, image.grid.shape, strict=True))
    wider = [(0, 0), *zip(near.clip(0), far.clip(0), strict=True)]
    data = np.pad(image.data[:, *kept], wider, constant_values=image.background)
    return replace(image, data=data, grid=image.grid.padded(near, far))


def _at_1_mm(image: Image, interpolation: str) -> Image:
    grid: Grid = image.grid
    shape = np.rint(grid.shape * grid.spacing).astype(int)
    return image if np.array_equal(shape, grid.shape) else warp(image, Mapping(), grid.resampled(shape), interpolation)


def _require_one_grid(image: Image, labels: Image) -> None:
    if not labels.grid.isclose(image.grid):
        raise InputError(f"'{labels.name}' does not lie on the grid of its image '{image.name}'; resample it there.")
