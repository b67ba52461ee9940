"""How alike two features are under small shifts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def corr27(fixed: Tensor, moving: Tensor) -> Tensor:
    """Channel mean of fixed(x) * moving(x + o) for o in {-1, 0, 1}^3 in axis order, zero outside the volume;
    (N, C, D, H, W) twice -> (N, 27, D, H, W), of the finer of their types.

    It reads one plane beside its own: at full resolution call it in slabs (`in_slabs`, reach=1), for 27 channels are
    many bytes.
    """
    alike: Tensor = _Corr27.apply(fixed, moving)
    return alike


class _Corr27(torch.autograd.Function):
    """Both passes in one buffer each, where autograd would make one for each of the 27 shifts.

    By planes (contiguous), because that way the mean over channels is vectorised.
    """

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor) -> Tensor:
        ctx.save_for_backward(fixed, moving)
        fixed, shifted = fixed.contiguous(), neighbours(padded(moving))
        both = torch.empty_like(fixed, dtype=torch.result_type(fixed, moving))
        alike = both.new_empty(both.shape[0], 27, *both.shape[2:])
        for index, other in enumerate(shifted):
            torch.mean(torch.mul(fixed, other, out=both), dim=1, out=alike[:, index])
        return alike

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        fixed, moving = (feature.to(outputs[0].dtype) for feature in ctx.saved_tensors)
        slopes = outputs[0] / fixed.shape[1]
        fixed, moving = fixed.contiguous(), padded(moving)
        by_fixed, by_padded = torch.zeros_like(fixed), torch.zeros_like(moving)
        for index, (other, by_other) in enumerate(zip(neighbours(moving), neighbours(by_padded), strict=True)):
            slope = slopes[:, index : index + 1]
            by_fixed.addcmul_(slope, other)
            by_other.addcmul_(slope, fixed)
        return by_fixed, by_padded[:, :, 1:-1, 1:-1, 1:-1]


def padded(volume: Tensor) -> Tensor:
    """One voxel of zeros around it; (N, C, D, H, W) -> (N, C, D + 2, H + 2, W + 2)."""
    return F.pad(volume.contiguous(), (1, 1, 1, 1, 1, 1))


def neighbours(volume: Tensor) -> Iterator[Tensor]:
    """Views of what was padded, at x + o for o in {-1, 0, 1}^3 in axis order; (N, C, D, H, W) each."""
    depth, height, width = (size - 2 for size in volume.shape[2:])
    return (volume[:, :, d : d + depth, h : h + height, w : w + width] for d, h, w in product(range(3), repeat=3))
