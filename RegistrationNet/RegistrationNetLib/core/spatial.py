"""Voxel-unit maths of displacement fields: the only home of sample, compose, integrate and the Jacobian.

Fields are (N, 3, D, H, W) float tensors in voxels of their own grid, channels in axis order (d, h, w), and map
x -> x + u(x). `warp(moving, u)(x) = moving(x + u(x))`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from RegistrationNetLib.core.slabs import each, reach


def lattice(shape: Sequence[int], like: Tensor) -> Tensor:
    """Every voxel's own coordinates, (1, 3, D, H, W), on the device and in the type of `like`."""
    axes = [torch.arange(n, device=like.device, dtype=like.dtype) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample(volume: Tensor, positions: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Values of `volume` (N, C, D, H, W) at voxel `positions` (N, 3, d, h, w) -> (N, C, d, h, w).

    padding: "border" repeats the edge, "zeros" blends to nothing within one voxel outside.
    """
    last = torch.tensor(volume.shape[2:], device=positions.device, dtype=positions.dtype).sub(1).clamp(min=1)
    unit = positions * (2 / last)[:, None, None, None] - 1
    grid = unit.movedim(1, -1).flip(-1)
    return F.grid_sample(volume, grid, mode=mode, padding_mode=padding, align_corners=True)


def warp(volume: Tensor, displacement: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """volume(x + u(x)); (N, C, D, H, W) and (N, 3, D, H, W) of one grid."""
    return sample(volume, lattice(displacement.shape[2:], displacement) + displacement, mode, padding)


def compose(first: Tensor, then: Tensor) -> Tensor:
    """u(x) = first(x) + then(x + first(x)); voxels of one grid. Beyond the border the edge's vector holds."""
    return first + warp(then, first)


def advance(displacement: Tensor, step: Tensor, order: Sequence[int] = (0, 1, 2)) -> Tensor:
    """s + u o (id + s) for a step s of less than a voxel: `compose(s, u)` to second order in s, without sampling.

    The step acts as three, one along each axis, in this order: linear interpolation between neighbours that are known
    beforehand, in a fifth of the time. Each is one-to-one where s changes by less than a voxel a voxel, and so then is
    the whole.
    """
    out = torch.empty_like(displacement)

    def work(rows: slice) -> None:
        around, inner = reach(rows, 1, displacement.shape[2])
        part, where = displacement[:, :, around], around
        for axis in order:
            keep, where = (inner, rows) if axis == 0 else (slice(0, part.shape[2 + axis]), where)
            by = step[:, axis : axis + 1, where]
            part = _shifted(part, 2 + axis, by.clamp(min=0), by.clamp(max=0), keep)
        torch.add(part, step[:, :, rows], out=out[:, :, rows])

    each(displacement, work)
    return out


def _shifted(volume: Tensor, dim: int, ahead: Tensor, back: Tensor, keep: slice) -> Tensor:
    """Values at positions `keep` of an axis, moved along it by ahead (0 to 1) or back (-1 to 0); beyond the border the
    edge holds.
    """
    difference = volume.diff(dim=dim)
    size = keep.stop - keep.start
    out = volume.narrow(dim, keep.start, size).clone()
    upto = min(size, difference.shape[dim] - keep.start)
    out.narrow(dim, 0, upto).addcmul_(difference.narrow(dim, keep.start, upto), ahead.narrow(dim, 0, upto))
    begin = 1 if keep.start == 0 else 0
    before = difference.narrow(dim, keep.start + begin - 1, size - begin)
    out.narrow(dim, begin, size - begin).addcmul_(before, back.narrow(dim, begin, size - begin))
    return out


def integrate(velocity: Tensor, steps: int = 7) -> Tensor:
    """exp(v) by scaling and squaring: u0 = v / 2^steps, then u <- u + u o (id + u), `steps` times."""
    flow = velocity / 2**steps
    for _ in range(steps):
        flow = compose(flow, flow)
    return flow


def gradient(volume: Tensor) -> Tensor:
    """Central differences along d, h, w, one-sided at the borders, zero along an axis of one voxel;
    (N, C, D, H, W) -> (N, C, 3, D, H, W).
    """
    along = [
        torch.gradient(volume, dim=axis)[0] if volume.shape[axis] > 1 else torch.zeros_like(volume)
        for axis in (2, 3, 4)
    ]
    return torch.stack(along, dim=2)


def pull(volume: Tensor, by_value: Tensor) -> Tensor:
    """A derivative by values (N, C, D, H, W) as one by the displacement that led to them: times the volume's gradient,
    summed over the channels, (N, 3, D, H, W).
    """
    out = torch.empty_like(volume[:, :1].expand(-1, 3, -1, -1, -1), memory_format=torch.contiguous_format)

    def work(rows: slice) -> None:
        around, inner = reach(rows, 1, volume.shape[2])
        slope = gradient(volume[:, :, around])[:, :, :, inner]
        torch.sum(slope.mul_(by_value[:, :, None, rows]), dim=1, out=out[:, :, rows])

    each(volume, work)
    return out


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """det(I + du/dx) by central differences; (N, 3, D, H, W) -> (N, 1, D, H, W).

    The determinant is the same in voxels and in the world, because both describe one map in two bases.
    """
    identity = torch.eye(3, device=displacement.device, dtype=displacement.dtype).view(1, 3, 3, 1, 1, 1)
    return determinant(gradient(displacement).add_(identity))


def determinant(jacobian: Tensor) -> Tensor:
    """Of a 3 x 3 matrix in every voxel, (N, 3, 3, D, H, W) -> (N, 1, D, H, W)."""
    (a, b, c), (d, e, f), (g, h, i) = [[jacobian[:, row, col] for col in range(3)] for row in range(3)]
    return (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))[:, None]


def resize(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Trilinear resampling of the same field of view onto `shape` voxels (voxel-centre aligned)."""
    if tuple(volume.shape[2:]) == tuple(shape):
        return volume
    return F.interpolate(volume, size=tuple(shape), mode="trilinear", align_corners=False)


def onto(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """`resize` that averages where voxels become coarser: along such axes the volume is first halved, neighbour with
    neighbour, as often as that takes, so that fine detail does not come back as false coarse detail.
    """
    while any(old >= 1.5 * new for old, new in zip(volume.shape[2:], shape, strict=True)):
        sizes = zip(volume.shape[2:], shape, strict=True)
        volume = resize(volume, [max(new, -(-old // 2)) if old >= 1.5 * new else old for old, new in sizes])
    return resize(volume, shape)


def resize_field(displacement: Tensor, shape: Sequence[int]) -> Tensor:
    """`resize` for a field: the vectors are rescaled so that they stay voxels of their own grid."""
    if tuple(displacement.shape[2:]) == tuple(shape):
        return displacement
    resized = resize(displacement, shape)
    for axis, (new, old) in enumerate(zip(shape, displacement.shape[2:], strict=True)):
        resized[:, axis].mul_(new / old)
    return resized
