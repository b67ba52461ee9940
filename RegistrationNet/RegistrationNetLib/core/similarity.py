"""How alike two images are, with the exact derivative in closed form: no autograd tape, few passes over memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from RegistrationNetLib.core.filters import box_sum


@dataclass(frozen=True, eq=False)
class LocalCorrelation:
    """Local normalised cross-correlation (LNCC) with one fixed image.

    With A the covariance and B, C the variances of fixed f and moving m in a window, epsilon added to each, a window's
    value is A^2 / (BC): 1 where the images agree up to contrast (either sign), and where both are flat. Because epsilon
    is in A too, two identical images are an exact maximum.

    fixed: (1, C, D, H, W), values about [-0.5, 0.5]; float32 variances cancel on raw intensities. Channels are compared
    one by one and count alike.
    """

    fixed: Tensor
    mean: Tensor
    variance: Tensor
    per_voxel: Tensor
    radius: int
    epsilon: float

    @classmethod
    def of(cls, fixed: Tensor, radius: int = 2, epsilon: float = 1e-3) -> LocalCorrelation:
        per_voxel = 1 / box_sum(torch.ones_like(fixed), radius)
        mean = box_sum(fixed, radius) * per_voxel
        variance = (box_sum(fixed * fixed, radius) * per_voxel).sub_(mean * mean).clamp_(min=0).add_(epsilon)
        return cls(fixed, mean, variance, per_voxel, radius, epsilon)

    def __call__(self, moving: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weighted mean over all windows (a scalar), and the derivative of their weighted sum by each moving value,
        (1, C, D, H, W).

        weight: (1, 1, D, H, W) of the windows by their centre voxel, or None for 1.
        The derivative of A^2 / (BC) by m is p (f - f') - q (m - m') over n, with p = 2A / (BC), q = p A / C and primes
        for window means; summed over the windows that see a voxel this is f S(p) - m S(q) - S(p f' - q m').
        """
        mean, variance, covariance = self._statistics(moving)
        p = covariance / variance
        value = p * covariance / self.variance
        if weight is not None:
            value *= weight
        total = value.sum() / (value.shape[1] * weight.sum().clamp(min=1) if weight is not None else value.numel())
        p.mul_(2 * self.per_voxel).div_(self.variance)
        if weight is not None:
            p *= weight
        q = p * covariance / variance
        gradient = self.fixed * box_sum(p, self.radius)
        gradient -= moving * box_sum(q, self.radius)
        gradient -= box_sum(p.mul_(self.mean).sub_(q.mul_(mean)), self.radius)
        return total, gradient

    def _statistics(self, moving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = box_sum(moving, self.radius).mul_(self.per_voxel)
        variance = box_sum(moving * moving, self.radius).mul_(self.per_voxel)
        variance.sub_(mean * mean).clamp_(min=0).add_(self.epsilon)
        covariance = box_sum(self.fixed * moving, self.radius).mul_(self.per_voxel)
        covariance.sub_(self.mean * mean).add_(self.epsilon)
        return mean, variance, covariance


def correlation(fixed: Tensor, moving: Tensor, weight: Tensor) -> Tensor:
    """Global normalised cross-correlation in [-1, 1] over voxels weighted by `weight`; differentiable, a scalar."""
    total = weight.sum().clamp(min=1e-6)
    f = fixed - (weight * fixed).sum() / total
    m = moving - (weight * moving).sum() / total
    covariance = (weight * f * m).sum()
    return covariance / ((weight * f * f).sum() * (weight * m * m).sum() + 1e-12).sqrt()
