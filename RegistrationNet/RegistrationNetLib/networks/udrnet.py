"""UDRNet: a U-Net whose skip connections fuse two attentions (scHAF); made for lung CT.

Ma, Wang, Zhang, Liu, Zhao: "UDRNet: unsupervised deformable registration network of lung CT images with hybrid
attention mechanism", Frontiers in Medicine 12, 2025, doi:10.3389/fmed.2025.1689742.

Blocks, scHAF with its concatenation order and the compared baseline are the paper's. Where it is silent, ours:
moving before fixed at the input; widths and the number of levels; sigmoid on both gates; the width of the
hidden layer in the second gate; the convolutions at full resolution; initial weights after He et al. (ICCV 2015). The
output is a displacement, not integrated.

The paper names the gates the other way round from what they compute, and so do the classes here: its "channel
attention" is one map over *space*, its "spatial attention" one weight per *channel*. Both read the same feature.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.anysize import crop_to, pad_to_multiple
from RegistrationNetLib.core.objective import Objective
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.maxca import MAXCABlock
from RegistrationNetLib.networks.blocks.slabs import ConcatConv3, in_slabs

ENCODER = (16, 32, 32, 32)  # at 1, 1/2, 1/4, 1/8
BOTTOM = 32  # at 1/16
DECODER = ((32, 32), (32, 32), (32, 32), (32, 16, 16))  # at 1/8, 1/4, 1/2, 1
STRIDE = 2 ** len(ENCODER)


@dataclass(frozen=True)
class UDRNetConfig:
    """schaf: attention in the skips; False is the paper's own ablation, its "3D VoxelMorph" (plain skips).
    Beyond the paper, "channel" or "spatial" (in its naming) keeps that gate alone, the other one being 1.
    attention: also beyond the paper, "maxca" puts that block behind the decoder's blocks at half and full resolution.
    """

    schaf: Literal[True, False, "channel", "spatial"] = True
    attention: Literal["none", "maxca"] = "none"


def conv3(inputs: int, outputs: int) -> nn.Conv3d:
    """3 x 3 x 3, for a ReLU behind it: PyTorch's own initial weights would halve the signal at every layer."""
    conv = nn.Conv3d(inputs, outputs, kernel_size=3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv


def convs(*widths: int) -> nn.Sequential:
    """conv3, ReLU from each width to the next."""
    return nn.Sequential(*(layer for a, b in pairwise(widths) for layer in (conv3(a, b), nn.ReLU(inplace=True))))


class Up(nn.Module):
    """Transposed conv3 of the level below, the fused skip beside it, then the convs of this level."""

    def __init__(self, below: int, skip: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        # 2n + 1 voxels an axis, of which padding crops the first: as many as the skip has
        self.up = nn.ConvTranspose3d(below, below, kernel_size=3, stride=2, padding=1, output_padding=1)
        self.merge = ConcatConv3(below + skip, widths[0])
        self.convs = convs(*widths)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """(N, below, D/2, H/2, W/2), (N, skip, D, H, W) -> (N, widths[-1], D, H, W)."""
        return self.convs(F.relu_(self.merge(self.up(below), skip)))


class ChannelAttention(nn.Module):
    """The paper's first gate: a pointwise conv to one map over space, the same for all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv3d(channels, 1, kernel_size=1)

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, 1, D, H, W) in (0, 1)."""
        return torch.sigmoid(self.project(feature))


class SpatialAttention(nn.Module):
    """The paper's second gate: global maximum and mean, through an MLP, to one weight per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 2, 8)
        self.mlp = nn.Sequential(nn.Linear(2 * channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, C, 1, 1, 1) in (0, 1)."""
        summary = torch.cat([feature.amax((2, 3, 4)), feature.mean((2, 3, 4))], dim=1)
        return torch.sigmoid(self.mlp(summary))[:, :, None, None, None]


class Open(nn.Module):
    """A gate left out: 1 everywhere."""

    def forward(self, feature: Tensor) -> Tensor:
        return feature.new_ones(1, 1, 1, 1, 1)


class ScHAF(nn.Module):
    """Spatial-and-channel hybrid attention fusion of one skip feature F; (N, C, D, H, W) -> same.

    Fc = F * first gate, Fs = F * second gate; conv3 of concat(Fc * Fs, Fc + Fs, max(Fc, Fs)), 3C -> C.
    """

    def __init__(self, channels: int, gates: Literal[True, "channel", "spatial"]) -> None:
        super().__init__()
        self.channel = Open() if gates == "spatial" else ChannelAttention(channels)
        self.spatial = Open() if gates == "channel" else SpatialAttention(channels)
        self.fusion = conv3(3 * channels, channels)

    def forward(self, feature: Tensor) -> Tensor:
        weights = self.spatial(feature)  # of the whole volume, therefore outside the slabs

        def fuse(f: Tensor) -> Tensor:
            c, s = f * self.channel(f), f * weights
            return self.fusion(torch.cat([c * s, c + s, torch.maximum(c, s)], dim=1))

        return in_slabs(fuse, feature, reach=1)


class UDRNet(nn.Module):
    """Fixed and moving image to one displacement field at full resolution. block: makes what `attention` puts in."""

    objective = Objective()

    def __init__(self, config: UDRNetConfig = UDRNetConfig(), block: Callable[[int], nn.Module] = MAXCABlock) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.ModuleList(convs(a, b, b) for a, b in pairwise((2, *ENCODER)))
        self.bottom = convs(ENCODER[-1], BOTTOM, BOTTOM)
        below = (BOTTOM, *(widths[-1] for widths in DECODER))
        self.decoder = nn.ModuleList(
            Up(a, skip, b) for a, skip, b in zip(below, reversed(ENCODER), DECODER, strict=False)
        )
        self.schaf = nn.ModuleList(nn.Identity() if config.schaf is False else ScHAF(c, config.schaf) for c in ENCODER)
        self.head = FlowHead(DECODER[-1][-1])
        attended = 2 if config.attention == "maxca" else 0
        self.attend = nn.ModuleList(
            block(widths[-1]) if left <= attended else nn.Identity()
            for left, widths in zip(range(len(DECODER), 0, -1), DECODER, strict=True)
        )

    def forward(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) each, in [0, 1] -> one total field (N, 3, D, H, W), voxels."""
        x = pad_to_multiple(torch.cat([moving, fixed], dim=1), STRIDE)
        skips = []
        for block in self.encoder:
            skips.append(block(x))
            x = F.max_pool3d(skips[-1], 2)
        x = self.bottom(x)
        for up, fuse, attend in zip(self.decoder, reversed(self.schaf), self.attend, strict=True):
            x = attend(up(x, fuse(skips.pop())))
        return [crop_to(self.head(x), fixed.shape[2:])]
