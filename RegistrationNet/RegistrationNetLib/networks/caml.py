"""CAML-RBSC-CARSC: two streams that search each other at several levels, in two passes; made for brain MR.

Cross attention over multi-layers (CAML), residual-block skip connections (RBSC) and cascade attention with
residual-block skip connections (CARSC), Intelligent Data Analysis, 2024, doi:10.3233/IDA-230692. It is founded on
XMorpher (Shi et al., MICCAI 2022), whose cross attention between windows of two sizes it takes over.

The paper's are: the two streams; a fusion module of four cross-attention computations with one set of parameters;
queries from the base windows of one stream, keys and values from the larger search windows of the other; attention
between equal and between different levels, sizes matched by max-pooling, in encoder and decoder; residual blocks
in the skips; two passes, the second receiving the first one's features by attention and by residual skips.

Where it is silent, ours:
- *Streams as a batch*: fixed and moving lie one behind the other in the batch, so that they cannot but share weights,
  and both directions read the same inputs: exchanging the images exchanges the streams. (In XMorpher the second
  direction sees the first's result.)
- *Which levels meet*: a level and the next shallower one of the other stream, max-pooled and through a pointwise conv:
  the encoder's feature, in the decoder the skip. Fused features go on downwards, as XMorpher's do.
- *Windows* of 4^3, searching 2 tokens further to each side, a relative position bias, heads of 16 channels. Query, key
  and value have no bias: a key's would cancel in the softmax, the others follow the norm's.
- *CARSC*: d2 <- CAT2(base d2, search d1) + RB2(d1) at decoder levels 2 and 1, d2 + RB2(d1) at 0; d1, the same stream's
  feature of pass 1 at the end of that level, is warped by its field where the stream is the moving one's. What a
  block adds to its base is the residual, so that d2 is in the sum once.
- *Before the head* no norm: it would give every pair a field of the same spread, aligned or not.
- *Objective*: the paper's, on the composed field; beside it, at half the similarity, on the field of pass 1, because
  with shared weights that pass should be a registration in its own right, which the second only refines.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.anysize import crop_to, pad_to_multiple
from RegistrationNetLib.core.objective import Objective, Term
from RegistrationNetLib.core.spatial import compose, resize_field, warp
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
from RegistrationNetLib.networks.blocks.recompute import recomputed
from RegistrationNetLib.networks.blocks.slabs import ConcatConv3
from RegistrationNetLib.networks.blocks.up import Up
from RegistrationNetLib.networks.blocks.windows import cut, fill, rows, together

WIDTHS = (16, 32, 64, 128)  # of levels l = 0..3, at 1/2, 1/4, 1/8, 1/16
DECODER = (2, 1, 0)  # its levels, in order
HEAD = 16  # channels of an attention head
STRIDE = 2 ** len(WIDTHS)


@dataclass(frozen=True)
class CAMLConfig:
    """caml: False repeats the attention at the same level instead of reaching to the shallower one (equal cost).
    rbsc: False is plain skips. carsc: False is one pass, "plain" a second one that receives nothing but the field.
    cross_attention: False leaves two streams that meet only before the head (outside the paper).
    window: 2 is XMorpher's. margin: 0 searches the base window only. share_passes: False gives pass 2 own weights.
    """

    caml: Literal[True, False] = True
    rbsc: Literal[True, False] = True
    carsc: Literal[True, False, "plain"] = True
    cross_attention: Literal[True, False] = True
    window: Literal[4, 2] = 4
    margin: Literal[2, 0] = 2
    share_passes: Literal[True, False] = True


def other(streams: Tensor) -> Tensor:
    """(2N, ...), the fixed images' stream before the moving ones', to moving before fixed."""
    return streams.roll(len(streams) // 2, 0)


class CrossAttention(nn.Module):
    """W-MCA: every base window of one feature searches a larger window of another around it.

    softmax(Q K^T / sqrt(16) + bias) V, Q from the base, K and V from the search feature.
    """

    def __init__(self, channels: int, window: int, margin: int) -> None:
        super().__init__()
        self.window, self.margin, self.heads = window, margin, channels // HEAD
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.bias = nn.Parameter(0.02 * torch.randn(self.heads, (2 * (window + margin) - 1) ** 3))
        self.out = nn.Linear(channels, channels)

    def forward(self, base: Tensor, search: Tensor) -> Tensor:
        """(N, C, D, H, W) twice -> same."""
        window, margin = self.window, self.margin
        query = fill(voxelwise(self.query, base), window)
        key_value = fill(voxelwise(self.key_value, search), window, margin)
        voxels = fill(base.new_ones(1, 1, *base.shape[2:]), window, margin)
        bias = self.position_bias()
        parts = zip(rows(query, window), rows(key_value, window, margin), rows(voxels, window, margin), strict=True)
        # in training computed again: a row's windows would be 8 times the features, its weights more
        attended = torch.cat([recomputed(self.attend, *part, bias) for part in parts], dim=1)
        return voxelwise(self.out, together(attended, base.shape[2:], window))

    def attend(self, query: Tensor, key_value: Tensor, voxels: Tensor, bias: Tensor) -> Tensor:
        """One row of windows (see `rows`) -> (N, G, T, C). Tokens that are no voxels are masked."""
        base = cut(query, self.window)
        search = cut(key_value, self.window, self.margin)
        outside = cut(voxels, self.window, self.margin)[0, :, None, None, :, 0] == 0  # (G, 1, 1, T')
        mask = bias[None].to(base.dtype)
        if outside.any():
            mask = mask + torch.zeros_like(outside, dtype=mask.dtype).masked_fill_(outside, -torch.inf)

        def of_one(q: Tensor, kv: Tensor) -> Tensor:
            """(G, T, C), (G, T', 2C) -> (G, T, C): one mask serves the whole batch."""
            q, k, v = (t.unflatten(-1, (self.heads, HEAD)).transpose(1, 2) for t in (q, *kv.chunk(2, dim=-1)))
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)

        return torch.stack([of_one(q, kv) for q, kv in zip(base, search, strict=True)])

    def position_bias(self) -> Tensor:
        """A learned number for each head and each step from a base to a search token: (heads, T, T')."""
        base = torch.arange(self.window, device=self.bias.device)
        search = torch.arange(-self.margin, self.window + self.margin, device=self.bias.device)
        furthest = self.window + self.margin - 1
        step = search[None] - base[:, None] + furthest  # from 0, along one axis
        depth, height, width = step[:, None, None, :, None, None], step[:, None, None, :, None], step[:, None, None, :]
        entry = (depth * (2 * furthest + 1) + height) * (2 * furthest + 1) + width  # base d, h, w, search d, h, w
        return self.bias[:, entry.reshape(len(base) ** 3, len(search) ** 3)]


