"""Cutting a volume into overlapping blocks, and fusing what was found in them into one volume without seams."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor

Place = tuple[slice, slice, slice]
Fusion = Literal["cosine", "mean", "crop"]


def starts(size: int, block: int, overlap: int) -> list[int]:
    """Where the blocks along an axis begin: every block - overlap voxels, the last shifted inward so that it ends
    with the axis; [0] where the axis is no longer than a block."""
    if size <= block:
        return [0]
    return [*range(0, size - block, block - overlap), size - block]


def places(shape: Sequence[int], block: int, overlap: int) -> list[Place]:
    """The blocks of a volume of `shape` (d, h, w) in axis order: block^3 voxels, an axis's size where it is smaller.

    Use: volume[:, :, *place].
    """
    axes = [[slice(start, start + min(block, size)) for start in starts(size, block, overlap)] for size in shape]
    return [(d, h, w) for d, h, w in product(*axes)]


def weights(size: int, block: int, overlap: int, fusion: Fusion) -> Tensor:
    """How much each block along an axis counts at each of its voxels: (blocks, min(block, size)), float32.

    Over the blocks that share a voxel they sum to one.
    cosine: a raised cosine over `overlap` voxels, none at the volume's own border, divided by the sum.
    mean: all blocks alike. crop: only the block in which the voxel lies deepest, the earlier of two such.
    """
    first, extent = starts(size, block, overlap), min(block, size)
    near = torch.arange(size) + 0.5 - torch.tensor(first)[:, None]
    far = extent - near
    near[0], far[-1] = torch.inf, torch.inf  # nothing lies beyond the volume's border to fade to
    depth = torch.minimum(near, far)  # of a voxel's centre in each block; negative outside; (blocks, size)
    if fusion == "crop":
        raw = torch.zeros_like(depth).scatter_(0, depth.argmax(dim=0, keepdim=True), 1)
    elif fusion == "mean":
        raw = (depth > 0).float()
    else:
        raw = torch.sin((depth / overlap).clamp(0, 1) * (torch.pi / 2)).square()
    raw = raw / raw.sum(dim=0)
    return torch.stack([row[start : start + extent] for row, start in zip(raw, first, strict=True)])


def fuse(parts: Iterable[Tensor], shape: Sequence[int], block: int, overlap: int, fusion: Fusion = "cosine") -> Tensor:
    """The weighted sum of the blocks' volumes, (N, C, d, h, w) each in the order of `places` -> (N, C, *shape).

    A block's weight is the product of its weights along the three axes, because the blocks lie on a grid. Parts are
    taken one by one and not kept.
    """
    axes = product(*(weights(size, block, overlap, fusion) for size in shape))
    fused = None
    for part, place, (d, h, w) in zip(parts, places(shape, block, overlap), axes, strict=True):
        if fused is None:
            fused = part.new_zeros(*part.shape[:2], *shape)
        weight = d[:, None, None] * h[:, None] * w
        fused[:, :, *place] += part * weight.to(part)
    assert fused is not None  # every volume has a block
    return fused
