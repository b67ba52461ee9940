"""What a preview shows: three slices through a registration, and where the body is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.files.planes import Plane, planes, sampled

_COARSE_VOXELS = 128
"""Along each axis at most; enough to tell where the body is and how bright, and quick."""


class Registered(Protocol):
    """What is shown of a registration; see `engine.result.Registration`."""

    @property
    def mapping(self) -> Mapping: ...
    @property
    def warped(self) -> Image: ...
    @property
    def jacobian(self) -> Image: ...
    @property
    def report(self) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Slice:
    """Everything that is drawn of one plane; brightness 0..1, arrays (rows, columns). body: the fixed image's."""

    plane: Plane
    fixed: NDArray[np.float64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    before_known: NDArray[np.bool_]
    after_known: NDArray[np.bool_]
    deformed: Points
    determinant: NDArray[np.float64]
    body: NDArray[np.bool_]


def slices_of(registration: Registered, fixed: Image, moving: Image) -> list[Slice]:
    """The axial, coronal and sagittal slice through the middle of the fixed image's body."""
    mapping = registration.mapping
    deformable = mapping.then(Mapping((mapping.affine.inverse(),)))
    dark, bright = _window(fixed)
    moving_dark, moving_bright = _window(moving)
    body = _body(fixed, dark, bright)
    found = []
    for plane in planes(fixed.grid, _middle(body, fixed.grid)):
        before, before_known = sampled(moving, plane.points)
        after_known = moving.grid.contains(mapping(plane.points))
        found.append(
            Slice(
                plane,
                _brightness(plane.of(fixed.scalar), dark, bright),
                _brightness(before, moving_dark, moving_bright),
                _brightness(plane.of(registration.warped.scalar), moving_dark, moving_bright),
                before_known,
                after_known,
                deformable(plane.points),
                np.asarray(plane.of(registration.jacobian.scalar), np.float64),
                np.asarray(plane.of(body), bool),
            )
        )
    return found


def difference(cut: Slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fixed minus moving, before and after, 0 where the moving image has no data."""
    return (cut.fixed - cut.before) * cut.before_known, (cut.fixed - cut.after) * cut.after_known


def _body(image: Image, dark: float, bright: float) -> NDArray[np.bool_]:
    """(D, H, W), True in what is brighter than Otsu's threshold, without specks of noise, and in what it encloses."""
    coarse = _brightness(image.scalar[_every(image)], dark, bright).astype(np.float32)
    body = sitk.GetArrayFromImage(sitk.OtsuThreshold(sitk.GetImageFromArray(coarse), 0, 1)) > 0
    body = ndimage.median_filter(body, 3)
    for axis in range(3):
        for part in np.moveaxis(body, axis, 0):  # slice by slice, as lungs are open where a volume ends
            part[:] = ndimage.binary_fill_holes(part)
    nearest = (np.arange(n) // s.step for n, s in zip(image.grid.shape, _every(image), strict=True))
    return np.asarray(body[np.ix_(*nearest)])


def _every(image: Image) -> tuple[slice, ...]:
    """Every so many voxels along each axis."""
    return tuple(slice(None, None, -(-n // _COARSE_VOXELS)) for n in image.grid.shape)


def _middle(body: NDArray[np.bool_], grid: Grid) -> Points:
    """World position of the middle of the body."""
    shares = [body.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    return grid.to_world([np.average(np.arange(len(s)), weights=s) if s.any() else len(s) / 2 for s in shares])


def _window(image: Image) -> tuple[float, float]:
    """What is shown black and white: nearly the whole range of what is not background."""
    values = image.scalar[_every(image)]
    values = values[values != image.background]
    dark, bright = np.percentile(values, [0.5, 99.5]) if values.size else (0.0, 1.0)
    if dark - image.background < 0.5 * (bright - dark):
        dark = image.background  # else padding far below the darkest tissue would wash the picture out
    return float(dark), max(float(bright), float(dark) + 1e-6)


def _brightness(values: NDArray[Any], dark: float, bright: float) -> NDArray[np.float64]:
    return np.clip((np.asarray(values, np.float64) - dark) / (bright - dark), 0, 1)
