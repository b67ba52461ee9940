"""A field whose cubic interpolation, which is Slicer's, stays near its linear one, which is ours and SimpleITK's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.slabs import each

_LARGEST_BEND_MM = 0.19
_AIM = 0.95  # of it, to which larger bends are straightened
_NOISE = 0.5  # places that are too bent, of seven a voxel
_ROUNDS, _PATIENCE, _SWEEPS, _PACE = 60, 40, 100, 1.3
_AT_ONCE = 50_000  # places, of 64 voxels each

Keep = Callable[[Tensor], Tensor]
"""Takes a field and gives it as it must be, whatever else is done to it."""


def as_it_is(field: Tensor) -> Tensor:
    """Where nothing has to be kept."""
    return field


def unbend(field: Tensor, spacing: Sequence[float], keep: Keep = as_it_is) -> Tensor:
    """The field changed as little as it takes for cubic interpolation of it, which is Slicer's, to differ from linear
    by no more than 0.2 mm.

    Half way between two voxels a cubic through four in a row is (9 b + 9 c - a - d) / 16, a line (b + c) / 2. Where
    they differ too much, the voxels are moved straight to where they do not (projections onto convex sets): smoothing
    there instead would cost most of the detail. A field of noise is smoothed.
    """
    lengths = torch.tensor(spacing, dtype=field.dtype, device=field.device).view(1, 3, 1, 1, 1)
    changed = torch.ones(field.shape[2], dtype=torch.bool)
    moved = field * lengths
    for index in range(_ROUNDS):
        bends = _bends(moved, changed)
        if not bends:
            return moved.div_(lengths) if index else field
        noise = index >= _PATIENCE or sum(len(those.first) for those in bends) > _NOISE * field[0, 0].numel()
        if noise:
            moved = smooth(moved, 0.5)
        else:
            _straighten(moved, bends)
            changed = _slices(moved, bends)
        if noise or keep is not as_it_is:
            moved = keep(moved / lengths).mul_(lengths)
            changed = torch.ones_like(changed)
    return moved.div_(lengths)


def _straighten(field: Tensor, bends: list[_Bends]) -> None:
    """Moves voxels of a field in mm, in place, until none of these places is too bent.

    What several ask of a voxel is averaged, so that it converges however dense they are.
    """
    values = field[0].view(3, -1)
    asked = torch.zeros_like(values[0])
    for _ in range(_SWEEPS):
        found = [those.beyond(values) for those in bends]
        bends = [those for those, _ in found]
        if not any(len(those.first) for those in bends):
            break
        for those in bends:
            those.ask(asked)
        for those, excess in found:
            those.move(values, -_PACE * excess, asked)
        for those in bends:
            those.forget(asked)


def _slices(field: Tensor, bends: list[_Bends]) -> Tensor:
    """(D,) bool: which slices have voxels around these places."""
    marked = torch.zeros(field.shape[2], dtype=torch.bool)
    for those in bends:
        reached = torch.stack([those.first, those.first + those.others[-1]]) // field[0, 0, 0].numel()
        for offset in range(4):
            marked[(reached[0] + offset).clamp(max=reached[1]).cpu()] = True
    return marked


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

    def ask(self, asked: Tensor) -> None:
        """Adds to each voxel (voxels,) how much these places have to do with it."""
        for around in self._around():
            asked.index_add_(0, around.flatten(), self._unit.square().expand(len(around), -1).flatten())

    def move(self, values: Tensor, by: Tensor, asked: Tensor) -> None:
        """Changes each difference by (3, m), less where others ask for its voxels too."""
        for around, change in zip(self._around(), (by / self.weights.norm()).split(_AT_ONCE, dim=1), strict=True):
            share = self._unit / asked[around].mul_(3).clamp_(min=1)
            values.index_add_(1, around.flatten(), (change[..., None] * share).flatten(1))

    def forget(self, asked: Tensor) -> None:
        """Takes back what was asked."""
        for around in self._around():
            asked.index_fill_(0, around.flatten(), 0)

    @property
    def _unit(self) -> Tensor:
        return self.weights / self.weights.norm()

    def _around(self) -> list[Tensor]:
        return [part[:, None] + self.others for part in self.first.split(_AT_ONCE)]


def _bends(field: Tensor, slices: Tensor) -> list[_Bends]:
    """All that are too large in a field in mm, in the middles of edges, faces and cells, in reach of the slices (D,)
    bool.
    """
    strides = torch.tensor((field.shape[3] * field.shape[4], field.shape[4], 1), device=field.device)
    found = []
    for axes in _bendable(field):
        first = (torch.cat(each(field, partial(_bent, field, slices, axes))) * strides).sum(1)
        corners = torch.cartesian_prod(*(torch.arange(4 if axis in axes else 1) for axis in (2, 3, 4)))
        others = (corners.to(field.device) * strides).sum(1)
        found.append(_Bends(first, others, _weights(len(axes)).to(field)))
    return [bends for bends in found if len(bends.first)]


def _bent(field: Tensor, slices: Tensor, axes: Sequence[int], rows: slice) -> Tensor:
    """(m, 3): the first voxels of such places within `rows`."""
    within = slice(rows.start, min(rows.stop + 3, field.shape[2])) if 2 in axes else rows
    if not bool(slices[within].any()) or (2 in axes and within.stop - within.start < 4):
        return torch.zeros((0, 3), dtype=torch.long, device=field.device)
    size = _bend(field[:, :, within], axes)[0].square_().sum(0)
    return (size > _LARGEST_BEND_MM**2).nonzero() + torch.tensor((rows.start, 0, 0), device=field.device)


def _weights(axes: int) -> Tensor:
    """Of the four voxels in a row along each of the axes, in the difference of cubic and linear."""
    cubic, linear = torch.tensor((-1.0, 9, 9, -1)) / 16, torch.tensor((0.0, 1, 1, 0)) / 2
    whole = [torch.stack(torch.meshgrid(*[one] * axes, indexing="ij")).prod(0).flatten() for one in (cubic, linear)]
    return whole[0] - whole[1]


def _bendable(field: Tensor) -> list[tuple[int, ...]]:
    """The ways to go half way between voxels: to the middle of an edge, of a face, of a cell. A cubic needs 4 in a
    row.
    """
    long = [axis for axis in (2, 3, 4) if field.shape[axis] > 3]
    return [axes for many in range(1, len(long) + 1) for axes in itertools.combinations(long, many)]


def _bend(field: Tensor, axes: Sequence[int]) -> Tensor:
    """Cubic minus linear interpolation half way between voxels along `axes`; three voxels fewer along each of them."""
    cubic, linear = field, field
    for axis in axes:
        size = field.shape[axis] - 3
        a, b, c, d = (cubic.narrow(axis, start, size) for start in range(4))
        cubic = (b + c).mul_(9 / 16).sub_((a + d), alpha=1 / 16)
        linear = (linear.narrow(axis, 1, size) + linear.narrow(axis, 2, size)).mul_(0.5)
    return cubic - linear
