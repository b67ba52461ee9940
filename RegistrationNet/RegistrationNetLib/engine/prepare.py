"""From two images as they come to two volumes in [0, 1] on working grids, with masks of what may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from RegistrationNetLib.core import filters, spatial
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.core.threshold import otsu
from RegistrationNetLib.engine.settings import Prepare

PADDING_HU = -1500.0  # no tissue, nor air, is below; scanners write -2048, -3024 or the like outside their circle
_AIR_HU, _FAT_HU = -700.0, -30.0  # at most, what there is least dense
_PADDING_SHARE = 0.02  # of the border
_ANISOTROPY = 2.0  # more than this between a working grid's spacings would make its smoothing lopsided
_FEWEST_MASKED = 200  # voxels of a user's mask; fewer than an affine and a few windows need to mean anything


@dataclass(frozen=True, eq=False)
class Prepared:
    """Both images ready to be compared.

    fixed, moving: (1, 1, D, H, W) float32 in [0, 1] on their working grids, on the CPU at first.
    fixed_mask, moving_mask: (1, 1, D, H, W) float32, 1 where the similarity may look, or None for everywhere.
    modality: "ct" if both were recognised as CT, "mixed" if one was, else "other".
    names: what messages call the fixed and the moving image.
    max_voxels: at most so many are computed on.
    notes: what was done, in sentences.
    """

    fixed: Tensor
    moving: Tensor
    fixed_grid: Grid
    moving_grid: Grid
    fixed_mask: Tensor | None
    moving_mask: Tensor | None
    modality: str
    notes: list[str]
    names: tuple[str, str] = ("the fixed image", "the moving image")
    max_voxels: int = Prepare.max_voxels

    def to(self, device: torch.device) -> Prepared:
        """The same with its volumes on a device."""
        there = lambda mask: None if mask is None else mask.to(device)  # noqa: E731
        return replace(
            self,
            fixed=self.fixed.to(device),
            moving=self.moving.to(device),
            fixed_mask=there(self.fixed_mask),
            moving_mask=there(self.moving_mask),
        )


def prepare(
    fixed: Image,
    moving: Image,
    settings: Prepare,
    fixed_mask: Image | None = None,
    moving_mask: Image | None = None,
) -> Prepared:
    """Normalise intensities and choose working grids.

    Raises InputError, naming the image, where nothing can be compared: no finite voxel, one value only, a mask of
    next to nothing.
    """
    fixed_grid, moving_grid = working_grids(fixed.grid, moving.grid, settings.max_voxels)
    f = _normalised(fixed, fixed_mask, settings)
    m = _normalised(moving, moving_mask, settings, beside_ct=f.ct)
    if m.ct and not f.ct:
        f = _normalised(fixed, fixed_mask, settings, beside_ct=True)
    f, m = f.onto(fixed_grid.shape), m.onto(moving_grid.shape)
    notes = [*f.notes, *m.notes]
    for image, grid in ((fixed, fixed_grid), (moving, moving_grid)):
        if grid.shape != image.grid.shape:
            notes.append(f"'{image.name}' is registered on {_sizes(grid.shape)} voxels of {_sizes(grid.spacing)} mm.")
    return Prepared(
        fixed=f.values,
        moving=m.values,
        fixed_grid=fixed_grid,
        moving_grid=moving_grid,
        fixed_mask=f.mask,
        moving_mask=m.mask,
        modality=("other", "mixed", "ct")[f.ct + m.ct],
        notes=notes,
        names=(f"'{fixed.name}'", f"'{moving.name}'"),
        max_voxels=settings.max_voxels,
    )


def foreground(values: Tensor | NDArray[np.floating]) -> NDArray[np.bool_]:
    """The body in a volume of values in [0, 1], (1, 1, D, H, W) or (D, H, W) -> (D, H, W): above Otsu's threshold, with
    holes filled slice by slice along each axis (so that lungs and ventricles belong to the body).
    """
    volume = np.asarray(values, np.float32).reshape(np.shape(values)[-3:])
    body = volume > otsu(volume)
    for axis in range(3):
        slices = np.moveaxis(body, axis, 0)
        for index in range(len(slices)):
            slices[index] = ndimage.binary_fill_holes(slices[index])
    return body


def working_grids(fixed: Grid, moving: Grid, max_voxels: int) -> tuple[Grid, Grid]:
    """The moving image's voxels are not much finer than the fixed one's, whose detail is all that is found."""
    onto = working_grid(fixed, max_voxels)
    return onto, working_grid(moving, max_voxels, 0.67 * float(onto.spacing.min()))


def working_grid(grid: Grid, max_voxels: int, finest_mm: float = 0.0) -> Grid:
    """The same field of view, its spacings within a factor of two of each other, at most `max_voxels` voxels, no
    spacing finer than `finest_mm`; the grid itself wherever it already is all that.
    """
    spacing = grid.spacing
    middle = float(np.prod(spacing)) ** (1 / 3)
    wanted = spacing.copy()
    if spacing.max() > _ANISOTROPY * spacing.min() * 1.01:
        wanted = np.clip(spacing, middle / _ANISOTROPY**0.5, middle * _ANISOTROPY**0.5)
    wanted = np.maximum(wanted, finest_mm)
    extent = np.array(grid.shape) * spacing
    excess = float(np.prod(extent / wanted)) / max_voxels
    wanted *= max(excess, 1.0) ** (1 / 3)
    shape = [
        n if abs(w / s - 1) < 0.01 else max(1, round(e / w))
        for n, s, w, e in zip(grid.shape, spacing, wanted, extent, strict=True)
    ]
    return grid if tuple(shape) == grid.shape else grid.resampled(shape)


@dataclass(frozen=True, eq=False)
class _Normalised:
    values: Tensor
    mask: Tensor | None
    ct: bool
    notes: list[str]

    def onto(self, shape: Sequence[int]) -> _Normalised:
        mask = None if self.mask is None else spatial.onto(self.mask, shape)
        return replace(self, values=spatial.onto(self.values, shape), mask=mask)


def _normalised(image: Image, mask: Image | None, settings: Prepare, beside_ct: bool = False) -> _Normalised:
    """Values in [0, 1] on the image's own grid; what is no tissue or masked is continued from its surroundings, so that
    nothing of it gets into the voxels beside it when these are averaged or interpolated.

    beside_ct: whether the other image is CT.
    """
    raw = torch.from_numpy(np.array(image.scalar, np.float32))
    notes = []
    finite = torch.from_numpy(np.isfinite(raw.numpy()))
    broken = raw.numel() - int(finite.count_nonzero())
    if broken > raw.numel() // 2:
        raise InputError(f"'{image.name}' has no usable values: {broken} of {raw.numel()} voxels are NaN or infinite.")
    if broken:
        notes.append(f"{broken} NaN or infinite voxels of '{image.name}' were replaced by their neighbours.")
    low, high = (float(end) for end in _at(finite, raw).aminmax())
    if not high > low:
        raise InputError(f"'{image.name}' is constant ({low:g} everywhere); check that the right file was chosen.")
    padding = _padding(raw, finite)
    valid = finite if padding is None else finite & ~padding
    if padding is not None:
        share = 100 * float(padding.float().mean())
        notes.append(f"Padding in '{image.name}' ({share:.1f} % of its voxels) is not counted as tissue.")
    inside = _user_mask(mask, image)
    used = valid if inside is None else valid & inside
    if inside is not None and int(used.sum()) < _FEWEST_MASKED:
        raise InputError(
            f"The mask of '{image.name}' leaves {int(used.sum())} voxels to compare, fewer than {_FEWEST_MASKED}; "
            "check that it belongs to this image, or draw it larger."
        )
    ct = _is_ct(_at(valid, raw), beside_ct)
    bounds = (settings.ct_low, settings.ct_high) if ct else _percentiles(_at(used, raw), settings.percentile)
    if ct:
        notes.append(f"'{image.name}' was recognised as CT: window {bounds[0]:g} to {bounds[1]:g} HU.")
    if not bounds[1] > bounds[0]:
        raise InputError(
            f"'{image.name}' shows nothing between {bounds[0]:g} and {bounds[1]:g}; widen the window, or the mask if "
            "there is one."
        )
    scaled = raw.sub_(bounds[0]).div_(bounds[1] - bounds[0]).clamp_(0, 1)[None, None]
    if bool(used.all()):
        return _Normalised(scaled, None, ct, notes)
    allowed = used.float()[None, None]
    return _Normalised(filters.fill(scaled, allowed), allowed, ct, notes)


def _padding(raw: Tensor, finite: Tensor) -> Tensor | None:
    """Voxels that were never measured: far below air in CT, or one value that fills the border and stands apart."""
    rest = _at(finite, raw)
    if _is_ct(_at(rest >= PADDING_HU, rest)):
        below = finite & (raw < PADDING_HU)
        return below if bool(below.any()) else None
    faces = torch.cat([raw.select(axis, end).flatten() for axis in range(3) for end in (0, -1)])
    faces = faces[torch.isfinite(faces)]
    for value in (float(faces.min()), float(faces.max())) if len(faces) else ():
        # Zero is how MR and skull-stripped images show air: known to be nothing, hence worth comparing.
        if value == 0 or float((faces == value).float().mean()) < _PADDING_SHARE:
            continue
        same = raw == value
        others = _at(finite & ~same, raw)
        if not len(others):
            continue
        low, high = (float(end) for end in others.aminmax())
        if max(low - value, value - high) > 0.5 * (high - low) > 0:
            return same
    return None


def _at(where: Tensor, values: Tensor) -> Tensor:
    """The values where it says so, (N,): a view where that is everywhere; PyTorch's own indexing, whose indices take
    24 bytes a voxel, would fill the memory with a whole body.
    """
    chosen = where.numpy()
    return values.flatten() if chosen.all() else torch.from_numpy(values.numpy()[chosen])


def _is_ct(values: Tensor, beside_ct: bool = False) -> bool:
    """Air and denser than water in one image, in Hounsfield units; interpolated padding may lie between.

    beside_ct: fat, or a little gas, will do: a crop within the body, of a patient whose other image is CT.
    """
    if not len(values):
        return False
    low, high = _percentiles(values, 0.1)
    return PADDING_HU <= low <= (_FAT_HU if beside_ct else _AIR_HU) and 100 <= high <= 4100


def _percentiles(values: Tensor, percent: float) -> tuple[float, float]:
    """The percentile from below and from above, on a sample; the extremes where the percentiles coincide."""
    sample = values[:: max(1, len(values) // 1_000_000)].numpy()
    ends = [round((len(sample) - 1) * share) for share in (percent / 100, 1 - percent / 100)]
    low, high = (float(end) for end in np.partition(sample, ends)[ends])
    return (low, high) if high > low else (float(values.min()), float(values.max()))


def _user_mask(mask: Image | None, image: Image) -> Tensor | None:
    if mask is None:
        return None
    mask.scalar  # noqa: B018  (raises for several channels)
    on_image = mask if mask.grid.isclose(image.grid) else warp(mask, Mapping(), image.grid, "nearest")
    return torch.from_numpy(on_image.scalar > 0)


def _sizes(values: Sequence[float] | NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
