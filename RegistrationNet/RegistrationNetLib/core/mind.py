"""MIND-SSC: what surrounds a voxel, described by how alike the patches next to it are to one another.

After Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using self-similarities"
(MICCAI 2013). Brightness plays no part in it, only what differs from what, so T1 and T2, or CT and MR, look alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from RegistrationNetLib.core.filters import box_sum

_PATCH = 1  # half width, voxels
REACH = _PATCH + 1
"""How far, in voxels along an axis, a descriptor sees."""
_EPSILON = 1e-4  # added to the local variance of values about [-0.5, 0.5]: smaller differences are noise


def _pairs() -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """The 12 pairs among the six face neighbours that are not opposite each other, as offsets (d, h, w)."""
    faces = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
    return [(a, b) for a, b in itertools.combinations(faces, 2) if any(x + y for x, y in zip(a, b, strict=True))]


PAIRS = _pairs()


def descriptors(volume: Tensor) -> Tensor:
    """(N, 1, D, H, W) -> (N, 12, D, H, W) in (0, 1], a channel for each of `PAIRS`: exp(-(S - least S) / V), with S the
    mean squared difference of two patches and V its mean over the channels, a local variance.

    Channels belong to directions of the voxel lattice: images are comparable on lattices of one orientation only.
    """
    mean = 1 / box_sum(torch.ones_like(volume), _PATCH)
    padded = F.pad(volume, [1] * 6, mode="replicate")
    out = volume.new_empty((volume.shape[0], len(PAIRS), *volume.shape[2:]))
    for channel, (one, other) in enumerate(PAIRS):
        difference = _shifted(padded, one) - _shifted(padded, other)
        out[:, channel : channel + 1] = box_sum(difference.square_(), _PATCH).mul_(mean)
    if out.requires_grad:  # nothing that is needed for the gradient may be changed in place
        above = out - out.amin(1, keepdim=True)
        return (-above / (above.mean(1, keepdim=True) + _EPSILON)).exp()
    out -= out.amin(1, keepdim=True)
    return out.div_(out.mean(1, keepdim=True).add_(_EPSILON)).neg_().exp_()


def _shifted(padded: Tensor, offset: Sequence[int]) -> Tensor:
    """The volume seen from each voxel's neighbour; `padded` has one layer more on every side."""
    for axis, step in zip((2, 3, 4), offset, strict=True):
        padded = padded.narrow(axis, 1 + step, padded.shape[axis] - 2)
    return padded


@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike descriptors are to those of one fixed image: 1 less the mean of their squared differences.

    fixed: (1, C, D, H, W). mask: (1, 1, D, H, W) of the voxels that count, or None for all.
    """

    fixed: Tensor
    mask: Tensor | None = None

    def within(self, mask: Tensor) -> Likeness:
        """The same comparison of the voxels of another mask."""
        return replace(self, mask=mask)

    def __call__(self, moving: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weighted mean over all voxels (a scalar), and the derivative of their weighted sum by each moving value,
        (1, C, D, H, W).

        weight: (1, 1, D, H, W), or None for 1; voxels outside the mask count nothing.
        """
        if self.mask is not None:
            weight = self.mask if weight is None else weight * self.mask
        difference = self.fixed - moving
        error = torch.linalg.vector_norm(difference, dim=1, keepdim=True).square_().div_(moving.shape[1])
        gradient = difference.mul_(2 / moving.shape[1])
        if weight is None:
            return 1 - error.mean(), gradient
        return 1 - (error * weight).sum() / weight.sum().clamp(min=1), gradient.mul_(weight)


def concordance(fixed: Tensor, moving: Tensor, weight: Tensor) -> Tensor:
    """How far descriptors agree beyond chance: 1 for equal ones, about 0 for unrelated ones; a scalar.

    fixed, moving: (1, C, D, H, W); weight: (1, 1, D, H, W). The squared differences, over what they would be were the
    two independent, both with the means and variances they have.
    """
    total = weight.sum().clamp(min=1)
    mean = lambda values: (weight * values).sum((2, 3, 4), keepdim=True) / total  # noqa: E731
    f, m = mean(fixed), mean(moving)
    chance = mean((fixed - f) ** 2) + mean((moving - m) ** 2) + (f - m) ** 2
    return 1 - mean((fixed - moving) ** 2).sum() / chance.sum().clamp(min=1e-12)
