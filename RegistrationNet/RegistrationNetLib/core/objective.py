"""What a registration network is trained for: images that are alike, fields that are smooth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.anysize import pad_to_multiple
from RegistrationNetLib.core.filters import box_sum
from RegistrationNetLib.core.mind import descriptors

EPSILON = 1e-8
"""Added to the product of the variances of both images in a window: the fourth power of a hundredth of the range."""

_ONE_VOXEL = 1.0  # so that labels that neither shows agree


@dataclass(frozen=True)
class Term:
    """Weights of what one of a network's fields is judged by."""

    similarity: float = 1.0
    smoothness: float = 1.0


Likeness = Literal["lncc", "ncc", "mse", "mind"]


@dataclass(frozen=True)
class Objective:
    """A loss to be minimised: for each field, its Term's weighted dissimilarity and irregularity.

    terms: one for each field that the network gives, in its order (coarse to fine); the last may stand alone.
    similarity: "lncc" is the negative squared local correlation, "ncc" that of the whole images, "mse" the mean
    squared difference, "mind" that of their structure (MIND-SSC).
    regularity: "diffusion" is small where a field changes little, "bending" where its change changes little.
    radius: half width of the window of LNCC at the images' own size, voxels; one less with every halving, at least 1.
    """

    terms: tuple[Term, ...] = (Term(),)
    similarity: Likeness = "lncc"
    regularity: Literal["diffusion", "bending"] = "diffusion"
    radius: int = 4

    def __call__(self, fixed: Tensor, moving: Tensor, fields: Sequence[Tensor]) -> Tensor:
        """fixed, moving: (N, 1, D, H, W) in [0, 1]; fields: total, (N, 3, d, h, w), voxels of their own grid, each
        coarser than the images by a power of two. A scalar."""
        judged = list(fields)[-len(self.terms) :]
        return torch.stack(
            [self._term(term, fixed, moving, field) for term, field in zip(self.terms, judged, strict=True)]
        ).sum()

    def _term(self, term: Term, fixed: Tensor, moving: Tensor, field: Tensor) -> Tensor:
        loss = field.new_zeros(())
        if term.similarity:
            factor = coarser(fixed.shape[2:], field.shape[2:])
            f, m = pooled(fixed, factor), pooled(moving, factor)
            radius = max(1, self.radius - int(log2(factor)))
            loss = loss + term.similarity * self.unlike(f, spatial.warp(m, field), radius)
        if term.smoothness:
            loss = loss + term.smoothness * (bending if self.regularity == "bending" else diffusion)(field)
        return loss

    def unlike(self, fixed: Tensor, warped: Tensor, radius: int) -> Tensor:
        """How little alike two images are; a scalar."""
        if self.similarity == "mse":
            return F.mse_loss(warped, fixed)
        if self.similarity == "ncc":
            return -ncc(fixed, warped)
        if self.similarity == "mind":
            return F.mse_loss(descriptors(warped), descriptors(fixed))
        return -lncc(fixed, warped, radius)


def ncc(fixed: Tensor, warped: Tensor) -> Tensor:
    """Squared correlation of whole images, 0 to 1, mean over N; a scalar."""
    f, w = (image.float().flatten(1) for image in (fixed, warped))
    f, w = f - f.mean(1, keepdim=True), w - w.mean(1, keepdim=True)
    return ((f * w).sum(1).square() / (f.square().sum(1) * w.square().sum(1)).clamp(min=1e-12)).mean()


def lncc(fixed: Tensor, warped: Tensor, radius: int) -> Tensor:
    """Mean over windows of (2 radius + 1)^3 voxels of covariance^2 / (variance_f variance_w + 1e-8), 0 to 1; a scalar
    that has a gradient by `warped`. Images in [0, 1].

    The papers' form, in which what is flat counts nothing; their 1e-5 beside *sums* over 9^3 voxels would be 2e-11
    here. With that the noise of air pulls as hard as anatomy: UDRNet, trained on one noisy pair, gained a quarter less
    and folded twice as much. So contrasts (standard deviations) count fully down to about 0.02 of the range, half at
    0.01. Refinement's measure (`similarity.LocalCorrelation`) begins at 0.03, because it follows every force it sees.
    """
    with torch.autocast(fixed.device.type, enabled=False):  # half precision would lose small variances
        value: Tensor = _Lncc.apply(fixed, warped, radius)
    return value


