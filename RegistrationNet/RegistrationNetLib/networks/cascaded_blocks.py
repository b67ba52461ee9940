"""Cascaded block registration: the whole volume coarsely, then block by block finely, then the fields fused.

Wang, Cheng: "Cascaded block registration model based on multi-spatial information extraction", Computer Systems &
Applications 33(2), 125-133, 2024, https://c-s-a.org.cn/html/2024/2/9401.html (in Chinese).

Its abstract states a cascade, an extraction that takes local and global information at once, a partition into
blocks, each finely registered in turn, and a last stage that fuses the blocks' fields and restores the whole.
Sizes, widths and losses are ours: a U-Net of four levels on the pair at half resolution (A: sees everything, cheap),
another at full resolution on blocks of 64^3 with an overlap of 16 (B: memory bounded by a block, whatever the
volume), which knows its place by three coordinate channels and is shared by all blocks and passes; raised-cosine
weights (C), which give least to a block's rim, where the zeros around it disturb the convolutions; a small
smoother, because neighbouring blocks normalise by their own statistics. Local and global information: two
convolutions, and beside the second one attention to the token's window and to 64 averages of the whole level, at
the two coarsest levels, where it costs little; a gate weighs the two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.anysize import crop_to, pad_to_multiple
from RegistrationNetLib.core.objective import Objective, Term
from RegistrationNetLib.core.spatial import compose, lattice, resize_field, warp
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.layers import SLOPE, ChannelNorm, ConvNorm, conv3, pointwise
from RegistrationNetLib.networks.blocks.maxca import MAXCABlock
from RegistrationNetLib.networks.blocks.partition import Place, fuse, places
from RegistrationNetLib.networks.blocks.recompute import recomputed
from RegistrationNetLib.networks.blocks.slabs import in_slabs
from RegistrationNetLib.networks.blocks.up import Up
from RegistrationNetLib.networks.blocks.windows import inside, together, windows

WIDTHS = (16, 32, 64, 128)  # of a U-Net's levels, each half the resolution of the one before
ATTENTIVE = 2  # levels with attention, the coarsest
HEAD = 16  # channels of an attention head
WINDOW = 4  # tokens an axis
SUMMARY = 4  # averages an axis, each a token for all
OVERLAP = 4  # of a block, one part in so many
AT_ONCE = {"cpu": 2, "cuda": 4}  # blocks in a batch; on the CPU PyTorch takes twice as long for each if it is alone
SMOOTHER = 16  # channels
STRIDE = 2 ** len(WIDTHS)  # A begins at half resolution


@dataclass(frozen=True)
class CascadedBlocksConfig:
    """attention: False leaves of the multi-spatial extraction its convolutions; beyond the paper, "maxca" keeps it and
    puts that block behind the decoders' blocks at half and full resolution.
    blocks: False registers the whole volume at once in stage B. block: their voxels along an axis.
    passes: how often stage B looks at what is left, with the same weights.
    restore: the smoother after the last fusion.
    fusion: how overlapping fields become one; "mean" weighs all blocks alike, "crop" takes the innermost."""

    attention: Literal[True, False, "maxca"] = True
    blocks: Literal[True, False] = True
    block: Literal[64, 24] = 64
    passes: Literal[1, 2, 3] = 1
    restore: Literal[True, False] = True
    fusion: Literal["cosine", "mean", "crop"] = "cosine"


def offsets(like: Tensor) -> Tensor:
    """Numbers the position of one token of a window relative to another: (WINDOW^3, WINDOW^3) integers."""
    positions = lattice((WINDOW,) * 3, like).flatten(2)[0].long()
    relative = positions[:, :, None] - positions[:, None, :] + WINDOW - 1
    span = 2 * WINDOW - 1
    return (relative[0] * span + relative[1]) * span + relative[2]


class Attention(nn.Module):
    """Tokens attend to their own window and to averages of the whole level: linear in the voxels, global in reach."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD
        self.norm = ChannelNorm(channels)
        self.qkv = pointwise(channels, 3 * channels)
        self.project = pointwise(channels, channels)
        # by relative position in the window; the last one for all averages
        self.bias = nn.Parameter(torch.zeros(self.heads, (2 * WINDOW - 1) ** 3 + 1))
        self.mlp = nn.Sequential(
            ChannelNorm(channels), pointwise(channels, 2 * channels), nn.GELU(), pointwise(2 * channels, channels)
        )

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same."""
        feature = feature + self.project(self.attend(self.qkv(self.norm(feature))))
        return feature + self.mlp(feature)

    def attend(self, qkv: Tensor) -> Tensor:
        """softmax(q k^T / sqrt(d) + bias) v; (N, 3C, D, H, W) -> (N, C, D, H, W)."""
        shape, channels = qkv.shape[2:], qkv.shape[1] // 3
        depth, height, width = (min(SUMMARY, size) for size in shape)
        # keys and values are linear, so their averages are those of the averaged level
        averages = F.adaptive_avg_pool3d(qkv[:, channels:], (depth, height, width)).flatten(2).mT[:, None]
        q, near_k, near_v = (self.split(tokens) for tokens in windows(qkv, WINDOW).chunk(3, dim=-1))
        far_k, far_v = (self.split(tokens) for tokens in averages.chunk(2, dim=-1))
        q = q * HEAD**-0.5
        near = q @ near_k.mT + self.near_bias(qkv)
        far = q @ far_k.mT + self.bias[:, -1, None, None]
        scores = torch.cat([near, far], dim=-1).softmax(dim=-1)
        attended = scores[..., : WINDOW**3] @ near_v + scores[..., WINDOW**3 :] @ far_v
        return together(attended.transpose(2, 3).flatten(3), shape, WINDOW)

    def split(self, tokens: Tensor) -> Tensor:
        """(N, G, T, C) -> (N, G, heads, T, d)."""
        return tokens.unflatten(-1, (self.heads, HEAD)).transpose(2, 3)

    def near_bias(self, volume: Tensor) -> Tensor:
        """By relative position, and so low that it counts nothing for what lies outside: (G or 1, heads, T, T)."""
        bias = self.bias[:, offsets(volume)]
        if not any(size % WINDOW for size in volume.shape[2:]):
            return bias[None]
        return bias.masked_fill(~inside(volume, WINDOW)[:, None, None], -1e4)


class MultiSpatial(nn.Module):
    """One level of an encoder: two convolutions see what is near; with attention, which reads what the second one
    reads, a gate s in (0, 1) weighs it against what is far: s * local + (1 - s) * attended."""

    def __init__(self, inputs: int, outputs: int, stride: int, attention: bool) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, stride)
        self.second = ConvNorm(outputs, outputs)
        self.attention = Attention(outputs) if attention else None
        self.gate = nn.Sequential(pointwise(2 * outputs, outputs), nn.Sigmoid()) if attention else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, D, H, W) -> (N, outputs, D / stride, H / stride, W / stride)."""
        x = self.first(x)
        local = self.second(x)
        if self.attention is None or self.gate is None:
            return local
        attended = self.attention(x)
        s = self.gate(torch.cat([local, attended], dim=1))
        return attended + s * (local - attended)


