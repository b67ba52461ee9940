"""How alike two images are under an affine map, and the map that makes them most alike from a given start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.core.ratio import correlation_ratio, soft_classes
from RegistrationNetLib.core.similarity import LocalCorrelation
from RegistrationNetLib.core.threshold import otsu
from RegistrationNetLib.engine.prepare import Prepared

LEAST_OVERLAP = 0.5
"""Of what the smaller field of view could share; a pose with less is pushed back."""

_MOST_VOXELS = 150_000  # more add time, not accuracy, to twelve numbers
_CLASSES = 8
_STRIDE_MM = 10.0  # the first step of the search, at the image's radius


@dataclass(frozen=True, eq=False)
class Pair:
    """Both images on voxels of about one size, compared by the correlation ratio or, if `local`, by squared LNCC."""

    fixed: Tensor
    weight: Tensor
    grid: Grid
    moving: Tensor  # (1, 2, d, h, w): values and validity
    moving_grid: Grid
    points: Tensor  # (N, 3) world of the fixed voxels about their middle, mm
    shareable: float
    radius: float
    classes: Tensor | None
    local: LocalCorrelation | None
    masked: bool

    @classmethod
    def of(cls, prepared: Prepared, size: float, local: bool) -> Pair:
        fixed, weight, grid = coarse(prepared.fixed, prepared.fixed_mask, prepared.fixed_grid, size)
        moving, valid, moving_grid = coarse(prepared.moving, prepared.moving_mask, prepared.moving_grid, size)
        points = grid.points().reshape(-1, 3) - grid.center
        seen = float(weight.sum()) * grid.voxel_volume
        other = float(valid.sum()) * moving_grid.voxel_volume
        return cls(
            fixed=fixed,
            weight=weight,
            grid=grid,
            moving=torch.cat([moving - 0.5, valid], dim=1),
            moving_grid=moving_grid,
            points=torch.from_numpy(points.astype(np.float32)),
            shareable=min(1.0, other / seen),
            radius=float(np.sqrt((points**2).sum(1).mean())),
            classes=None if local else soft_classes(fixed.flatten(), _CLASSES),
            local=LocalCorrelation.of(fixed - 0.5, epsilon=3e-3) if local else None,
            masked=not (prepared.fixed_mask is None and prepared.moving_mask is None),
        )

    def loss(self, affine: Affine) -> float:
        """1 - similarity over what both images show, and what too little overlap costs."""
        with torch.no_grad():
            return float(self._loss(*self._unit(affine)))

    def overlap(self, affine: Affine) -> float:
        """How much of what the smaller field of view could share is shared, 0 to 1."""
        with torch.no_grad():
            return float(self._overlap(self._sample(*self._unit(affine))[:, 1:] * self.weight))

    def similarity_in_body(self, affine: Affine) -> float:
        """Squared LNCC over the windows of the fixed image's body that the moving image shows too, 0 to 1."""
        assert self.local is not None
        with torch.no_grad():
            sampled = self._sample(*self._unit(affine))
            body = torch.from_numpy(self.fixed.numpy() > otsu(self.fixed.numpy()))
            return float(self.local(sampled[:, :1], sampled[:, 1:] * self.weight * body)[0])

    def gradient(self, affine: Affine) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """The loss and its derivatives by the linear part (3, 3) and by where the middle goes (3,)."""
        linear, offset = (part.requires_grad_() for part in self._unit(affine))
        value = self._loss(linear, offset)
        by_linear, by_offset = torch.autograd.grad(value, (linear, offset))
        scale = self._to_unit()[0].T
        return float(value.detach()), scale @ by_linear.double().numpy(), scale @ by_offset.double().numpy()

    def _to_unit(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """World of the moving image -> [-1, 1] along each tensor axis: (3, 3) and (3,)."""
        scale = 2 / np.maximum(np.array(self.moving_grid.shape) - 1, 1)
        matrix = self.moving_grid.world_to_voxel
        return scale[:, None] * matrix[:3, :3], scale * matrix[:3, 3] - 1

    def _unit(self, affine: Affine) -> tuple[Tensor, Tensor]:
        """The map from `points` to unit coordinates of the moving image, float32."""
        matrix, shift = self._to_unit()
        linear = matrix @ affine.matrix[:3, :3]
        offset = matrix @ affine(self.grid.center) + shift
        return torch.from_numpy(linear).float(), torch.from_numpy(offset).float()

    def _loss(self, linear: Tensor, offset: Tensor) -> Tensor:
        sampled = self._sample(linear, offset)
        valid = sampled[:, 1:] * self.weight
        penalty = 4 * (LEAST_OVERLAP - self._overlap(valid)).clamp(min=0) ** 2
        if self.classes is not None:
            return 1 - correlation_ratio(self.classes, sampled[0, 0].flatten(), valid.flatten()) + penalty
        assert self.local is not None
        local = self.local.within(valid.detach()) if self.masked else self.local
        return 1 - _LocalValue.apply(sampled[:, :1], valid.detach(), local) + penalty

    def _overlap(self, valid: Tensor) -> Tensor:
        return valid.sum() / self.weight.sum().clamp(min=1) / self.shareable

    def _sample(self, linear: Tensor, offset: Tensor) -> Tensor:
        """(1, 2, d, h, w): values and validity of the moving image."""
        where = (self.points @ linear.T + offset).flip(-1).view(1, *self.fixed.shape[2:], 3)
        # Values go on beyond the border, so that no window sees an edge there; validity ends there.
        values = F.grid_sample(self.moving[:, :1], where, padding_mode="border", align_corners=True)
        valid = F.grid_sample(self.moving[:, 1:], where, padding_mode="zeros", align_corners=True)
        return torch.cat([values, valid], dim=1)


class _LocalValue(torch.autograd.Function):
    """LNCC for autograd, with its derivative by the moving values from the closed form."""

    @staticmethod
    def forward(ctx, moving, weight, local):  # type: ignore[no-untyped-def]
        value, gradient = local(moving, weight)
        ctx.save_for_backward(gradient / weight.sum().clamp(min=1))
        return value

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad * ctx.saved_tensors[0], None, None


def coarse(volume: Tensor, mask: Tensor | None, grid: Grid, size: float) -> tuple[Tensor, Tensor, Grid]:
    """Values, weights and grid with voxels of about `size` mm (never finer than they are, nor too many)."""
    size = max(size, (grid.voxels * grid.voxel_volume / _MOST_VOXELS) ** (1 / 3))
    shape = [max(1, min(n, round(n * s / size))) for n, s in zip(grid.shape, grid.spacing, strict=True)]
    values = F.interpolate(volume, size=shape, mode="area")
    weight = torch.ones_like(values) if mask is None else F.interpolate(mask, size=shape, mode="area")
    return smooth(values, 0.5), weight, grid.resampled(shape)


def optimise(pair: Pair, start: Affine, kind: str, iterations: int) -> Affine:
    """Follow the similarity uphill from `start` (L-BFGS); all parameters are millimetres at the image's radius."""
    middle, linear = pair.grid.center, start.matrix[:3, :3]
    goes_to = start(middle)

    def affine(theta: NDArray[np.float64]) -> Affine:
        turn = Rotation.from_rotvec(theta[3:6]).as_matrix() if kind == "rigid" else np.eye(3) + theta[3:].reshape(3, 3)
        return about(middle, linear @ turn, goes_to + theta[:3])

    def loss(scaled: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        theta = scaled * units
        value, by_linear, by_offset = pair.gradient(affine(theta))
        by_change = linear.T @ by_linear
        turn = _by_rotation(theta[3:6], by_change) if kind == "rigid" else by_change.ravel()
        return value, np.concatenate([by_offset, turn]) * units

    size = 6 if kind == "rigid" else 12
    units = np.concatenate([np.full(3, _STRIDE_MM), np.full(size - 3, _STRIDE_MM / pair.radius)])
    done = minimize(loss, np.zeros(size), jac=True, method="L-BFGS-B", options={"maxiter": iterations, "ftol": 1e-6})
    return affine(done.x * units)


def about(middle: NDArray[np.float64], linear: NDArray[np.float64], goes_to: NDArray[np.float64]) -> Affine:
    """x -> goes_to + linear (x - middle), world mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = goes_to - linear @ middle
    return Affine(matrix)


def _by_rotation(vector: NDArray[np.float64], by_matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivative by a rotation vector from that by its matrix, by central differences of the (cheap) matrix."""
    out = np.empty(3)
    for axis, unit in enumerate(np.eye(3) * 1e-5):
        change = Rotation.from_rotvec(vector + unit).as_matrix() - Rotation.from_rotvec(vector - unit).as_matrix()
        out[axis] = (by_matrix * change).sum() / 2e-5
    return out