class _Lncc(torch.autograd.Function):
    """Both passes in closed form: no tape of the dozen volumes that autograd would keep.

    With window means f', w', covariance A, variances B and C over n voxels and D = B C + 1e-8, a window's value is
    A^2 / D; its derivative by w is p (f - f') - q (w - w') with p = 2 A / (D n) and q = p A B / D.
    """

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, warped: Tensor, radius: int) -> Tensor:
        f, w = fixed.float() - 0.5, warped.float() - 0.5  # float32 loses small variances of values far from zero
        each = 1 / box_sum(torch.ones_like(f[:1]), radius)
        f_mean, w_mean = (box_sum(image, radius).mul_(each) for image in (f, w))
        a = box_sum(f * w, radius).mul_(each).sub_(f_mean * w_mean)
        b, c = (
            box_sum(image * image, radius).mul_(each).sub_(mean * mean).clamp_(min=0)
            for image, mean in ((f, f_mean), (w, w_mean))
        )
        d = c.mul_(b).add_(EPSILON)
        p = a / d
        value = (p * a).mean()
        q = (p * a).mul_(b).div_(d).mul_(2 * each)
        p.mul_(2 * each)
        gradient = f * box_sum(p, radius) - w * box_sum(q, radius) - box_sum(p * f_mean - q * w_mean, radius)
        ctx.save_for_backward(gradient / fixed.numel())
        return value

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, outputs[0] * gradient, None


def diffusion(field: Tensor) -> Tensor:
    """Mean squared forward difference over voxels, axes and components; zero along an axis of one voxel; a scalar."""
    steps = [field.diff(dim=axis).square().mean() for axis in (2, 3, 4) if field.shape[axis] > 1]
    return torch.stack(steps).sum() / 3 if steps else field.new_zeros(())


def bending(field: Tensor) -> Tensor:
    """Mean squared second difference over voxels, axes and components, mixed ones included; a scalar."""
    terms = []
    for one, other in itertools.combinations_with_replacement((2, 3, 4), 2):
        second = field.diff(dim=one).diff(dim=other)
        if second.numel():
            terms.append((1 if one == other else 2) * second.square().mean())
    return torch.stack(terms).sum() / 9 if terms else field.new_zeros(())


def folding(field: Tensor) -> Tensor:
    """Mean of what the Jacobian determinant falls short of zero; a scalar."""
    return F.relu(-spatial.jacobian_determinant(field)).mean()


def unlike_labels(fixed: Tensor, moving: Tensor, field: Tensor, labels: Sequence[int]) -> Tensor:
    """One less the mean Dice of these labels, which trilinear interpolation carries as parts of a voxel; a scalar.

    fixed, moving: label maps (N, 1, D, H, W); field: (N, 3, D, H, W) voxels.
    """
    here, there = (torch.cat([image == label for label in labels], dim=1).to(field.dtype) for image in (fixed, moving))
    carried = spatial.warp(there, field)
    shared = (here * carried).sum((0, 2, 3, 4))
    total = here.sum((0, 2, 3, 4)) + carried.sum((0, 2, 3, 4))
    return 1 - ((2 * shared + _ONE_VOXEL) / (total + _ONE_VOXEL)).mean()


def coarser(shape: Sequence[int], level: Sequence[int]) -> int:
    """How many voxels of an image of `shape` lie along one of a grid of `level`: 1, 2, 4, ..."""
    factor = 1
    while any(-(-size // factor) > coarse for size, coarse in zip(shape, level, strict=True)):
        factor *= 2
    return factor


def pooled(image: Tensor, factor: int) -> Tensor:
    """Averages over cubes of `factor` voxels an axis, the far edges repeated where they do not fill one."""
    return F.avg_pool3d(pad_to_multiple(image, factor), factor)