class Finer(Up):
    """One level of a decoder: a second convolution behind the first and, where asked for, MAXCA."""

    def __init__(self, below: int, channels: int, maxca: bool) -> None:
        super().__init__(below, channels)
        self.conv = ConvNorm(channels, channels)
        self.maxca = MAXCABlock(channels) if maxca else nn.Identity()

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """(N, below, D/2, H/2, W/2), (N, channels, D, H, W) -> (N, channels, D, H, W)."""
        return self.maxca(self.conv(super().forward(below, skip)))


class Stage(nn.Module):
    """The U-Net of stage A and, with other weights, of stage B; sizes must be multiples of 8.

    maxca: at how many of its finest levels that block follows.
    """

    def __init__(self, inputs: int, attention: bool, maxca: int) -> None:
        super().__init__()
        levels = range(len(WIDTHS))
        self.encoder = nn.ModuleList(
            MultiSpatial(a, b, stride=2 if level else 1, attention=attention and level >= len(WIDTHS) - ATTENTIVE)
            for level, (a, b) in zip(levels, pairwise((inputs, *WIDTHS)), strict=True)
        )
        self.decoder = nn.ModuleList(
            Finer(WIDTHS[level + 1], WIDTHS[level], maxca=level < maxca) for level in reversed(levels[:-1])
        )
        self.head = FlowHead(WIDTHS[0])

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, D, H, W) -> field (N, 3, D, H, W), voxels."""
        skips = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        x = skips.pop()
        for up in self.decoder:
            x = up(x, skips.pop())
        return self.head(x)


class Restore(nn.Module):
    """The smoother: from the fused field and what it leaves unlike, a small field to be composed with it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3(3 + 1, SMOOTHER),
            nn.LeakyReLU(SLOPE, inplace=True),
            conv3(SMOOTHER, SMOOTHER),
            nn.LeakyReLU(SLOPE, inplace=True),
            FlowHead(SMOOTHER),
        )

    def forward(self, field: Tensor, difference: Tensor) -> Tensor:
        """(N, 3, D, H, W), fixed - warped (N, 1, D, H, W) -> (N, 3, D, H, W), voxels."""
        return in_slabs(lambda *parts: self.body(torch.cat(parts, dim=1)), field, difference, reach=3)


