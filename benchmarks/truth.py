"""Known smooth deformations of real scans: a truth in every voxel where no second scan with one is at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Displacement, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.mend import corner_determinant, extend

_NODES = 4  # to a sigma; so dense that linear interpolation between them is smooth enough


@dataclass(frozen=True, eq=False)
class KnownPair:
    """fixed(x) = moving(truth(x)), each with noise of its own; fixed_labels are the moving ones, carried likewise."""

    fixed: Image
    moving: Image
    truth: Mapping
    fixed_labels: Image | None = None
    moving_labels: Image | None = None


def smooth_field(over: Grid, seed: int, peak_mm: float, sigma_mm: float) -> Displacement:
    """A random displacement, `peak_mm` at its largest over a grid's field of view, that folds nowhere.

    White noise smoothed by a Gaussian of `sigma_mm`; led to zero beyond the grid. The same seed gives the same field.
    Raises ValueError where so large a peak on so small a sigma folds.
    """
    extent = np.array(over.shape) * over.spacing
    grid = over.resampled(np.maximum(2, np.ceil(extent * _NODES / sigma_mm)))
    noise = np.random.default_rng(seed).standard_normal((3, *grid.shape))
    mm = np.stack([gaussian_filter(component, sigma_mm / grid.spacing) for component in noise])
    mm *= peak_mm / np.linalg.norm(mm, axis=0).max()
    voxels = np.einsum("vw,wdhg->vdhg", grid.world_to_voxel[:3, :3], mm)
    field = torch.from_numpy(voxels).float()[None]
    if float(corner_determinant(field).min()) <= 0:
        raise ValueError(f"A field of {peak_mm:g} mm with a sigma of {sigma_mm:g} mm folds (seed {seed}).")
    return extend(field, grid)


def known_pair(scan: Image, truth: Mapping, noise: float, seed: int, labels: Image | None = None) -> KnownPair:
    """The scan through `truth` as the fixed image and the scan itself as the moving one.

    noise: its standard deviation in units of the image, drawn apart for each.
    """
    rng = np.random.default_rng(seed)
    carried = None if labels is None else warp(labels, truth, labels.grid, "nearest")
    fixed = _noisy(warp(scan, truth, scan.grid), noise, rng)
    return KnownPair(replace(fixed, name=f"{scan.name} warped"), _noisy(scan, noise, rng), truth, carried, labels)


def _noisy(image: Image, noise: float, rng: np.random.Generator) -> Image:
    """Slice by slice, so that a whole body is no trouble; in the image's own type."""
    data = image.data.copy()
    for part in data[0]:
        values = part + noise * rng.standard_normal(part.shape, np.float32)
        part[:] = np.rint(values) if np.issubdtype(data.dtype, np.integer) else values
    return replace(image, data=data)
