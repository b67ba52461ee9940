"""MSR-Dilformer-SRF: one pyramid for both images, and a field refined from coarse to fine; made for brain MR.

Peng, Yan, Liu, Wei, Bai, Deng: "Multi-scale residual learning combined with Dilformer for dual-stream medical image
registration network", Journal of Zhejiang University (Engineering Science) 60(5), 1082-1091, 2026,
doi:10.3785/j.issn.1008-973X.2026.05.017.

The paper states the parts and their places: multi-scale residual blocks (MSR) in a dual-stream pyramid; at low
resolution the Dilformer, a Transformer in which convolutions of several dilations let unlike receptive fields
interact, for global modelling; separable residual fusion (SRF) of the scales before the field; a loss at several
resolutions. Widths, rates, heads and weights are not public. Ours, therefore:

- The streams share one encoder, so that features of equal tissue can be compared; widths 8 to 128 over five levels.
- MSR: kernels 1, 3 and 3 after 3 side by side, each activated as in the block whose name it bears (Li et al., MSRN,
  ECCV 2018); without that the block would be one linear 5 x 5 x 5 convolution.
- A level compares by `corr27` besides the features, because a product of two features is what convolutions lack.
- Dilformer: cross-covariance attention, global at a cost linear in the voxels. Pointwise q, k, v: the dilated
  convolutions beside it already see the surroundings. Heads of 16 channels, as in our other attentions: the
  softmax over cosines begins almost flat, and small heads keep more of the channels apart.
- SRF: one-dimensional convolutions in sequence, as "separable" means; `srf_order="parallel"` adds them up.
- Fields are composed from level to level, never added.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.anysize import coarse_shape, crop_to, pad_to_multiple
from RegistrationNetLib.core.objective import Objective, Term
from RegistrationNetLib.core.spatial import compose, warp
from RegistrationNetLib.networks.blocks.correlation import corr27
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.layers import (
    SLOPE,
    ChannelNorm,
    ConvNorm,
    InstanceNorm,
    conv3,
    double,
    pointwise,
)
from RegistrationNetLib.networks.blocks.maxca import MAXCABlock
from RegistrationNetLib.networks.blocks.recompute import recomputed
from RegistrationNetLib.networks.blocks.slabs import in_slabs
from RegistrationNetLib.networks.blocks.xca import cross_covariance

WIDTHS = (8, 16, 32, 64, 128)  # of level l = 0..4, at 1, 1/2, 1/4, 1/8, 1/16
LEVELS = (4, 3, 2, 1, 0)  # of the decoder, coarse to fine
COARSE = (4, 3)  # with the Dilformer
FINE = (1, 0)  # with attention="maxca"
HEAD = 16  # channels of one attention head
STRIDE = 2 ** (len(WIDTHS) - 1)


@dataclass(frozen=True)
class DilformerConfig:
    """msr, dilformer, srf: False puts two conv3-InstanceNorm-LeakyReLU of equal width in the part's place.
    srf_order: the three one-dimensional convolutions one after the other, or side by side and added.
    multi_resolution_loss: False trains on the finest field alone.
    dilations: of the Dilformer's four groups of channels; "1-1-1-1" leaves out the unlike receptive fields.
    attention: "maxca" puts that paper's block behind every full- and half-resolution decoder block."""

    msr: Literal[True, False] = True
    dilformer: Literal[True, False] = True
    srf: Literal[True, False] = True
    srf_order: Literal["sequence", "parallel"] = "sequence"
    multi_resolution_loss: Literal[True, False] = True
    dilations: Literal["1-2-3-5", "1-2-4-8", "1-1-1-1"] = "1-2-3-5"
    attention: Literal["none", "maxca"] = "none"


def plain(channels: int) -> nn.Sequential:
    """What stands in the place of a part that is switched off."""
    return nn.Sequential(ConvNorm(channels, channels), ConvNorm(channels, channels))


def depthwise(channels: int, dilation: int = 1) -> nn.Conv3d:
    """A conv3 of each channel alone; its outer taps lie `dilation` voxels away."""
    return nn.Conv3d(channels, channels, kernel_size=3, padding=dilation, dilation=dilation, groups=channels)


