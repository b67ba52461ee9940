"""A field whose cubic interpolation, which is Slicer's, stays near its linear one, which is ours and SimpleITK's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from RegistrationNetLib.core.blocks import each_block
from RegistrationNetLib.core.slabs import each

_LARGEST_BEND_MM = 0.19
_AIM = 0.95  # of it, to which larger bends are brought at least
_PULL = 1.5  # how far towards its neighbours for being wholly too bent: the mean of neighbours is not straight either
_ROUNDS = 60
_AT_ONCE = 50_000  # places, of up to 64 voxels each

Keep = Callable[[Tensor], Tensor]
"""Takes a field and gives it as it must be, whatever else is done to it."""
Way = tuple[int, ...]
"""The axes along which a place is half way between voxels: one in the middle of an edge, two of a face, three of a
cell. A cubic needs four voxels in a row along each.
"""


def as_it_is(field: Tensor) -> Tensor:
    """Where nothing has to be kept."""
    return field


def unbend(field: Tensor, spacing: Sequence[float], keep: Keep = as_it_is, near: Tensor | None = None) -> Tensor:
    """The field changed where, and no more than it takes, for cubic interpolation of it, which is Slicer's, to differ
    from linear by no more than 0.2 mm.

    Half way between two voxels a cubic through four in a row is (9 b + 9 c - a - d) / 16, a line (b + c) / 2. Where
    they differ too much, the voxels beside are drawn to their neighbours, by as much as that is too large: smoothing
    all around such places, or to the same degree everywhere, would cost detail that images show.

    near: (m,) flat indices of the only voxels that have changed since nothing was too bent.
    """
    lengths = torch.tensor(spacing, dtype=field.dtype, device=field.device).view(1, 3, 1, 1, 1)
    moved = field * lengths
    for index in range(_ROUNDS):
        bends = _bends(moved, near)
        if not bends:
            return moved.div_(lengths) if index else field
        for way, places in bends.items():
            _ease(moved, way, places)
        near = torch.cat(list(bends.values()))
        if keep is not as_it_is:
            moved, near = keep(moved / lengths).mul_(lengths), None
    return moved.div_(lengths)


def _ease(field: Tensor, way: Way, places: Tensor) -> None:
    """Draws, in place, the voxels of a field in mm right around these places to their neighbours along `way`, by as
    much as a place is too bent.
    """
    values, strides = field[0].view(3, -1), [field.stride(axis) for axis in way]
    bend = _weighted(values, places, _offsets(strides, range(4), field.device), _weights(len(way)).to(field))
    excess = (1 - _AIM * _LARGEST_BEND_MM / torch.linalg.vector_norm(bend, dim=0)).clamp_(min=0)
    beside = places[:, None] + _offsets(strides, (1, 2), field.device)
    voxels, of = beside.unique(return_inverse=True)
    most = torch.zeros_like(excess[:1].expand(len(voxels))).scatter_reduce(
        0, of.flatten(), excess[:, None].expand_as(beside).flatten(), "amax"
    )
    taps = torch.tensor((0.25, 0.5, 0.25)).to(field)
    mean = _weighted(values, voxels, _offsets(strides, (-1, 0, 1), field.device), _outer(taps, len(way)))
    values[:, voxels] += most.mul_(_PULL).clamp_(max=1) * (mean - values[:, voxels])


def _weighted(values: Tensor, at: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """(C, m): sums of values (C, voxels) around the voxels `at` (m,)."""
    return torch.cat([values[:, part[:, None] + offsets] @ weights for part in at.split(_AT_ONCE)], dim=1)


def _offsets(strides: Sequence[int], steps: Iterable[int], device: torch.device) -> Tensor:
    """How far, in flat indices, voxels lie that are so many steps away along each of some axes, with these strides."""
    along = torch.tensor(list(steps), device=device)
    offsets = torch.zeros(1, dtype=torch.long, device=device)
    for stride in strides:
        offsets = (offsets[:, None] + stride * along).flatten()
    return offsets


def _weights(axes: int) -> Tensor:
    """Of the four voxels in a row along each of the axes, in the difference of cubic and linear."""
    return _outer(torch.tensor((-1.0, 9, 9, -1)) / 16, axes) - _outer(torch.tensor((0.0, 1, 1, 0)) / 2, axes)


def _outer(taps: Tensor, axes: int) -> Tensor:
    """The product of taps along each of so many axes, flat."""
    whole = taps
    for _ in range(axes - 1):
        whole = (whole[:, None] * taps).flatten()
    return whole


def _bends(field: Tensor, near: Tensor | None) -> dict[Way, Tensor]:
    """For each way the places, (m,) flat indices of the first voxels around them, where a field in mm is too bent;
    where `near` is given, only around those voxels.
    """
    strides = torch.tensor(field.stride()[2:], device=field.device)

    def in_slab(rows: slice) -> dict[Way, Tensor]:
        begin = torch.tensor([[rows.start, 0, 0]], device=field.device)
        return flat(begin, _too_bent(field[:, :, rows.start : rows.stop + 3], rows.stop - rows.start))

    def in_blocks(starts: Tensor, blocks: Tensor) -> dict[Way, Tensor]:
        return flat(starts, _too_bent(blocks, blocks.shape[2]))

    def flat(starts: Tensor, found: dict[Way, Tensor]) -> dict[Way, Tensor]:
        return {way: ((at[:, 1:] + starts[at[:, 0]]) * strides).sum(1) for way, at in found.items()}

    parts = each(field, in_slab) if near is None else each_block(field, near, 3, (0, 3), in_blocks)
    ways = sorted({way for part in parts for way in part})
    return {way: torch.cat([part[way] for part in parts if way in part]).unique() for way in ways}


def _too_bent(field: Tensor, rows: int) -> dict[Way, Tensor]:
    """For each way the first voxels of such places in fields (N, 3, D, H, W) in mm, as indices (m, 4) of (N, D, H, W),
    as far as they lie in the first `rows` of D.
    """
    found = {}

    def look(cubic: Tensor, linear: Tensor, way: Way) -> None:
        """Half way along these axes, and from there along those that follow."""
        if way:
            found[way] = ((cubic - linear).square_().sum(1) > _LARGEST_BEND_MM**2).nonzero()
        for axis in range(max((2, *way)) + 1, 5):
            if cubic.shape[axis] > 3:
                look(*_half_way(cubic, linear, axis), (*way, axis))

    if field.shape[2] > 3:
        look(*_half_way(field, field, 2), (2,))
    look(field[:, :, :rows], field[:, :, :rows], ())
    return {way: at for way, at in found.items() if len(at)}


def _half_way(cubic: Tensor, linear: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Both interpolated half way between voxels along an axis; three voxels fewer along it."""
    size = cubic.shape[axis] - 3
    a, b, c, d = (cubic.narrow(axis, start, size) for start in range(4))
    middle = (linear.narrow(axis, 1, size) + linear.narrow(axis, 2, size)).mul_(0.5)
    return (b + c).mul_(9 / 16).sub_(a + d, alpha=1 / 16), middle
