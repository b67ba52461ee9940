"""Making a field fit to keep: without folds, without bends that cubic interpolation would overshoot, led to zero beyond
its border.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from RegistrationNetLib.core.filters import box_sum, reach, slabs, smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Displacement
from RegistrationNetLib.core.resample import to_displacement

_LEAST_DETERMINANT = 0.05
_LARGEST_BEND_MM = 0.19
_AIM = 0.95  # of it, to which larger bends are straightened
_NOISE = 0.2  # of the voxels
_ROUNDS, _SWEEPS, _PACE = 40, 100, 1.3
_AT_ONCE = 50_000  # places, of 64 voxels each
_BLEND = 4  # voxels from a mark at which its smoothing ends
_STEEPEST_TAPER = 0.6  # voxels a voxel, at which a field is first led to zero beyond the border
_GENTLEST_TAPER = 0.1


Keep = Callable[[Tensor], Tensor]
"""Takes a field and gives it as it must be, whatever else is done to it."""


def as_it_is(field: Tensor) -> Tensor:
    """Where nothing has to be kept."""
    return field


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


def unbend(field: Tensor, spacing: Sequence[float], keep: Keep = as_it_is) -> Tensor:
    """The field changed as little as it takes for cubic interpolation of it, which is Slicer's, to differ from linear
    by no more than 0.2 mm.

    Half way between two voxels a cubic through four in a row is (9 b + 9 c - a - d) / 16, a line (b + c) / 2. Where
    they differ too much, the voxels are moved straight to where they do not (projections onto convex sets): smoothing
    there instead would cost most of the detail. A field that is bent nearly everywhere is smoothed first.
    """
    lengths = torch.tensor(spacing, dtype=field.dtype, device=field.device).view(3, 1)
    changed = torch.ones(field.shape[2], dtype=torch.bool)
    for _ in range(_ROUNDS):
        bends = _bends(field, lengths, changed)
        if not bends:
            break
        noise = sum(len(each.first) for each in bends) > _NOISE * field[0, 0].numel()
        before, field = field, keep(smooth(field, 0.5) if noise else _straightened(field, bends, lengths))
        changed = (before != field).any(1).flatten(2).any(2)[0].cpu()
    return field


def _straightened(field: Tensor, bends: list[_Bends], lengths: Tensor) -> Tensor:
    """With what is too bent, and only that, moved until it no longer is (SIRT: what many ask of a voxel is averaged, so
    that it converges however dense they are).
    """
    values = field[0].flatten(1) * lengths
    for _ in range(_SWEEPS):
        found = [each.beyond(values) for each in bends]
        bends = [each for each, _ in found]
        if not any(len(each.first) for each in bends):
            break
        share = values.new_zeros(values.shape[1])
        for each in bends:
            each.ask(share)
        for each, excess in found:
            each.move(values, -_PACE * excess, share)
    return (values / lengths).view_as(field)


@dataclass(frozen=True, eq=False)
class _Bends:
    """Places where cubic and linear interpolation differ: flat indices of the first voxel around each of them (m,),
    where the others lie from there (n,), and the weight of each in the difference (n,).
    """

    first: Tensor
    others: Tensor
    weights: Tensor

    def beyond(self, values: Tensor) -> tuple[_Bends, Tensor]:
        """Those of them that are too large in values (3, voxels), in mm, and by how much, (3, m)."""
        bend = torch.cat([values[:, around] @ self.weights for around in self._around()], dim=1)
        size = torch.linalg.vector_norm(bend, dim=0)
        large = size > _LARGEST_BEND_MM
        return replace(self, first=self.first[large]), bend[:, large] * (1 - _AIM * _LARGEST_BEND_MM / size[large])

    def ask(self, share: Tensor) -> None:
        """Adds to each voxel (voxels,) how much these places have to do with it."""
        for around in self._around():
            share.index_add_(0, around.flatten(), self._unit.square().expand(len(around), -1).flatten())

    def move(self, values: Tensor, by: Tensor, share: Tensor) -> None:
        """Changes each difference by (3, m), as far as its voxels are not shared with others."""
        for around, change in zip(self._around(), (by / self.weights.norm()).split(_AT_ONCE, dim=1), strict=True):
            moves = change[..., None] * self._unit / share[around].mul_(2.0).clamp_(min=1)
            values.index_add_(1, around.flatten(), moves.flatten(1))

    @property
    def _unit(self) -> Tensor:
        return self.weights / self.weights.norm()

    def _around(self) -> list[Tensor]:
        return [part[:, None] + self.others for part in self.first.split(_AT_ONCE)]


def _bends(field: Tensor, lengths: Tensor, slices: Tensor) -> list[_Bends]:
    """All that are too large, half way along edges and in the middles of cells, in reach of the slices (D,) bool."""
    strides = torch.tensor((field.shape[3] * field.shape[4], field.shape[4], 1))
    found = []
    for axes in _bendable(field):
        places = [torch.zeros((0, 3), dtype=torch.long)]
        for rows in slabs(field):
            within = slice(rows.start, min(rows.stop + 3, field.shape[2])) if 2 in axes else rows
            if bool(slices[within].any()) and (2 not in axes or within.stop - within.start > 3):
                size = _bend(field[:, :, within], axes)[0].mul_(lengths.view(3, 1, 1, 1)).square_().sum(0)
                places.append((size > _LARGEST_BEND_MM**2).nonzero().cpu() + torch.tensor((rows.start, 0, 0)))
        others = torch.cartesian_prod(*(torch.arange(4 if axis in axes else 1) for axis in (2, 3, 4))) @ strides
        first = torch.cat(places) @ strides
        found.append(_Bends(first.to(field.device), others.to(field.device), _weights(len(axes)).to(field)))
    return [each for each in found if len(each.first)]


def _weights(axes: int) -> Tensor:
    """Of the four voxels in a row along each of the axes, in the difference of cubic and linear."""
    cubic, linear = torch.tensor((-1.0, 9, 9, -1)) / 16, torch.tensor((0.0, 1, 1, 0)) / 2
    whole = [torch.stack(torch.meshgrid(*[one] * axes, indexing="ij")).prod(0).flatten() for one in (cubic, linear)]
    return whole[0] - whole[1]


def _bendable(field: Tensor) -> list[tuple[int, ...]]:
    """The ways to go half way between voxels: along an edge of a cell, and to its middle. A cubic needs 4 in a row."""
    long = tuple(axis for axis in (2, 3, 4) if field.shape[axis] > 3)
    return [*((axis,) for axis in long), *([long] if len(long) > 1 else [])]


def _bend(field: Tensor, axes: Sequence[int]) -> Tensor:
    """Cubic minus linear interpolation half way between voxels along `axes`; three voxels fewer along each of them."""
    cubic, linear = field, field
    for axis in axes:
        size = field.shape[axis] - 3
        a, b, c, d = (cubic.narrow(axis, start, size) for start in range(4))
        cubic = (b + c).mul_(9 / 16).sub_((a + d), alpha=1 / 16)
        linear = (linear.narrow(axis, 1, size) + linear.narrow(axis, 2, size)).mul_(0.5)
    return cubic - linear


def corner_determinant(field: Tensor) -> Tensor:
    """The smallest determinant over the eight corners of each voxel, from one-sided differences.

    Stricter than central differences: where it is positive, trilinear interpolation does not fold either.
    """
    out = torch.empty_like(field[:, :1])
    for rows in slabs(field):
        around, inner = reach(rows, 1, field.shape[2])
        sides = [_sides(field[0, :, around], axis, inner) for axis in range(3)]
        least = torch.full_like(out[0, 0, rows], torch.inf)
        for along_h, along_w in itertools.product(*sides[1:]):
            normal = _cross(along_h, along_w)
            for along_d in sides[0]:
                torch.minimum(least, _dot(along_d, normal), out=least)
        out[0, 0, rows] = least
    return out


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
    for rows in slabs(field):
        around, inner = reach(rows, _BLEND + math.ceil(3 * sigma), field.shape[2])
        if bool(where[:, :, reach(rows, _BLEND, field.shape[2])[0]].any()):
            part = field[:, :, around]
            marked = (box_sum(where[:, :, around].to(field.dtype), 1) > 0).to(field.dtype)
            part = torch.lerp(part, smooth(part, sigma), smooth(marked, 1.0))
            out[:, :, rows] = part[:, :, inner]
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
