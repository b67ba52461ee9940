"""Carrying images and fields from one grid to another: the dense, fast twin of `Mapping.__call__`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.grid import BORDER, Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping

_SLAB_VOXELS = 2_000_000


def warp(image: Image, mapping: Mapping, onto: Grid, interpolation: str = "linear") -> Image:
    """The image as seen from `onto`: value(x) = image(mapping(x)), in the image's own pixel type.

    interpolation: "linear", or "nearest" for labels (no new values appear). Points outside the image get its
    background.
    """
    channels = [_warp_channel(channel, image, mapping, onto, interpolation) for channel in image.data]
    return replace(image, data=np.stack(channels), grid=onto)


def field_on(mapping: Mapping, grid: Grid) -> Tensor:
    """The whole mapping as a field at the voxels of `grid`, (1, 3, D, H, W), in voxels of `grid`."""
    slabs = [_positions(mapping, grid, slab, grid) for slab in _slabs(grid)]
    return (torch.cat(slabs, dim=2) - spatial.lattice(grid.shape, slabs[0])).float()


def to_displacement(field: Tensor, grid: Grid) -> Displacement:
    """(1, 3, D, H, W) voxels of `grid` -> the same displacement in mm along world axes."""
    matrix = torch.as_tensor(np.array(grid.voxel_to_world[:3, :3]))
    mm = torch.einsum("wc,cdhg->wdhg", matrix, field[0].detach().cpu().double())
    return Displacement(mm.float().numpy(), grid)


def _warp_channel(
    channel: NDArray[np.generic], image: Image, mapping: Mapping, onto: Grid, interpolation: str
) -> NDArray[np.generic]:
    out = np.empty(onto.shape, channel.dtype)
    if interpolation == "nearest":
        for slab in _slabs(onto):
            positions = _positions(mapping, onto, slab, image.grid)
            out[slab] = _nearest(channel, positions, image.background)
        return out
    # float32 is exact for 16-bit integers; wider values (PET in float64, 32-bit counts) are sampled in float64.
    exact = np.float32 if np.can_cast(channel.dtype, np.float32) else np.float64
    source = torch.as_tensor(np.require(channel, exact, ["C", "W"]))[None, None]
    for slab in _slabs(onto):
        positions = _positions(mapping, onto, slab, image.grid).to(source.dtype)
        values = spatial.sample(source, positions)[0, 0].numpy()
        inside = _inside(positions, channel.shape)[0, 0].numpy()
        out[slab] = _cast(np.where(inside, values, image.background), channel.dtype)
    return out


def _slabs(grid: Grid) -> Iterator[slice]:
    """Cuts of the first axis, so that coordinates of a whole-body image never fill the memory at once."""
    thickness = max(1, _SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for start in range(0, grid.shape[0], thickness):
        yield slice(start, min(start + thickness, grid.shape[0]))


def _positions(mapping: Mapping, onto: Grid, slab: slice, source: Grid) -> Tensor:
    """Voxel positions in `source` of the mapped voxels of a slab of `onto`, (1, 3, d, H, W) float64.

    Only the sampling of displacements is float32, and its positions are small voxel numbers, never world millimetres.
    """
    box = onto.padded((-slab.start, 0, 0), (slab.stop - onto.shape[0], 0, 0))
    matrix = box.voxel_to_world
    base = spatial.lattice(box.shape, torch.empty(0, dtype=torch.float64))
    world = _apply(matrix, base)
    for step in mapping.steps:
        if isinstance(step, Affine):
            world = _apply(step.matrix, world)
        elif step.inverted:
            points = world[0].movedim(0, -1).numpy()
            world = torch.as_tensor(step(points)).movedim(-1, 0)[None]
        else:
            world = world + _displacement_at(step, world)
    return _apply(source.world_to_voxel, world)


def _displacement_at(step: Displacement, world: Tensor) -> Tensor:
    positions = _apply(step.grid.world_to_voxel, world).float()
    field = torch.as_tensor(step.field)[None]
    return torch.where(_inside(positions, step.grid.shape), spatial.sample(field, positions), 0.0).double()


def _apply(matrix: NDArray[np.float64], points: Tensor) -> Tensor:
    """A (4, 4) matrix on (1, 3, ...) points."""
    m = torch.as_tensor(np.array(matrix), dtype=points.dtype)
    return torch.einsum("ij,njdhw->nidhw", m[:3, :3], points) + m[:3, 3][:, None, None, None]


def _inside(positions: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(1, 1, d, h, w) bool: within half a voxel of the voxel centres' box, as ITK has it."""
    last = torch.tensor(shape, dtype=positions.dtype)[:, None, None, None] - 1
    return ((positions >= -BORDER) & (positions <= last + BORDER)).all(dim=1, keepdim=True)


def _nearest(channel: NDArray[np.generic], positions: Tensor, background: float) -> NDArray[np.generic]:
    """Nearest voxel by integer indexing: exact for any label value, however large."""
    last = torch.tensor(channel.shape)[:, None, None, None] - 1
    d, h, w = torch.minimum(torch.floor(positions[0] + 0.5).long().clamp(min=0), last).numpy()
    values = channel[d, h, w]
    values[~_inside(positions, channel.shape)[0, 0].numpy()] = _cast(np.asarray(background, np.float64), channel.dtype)
    return values


def _cast(values: NDArray[np.float64], dtype: np.dtype) -> NDArray[np.generic]:
    """Back to the image's own type: integers and masks rounded and kept within range."""
    if dtype == np.bool_:
        return values >= 0.5
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(dtype)
