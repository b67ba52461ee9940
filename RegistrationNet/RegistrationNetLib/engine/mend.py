"""Making a field fit to keep: without folds, without bends that cubic interpolation would overshoot, led to zero beyond
its border.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from RegistrationNetLib.core.blocks import each_block
from RegistrationNetLib.core.filters import box_sum, smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Displacement
from RegistrationNetLib.core.resample import to_displacement
from RegistrationNetLib.core.slabs import each, reach
from RegistrationNetLib.engine.bends import Keep, as_it_is, unbend

_LEAST_DETERMINANT = 0.05
_ATTEMPTS, _WIDENING = 60, 0.02  # smoothing that widens faster than its blending folds at its own border
_BLEND = 4  # voxels from a mark at which its smoothing ends
_STEEPEST_TAPER = 0.6  # voxels a voxel, at which a field is first led to zero beyond the border
_GENTLEST_TAPER = 0.1


def fit_to_store(field: Tensor, spacing: Sequence[float], keep: Keep = as_it_is) -> Tensor:
    """The field neither folded nor bent; mending one may bring back a little of the other."""
    near = None
    for _ in range(4):
        straight = unbend(field, spacing, keep, near)
        unfolded = unfold(straight, keep=keep, near=None if near is None else _changed(field, straight))
        field, near = unfolded, _changed(straight, unfolded)
        if not len(near):
            break
    return field


def _changed(before: Tensor, after: Tensor) -> Tensor:
    """Flat indices of the voxels in which two fields (1, 3, D, H, W) differ."""
    if before is after:
        return torch.zeros(0, dtype=torch.long, device=after.device)
    differ = each(after, lambda rows: (before[:, :, rows] != after[:, :, rows]).any(1))
    return torch.cat(differ, dim=1).flatten().nonzero()[:, 0]


def extend(field: Tensor, grid: Grid) -> Displacement:
    """The field in mm, continued beyond `grid` and led smoothly to zero there; its outer two layers are exactly zero.

    field: (1, 3, D, H, W) voxels of `grid`. The margin is as long as leading it to zero without a fold needs: what
    matters is how steeply the component along the axis is squeezed together; the others may fall faster.
    """
    steepness = _STEEPEST_TAPER
    while True:
        margins = [_margin(field, axis, steepness) for axis in range(3)]
        padded = _tapered(field, margins)
        steepness /= 1.5
        if steepness < _GENTLEST_TAPER or float(corner_determinant(padded).min()) > 0:
            break
    return to_displacement(padded, grid.padded([m[0] for m in margins], [m[1] for m in margins]))


def unfold(
    field: Tensor, least: float = _LEAST_DETERMINANT, keep: Keep = as_it_is, near: Tensor | None = None
) -> Tensor:
    """The field smoothed, only there and ever more, where its determinant falls below `least` in any corner of a voxel.

    In the unheard-of case that this does not help, nothing is kept, and else the field is weakened as a whole.

    near: (m,) flat indices of the only voxels that have changed since there was no fold.
    """
    for attempt in range(_ATTEMPTS):
        low = _low(field, least, near)
        if not bool(low.any()):
            return field
        smoothed = keep(_smoothed_at(low, field, 1 + _WIDENING * attempt))
        near, field = _changed(field, smoothed), smoothed
    return unfold(field / 2 if keep is as_it_is else field, least)


def corner_determinant(field: Tensor) -> Tensor:
    """The smallest determinant over the eight corners of each voxel, from one-sided differences.

    Stricter than central differences: those of trilinear interpolation at the corners of its cells. Positive at all
    eight, they leave next to no shape of a cell that folds inside.
    """

    def work(rows: slice) -> Tensor:
        around, inner = reach(rows, 1, field.shape[2])
        return _corners(field[:, :, around])[:, inner]

    return torch.cat(each(field, work), dim=1)[None]


def _low(field: Tensor, least: float, near: Tensor | None) -> Tensor:
    """(1, 1, D, H, W) bool: where the corner determinant is below `least`; looked for only around voxels `near`."""
    if near is None:
        return corner_determinant(field) < least
    low = torch.zeros_like(field[:, :1], dtype=torch.bool)

    def work(starts: Tensor, blocks: Tensor) -> Tensor:
        at = (_corners(blocks) < least).nonzero()
        return at[:, 1:] + starts[at[:, 0]]

    for at in each_block(field, near, 1, (1, 1), work):
        low[0, 0][at.unbind(1)] = True
    return low


def _corners(field: Tensor) -> Tensor:
    """The smallest determinant over the corners of each voxel of fields (N, 3, D, H, W), as far as they have them."""
    sides = [_sides(field.transpose(0, 1), axis) for axis in range(3)]
    least = torch.full_like(field[:, 0], torch.inf)
    for along_h, along_w in itertools.product(*sides[1:]):
        normal = _cross(along_h, along_w)
        for along_d in sides[0]:
            torch.minimum(least, _dot(along_d, normal), out=least)
    return least


def _dot(a: Tensor, b: Sequence[Tensor]) -> Tensor:
    """(3, ...) and (3, ...) -> (...), in three passes."""
    return (a[0] * b[0]).addcmul_(a[1], b[1]).addcmul_(a[2], b[2])


def _cross(a: Tensor, b: Tensor) -> list[Tensor]:
    """(3, ...) and (3, ...) -> three components; four times as fast as torch.linalg.cross."""
    return [(a[i] * b[j]).addcmul_(a[j], b[i], value=-1) for i, j in ((1, 2), (2, 0), (0, 1))]


def _sides(field: Tensor, axis: int) -> list[Tensor]:
    """How x + u (3, N, D, H, W) changes from the voxel before and to the voxel after along an axis; the one there is at
    the border; none along an axis of one voxel, where the step itself stands.
    """
    dim = 2 + axis
    steps = field.diff(dim=dim)
    if not steps.shape[dim]:
        steps = torch.zeros_like(field)
    steps[axis] += 1
    ends = [steps.narrow(dim, end, 1) for end in (0, steps.shape[dim] - 1)]
    both = [torch.cat([ends[0], steps], dim), torch.cat([steps, ends[1]], dim)]
    return [side.narrow(dim, 0, field.shape[dim]) for side in both]


def _smoothed_at(where: Tensor, field: Tensor, sigma: float) -> Tensor:
    """The field, blended into its smoothed version at and around the voxels marked (1, 1, D, H, W)."""
    out = field.clone()

    def work(rows: slice) -> None:
        around, inner = reach(rows, _BLEND + math.ceil(3 * sigma), field.shape[2])
        if bool(where[:, :, reach(rows, _BLEND, field.shape[2])[0]].any()):
            part = field[:, :, around]
            marked = (box_sum(where[:, :, around].to(field.dtype), 1) > 0).to(field.dtype)
            part = torch.lerp(part, smooth(part, sigma), smooth(marked, 1.0))
            out[:, :, rows] = part[:, :, inner]

    each(field, work)
    return out


def _tapered(field: Tensor, margins: list[tuple[int, int]]) -> Tensor:
    padded = F.pad(field, [size for axis in (2, 1, 0) for size in margins[axis]], mode="replicate")
    for axis, (before, after) in enumerate(margins):
        ramp = torch.ones(padded.shape[2 + axis])
        ramp[:before] = _ramp(before).flip(0)
        ramp[len(ramp) - after :] = _ramp(after)
        padded *= ramp.view([-1 if dim == axis + 2 else 1 for dim in range(5)])
    return padded


def _margin(field: Tensor, axis: int, steepness: float) -> tuple[int, int]:
    """Layers to add at both ends of an axis: two of zero, and a ramp long enough for its slope."""
    sizes = []
    for end, outward in ((0, -1), (-1, 1)):
        face = field.select(2 + axis, end)
        squeezed = float((outward * face[:, axis]).max().clamp(min=0))
        longest = max(squeezed, float(face.abs().max()) / 2)
        sizes.append(2 + max(1, math.ceil(math.pi / 2 * longest / steepness)))
    return sizes[0], sizes[1]


def _ramp(size: int) -> Tensor:
    """From near 1 at the border to exactly 0 in the outer two layers: half a cosine."""
    inner = size - 2
    return torch.cat([0.5 + 0.5 * torch.cos(torch.pi * torch.arange(1, inner + 1) / (inner + 1)), torch.zeros(2)])
