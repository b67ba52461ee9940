"""Where two images could fit: every shift of the moving image at once, for many turns of it, by Fourier transforms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.core.ratio import soft_classes
from RegistrationNetLib.core.slabs import spread
from RegistrationNetLib.core.threshold import otsu
from RegistrationNetLib.engine.pose import LEAST_OVERLAP, about, coarse
from RegistrationNetLib.engine.prepare import Prepared

_CELLS = 2500  # of the fixed image's content; the voxel size follows from it
_CLASSES = 4
_MARGIN = 2  # cells of surroundings that count beside the content
_PEAKS = 2  # shifts kept of each turn
_PEAK_RADIUS = 2  # cells
_LEAST_VALID = 1e-3
_FLAT = 0.05  # of the moving image's variance, added to that in an overlap, lest next to nothing explains nothing well


@dataclass(frozen=True)
class Found:
    """A pose, and how well the fixed image's values foretell the moving one's there, 0 to 1."""

    score: float
    affine: Affine


def near_turns(degrees: float, step: float) -> list[NDArray[np.float64]]:
    """Rotation matrices of up to `degrees`, so many that any half a step smaller lies within 0.56 `step` of one.

    A body-centred cubic lattice of rotation vectors, the smallest first.
    """
    count = int(degrees / step) + 2
    corners = np.array(list(itertools.product(range(-count, count + 1), repeat=3)), float)
    vectors = step * np.concatenate([corners, corners + 0.5])
    length = np.linalg.norm(vectors, axis=1)
    order = np.argsort(length, kind="stable")
    return list(Rotation.from_rotvec(vectors[order][length[order] <= degrees], degrees=True).as_matrix())


def all_turns(step: float) -> list[NDArray[np.float64]]:
    """Each of the 24 ways to turn a box, and around it the `near_turns` that lie nearer to it than to the others.

    Where cells meet, the nearest may be 0.65 `step` away.
    """
    ways = Rotation.create_group("O").as_matrix()
    near = np.stack(near_turns(63.0, step))
    nearest = np.einsum("nij,tij->tn", ways, near).max(1)  # largest trace, smallest angle
    near = near[np.trace(near, axis1=1, axis2=2) >= nearest - 1e-9]
    turns = np.concatenate([way @ near for way in ways])
    return list(turns[np.unique(turns.round(6), axis=0, return_index=True)[1]])  # cells share their borders


def sweep(
    prepared: Prepared, turns: Sequence[NDArray[np.float64]], progress: Callable[[float], None] = lambda fraction: None
) -> list[Found]:
    """The best shifts of each turn, by the correlation ratio over what both images show; best first."""
    found = spread(turns, _Table.of(prepared).best, progress)
    return sorted((one for best in found for one in best), key=lambda one: -one.score)


@dataclass(frozen=True, eq=False)
class _Table:
    """The fixed image's classes, Fourier transformed, and the moving image to be turned.

    The moving image is sampled on the fixed image's lattice, as far as a ball around its content reaches.
    """

    grid: Grid
    classes: Tensor  # (K, D, H, W / 2 + 1), their transforms' conjugates
    shape: list[int]
    seen: float  # voxels
    moving: Tensor  # (1, 2, ...): values times validity, and validity
    moving_grid: Grid
    middle: NDArray[np.float64]
    offsets: Tensor  # (d, h, w, 3) world of the ball's lattice about its middle

    @classmethod
    def of(cls, prepared: Prepared) -> _Table:
        grid, values, weight, size = _cropped(prepared)
        moving, valid, moving_grid = coarse(prepared.moving, prepared.moving_mask, prepared.moving_grid, 0.8 * size)
        content = moving_grid.to_world(np.argwhere(_content(moving)))
        middle = content.mean(0)
        reach = np.linalg.norm(content - middle, axis=1).max() + _MARGIN * grid.spacing
        lattice = [2 * int(np.ceil(r / s)) + 1 for r, s in zip(reach, grid.spacing, strict=True)]
        steps = [np.arange(n) - n // 2 for n in lattice]
        offsets = np.stack(np.meshgrid(*steps, indexing="ij"), -1) @ grid.voxel_to_world[:3, :3].T
        seen, other = float(weight.sum()), float(valid.sum()) * moving_grid.voxel_volume / grid.voxel_volume
        # Shifts that share less along an axis than the least overlap are not asked for, so they may wrap around.
        shared = [int(LEAST_OVERLAP * min(seen, other) * n / grid.voxels) for n in grid.shape]
        shape = [
            scipy.fft.next_fast_len(n + m - least, real=True)
            for n, m, least in zip(grid.shape, lattice, shared, strict=True)
        ]
        classes = torch.fft.rfftn(soft_classes(values, _CLASSES) * weight, shape, dim=(1, 2, 3)).conj()
        both = torch.cat([(moving - 0.5) * valid, valid], dim=1)
        world = torch.from_numpy(offsets.astype(np.float32))
        return cls(grid, classes, shape, seen, both, moving_grid, middle, world)

    def best(self, turn: NDArray[np.float64]) -> list[Found]:
        """The highest peaks over all shifts of the image turned by a rotation matrix."""
        score = self._scores(*self._turned(turn))
        found = []
        for _ in range(_PEAKS):
            peak = np.unravel_index(int(score.argmax()), score.shape)
            if score[peak] <= 0:
                break
            found.append(Found(float(score[peak]), self._affine(turn, np.array(peak))))
            around = np.array(peak)[:, None] + np.arange(-_PEAK_RADIUS, _PEAK_RADIUS + 1)
            score[np.ix_(*(indices % size for indices, size in zip(around, self.shape, strict=True)))] = -1
        return found

    def _turned(self, turn: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Values times validity and validity of the moving image on the ball's lattice, (d, h, w) each."""
        scale = 2 / np.maximum(np.array(self.moving_grid.shape) - 1, 1)
        linear = scale[:, None] * self.moving_grid.world_to_voxel[:3, :3] @ turn
        shift = scale * self.moving_grid.to_voxel(self.middle) - 1
        where = self.offsets @ torch.from_numpy(linear.T).float() + torch.from_numpy(shift).float()
        seen, valid = F.grid_sample(self.moving, where.flip(-1)[None], padding_mode="zeros", align_corners=True)[0]
        return seen, valid

    def _scores(self, seen: Tensor, valid: Tensor) -> Tensor:
        """The correlation ratio at every shift, -1 where too little is shared."""
        square = seen * seen / valid.clamp(min=_LEAST_VALID)
        images = torch.fft.rfftn(torch.stack([valid, seen, square]), self.shape, dim=(1, 2, 3))
        products = [self.classes * images[0], self.classes * images[1], (self.classes.sum(0) * images[2])[None]]
        sums = torch.fft.irfftn(torch.cat(products), self.shape, dim=(1, 2, 3))
        counts, totals, squares = sums[:_CLASSES].clamp_(min=0), sums[_CLASSES:-1], sums[-1]
        shared = counts.sum(0)
        constant = totals.sum(0).square_() / shared.clamp(min=1)
        explained = totals.square_().div_(counts.clamp(min=0.5)).sum(0) - constant
        size = valid.sum().clamp(min=1)
        variance = square.sum() / size - (seen.sum() / size) ** 2
        score = explained / (squares - constant + _FLAT * variance * shared + 1e-6)
        return torch.where(shared < LEAST_OVERLAP * min(self.seen, float(size)), -1.0, score)

    def _affine(self, turn: NDArray[np.float64], peak: NDArray[np.int_]) -> Affine:
        """Fixed voxel i lies on lattice point i + lag of the turned ball."""
        lattice = np.array(self.offsets.shape[:3])
        lag = np.where(peak < lattice, peak, peak - self.shape)
        goes_to = self.middle + turn @ (self.grid.voxel_to_world[:3, :3] @ (lag - lattice // 2))
        return about(self.grid.to_world((0, 0, 0)), turn, goes_to)


def _cropped(prepared: Prepared) -> tuple[Grid, Tensor, Tensor, float]:
    """The fixed image's content and a margin on voxels that cut the content in _CELLS: grid, values, weight, size."""
    values, _, grid = coarse(prepared.fixed, None, prepared.fixed_grid, 6.0)
    where = np.argwhere(_content(values))
    size = float(np.prod((np.ptp(where, axis=0) + 1) * grid.spacing) / _CELLS) ** (1 / 3)
    values, weight, grid = coarse(prepared.fixed, prepared.fixed_mask, prepared.fixed_grid, size)
    where = np.argwhere(_content(values))
    near = np.maximum(where.min(0) - _MARGIN, 0)
    far = np.minimum(where.max(0) + 1 + _MARGIN, grid.shape)
    box = tuple(slice(a, b) for a, b in zip(near, far, strict=True))
    return grid.padded(-near, far - grid.shape), values[0, 0][box], weight[0, 0][box], size


def _content(volume: Tensor) -> NDArray[np.bool_]:
    """Above Otsu's threshold, or everywhere where nothing is."""
    values = volume[0, 0].numpy()
    above = values > otsu(values)
    return above if above.any() else np.ones_like(above)
