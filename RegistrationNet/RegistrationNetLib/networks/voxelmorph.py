"""VoxelMorph, the common baseline: a U-Net from the pair to a velocity, integrated to a displacement.

Balakrishnan, Zhao, Sabuncu, Guttag, Dalca: "VoxelMorph: a learning framework for deformable medical image
registration", IEEE Transactions on Medical Imaging 38(8), 2019; the velocity after Dalca et al., Medical Image
Analysis 57, 2019. Widths, order of layers and the 327 331 parameters are those of its public code.

Written here rather than taken from MONAI, which would add a heavy dependency for one page and whose class
returns a warped image too. UDRNet's paper compares with a different body under the same name: see `udrnet.py`.
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
from RegistrationNetLib.core.spatial import integrate, resize_field
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.maxca import MAXCABlock
from RegistrationNetLib.networks.blocks.slabs import ConcatConv3

ENCODER = (16, 32, 32, 32)  # at 1, 1/2, 1/4, 1/8
BOTTOM = 32  # at 1/16
DECODER = (32, 32, 32, 32)  # at 1/8, 1/4, 1/2, 1
FULL = (16, 16)  # at 1, before the head
STRIDE = 2 ** len(ENCODER)


@dataclass(frozen=True)
class VoxelMorphConfig:
    """output: "velocity" is integrated at half resolution (few folds), "displacement" is taken as it is.
    attention: "maxca" puts that block behind the last convolutions at half and at full resolution."""

    output: Literal["velocity", "displacement"] = "velocity"
    attention: Literal["none", "maxca"] = "none"


def conv(inputs: int, outputs: int) -> nn.Sequential:
    """conv3, LeakyReLU 0.2: one level of the body."""
    return nn.Sequential(nn.Conv3d(inputs, outputs, kernel_size=3, padding=1), nn.LeakyReLU(0.2, inplace=True))


class Merge(nn.Module):
    """The level below, nearest-upsampled, beside the skip; then conv3, LeakyReLU 0.2."""

    def __init__(self, below: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConcatConv3(below + skip, outputs)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """(N, below, D/2, H/2, W/2), (N, skip, D, H, W) -> (N, outputs, D, H, W)."""
        return F.leaky_relu_(self.conv(F.interpolate(below, scale_factor=2), skip), 0.2)


class VoxelMorph(nn.Module):
    """Fixed and moving image to one displacement field at full resolution. block: makes what `attention` puts in."""

    objective = Objective()

    def __init__(
        self, config: VoxelMorphConfig = VoxelMorphConfig(), block: Callable[[int], nn.Module] = MAXCABlock
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.ModuleList(conv(a, b) for a, b in pairwise((2, *ENCODER)))
        self.bottom = conv(ENCODER[-1], BOTTOM)
        below = pairwise((BOTTOM, *DECODER))
        self.decoder = nn.ModuleList(Merge(a, skip, b) for (a, b), skip in zip(below, reversed(ENCODER), strict=True))
        self.full = nn.Sequential(*(conv(a, b) for a, b in pairwise((DECODER[-1], *FULL))))
        self.head = FlowHead(FULL[-1])
        attend = block if config.attention == "maxca" else nn.Identity
        self.attend_half, self.attend_full = attend(DECODER[-2]), attend(FULL[-1])

    def forward(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) each, in [0, 1] -> one total field (N, 3, D, H, W), voxels."""
        x = pad_to_multiple(torch.cat([moving, fixed], dim=1), STRIDE)
        skips = []
        for level in self.encoder:
            skips.append(level(x))
            x = F.max_pool3d(skips[-1], 2)
        x = self.bottom(x)
        *coarse, last = self.decoder
        for merge in coarse:
            x = merge(x, skips.pop())
        x = last(self.attend_half(x), skips.pop())
        x = self.attend_full(self.full(x))
        return [crop_to(self.displacement(self.head(x)), fixed.shape[2:])]

    def displacement(self, flow: Tensor) -> Tensor:
        """The head's output, read as a displacement or integrated at half resolution; same shape, voxels."""
        if self.config.output == "displacement":
            return flow
        half = [size // 2 for size in flow.shape[2:]]
        return resize_field(integrate(resize_field(flow, half)), flow.shape[2:])
