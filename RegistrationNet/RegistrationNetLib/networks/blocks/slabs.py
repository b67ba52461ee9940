"""Inference without holding what only the next layer reads."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

THICKNESS = 16  # planes a slab at least
SLAB = 2**19  # voxels a slab, about: of 48 channels 100 MB. Small ones would fall to PyTorch's slow convolution


def planes(volume: Tensor) -> int:
    """How many planes of a volume (N, C, D, H, W) are a slab."""
    return max(THICKNESS, SLAB // volume[0, 0, 0].numel())


def in_slabs(function: Callable[..., Tensor], *volumes: Tensor, reach: int) -> Tensor:
    """function(*volumes), slab by slab along D while no gradient is recorded: what it builds never exists whole.

    volumes: (N, C, D, H, W), of one D. function keeps D, and reads at most `reach` planes beside its own, beyond
    the volume's border the same as its own padding; so the result is that of one call.
    """
    depth = volumes[0].shape[2]
    thickness = planes(volumes[0])
    if torch.is_grad_enabled() or depth <= thickness:
        return function(*volumes)

    def slab(start: int, stop: int) -> Tensor:
        near, far = max(start - reach, 0), min(stop + reach, depth)
        return function(*(volume[:, :, near:far] for volume in volumes))[:, :, start - near : stop - near]

    first = slab(0, thickness)
    batch, channels, _, height, width = first.shape
    whole = first.new_empty(batch, depth, height, width, channels).movedim(-1, 1)  # channels last in memory
    whole[:, :, :thickness] = first
    for start in range(thickness, depth, thickness):
        stop = min(start + thickness, depth)
        whole[:, :, start:stop] = slab(start, stop)
    return whole


class ConcatConv3(nn.Conv3d):
    """conv3 over the concatenated channels of several features: what follows a skip connection."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel_size=3, padding=1, bias=bias)

    def forward(self, *features: Tensor) -> Tensor:
        """(N, C_i, D, H, W) each -> (N, outputs, D, H, W)."""
        convolve = super().forward
        return in_slabs(lambda *parts: convolve(torch.cat(parts, dim=1)), *features, reach=1)
