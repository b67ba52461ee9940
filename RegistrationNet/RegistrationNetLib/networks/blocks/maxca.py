"""The MAXCA block: regional and dilated cross-covariance attention in parallel, at a cost linear in the voxels.

Meng, Fulham, Bi, Kim: "Advancing Deformable Medical Image Registration with Multi-axis Cross-covariance Attention",
arXiv:2412.18545, 2024. A general block: it goes behind any feature of a network, full resolution included.

The paper states the two attentions in parallel; their details here follow its authors' public block, in our words.
Ours: a volume that its regions do not fill is filled up with tokens whose q, k and v are zero, which change nothing;
as many heads as leave 8 channels to each, the width of its authors' heads at high resolution; and the order of the
computation. An attention needs of q and k only sums of products, so two passes over slabs of whole regions suffice:
the first adds up the products, the second applies the attentions to v. Nothing wide ever exists for the whole volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.networks.blocks.layers import SLOPE, ChannelNorm, conv3
from RegistrationNetLib.networks.blocks.recompute import recomputed
from RegistrationNetLib.networks.blocks.slabs import in_slabs, planes
from RegistrationNetLib.networks.blocks.xca import attention_of, products

Axis = Literal["regional", "dilated", "global"]
NARROWEST = 8  # channels of a head

# orders of the axes (N, cubes, f, cubes, f, cubes, f, C) of a volume cut into cubes of f^3 voxels
CUBES = (0, 1, 3, 5, 2, 4, 6, 7)  # cube by cube
LATTICES = (0, 2, 4, 6, 1, 3, 5, 7)  # place by place within a cube: what lies there in every cube
FROM_CUBES = (0, 1, 4, 2, 5, 3, 6, 7)
FROM_LATTICES = (0, 4, 1, 5, 2, 6, 3, 7)


def most_heads(channels: int) -> int:
    """The most heads of one width that leave each at least 8 channels; 1 below 16."""
    return next(heads for heads in range(max(channels // NARROWEST, 1), 0, -1) if channels % heads == 0)


def own(part: Tensor, beyond: tuple[int, int]) -> Tensor:
    """A slab without its neighbours' planes, of which `beyond` are missing at its near and far side."""
    return part[:, 1 - beyond[0] : part.shape[1] - 1 + beyond[1]]


class Same(nn.Module):
    """A branch that is off: the identity."""

    def sums(self, part: Tensor, beyond: tuple[int, int]) -> Tensor:
        return part.new_empty(0)

    def mixing(self, sums: Sequence[Tensor]) -> Sequence[Tensor]:
        return sums

    def attend(self, part: Tensor, beyond: tuple[int, int], mixing: Tensor) -> Tensor:
        return own(part, beyond)


