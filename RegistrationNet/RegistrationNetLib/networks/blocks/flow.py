"""The layer in which every network ends."""

from torch import nn

SPREAD = 1e-5  # of the initial weights: a fresh network is the identity within 0.05 voxel


def flow_head(channels: int) -> nn.Conv3d:
    """conv3 from (N, channels, D, H, W) to a field (N, 3, D, H, W); weights N(0, 1e-5), bias 0 (VoxelMorph's code).

    Exact zeros would stop every gradient behind the head at the first step.
    """
    head = nn.Conv3d(channels, 3, kernel_size=3, padding=1)
    nn.init.normal_(head.weight, std=SPREAD)
    nn.init.constant_(head.get_parameter("bias"), 0)
    return head
