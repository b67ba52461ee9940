"""The layer in which every network ends."""

import torch
from torch import Tensor, nn

from RegistrationNetLib.networks.blocks.slabs import in_slabs

SPREAD = 1e-5  # of the initial weights: a fresh network is the identity within 0.05 voxel


class FlowHead(nn.Conv3d):
    """conv3 from a feature to a field; weights N(0, 1e-5), bias 0 (VoxelMorph's code).

    Exact zeros would stop every gradient behind the head at the first step. Under mixed precision it stays float32:
    a displacement of 20 voxels in bfloat16 is off by up to 0.06 voxel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 3, kernel_size=3, padding=1)
        nn.init.normal_(self.weight, std=SPREAD)
        nn.init.constant_(self.get_parameter("bias"), 0)

    def forward(self, feature: Tensor) -> Tensor:
        """(N, channels, D, H, W) -> (N, 3, D, H, W), float32."""
        convolve = super().forward
        with torch.autocast(feature.device.type, enabled=False):
            return in_slabs(lambda part: convolve(part.float()), feature, reach=1)