def coordinates(place: Place, volume: Tensor) -> Tensor:
    """Where each voxel of a block lies in its volume, -1 to 1 an axis: (N, 3, d, h, w)."""
    axes = [
        (2 * torch.arange(along.start, along.stop, device=volume.device, dtype=volume.dtype) + 1) / size - 1
        for along, size in zip(place, volume.shape[2:], strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(volume.shape[0], -1, -1, -1, -1)


class CascadedBlocks(nn.Module):
    """Fixed and moving image to the total field after each stage, all at full resolution."""

    def __init__(self, config: CascadedBlocksConfig = CascadedBlocksConfig()) -> None:
        super().__init__()
        self.config = config
        # -LNCC after A and at the end, diffusion everywhere
        between = config.passes - 1 + config.restore
        self.objective = Objective((Term(similarity=0.5), *[Term(similarity=0)] * between, Term()))
        attention, maxca = config.attention is not False, config.attention == "maxca"
        self.whole = Stage(2, attention, maxca=1 if maxca else 0)
        self.block = Stage(2 + 3, attention, maxca=2 if maxca else 0)
        self.restore = Restore() if config.restore else None

    def forward(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) each, in [0, 1] -> total fields (N, 3, D, H, W), voxels: after A, after each pass of B
        and C, after restoring."""
        shape = fixed.shape[2:]
        fixed, moving = pad_to_multiple(fixed, STRIDE), pad_to_multiple(moving, STRIDE)
        totals = [self.coarse(fixed, moving)]
        for _ in range(self.config.passes):
            found = self.fine(fixed, warp(moving, totals[-1]))
            totals.append(compose(found, totals[-1]))
        if self.restore is not None:
            found = self.restore(totals[-1], fixed - warp(moving, totals[-1]))
            totals.append(compose(found, totals[-1]))
        return [crop_to(total, shape) for total in totals]

    def coarse(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Stage A: the whole volume at half resolution; its field at full resolution."""
        half = F.avg_pool3d(torch.cat([moving, fixed], dim=1), 2)
        return resize_field(self.whole(half), fixed.shape[2:])

    def fine(self, fixed: Tensor, warped: Tensor) -> Tensor:
        """Stages B and C: what is left between two images, estimated in blocks and fused; (N, 3, D, H, W)."""
        shape = fixed.shape[2:]
        block = self.config.block if self.config.blocks else max(shape)
        overlap = block // OVERLAP
        at_once = AT_ONCE.get(fixed.device.type, 1)
        fields = self.block_fields(torch.cat([warped, fixed], dim=1), places(shape, block, overlap), at_once)
        return fuse(fields, shape, block, overlap, self.config.fusion)

    def block_fields(self, pair: Tensor, blocks: Sequence[Place], at_once: int) -> Iterator[Tensor]:
        """The field of each block of the pair (N, 2, D, H, W), `at_once` of them to a batch of the network.
        In training a batch's activations are computed again when its gradient is due, instead of kept."""
        for first in range(0, len(blocks), at_once):
            group = blocks[first : first + at_once]
            x = torch.cat([torch.cat([pair[:, :, *p], coordinates(p, pair)], dim=1) for p in group])
            yield from recomputed(self.block, x).chunk(len(group))
