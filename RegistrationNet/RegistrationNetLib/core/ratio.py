"""How well one image's values foretell another's, whatever they mean: the correlation ratio, across modalities too."""

from __future__ import annotations

import torch
from torch import Tensor

_FEWEST = 1e-2  # voxels in a class; what an empty one divides by


def soft_classes(values: Tensor, count: int) -> Tensor:
    """How much each value belongs to each of `count` levels from 0 to 1, linear in between, sum 1: (count, ...)."""
    level = values.clamp(0, 1) * (count - 1)
    levels = torch.arange(count, dtype=values.dtype).view(-1, *[1] * values.dim())
    return (1 - (level - levels).abs()).clamp_(min=0)


def correlation_ratio(classes: Tensor, moving: Tensor, weight: Tensor) -> Tensor:
    """The share of the moving values' variance that the fixed image's classes explain, 0 to 1; differentiable.

    classes: (K, N) memberships of the fixed voxels; moving, weight: (N,). Nothing is assumed on how the intensities of
    two modalities relate, but that they do (Roche et al., MICCAI 1998).
    """
    seen = classes * weight
    count, total = seen.sum(1), weight.sum().clamp(min=_FEWEST)
    mean = (weight * moving).sum() / total
    explained = ((seen @ moving - count * mean) ** 2 / count.clamp(min=_FEWEST)).sum()
    return explained / ((weight * (moving - mean) ** 2).sum() + 1e-6)
