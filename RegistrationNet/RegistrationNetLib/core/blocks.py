"""Small blocks of a volume, for looking again at the few places of it that have changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from RegistrationNetLib.core.slabs import spread

_SIDE = 8  # voxels
_AT_ONCE = 100  # blocks, of some 16 KB each

T = TypeVar("T")


def each_block(
    volume: Tensor, places: Tensor, reach: int, around: tuple[int, int], work: Callable[[Tensor, Tensor], T]
) -> list[T]:
    """`work` on blocks that hold, of every voxel within `reach` of the places along each axis, also those from
    `around[0]` before to `around[1]` after it, as far as the volume has them.

    volume: (1, C, D, H, W). places: (m,) flat indices of its voxels. Blocks may overlap at the volume's end.
    work: takes (n, 3) voxels in which blocks begin, and the blocks, (n, C, d, h, w).
    """
    shape = volume.shape[2:]
    size = [min(sum(around) + _SIDE, n) for n in shape]
    last = torch.tensor([n - length for n, length in zip(shape, size, strict=True)], device=volume.device)
    tiles = _tiles(shape, places, reach)
    starts = torch.minimum((tiles * _SIDE - around[0]).clamp(min=0), last)
    return spread(starts.split(_AT_ONCE), lambda part: work(part, _cut(volume, part, size)))


def _tiles(shape: Sequence[int], places: Tensor, reach: int) -> Tensor:
    """(n, 3): which of the volume's tiles of `_SIDE` voxels reach out to these places."""
    marked = torch.zeros([-(-n // _SIDE) for n in shape], dtype=torch.bool, device=places.device)
    axes = [places // (shape[1] * shape[2]), places // shape[2] % shape[1], places % shape[2]]
    steps = sorted({*range(-reach, reach, _SIDE), reach})
    near = [[(axis + step).clamp_(0, n - 1) // _SIDE for step in steps] for axis, n in zip(axes, shape, strict=True)]
    for tile in itertools.product(*near):
        marked[tile] = True
    return marked.nonzero()


def _cut(volume: Tensor, starts: Tensor, size: Sequence[int]) -> Tensor:
    """(n, C, *size): the blocks of a volume (1, C, D, H, W) that begin at the voxels (n, 3)."""
    along = [start[:, None] + torch.arange(n, device=starts.device) for start, n in zip(starts.T, size, strict=True)]
    d, h, w = along
    return volume[0][:, d[:, :, None, None], h[:, None, :, None], w[:, None, None]].movedim(1, 0)
