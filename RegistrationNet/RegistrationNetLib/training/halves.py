"""Half precision where it is right: on a CPU, PyTorch's bfloat16 gradients of some convolutions are not (seen in 2.13).

Those of kernels wider than 3, and of kernels of 3 on a volume of two planes, came out as noise; some crashed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_RIGHT, _PLANES = 3, 2
"""The widest kernel whose gradient is right, and the number of planes on which even its is wrong."""


def spare(network: nn.Module) -> None:
    """From now on the convolutions that half precision would harm on a CPU compute in full precision, in place."""
    for part in network.modules():
        if isinstance(part, nn.Conv3d | nn.ConvTranspose3d) and max(part.kernel_size) >= _RIGHT:
            part.forward = _spared(part.forward, max(part.kernel_size) > _RIGHT)  # type: ignore[method-assign]


def _spared(convolve: Callable[..., Tensor], always: bool) -> Callable[..., Tensor]:
    def forward(*volumes: Tensor) -> Tensor:
        if not always and volumes[0].shape[2] != _PLANES:
            return convolve(*volumes)
        with torch.autocast("cpu", enabled=False):
            return convolve(*(volume.float() for volume in volumes))

    return forward
