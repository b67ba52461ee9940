"""Cutting a volume into windows of tokens for attention, and putting it together again."""

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor


def fill(volume: Tensor, size: int, margin: int = 0) -> Tensor:
    """Zeros up to a multiple of `size` at the far ends, and a margin all around; (N, C, D, H, W) -> (N, C, D+, H+, W+).

    They fill windows and are no voxels: see `inside`.
    """
    far = [-extent % size + margin for extent in volume.shape[2:]]
    if not any(far):
        return volume
    return F.pad(volume, (margin, far[2], margin, far[1], margin, far[0]))


def cut(filled: Tensor, size: int, margin: int = 0) -> Tensor:
    """The windows of a volume that `fill` has made; (N, C, D+, H+, W+) -> (N, G, T, C), as `windows` has them."""
    batch, channels = filled.shape[:2]
    reach = size + 2 * margin
    for axis in (2, 3, 4):
        filled = filled.unfold(axis, reach, size)
    return filled.permute(0, 2, 3, 4, 5, 6, 7, 1).reshape(batch, -1, reach**3, channels)


def rows(filled: Tensor, size: int, margin: int = 0) -> Iterator[Tensor]:
    """Views of a filled volume, one row of cubes along D after the other, each for `cut`. With a margin windows hold
    every token (1 + 2 margin / size)^3 times: row by row they never exist all at once.
    """
    for start in range(0, filled.shape[2] - 2 * margin, size):
        yield filled[:, :, start : start + size + 2 * margin]


def windows(volume: Tensor, size: int, margin: int = 0) -> Tensor:
    """Cubes of (size + 2 margin)^3 tokens around a grid of cubes of size^3; (N, C, D, H, W) -> (N, G, T, C).

    The far ends are filled up to a multiple of `size`, and the margin beyond the volume, with zeros: see `inside`.
    G runs over the cubes, T over the tokens of one, both in axis order.
    """
    return cut(fill(volume, size, margin), size, margin)


def inside(volume: Tensor, size: int, margin: int = 0) -> Tensor:
    """Which tokens of `windows` are voxels of the volume: (G, T), bool. The others must be masked."""
    ones = volume.new_ones(1, 1, *volume.shape[2:])
    return windows(ones, size, margin)[0, :, :, 0] > 0


def together(tokens: Tensor, shape: Sequence[int], size: int) -> Tensor:
    """Undo `windows` without a margin: (N, G, size^3, C) -> (N, C, *shape), channels last in memory."""
    batch, channels = tokens.shape[0], tokens.shape[-1]
    counts = [-(-extent // size) for extent in shape]
    cubes = tokens.reshape(batch, *counts, size, size, size, channels)
    volume = cubes.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, *(count * size for count in counts), channels)
    return volume[:, : shape[0], : shape[1], : shape[2]].movedim(-1, 1)
