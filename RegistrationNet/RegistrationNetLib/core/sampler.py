"""A volume that is sampled again and again at positions that change: laid out for it once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_BEYOND = 1e-3  # of half an axis
_ROUNDING = 1e-4  # keeps the row of a slice right where a reciprocal is not exact


@dataclass(frozen=True, eq=False)
class Sampler:
    """Trilinear values of a volume (1, C, D, H, W); beyond its border the edge goes on.

    On a CPU, PyTorch samples images by vector instructions, but volumes one value at a time. So the slices are laid
    side by side into one image, each with the next slice as a second channel: a blend of their two bilinear values is
    the trilinear one, in a third of the time. (In one column of slices float32 would no longer tell places apart.)
    On a GPU the volume stays as it is.
    """

    volume: Tensor
    mosaic: Tensor | None
    columns: int

    @classmethod
    def of(cls, volume: Tensor) -> Sampler:
        if volume.device.type != "cpu":
            return cls(volume, None, 0)
        channels, depth, height, width = volume.shape[1:]
        columns = max(1, round(math.sqrt(depth * height / width)))
        rows = math.ceil(depth / columns)
        tiles = volume.new_zeros((2, channels, rows * columns, height, width))
        tiles[0, :, :depth] = volume[0]
        tiles[1, :, : depth - 1] = volume[0, :, 1:]
        tiles[1, :, depth - 1] = volume[0, :, -1]
        mosaic = tiles.view(2 * channels, rows, columns, height, width).transpose(2, 3)
        return cls(volume, mosaic.reshape(1, 2 * channels, rows * height, columns * width), columns)

    def contains(self, positions: Tensor) -> Tensor:
        """Which voxel positions (3, d, h, w) lie between the outermost voxels, rounding forgiven -> (d, h, w) bool."""
        inside = torch.ones(positions.shape[1:], dtype=torch.bool, device=positions.device)
        for axis, size in zip(positions, self.volume.shape[2:], strict=True):
            middle = (size - 1) / 2
            inside &= axis.sub(middle).abs_() <= middle * (1 + _BEYOND)
        return inside

    def __call__(self, positions: Tensor) -> Tensor:
        """At voxel positions (3, d, h, w), overwritten -> (1, C, d, h, w)."""
        sizes = self.volume.shape[2:]
        if self.mosaic is None:
            halves = [at.mul_(2 / max(size - 1, 1)) for at, size in zip(positions, sizes, strict=True)]
            unit = torch.stack(halves[::-1], dim=-1)
            return F.grid_sample(self.volume, unit.sub_(1)[None], padding_mode="border", align_corners=True)
        depth, height, width = (axis.clamp_(0, size - 1) for axis, size in zip(positions, sizes, strict=True))
        slice_ = depth.floor()
        row = slice_.add(_ROUNDING).mul_(1 / self.columns).floor_()
        column = slice_.sub(row, alpha=self.columns)
        where = torch.empty((*depth.shape, 2), dtype=depth.dtype)
        for axis, (tile, inside, size) in enumerate(((column, width, sizes[2]), (row, height, sizes[1]))):
            pixels = self.mosaic.shape[3 - axis]
            torch.add(inside, tile, alpha=size, out=where[..., axis]).mul_(2 / max(pixels - 1, 1)).sub_(1)
        both = F.grid_sample(self.mosaic, where.view(1, 1, -1, 2), padding_mode="border", align_corners=True)
        this, following = both.view(2, 1, -1, *depth.shape)
        return torch.lerp(this, following, depth.sub_(slice_))
