"""From one level of a decoder to the next finer one."""

from torch import Tensor, nn

from RegistrationNetLib.networks.blocks.layers import SLOPE, InstanceNorm, double, pointwise
from RegistrationNetLib.networks.blocks.slabs import ConcatConv3


class Up(nn.Module):
    """The level below, narrowed and doubled, beside the skip; then conv3, InstanceNorm, LeakyReLU."""

    def __init__(self, below: int, channels: int) -> None:
        super().__init__()
        self.narrow = pointwise(below, channels)  # before doubling: it commutes, and costs an eighth
        self.merge = ConcatConv3(2 * channels, channels, bias=False)
        self.finish = nn.Sequential(InstanceNorm(inplace=True), nn.LeakyReLU(SLOPE, inplace=True))

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """(N, below, D/2, H/2, W/2), (N, channels, D, H, W) -> (N, channels, D, H, W)."""
        return self.finish(self.merge(double(self.narrow(below)), skip))