def voxelwise(layers: nn.Module, feature: Tensor) -> Tensor:
    """Linear layers over the channels of each voxel; (N, C, D, H, W) -> (N, C', D, H, W)."""
    return layers(feature.movedim(1, -1)).movedim(-1, 1)


class CAT(nn.Module):
    """Cross-attention Transformer block: both features normalised, attention and MLP, each added to its input."""

    def __init__(self, channels: int, config: CAMLConfig) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.attention = CrossAttention(channels, config.window, config.margin)
        self.mlp_norm = ChannelNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, base: Tensor, search: Tensor) -> Tensor:
        """(N, C, D, H, W) twice -> same."""
        feature = base + self.attention(self.norm(base), self.norm(search))
        return feature + voxelwise(self.mlp, self.mlp_norm(feature))


class Fusion(nn.Module):
    """The feature fusion module: four cross attentions of one block, in two calls because both streams are one batch.

    First F <- M and M <- F at the same level; then, with CAML, F <- P(M) and M <- P(F) of the next shallower level.
    """

    def __init__(self, channels: int, shallower: int, config: CAMLConfig) -> None:
        super().__init__()
        self.cat = CAT(channels, config)
        self.pool = nn.Sequential(nn.MaxPool3d(2), pointwise(shallower, channels)) if config.caml else None

    def forward(self, streams: Tensor, shallower: Tensor) -> Tensor:
        """(2N, C, D, H, W), (2N, C', 2D, 2H, 2W) -> (2N, C, D, H, W)."""
        streams = self.cat(streams, other(streams))
        return self.cat(streams, other(self.pool(shallower) if self.pool else streams))


class Unfused(nn.Module):
    """A fusion module left out."""

    def forward(self, streams: Tensor, shallower: Tensor) -> Tensor:
        return streams


class ResidualBlock(nn.Module):
    """conv3, IN, LeakyReLU, conv3, IN, + identity, LeakyReLU (He et al., CVPR 2016); RBSC, and RB2 in CARSC."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(channels, channels), conv3(channels, channels, bias=False), InstanceNorm(inplace=True)
        )

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same."""
        return F.leaky_relu_(self.body(feature).add_(feature), SLOPE)


class Refine(nn.Module):
    """CARSC at one decoder level: this pass's feature attends to the earlier one's, and RB2 of that is added."""

    def __init__(self, channels: int, config: CAMLConfig, attention: bool) -> None:
        super().__init__()
        self.cat = CAT(channels, config) if attention else None
        self.residual = ResidualBlock(channels)

    def forward(self, feature: Tensor, earlier: Tensor) -> Tensor:
        """(2N, C, D, H, W) twice -> same."""
        return (self.cat(feature, earlier) if self.cat else feature) + self.residual(earlier)


