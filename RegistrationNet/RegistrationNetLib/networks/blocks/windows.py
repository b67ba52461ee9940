"""Cutting a volume into windows of tokens for attention, and putting it together again."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def windows(volume: Tensor, size: int, margin: int = 0) -> Tensor:
    """Cubes of (size + 2 margin)^3 tokens around a grid of cubes of size^3; (N, C, D, H, W) -> (N, G, T, C).

    The far ends are filled up to a multiple of `size`, and the margin beyond the volume, with zeros: see `inside`.
    G runs over the cubes, T over the tokens of one, both in axis order.
    """
    batch, channels = volume.shape[:2]
    far = [-extent % size + margin for extent in volume.shape[2:]]
    padded = F.pad(volume, (margin, far[2], margin, far[1], margin, far[0]))
    for axis in (2, 3, 4):
        padded = padded.unfold(axis, size + 2 * margin, size)
    return padded.permute(0, 2, 3, 4, 5, 6, 7, 1).reshape(batch, -1, (size + 2 * margin) ** 3, channels)


def inside(volume: Tensor, size: int, margin: int = 0) -> Tensor:
    """Which tokens of `windows` are voxels of the volume: (G, T), bool. The others must be masked."""
    ones = volume.new_ones(1, 1, *volume.shape[2:])
    return windows(ones, size, margin)[0, :, :, 0] > 0


def together(tokens: Tensor, shape: Sequence[int], size: int) -> Tensor:
    """Undo `windows` without a margin: (N, G, size^3, C) -> (N, C, *shape)."""
    batch, channels = tokens.shape[0], tokens.shape[-1]
    counts = [-(-extent // size) for extent in shape]
    cubes = tokens.reshape(batch, *counts, size, size, size, channels)
    volume = cubes.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(batch, channels, *(count * size for count in counts))
    return volume[:, :, : shape[0], : shape[1], : shape[2]]