class MSR(nn.Module):
    """Multi-scale residual block: kernels of three sizes side by side, mixed, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.one = pointwise(channels, half)
        self.three = conv3(channels, 2 * half)  # the second branch, and what the third goes on from
        self.five = conv3(half, half)
        self.mix = nn.Conv3d(3 * half, channels, kernel_size=1, bias=False)  # the norm would take a bias away
        self.norm = InstanceNorm(inplace=True)

    def scales(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same, before the norm."""
        one = self.one(x)
        three, begun = F.leaky_relu_(self.three(x), SLOPE).chunk(2, dim=1)
        five = self.five(begun)
        return self.mix(torch.cat([F.leaky_relu_(one, SLOPE), three, F.leaky_relu_(five, SLOPE)], dim=1))

    def residual(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same."""
        return F.leaky_relu_(self.norm(in_slabs(self.scales, x, reach=2)).add_(x), SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same; training keeps x alone."""
        return recomputed(self.residual, x)


class Encoder(nn.Module):
    """The pyramid of one image; both streams go through this one."""

    def __init__(self, config: DilformerConfig) -> None:
        super().__init__()
        self.down = nn.ModuleList(conv3(a, b, stride=1 if a == 1 else 2) for a, b in pairwise((1, *WIDTHS)))
        self.blocks = nn.ModuleList(MSR(c) if config.msr else plain(c) for c in WIDTHS)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) -> features (N, C_l, D / 2^l, ...), l = 0..4."""
        features = []
        for down, block in zip(self.down, self.blocks, strict=True):
            x = block(down(x))
            features.append(x)
        return features


class Dilated(nn.Module):
    """Groups of channels, each under a depth-wise conv3 of its own dilation; then a mix of all of them."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.groups = nn.ModuleList(depthwise(channels // len(dilations), dilation) for dilation in dilations)
        self.mix = pointwise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same."""
        parts = x.chunk(len(self.groups), dim=1)
        return self.mix(torch.cat([conv(part) for conv, part in zip(self.groups, parts, strict=True)], dim=1))


class GlobalAttention(nn.Module):
    """Cross-covariance attention over all voxels of the level: channels x channels, whatever the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        heads = channels // HEAD
        self.qkv = pointwise(channels, 3 * channels)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project = pointwise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same."""
        heads = (3, len(self.temperature), HEAD)
        q, k, v = self.qkv(x).flatten(2).unflatten(1, heads).unbind(1)  # (N, heads, HEAD, voxels) each
        attended = cross_covariance(q, k, v, self.temperature)
        return self.project(attended.flatten(1, 2).unflatten(2, x.shape[2:]))


class DilformerBlock(nn.Module):
    """The dilated convolutions t gate what the attention g gathers: z += 1x1x1(sigmoid(t) * g + t); then an MLP."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.dilated = Dilated(channels, dilations)
        self.attention = GlobalAttention(channels)
        self.merge = pointwise(channels, channels)
        wide = 2 * channels
        self.mlp = nn.Sequential(
            ChannelNorm(channels), pointwise(channels, wide), depthwise(wide), nn.GELU(), pointwise(wide, channels)
        )

    def forward(self, z: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same."""
        y = self.norm(z)
        t, g = self.dilated(y), self.attention(y)
        z = z + self.merge(torch.sigmoid(t) * g + t)
        return z + self.mlp(z)


class SRF(nn.Module):
    """Separable residual fusion: convolutions along d, h and w, beside the identity."""

    def __init__(self, channels: int, order: Literal["sequence", "parallel"]) -> None:
        super().__init__()
        self.order = order
        self.along = nn.ModuleList(  # without bias, which the norm would take away
            nn.Conv3d(channels, channels, kernel, padding="same", bias=False)
            for kernel in ((3, 1, 1), (1, 3, 1), (1, 1, 3))
        )
        self.norm = InstanceNorm(inplace=True)
        self.mix = pointwise(channels, channels)

    def separable(self, z: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same: with one channel, in sequence, an outer product of three kernels."""
        d, h, w = self.along
        return w(h(d(z))) if self.order == "sequence" else d(z) + h(z) + w(z)

    def residual(self, z: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same."""
        y = F.leaky_relu_(self.norm(in_slabs(self.separable, z, reach=1)), SLOPE)
        return self.mix(y).add_(z)

    def forward(self, z: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same; training keeps z alone."""
        return recomputed(self.residual, z)


class ConcatPointwise(nn.Conv3d):
    """1x1x1 over the concatenated channels of several features, each taken by itself and summed: the same, leaner."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=1)

    def forward(self, *features: Tensor) -> Tensor:
        """(N, C_i, D, H, W) each -> (N, outputs, D, H, W)."""
        first, *others = self.weight.split([feature.shape[1] for feature in features], dim=1)
        z = F.conv3d(features[0], first, self.bias)
        for feature, weight in zip(features[1:], others, strict=True):
            z = z.add_(F.conv3d(feature, weight))
        return z


class Match(nn.Module):
    """What a level starts from: the images as far as they are aligned, how they correlate, the coarser feature."""

    def __init__(self, level: int) -> None:
        super().__init__()
        channels = WIDTHS[level]
        self.merge = ConcatPointwise(2 * channels + 27, channels)
        self.coarser = pointwise(WIDTHS[level + 1], channels) if level + 1 < len(WIDTHS) else None

    def forward(self, fixed: Tensor, moving: Tensor, old: Tensor, coarser: Tensor | None) -> Tensor:
        """1x1x1 of concat(fixed, warped moving, corr27, upsampled coarser z), as a sum of its parts: (N, C, D, H, W).

        fixed, moving: (N, C, D, H, W); old: the field so far, (N, 3, D, H, W); coarser: (N, 2C, D / 2, H / 2, W / 2).
        """
        warped = warp(moving.float(), old)
        z = in_slabs(lambda f, m: self.merge(f, m, corr27(f, m)), fixed, warped, reach=1)
        if self.coarser is not None and coarser is not None:
            z.add_(double(self.coarser(coarser)))  # before upsampling it is the same at an eighth of the cost
        return z


def fusion(level: int, config: DilformerConfig) -> nn.Sequential:
    """What refines z at a level: the Dilformer twice where the grid is coarse, SRF twice everywhere, MAXCA if asked."""
    channels, stages = WIDTHS[level], list[nn.Module]()
    if level in COARSE:
        dilations = tuple(int(dilation) for dilation in config.dilations.split("-"))
        twice = [DilformerBlock(channels, dilations) for _ in range(2)]
        stages += twice if config.dilformer else [plain(channels)]
    stages += [SRF(channels, config.srf_order) for _ in range(2)] if config.srf else [plain(channels)]
    if config.attention == "maxca" and level in FINE:
        stages.append(MAXCABlock(channels))
    return nn.Sequential(*stages)


class Dilformer(nn.Module):
    """Fixed and moving image to a total field at each of five resolutions."""

    def __init__(self, config: DilformerConfig = DilformerConfig()) -> None:
        super().__init__()
        self.config = config
        terms = [Term(2.0**-level, 2.0**-level) for level in LEVELS]
        self.objective = Objective(tuple(terms if config.multi_resolution_loss else terms[-1:]))
        self.encoder = Encoder(config)
        self.match = nn.ModuleList(Match(level) for level in LEVELS)
        self.fusion = nn.ModuleList(fusion(level, config) for level in LEVELS)
        self.heads = nn.ModuleList(FlowHead(WIDTHS[level]) for level in LEVELS)

    def forward(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) each, in [0, 1] -> total fields (N, 3, d, h, w) at 1/16, 1/8, 1/4, 1/2, 1, voxels each."""
        streams = self.encoder(pad_to_multiple(torch.cat([fixed, moving]), STRIDE))  # two halves of one batch
        still = fixed.new_zeros(fixed.shape[0], 3, *streams[-1].shape[2:], dtype=torch.float32)
        z, totals = None, list[Tensor]()
        for match, fuse, head in zip(self.match, self.fusion, self.heads, strict=True):
            old = 2 * double(totals[-1]) if totals else still
            z = fuse(recomputed(match, *streams.pop().chunk(2), old, z))
            totals.append(compose(head(z), old))
        shape = fixed.shape[2:]
        return [crop_to(total, coarse_shape(shape, level)) for level, total in zip(LEVELS, totals, strict=True)]
