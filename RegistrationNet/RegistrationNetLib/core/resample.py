"""Carrying images and fields from one grid to another: the dense, fast twin of `Mapping.__call__`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.grid import BORDER, Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping, Step

_SLAB_VOXELS = 500_000  # larger ones outgrow the memory an allocator keeps at hand, and take half as long again


def warp(image: Image, mapping: Mapping, onto: Grid, interpolation: str = "linear") -> Image:
    """The image as seen from `onto`: value(x) = image(mapping(x)), in the image's own pixel type.

    interpolation: "linear", or "nearest" for labels (no new values appear). Points outside the image get its
    background.
    """
    channels = [_warp_channel(channel, image, mapping, onto, interpolation) for channel in image.data]
    return replace(image, data=np.stack(channels), grid=onto)


def field_on(mapping: Mapping, grid: Grid) -> Tensor:
    """The whole mapping as a field at the voxels of `grid`, (1, 3, D, H, W), in voxels of `grid`."""
    return torch.cat([field_in(slab, mapping, grid) for slab in slabs(grid)], dim=2)


def field_in(slab: slice, mapping: Mapping, grid: Grid) -> Tensor:
    """`field_on` in some slices of the first axis only, (1, 3, d, H, W)."""
    there, here = _trace(mapping, grid, slab), _trace(Mapping(), grid, slab)
    return replace(there, matrix=there.matrix - here.matrix).seen_from(grid.world_to_voxel).float()


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
        for slab in slabs(onto):
            positions = places(mapping, onto, slab, image.grid)
            out[slab] = _nearest(channel, positions, image.background)
        return out
    # float32 is exact for 16-bit integers; wider values (PET in float64, 32-bit counts) are sampled in float64.
    exact = np.float32 if np.can_cast(channel.dtype, np.float32) else np.float64
    source = torch.as_tensor(np.require(channel, exact, ["C", "W"]))[None, None]
    for slab in slabs(onto):
        positions = places(mapping, onto, slab, image.grid).to(source.dtype)
        values = spatial.sample(source, positions)[0, 0].numpy()
        inside = within(positions, channel.shape)[0, 0].numpy()
        out[slab] = _cast(np.where(inside, values, image.background), channel.dtype)
    return out


def slabs(grid: Grid) -> Iterator[slice]:
    """Cuts of the first axis, so that coordinates of a whole-body image never fill the memory at once."""
    thickness = max(1, _SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for start in range(0, grid.shape[0], thickness):
        yield slice(start, min(start + thickness, grid.shape[0]))


@dataclass(frozen=True)
class _Points:
    """World points of a box of voxels i: matrix @ i + rest, LPS mm.

    The affine part stays a float64 matrix; only the rest, short vectors, is a float32 tensor: far-away origins cost no
    precision, affine steps no passes over memory.
    """

    matrix: NDArray[np.float64]
    shape: tuple[int, int, int]
    rest: Tensor | None = None

    def seen_from(self, world_to_voxel: NDArray[np.float64]) -> Tensor:
        """Voxel positions in a grid, (1, 3, d, h, w) float64."""
        matrix = torch.as_tensor(world_to_voxel @ self.matrix)
        # A column of the matrix times its axis is one short vector per component; broadcasting adds the three.
        d, h, w = (matrix[:3, k, None] * torch.arange(n, dtype=torch.float64) for k, n in enumerate(self.shape))
        out = (d[:, :, None, None] + h[:, None, :, None]) + (w + matrix[:3, 3:])[:, None, None, :]
        if self.rest is not None:
            out += _turned(world_to_voxel, self.rest)[0]
        return out[None]

    def through(self, step: Step) -> _Points:
        if isinstance(step, Affine):
            rest = None if self.rest is None else _turned(step.matrix, self.rest)
            return _Points(step.matrix @ self.matrix, self.shape, rest)
        if step.inverted:
            here = self.seen_from(np.eye(4))[0].movedim(0, -1).numpy()
            moved = torch.as_tensor(step(here) - here).movedim(-1, 0)[None].float()
        else:
            positions = self.seen_from(step.grid.world_to_voxel).float()
            values = spatial.sample(torch.as_tensor(step.field)[None], positions)
            moved = torch.where(within(positions, step.grid.shape), values, 0.0)
        return _Points(self.matrix, self.shape, moved if self.rest is None else self.rest + moved)


def _trace(mapping: Mapping, onto: Grid, slab: slice) -> _Points:
    """Where the voxels of a slab of `onto` are mapped to."""
    box = onto.padded((-slab.start, 0, 0), (slab.stop - onto.shape[0], 0, 0))
    points = _Points(box.voxel_to_world, box.shape)
    for step in mapping.steps:
        points = points.through(step)
    return points


def places(mapping: Mapping, onto: Grid, slab: slice, source: Grid) -> Tensor:
    """Voxel positions in `source` of the mapped voxels of a slab of `onto`, (1, 3, d, H, W) float64."""
    return _trace(mapping, onto, slab).seen_from(source.world_to_voxel)


def _turned(matrix: NDArray[np.float64], vectors: Tensor) -> Tensor:
    """The linear part of a (4, 4) matrix on (1, 3, ...) vectors."""
    linear = torch.as_tensor(np.array(matrix[:3, :3]), dtype=vectors.dtype)
    return (linear @ vectors.reshape(3, -1)).view(vectors.shape)


def within(positions: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(1, 1, d, h, w) bool: within half a voxel of the voxel centres' box, as ITK has it."""
    last = torch.tensor(shape, dtype=positions.dtype)[:, None, None, None] - 1
    return ((positions >= -BORDER) & (positions <= last + BORDER)).all(dim=1, keepdim=True)


def _nearest(channel: NDArray[np.generic], positions: Tensor, background: float) -> NDArray[np.generic]:
    """Nearest voxel by integer indexing: exact for any label value, however large."""
    last = torch.tensor(channel.shape)[:, None, None, None] - 1
    d, h, w = torch.minimum(torch.floor(positions[0] + 0.5).long().clamp(min=0), last).numpy()
    values = channel[d, h, w]
    values[~within(positions, channel.shape)[0, 0].numpy()] = _cast(np.asarray(background, np.float64), channel.dtype)
    return values


def _cast(values: NDArray[np.float64], dtype: np.dtype) -> NDArray[np.generic]:
    """Back to the image's own type: integers and masks rounded and kept within range."""
    if dtype == np.bool_:
        return values >= 0.5
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(dtype)
