"""The plain layers that the networks share; shapes (N, C, D, H, W) throughout."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of LeakyReLU
EPSILON = 1e-5  # added to variances


def conv3(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv3d:
    """3 x 3 x 3, padding 1. Without bias where an InstanceNorm follows, which would take it away."""
    return nn.Conv3d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=bias)


def pointwise(inputs: int, outputs: int) -> nn.Conv3d:
    """1 x 1 x 1: a linear layer on every voxel alone."""
    return nn.Conv3d(inputs, outputs, kernel_size=1)


class InstanceNorm(nn.Module):
    """Every channel to mean 0 and variance 1 over space, without weights. Unlike PyTorch's it takes a volume of one
    voxel (to 0), which a small image becomes at the coarsest level.

    inplace: without gradients it overwrites its input, which nothing else may read then.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, feature: Tensor) -> Tensor:
        variance, mean = torch.var_mean(feature.float(), dim=(2, 3, 4), correction=0, keepdim=True)
        scale, mean = (variance + EPSILON).rsqrt().to(feature.dtype), mean.to(feature.dtype)
        if self.inplace and not torch.is_grad_enabled():
            return feature.sub_(mean).mul_(scale)
        return (feature - mean) * scale


class ConvNorm(nn.Sequential):
    """conv3, InstanceNorm, LeakyReLU 0.2."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        norm = InstanceNorm(inplace=True)
        super().__init__(conv3(inputs, outputs, stride, bias=False), norm, nn.LeakyReLU(SLOPE, inplace=True))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each voxel, with weights."""

    def forward(self, feature: Tensor) -> Tensor:
        return super().forward(feature.movedim(1, -1)).movedim(-1, 1)


def double(feature: Tensor) -> Tensor:
    """Twice the voxels an axis, trilinear, voxel-centre aligned. A flow must be doubled in value too."""
    return F.interpolate(feature, scale_factor=2, mode="trilinear", align_corners=False)