class XCA(nn.Module):
    """LN, conv3 to q, k, v, one cross-covariance attention for each group of tokens, Linear; plus its input.

    axis: a group is a cube of `region`^3 voxels ("regional"), the voxels at one place in all cubes, `region` apart
    ("dilated"), or the whole volume ("global").
    """

    def __init__(self, channels: int, heads: int, region: int, axis: Axis) -> None:
        super().__init__()
        self.region, self.axis = region, axis
        self.norm = nn.LayerNorm(channels)
        self.qkv = conv3(channels, 3 * channels)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project = nn.Linear(channels, channels)

    def sums(self, part: Tensor, beyond: tuple[int, int]) -> Tensor:
        """First pass: a slab's products of q and k, (N, d + 2, H, W, C) -> (N, groups, heads, 2C / heads, same)."""
        qk = self.tokens(self.convolved(part, beyond, slice(0, 2 * part.shape[-1])))
        heads = qk.unflatten(-1, (2, self.temperature.shape[0], -1)).permute(0, 1, 4, 2, 3, 5)
        return products(heads.flatten(-2))

    def attention(self, sums: Sequence[Tensor]) -> list[Tensor]:
        """From the sums of all slabs the A of each slab's groups, (N, groups, heads, C / heads, C / heads)."""
        if self.axis == "regional":  # a region lies in one slab
            return [attention_of(one, self.temperature) for one in sums]
        return [attention_of(torch.stack(list(sums)).sum(dim=0), self.temperature)] * len(sums)

    def mixing(self, sums: Sequence[Tensor]) -> list[Tensor]:
        """Each A followed by the Linear: matrices that act on v, (N, groups, C, C)."""
        weight = self.project.weight.unflatten(1, (self.temperature.shape[0], -1))
        return [torch.einsum("ohc,nghck->ngohk", weight, a).flatten(-2) for a in self.attention(sums)]

    def attend(self, part: Tensor, beyond: tuple[int, int], mixing: Tensor) -> Tensor:
        """Second pass: the layer's output for a slab, (N, d + 2, H, W, C) -> (N, d, H, W, C)."""
        feature, channels = own(part, beyond), part.shape[-1]
        v = self.tokens(self.convolved(part, beyond, slice(2 * channels, 3 * channels)))
        return feature + self.volume(v @ mixing.to(v.dtype).mT, feature.shape[1:4]) + self.project.bias

    def convolved(self, part: Tensor, beyond: tuple[int, int], outputs: slice) -> Tensor:
        """Some channels of conv3(LN(part)), zero beyond the volume; (N, d + 2, H, W, C) -> (N, d, H, W, outputs)."""
        normed = self.norm(part)
        if any(beyond):
            normed = F.pad(normed, (0, 0, 0, 0, 0, 0, *beyond))
        weight, bias = self.qkv.weight[outputs], self.qkv.get_parameter("bias")[outputs]
        return F.conv3d(normed.movedim(-1, 1), weight, bias, padding=(0, 1, 1)).movedim(1, -1)

    def tokens(self, feature: Tensor) -> Tensor:
        """(N, d, H, W, C) -> (N, groups, tokens, C), filled up with zeros."""
        if self.axis == "global":
            return feature.flatten(1, 3)[:, None]
        f = self.region
        depth, height, width = (-size % f for size in feature.shape[1:4])
        if depth or height or width:
            feature = F.pad(feature, (0, 0, 0, width, 0, height, 0, depth))
        cubes = feature.unflatten(3, (-1, f)).unflatten(2, (-1, f)).unflatten(1, (-1, f))
        return cubes.permute(CUBES if self.axis == "regional" else LATTICES).flatten(4, 6).flatten(1, 3)

    def volume(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        """Undo `tokens`: (N, groups, tokens, C) -> (N, *shape, C)."""
        if self.axis == "global":
            return tokens[:, 0].unflatten(1, tuple(shape))
        counts, places = [-(-size // self.region) for size in shape], [self.region] * 3
        if self.axis == "regional":
            cubes = tokens.unflatten(2, places).unflatten(1, counts).permute(FROM_CUBES)
        else:
            cubes = tokens.unflatten(2, counts).unflatten(1, places).permute(FROM_LATTICES)
        return cubes.flatten(5, 6).flatten(3, 4).flatten(1, 2)[:, : shape[0], : shape[1], : shape[2]]


class MAXCABlock(nn.Module):
    """(N, C, D, H, W) -> same, in three steps:

    1. y = x + Linear 2C -> C (concat(dilated(a), regional(b))), a and b the halves of GELU(Linear C -> 2C (LN x));
    2. r = y + u * gate(mean of u over space), u = conv3(LeakyReLU(conv3(LN y)));
    3. r + x.

    heads: of each attention, None for the most that leave 8 channels to each. region: f, voxels along a region.
    regional, dilated: False makes that branch the identity. attention: "global" puts plain XCA over the whole volume in
    place of both, with the same parameters.
    """

    def __init__(
        self,
        channels: int,
        heads: int | None = None,
        region: int = 8,
        regional: bool = True,
        dilated: bool = True,
        attention: Literal["multi-axis", "global"] = "multi-axis",
    ) -> None:
        super().__init__()
        self.region = region

        def branch(on: bool, axis: Axis) -> XCA | Same:
            of = "global" if attention == "global" else axis
            return XCA(channels, heads or most_heads(channels), region, of) if on else Same()

        hidden = max(channels // 4, 1)
        self.norm = nn.LayerNorm(channels)
        self.spread = nn.Linear(channels, 2 * channels)
        self.dilated = branch(dilated, "dilated")
        self.regional = branch(regional, "regional")
        self.merge = nn.Linear(2 * channels, channels)
        self.refine = nn.Sequential(
            ChannelNorm(channels), conv3(channels, channels), nn.LeakyReLU(SLOPE, True), conv3(channels, channels)
        )
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        y = self.mixed(x)
        u = recomputed(in_slabs, self.refine, y, reach=2)
        weight = self.gate(u.mean((2, 3, 4)))[:, :, None, None, None]
        if torch.is_grad_enabled():
            return x + y + u * weight
        return y.add_(u.mul_(weight)).add_(x)

    def mixed(self, x: Tensor) -> Tensor:
        """Step 1, in two passes."""
        sums = [recomputed(self.sums, *slab) for slab in self.slabs(x)]
        mixings = [b.mixing(s) for b, s in zip((self.dilated, self.regional), zip(*sums, strict=True), strict=True)]
        parts = (recomputed(self.attend, *slab, *m) for slab, *m in zip(self.slabs(x), *mixings, strict=True))
        first = next(parts)
        if first.shape[1] == x.shape[2]:
            return first.movedim(-1, 1)
        y = first.new_empty(x.movedim(1, -1).shape)
        start = 0
        for part in chain([first], parts):
            y[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        return y.movedim(-1, 1)

    def slabs(self, x: Tensor) -> Iterator[tuple[Tensor, tuple[int, int]]]:
        """Slabs of whole regions, one plane of each neighbour beside them, and how many of those are beyond the volume;
        channels last, (N, d + 2, H, W, C). With gradients one slab: they need the whole anyway."""
        volume, depth = x.movedim(1, -1), x.shape[2]
        rows = max(planes(x) // self.region, 1) * self.region
        thickness = depth if torch.is_grad_enabled() else rows
        for start in range(0, depth, thickness):
            stop = min(start + thickness, depth)
            beyond = int(start == 0), int(stop == depth)
            yield volume[:, start - 1 + beyond[0] : stop + 1 - beyond[1]].contiguous(), beyond

    def halves(self, part: Tensor) -> tuple[Tensor, ...]:
        """What the two branches see of a slab, (N, d + 2, H, W, C) each."""
        normed, spread = self.norm(part), zip(self.spread.weight.chunk(2), self.spread.bias.chunk(2), strict=True)
        return tuple(F.gelu(F.linear(normed, weight, bias)) for weight, bias in spread)

    def sums(self, part: Tensor, beyond: tuple[int, int]) -> tuple[Tensor, Tensor]:
        a, b = self.halves(part)
        return self.dilated.sums(a, beyond), self.regional.sums(b, beyond)

    def attend(self, part: Tensor, beyond: tuple[int, int], dilated: Tensor, regional: Tensor) -> Tensor:
        """y of a slab from its groups' mixing matrices, (N, d + 2, H, W, C) -> (N, d, H, W, C)."""
        a, b = self.halves(part)
        both = torch.cat([self.dilated.attend(a, beyond, dilated), self.regional.attend(b, beyond, regional)], dim=-1)
        return own(part, beyond) + self.merge(both)
