"""How alike two images are, with the exact derivative in closed form: no autograd tape, few passes over memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from RegistrationNetLib.core.filters import box_sum
from RegistrationNetLib.core.slabs import each, reach

_FEWEST = 1e-3  # voxels in a window; what an empty one divides by


@dataclass(frozen=True, eq=False)
class LocalCorrelation:
    """Local normalised cross-correlation (LNCC) with one fixed image.

    With A the covariance and B, C the variances of fixed f and moving m in a window, epsilon added to each, a window's
    value is A^2 / (BC): 1 where the images agree up to contrast (either sign), and where both are flat. Because epsilon
    is in A too, two identical images are an exact maximum.

    fixed: (1, C, D, H, W), values about [-0.5, 0.5]; float32 variances cancel on raw intensities. Channels are compared
    one by one and count alike.
    mask: (1, 1, D, H, W) of the voxels that count, or None for all. Windows that reach over its border are made of the
    voxels inside it alone, so what it hides has no influence.
    """

    fixed: Tensor
    mean: Tensor
    variance: Tensor
    per_voxel: Tensor
    radius: int
    epsilon: float
    mask: Tensor | None = None

    @classmethod
    def of(cls, fixed: Tensor, radius: int = 2, epsilon: float = 1e-3, mask: Tensor | None = None) -> LocalCorrelation:
        counted = torch.ones_like(fixed) if mask is None else mask.expand_as(fixed)
        per_voxel = 1 / box_sum(counted, radius).clamp_(min=_FEWEST)
        seen = fixed if mask is None else fixed * mask
        mean = box_sum(seen, radius) * per_voxel
        variance = (box_sum(seen * fixed, radius) * per_voxel).sub_(mean * mean).clamp_(min=0).add_(epsilon)
        return cls(fixed, mean, variance, per_voxel, radius, epsilon, mask)

    def within(self, mask: Tensor) -> LocalCorrelation:
        """The same comparison of the voxels of another mask."""
        return LocalCorrelation.of(self.fixed, self.radius, self.epsilon, mask)

    def __call__(self, moving: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weighted mean over all windows (a scalar), and the derivative of their weighted sum by each moving value,
        (1, C, D, H, W).

        weight: (1, 1, D, H, W) of the windows by their centre voxel, or None for 1; windows centred outside the mask
        count nothing.
        The derivative of A^2 / (BC) by m is p (f - f') - q (m - m') over n, with p = 2A / (BC), q = p A / C and primes
        for window means; summed over the windows that see a voxel this is f S(p) - m S(q) - S(p f' - q m').
        """
        if self.mask is not None:
            weight = self.mask if weight is None else weight * self.mask
        p, q, rest = torch.empty_like(moving), torch.empty_like(moving), torch.empty_like(moving)

        def work(rows: slice) -> Tensor:
            mean, variance, covariance = self._statistics(moving, rows)
            ratio = covariance.div(variance)
            value = covariance.mul_(ratio).div_(self.variance[:, :, rows])
            torch.mul(ratio, self.per_voxel[:, :, rows], out=p[:, :, rows]).mul_(2).div_(self.variance[:, :, rows])
            if weight is not None:
                value *= weight[:, :, rows]
                p[:, :, rows] *= weight[:, :, rows]
            torch.mul(p[:, :, rows], ratio, out=q[:, :, rows])
            torch.mul(p[:, :, rows], self.mean[:, :, rows], out=rest[:, :, rows]).addcmul_(
                q[:, :, rows], mean, value=-1
            )
            return value.sum()

        total = torch.stack(each(moving, work)).sum()
        count = moving.numel() if weight is None else moving.shape[1] * weight.sum().clamp(min=1)
        return total / count, self._gradient(moving, p, q, rest)

    def _statistics(self, moving: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Window means, variances and covariances of the slices `rows`."""
        around, inner = reach(rows, self.radius, moving.shape[2])
        near, per_voxel = moving[:, :, around], self.per_voxel[:, :, rows]
        seen = near if self.mask is None else near * self.mask[:, :, around]
        mean = box_sum(seen, self.radius, inner).mul_(per_voxel)
        variance = box_sum(seen * near, self.radius, inner).mul_(per_voxel)
        variance.addcmul_(mean, mean, value=-1).clamp_(min=0).add_(self.epsilon)
        covariance = box_sum(seen * self.fixed[:, :, around], self.radius, inner).mul_(per_voxel)
        covariance.addcmul_(self.mean[:, :, rows], mean, value=-1).add_(self.epsilon)
        return mean, variance, covariance

    def _gradient(self, moving: Tensor, p: Tensor, q: Tensor, rest: Tensor) -> Tensor:
        """f S(p) - m S(q) - S(rest)."""
        out = torch.empty_like(moving)

        def work(rows: slice) -> None:
            part = box_sum(p, self.radius, rows).mul_(self.fixed[:, :, rows])
            part.addcmul_(box_sum(q, self.radius, rows), moving[:, :, rows], value=-1)
            torch.sub(part, box_sum(rest, self.radius, rows), out=out[:, :, rows])

        each(moving, work)
        return out if self.mask is None else out.mul_(self.mask)