class Pass(nn.Module):
    """One pass over the pair: encoder, fusion, skips and decoder of both streams, and the head."""

    def __init__(self, config: CAMLConfig) -> None:
        super().__init__()

        def fusion(level: int) -> nn.Module:
            fused = config.cross_attention and level > 0
            return Fusion(WIDTHS[level], WIDTHS[level - 1], config) if fused else Unfused()

        self.encoder = nn.ModuleList(nn.Sequential(conv3(a, b, 2), ConvNorm(b, b)) for a, b in pairwise((1, *WIDTHS)))
        self.encoder_fusion = nn.ModuleList(fusion(level) for level in range(1, len(WIDTHS)))
        self.skip = nn.ModuleList(ResidualBlock(c) if config.rbsc else nn.Identity() for c in WIDTHS[:-1])
        self.decoder = nn.ModuleList(Up(WIDTHS[level + 1], WIDTHS[level]) for level in DECODER)
        self.decoder_fusion = nn.ModuleList(fusion(level) for level in DECODER)
        self.meet = ConcatConv3(2 * WIDTHS[0], WIDTHS[0])
        self.last = nn.Sequential(
            nn.LeakyReLU(SLOPE, inplace=True), conv3(WIDTHS[0], WIDTHS[0]), nn.LeakyReLU(SLOPE, inplace=True)
        )
        self.head = FlowHead(WIDTHS[0])

    def forward(
        self,
        fixed: Tensor,
        moving: Tensor,
        refine: Iterable[nn.Module] = (),
        earlier: Iterable[Tensor] = (),
    ) -> tuple[list[Tensor], Tensor]:
        """(N, 1, D, H, W) twice -> the decoder's features of both streams, coarse to fine, (2N, C, d, h, w); and the
        field at half resolution, (N, 3, D/2, H/2, W/2), in its own voxels.

        refine, earlier: CARSC's blocks and the features of the pass before, one for each decoder level, or none.
        """
        x, skips = self.encode(fixed, moving)
        features = []
        for up, fuse, carsc in zip_longest(self.decoder, self.decoder_fusion, zip(refine, earlier, strict=False)):
            x = up(x, skips.pop())
            x = fuse(x, skips[-1] if skips else x)
            if carsc:
                block, feature = carsc
                x = block(x, feature)
            features.append(x)
        return features, self.head(self.last(self.meet(*x.chunk(2))))

    def encode(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, 1, D, H, W) twice -> the deepest feature of both streams, (2N, 128, D/16, H/16, W/16), and the skips of
        levels 0, 1 and 2."""
        x = self.encoder[0](torch.cat([fixed, moving]))
        skips = []
        for level, fuse, skip in zip(self.encoder[1:], self.encoder_fusion, self.skip, strict=True):
            shallower, x = x, level(x)
            x = fuse(x, shallower)
            skips.append(skip(shallower))
        return x, skips


class CAML(nn.Module):
    """Fixed and moving image to the field after each pass, full resolution."""

    def __init__(self, config: CAMLConfig = CAMLConfig()) -> None:
        super().__init__()
        self.config = config
        self.objective = Objective((Term(similarity=0.5), Term())) if config.carsc else Objective()
        own = config.carsc and not config.share_passes
        self.passes = nn.ModuleList(Pass(config) for _ in range(2 if own else 1))
        self.refine = nn.ModuleList(
            Refine(WIDTHS[level], config, attention=config.cross_attention and level > 0)
            for level in (DECODER if config.carsc is True else ())
        )

    def forward(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) each, in [0, 1] -> the total field after each pass, (N, 3, D, H, W), voxels."""
        shape = fixed.shape[2:]
        fixed, moving = pad_to_multiple(fixed, STRIDE), pad_to_multiple(moving, STRIDE)
        features, half = self.passes[0](fixed, moving)
        if not self.config.carsc:
            return [crop_to(double(2 * half), shape)]
        new = self.again(fixed, moving, features, half)
        old = double(2 * half)  # again: not to be held, at full resolution, throughout pass 2
        return [crop_to(field, shape) for field in (old, compose(new, old))]

    def again(self, fixed: Tensor, moving: Tensor, features: list[Tensor], half: Tensor) -> Tensor:
        """Pass 2, on the moving image warped by the field of pass 1; (N, 3, D, H, W), voxels.

        features and half are what pass 1 gave; the features are used up.
        """
        warped = warp(moving, double(2 * half))
        earlier = [aligned(features.pop(0), half) for _ in DECODER] if self.refine else ()
        return double(2 * self.passes[-1](fixed, warped, self.refine, earlier)[1])


def aligned(streams: Tensor, half: Tensor) -> Tensor:
    """The moving images' half of a feature warped by pass 1; (2N, C, d, h, w), (N, 3, D/2, H/2, W/2) -> same."""
    fixed, moving = streams.chunk(2)
    warped = warp(moving.float(), resize_field(half, moving.shape[2:])).to(moving.dtype)
    return torch.cat([fixed, warped])
