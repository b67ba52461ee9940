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

from RegistrationNetLib.core.filters import box_sum, smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Displacement
from RegistrationNetLib.core.resample import to_displacement
from RegistrationNetLib.core.slabs import each, reach
from RegistrationNetLib.engine.bends import Keep, as_it_is, unbend

_LEAST_DETERMINANT = 0.05
_BLEND = 4  # voxels from a mark at which its smoothing ends
_STEEPEST_TAPER = 0.6  # voxels a voxel, at which a field is first led to zero beyond the border
_GENTLEST_TAPER = 0.1


def fit_to_store(field: Tensor, spacing: Sequence[float], keep: Keep = as_it_is) -> Tensor:
    """The field neither folded nor bent; mending one may bring back a little of the other."""
    for _ in range(4):
        straight = unbend(field, spacing, keep)
        field = unfold(straight, keep=keep)
        if field is straight:
            break
    return field


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


def unfold(field: Tensor, least: float = _LEAST_DETERMINANT, keep: Keep = as_it_is) -> Tensor:
    """The field smoothed, only there and ever more, where its determinant falls below `least` in any corner of a voxel.

    In the unheard-of case that this does not help, nothing is kept, and else the field is weakened as a whole.
    """
    attempts, widening = (20, 0.5) if keep is as_it_is else (40, 0.1)  # wide smoothing runs into what is kept
    for attempt in range(attempts):
        low = corner_determinant(field) < least
        if not bool(low.any()):
            return field
        field = keep(_smoothed_at(low, field, 1 + widening * attempt))
    return unfold(field / 2 if keep is as_it_is else field, least)


def corner_determinant(field: Tensor) -> Tensor:
    """The smallest determinant over the eight corners of each voxel, from one-sided differences.

    Stricter than central differences: where it is positive, trilinear interpolation does not fold either.
    """

    def work(rows: slice) -> Tensor:
        around, inner = reach(rows, 1, field.shape[2])
        sides = [_sides(field[0, :, around], axis, inner) for axis in range(3)]
        least = torch.full_like(field[0, 0, rows], torch.inf)
        for along_h, along_w in itertools.product(*sides[1:]):
            normal = _cross(along_h, along_w)
            for along_d in sides[0]:
                torch.minimum(least, _dot(along_d, normal), out=least)
        return least

    return torch.cat(each(field, work))[None, None]


def _dot(a: Tensor, b: Sequence[Tensor]) -> Tensor:
    """(3, ...) and (3, ...) -> (...), in three passes."""
    return (a[0] * b[0]).addcmul_(a[1], b[1]).addcmul_(a[2], b[2])


def _cross(a: Tensor, b: Tensor) -> list[Tensor]:
    """(3, ...) and (3, ...) -> three components; four times as fast as torch.linalg.cross."""
    return [(a[i] * b[j]).addcmul_(a[j], b[i], value=-1) for i, j in ((1, 2), (2, 0), (0, 1))]


def _sides(field: Tensor, axis: int, rows: slice) -> list[Tensor]:
    """How x + u changes from the voxel before and to the voxel after along an axis, (3, d, H, W) each; the one there is
    at the border; none along an axis of one voxel, where the step itself stands.
    """
    steps = field.diff(dim=1 + axis)
    if not steps.shape[1 + axis]:
        steps = torch.zeros_like(field)
    steps[axis] += 1
    ends = [steps.narrow(1 + axis, end, 1) for end in (0, steps.shape[1 + axis] - 1)]
    both = [torch.cat([ends[0], steps], 1 + axis), torch.cat([steps, ends[1]], 1 + axis)]
    return [side.narrow(1 + axis, 0, field.shape[1 + axis])[:, rows] for side in both]


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
