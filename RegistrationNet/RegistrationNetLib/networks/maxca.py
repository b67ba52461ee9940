"""MAXCA: a coarse-to-fine pyramid whose every step attends across channels, near and far, up to full resolution.

Meng, Fulham, Bi, Kim: "Advancing Deformable Medical Image Registration with Multi-axis Cross-covariance Attention",
arXiv:2412.18545, 2024. The paper is about the block (`blocks/maxca.py`), which it puts into several networks.

The network here is the one in which the block is known best: CorrMLP (Meng et al., CVPR 2024), its MLPs replaced by
it. From the public code of both: the encoder, correlations with the 27 nearest shifts, two blocks a level
below the coarsest, the numbers of heads, transposed convolutions upwards, and the loss, on the final field alone: there
each coarser field is judged as the part of it that it is, and none is tied to images blurred to its own resolution.
Ours: narrower features (8 to 64 and 16 to 96 channels; the code's 16 and 32 would make four times the parameters), and
fields composed instead of added, because a level estimates on a moving image that the levels before it have warped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.anysize import coarse_shape, crop_to, pad_to_multiple
from RegistrationNetLib.core.objective import Objective
from RegistrationNetLib.core.spatial import compose, warp
from RegistrationNetLib.networks.blocks.correlation import corr27
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.layers import SLOPE, ChannelNorm, InstanceNorm, conv3, double
from RegistrationNetLib.networks.blocks.maxca import MAXCABlock
from RegistrationNetLib.networks.blocks.recompute import recomputed
from RegistrationNetLib.networks.blocks.slabs import in_slabs
from RegistrationNetLib.networks.udrnet import UDRNet, UDRNetConfig
from RegistrationNetLib.networks.voxelmorph import VoxelMorph, VoxelMorphConfig

ENCODER = (8, 16, 32, 64)  # at 1, 1/2, 1/4, 1/8
DECODER = (16, 32, 64, 96)
MATCH_HEADS = (2, 4, 8, 16)
JOIN_HEADS = (4, 8, 16)  # at 1, 1/2, 1/4
STRIDE = 2 ** (len(ENCODER) - 1)

Block = Callable[..., nn.Module]
"""Makes the attention block for so many channels and, where it is fixed, so many heads."""


@dataclass(frozen=True)
class MAXCANetConfig:
    """regional, dilated: False makes that branch of every block the identity. attention: "global" puts plain
    cross-covariance attention over the whole volume in place of both, with equal parameters. host: the network that
    holds the blocks. region: its voxels along an axis. flow_update: "sum" adds a level's field to those before it, as
    CorrMLP's code does."""

    regional: Literal[True, False] = True
    dilated: Literal[True, False] = True
    attention: Literal["multi-axis", "global"] = "multi-axis"
    host: Literal["corrmlp", "voxelmorph", "udrnet"] = "corrmlp"
    region: Literal[8, 4] = 8
    flow_update: Literal["compose", "sum"] = "compose"


def step(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return conv3(inputs, outputs), nn.LeakyReLU(SLOPE, inplace=True), InstanceNorm(inplace=True)


class Encoder(nn.Module):
    """(conv3, LeakyReLU, InstanceNorm) twice a level, halved by averaging in between; for each image alone."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Sequential(*step(a, b), *step(b, b)) for a, b in pairwise((1, *ENCODER)))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) -> features at 1, 1/2, 1/4, 1/8."""
        features: list[Tensor] = []
        for level in self.levels:
            features.append(level(F.avg_pool3d(features[-1], 2) if features else image))
        return features


class Correlate(nn.Module):
    """conv3 of two features with their correlation between them: concat(a, corr27(a, b), b)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv3(2 * inputs + 27, outputs)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, inputs, D, H, W) twice -> (N, outputs, D, H, W)."""
        return recomputed(in_slabs, self.correlated, a, b, reach=2)

    def correlated(self, a: Tensor, b: Tensor) -> Tensor:
        return self.conv(torch.cat([a, corr27(a, b), b], dim=1))


class Level(nn.Module):
    """What one level of the pyramid computes with; `CorrMLP.forward` says in which order."""

    def __init__(self, encoded: int, channels: int, heads: int, block: Block) -> None:
        super().__init__()
        self.match = Correlate(encoded, channels)
        self.attend = block(channels, heads)
        self.head = FlowHead(channels)


class Finer(Level):
    """A level below the coarsest: it also takes up the feature of the coarser one."""

    def __init__(self, encoded: int, channels: int, heads: int, coarser: int, joint_heads: int, block: Block) -> None:
        super().__init__(encoded, channels, heads, block)
        self.up = nn.Sequential(nn.ConvTranspose3d(coarser, channels, 2, stride=2), ChannelNorm(channels))
        self.join = Correlate(channels, channels)
        self.attend_joint = block(channels, joint_heads)


class CorrMLP(nn.Module):
    """CorrMLP's frame: features of both images, then fields from coarse to fine, each level upon the warped moving
    feature; `block` in place of its MLPs."""

    def __init__(self, flow_update: Literal["compose", "sum"], block: Block) -> None:
        super().__init__()
        self.flow_update = flow_update
        self.encoder = Encoder()
        finer = zip(ENCODER, DECODER, MATCH_HEADS, DECODER[1:], JOIN_HEADS, strict=False)
        coarsest = Level(ENCODER[-1], DECODER[-1], MATCH_HEADS[-1], block)
        self.levels = nn.ModuleList([*(Finer(*widths, block) for widths in finer), coarsest])

    def forward(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) each, multiples of 8 voxels -> total fields at 1/8, 1/4, 1/2, 1, voxels of their grids."""
        features = self.encoder(fixed), self.encoder(moving)
        fields: list[Tensor] = []
        x: Tensor | None = None
        for level in reversed(self.levels):
            assert isinstance(level, Level)
            f, m = (pyramid.pop() for pyramid in features)
            before = 2 * double(fields[-1]) if fields else None
            if before is not None:
                m = warp(m, before)
            coarser, x = x, level.match(f, m)
            del f, m
            x = level.attend(x)
            if isinstance(level, Finer):
                x = level.join(x, level.up(coarser))
                x = level.attend_joint(x)
            fields.append(self.updated(before, level.head(x)))
        return fields

    def updated(self, before: Tensor | None, new: Tensor) -> Tensor:
        """The total field: `new` was estimated on a moving image warped by `before`."""
        if before is None:
            return new
        return compose(new, before) if self.flow_update == "compose" else new + before


class MAXCANet(nn.Module):
    """Fixed and moving image to displacement fields, coarse to fine; one field where the host gives one."""

    objective = Objective()

    def __init__(self, config: MAXCANetConfig = MAXCANetConfig()) -> None:
        super().__init__()
        self.config = config
        block = partial(
            MAXCABlock,
            region=config.region,
            regional=config.regional,
            dilated=config.dilated,
            attention=config.attention,
        )
        self.host: nn.Module
        if config.host == "voxelmorph":
            self.host = VoxelMorph(VoxelMorphConfig(attention="maxca"), block)
        elif config.host == "udrnet":
            self.host = UDRNet(UDRNetConfig(attention="maxca"), block)
        else:
            self.host = CorrMLP(config.flow_update, block)

    def forward(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) each, in [0, 1] -> total fields (N, 3, d, h, w), voxels of their own grid."""
        fields = self.host(*(pad_to_multiple(image, STRIDE) for image in (fixed, moving)))
        return [
            crop_to(field, coarse_shape(fixed.shape[2:], level))
            for level, field in zip(reversed(range(len(fields))), fields, strict=True)
        ]
