"""Affine pre-alignment without a hint: many coarse starts, the best followed up on ever finer voxels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.core.similarity import LocalCorrelation, correlation
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.settings import Align

Progress = Callable[[float], None]
"""Takes the fraction of the stage that is done; raises Cancelled where the user asked to stop."""

_TILT_DEGREES = 30.0
_MOST_VOXELS = 150_000  # more add time, not accuracy, to twelve numbers
_FEWEST_ALONG = 5  # voxels along the longest axis of the smaller field of view
_LEAST_OVERLAP = 0.5  # of what the smaller field of view could share; below it a start is pushed back
_FITS = 0.3  # 1 - LNCC after the coarse search; heads and chests reach 0.17 to 0.26 upright, 0.36 to 0.7 turned wrongly
_CLEARLY_BETTER = 0.8  # of the loss; so much less makes another orientation believed against the headers
_STEPS_BEGUN, _TURNS_FOLLOWED, _TURN_VOXELS = 8, 4, 10_000
_NOTED_TURN_DEGREES = 60.0
_LARGEST_STRETCH = 2.0  # along any direction; people and organs do not differ by more


def align(
    prepared: Prepared,
    settings: Align,
    kind: str,
    start: Affine | None = None,
    progress: Progress = lambda fraction: None,
) -> Affine:
    """The rigid or affine map (`kind`) from fixed world to moving world that makes the images most alike.

    start: a known rough alignment, followed up beside the starts found here only if it is better.
    Adds a sentence to `prepared.notes` where an affine was not to be had, or the headers' orientation seems wrong.
    Raises GeometryError where the images lie too far apart or end up without overlap or hugely scaled.
    """
    if start is None:
        _refuse_far(prepared, settings.max_apart_mm)
    with torch.inference_mode(False), torch.enable_grad():
        affine = _align(prepared, settings, kind, start, progress)
    turn = _turn_degrees(affine.matrix[:3, :3])
    if start is None and turn > _NOTED_TURN_DEGREES:
        prepared.notes.append(
            f"The headers say otherwise, but the moving image fits best turned by {turn:.0f} degrees; "
            "check left and right."
        )
    return affine


def _align(prepared: Prepared, settings: Align, kind: str, start: Affine | None, progress: Progress) -> Affine:
    levels = _voxel_sizes(prepared, settings)
    coarse = _Pair.of(prepared, levels[0])
    guesses = _starts(coarse, start)
    losses = [coarse.loss_of(guess) for guess in guesses]
    best = [guesses[index] for index in np.argsort(losses)[: settings.starts]]
    if start is not None and guesses[0] not in best:
        best.append(guesses[0])
    found = []
    for index, guess in enumerate(best):
        progress(0.3 * index / len(best))
        found.append(_optimise(coarse, guess, "rigid", 40))
    finer = _Pair.of(prepared, levels[1], local=True)  # shows what tells a body from its mirror image
    rough = min(found, key=finer.loss_of)
    if finer.loss_of(rough) > _FITS:
        progress(0.3)
        rough = _turned_if_better(prepared, levels[0], finer, rough)
    pairs = [coarse, finer, _Pair.of(prepared, levels[2], local=True)]
    pose = _follow(pairs, rough, kind, progress)
    names = " and ".join(prepared.names)
    trouble = _trouble(pose, coarse, names)
    if trouble and kind == "affine":
        pose = _follow(pairs, rough, "rigid", progress=lambda fraction: progress(1.0))
        trouble = _trouble(pose, coarse, names)
        if not trouble:
            prepared.notes.append(f"No plausible affine alignment of {names} was found; they were aligned rigidly.")
    if trouble:
        raise GeometryError(trouble)
    return pose.affine(coarse)


def _voxel_sizes(prepared: Prepared, settings: Align) -> list[float]:
    """Coarse to fine, mm; finer where a small field of view would be left with hardly a voxel."""
    longest = min(max(np.array(g.shape) * g.spacing) for g in (prepared.fixed_grid, prepared.moving_grid))
    wanted = (settings.coarse_mm, (settings.coarse_mm * settings.fine_mm) ** 0.5, settings.fine_mm)
    return [min(size, float(longest) / _FEWEST_ALONG) for size in wanted]


def _follow(pairs: list[_Pair], pose: _Pose, kind: str, progress: Progress) -> _Pose:
    """The pose adjusted on ever finer voxels."""
    for index, pair in enumerate(pairs):
        progress(0.3 + 0.7 * index / len(pairs))
        pose = _optimise(pair, pose, kind, 40 if index < 2 else 25)
    return pose


def _turned_if_better(prepared: Prepared, size: float, finer: _Pair, pose: _Pose) -> _Pose:
    """The pose, unless another of the 24 ways to turn a box leads to one that fits clearly better.

    Every way is followed for a few steps on voxels of `size` mm or, of a large field of view, coarser; the best to the
    end.
    """
    size = max(size, (prepared.fixed_grid.voxels * prepared.fixed_grid.voxel_volume / _TURN_VOXELS) ** (1 / 3))
    coarse, detail = _Pair.of(prepared, size), _Pair.of(prepared, size, local=True)
    middle = coarse.points.double().numpy().mean(0)
    shift = coarse.moving_grid.center - coarse.moving_center
    begun = []
    for turn in Rotation.create_group("O").as_matrix():
        starts = [_Pose(turn, np.zeros(3)), _Pose(turn, shift - turn @ middle)]
        begun.append(_optimise(coarse, min(starts, key=coarse.loss_of), "rigid", _STEPS_BEGUN))
    begun.sort(key=detail.loss_of)
    ended = [_optimise(coarse, turned, "rigid", 40) for turned in begun[:_TURNS_FOLLOWED]]
    best = min(ended, key=finer.loss_of)
    return best if finer.loss_of(best) < _CLEARLY_BETTER * finer.loss_of(pose) else pose


def _turn_degrees(linear: NDArray[np.float64]) -> float:
    """The angle of the rotation nearest to a matrix."""
    left, _, right = np.linalg.svd(linear)
    return float(np.rad2deg(Rotation.from_matrix(left @ right).magnitude()))


@dataclass(frozen=True, eq=False)
class _Pose:
    """x -> center_m + offset + linear (x - center_f), mm."""

    linear: NDArray[np.float64]
    offset: NDArray[np.float64]

    def affine(self, pair: _Pair) -> Affine:
        matrix = np.eye(4)
        matrix[:3, :3] = self.linear
        matrix[:3, 3] = pair.moving_center + self.offset - self.linear @ pair.fixed_center
        return Affine(matrix)


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both images on coarse voxels, and how alike they are under a pose."""

    fixed: Tensor
    weight: Tensor
    points: Tensor  # (N, 3) world of the fixed voxels, about the fixed centre, mm
    moving: Tensor  # (1, 2, d, h, w): values and validity
    moving_grid: Grid
    fixed_center: NDArray[np.float64]
    moving_center: NDArray[np.float64]
    shareable: float
    radius: float
    local: LocalCorrelation | None
    masked: bool

    @classmethod
    def of(cls, prepared: Prepared, size: float, local: bool = False) -> _Pair:
        fixed, weight, fixed_grid = _coarse(prepared.fixed, prepared.fixed_mask, prepared.fixed_grid, size)
        moving, valid, moving_grid = _coarse(prepared.moving, prepared.moving_mask, prepared.moving_grid, size)
        fixed_center = _centre_of_mass(prepared.fixed, prepared.fixed_mask, prepared.fixed_grid)
        moving_center = _centre_of_mass(prepared.moving, prepared.moving_mask, prepared.moving_grid)
        points = fixed_grid.points().reshape(-1, 3) - fixed_center
        seen = float(weight.sum()) * fixed_grid.voxel_volume
        other = float(valid.sum()) * moving_grid.voxel_volume
        return cls(
            fixed=fixed - 0.5,
            weight=weight,
            points=torch.from_numpy(points.astype(np.float32)),
            moving=torch.cat([moving - 0.5, valid], dim=1),
            moving_grid=moving_grid,
            fixed_center=fixed_center,
            moving_center=moving_center,
            shareable=min(1.0, other / seen),
            radius=float(np.sqrt((points**2).sum(1).mean())),
            local=LocalCorrelation.of(fixed - 0.5, epsilon=3e-3) if local else None,
            masked=not (prepared.fixed_mask is None and prepared.moving_mask is None),
        )

    def loss(self, linear: NDArray[np.float64], offset: NDArray[np.float64]) -> float:
        with torch.no_grad():
            return float(self._loss(torch.tensor(linear).float(), torch.tensor(offset).float()))

    def loss_of(self, pose: _Pose) -> float:
        return self.loss(pose.linear, pose.offset)

    def gradient(
        self, linear: NDArray[np.float64], offset: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """The loss and its derivatives by `linear` (3, 3) and `offset` (3,)."""
        a = torch.tensor(linear).float().requires_grad_()
        b = torch.tensor(offset).float().requires_grad_()
        value = self._loss(a, b)
        da, db = torch.autograd.grad(value, (a, b))
        return float(value.detach()), da.double().numpy(), db.double().numpy()

    def _loss(self, linear: Tensor, offset: Tensor) -> Tensor:
        """1 - similarity over what both images show, plus what an overlap below the least allowed costs."""
        sampled = self._sample(self.points @ linear.T + offset)
        valid = sampled[:, 1:] * self.weight
        overlap = valid.sum() / self.weight.sum().clamp(min=1) / self.shareable
        penalty = 4 * (_LEAST_OVERLAP - overlap).clamp(min=0) ** 2
        if self.local is None:
            return 1 - correlation(self.fixed, sampled[:, :1], valid) + penalty
        local = self.local.within(valid.detach()) if self.masked else self.local
        return 1 - _LocalValue.apply(sampled[:, :1], valid.detach(), local) + penalty

    def _sample(self, points: Tensor) -> Tensor:
        """(1, 2, d, h, w): values and validity of the moving image at points about the moving centre."""
        inverse = self.moving_grid.world_to_voxel
        matrix = torch.from_numpy(inverse[:3, :3]).float()
        shift = torch.from_numpy(self.moving_grid.to_voxel(self.moving_center)).float()
        last = torch.tensor(self.moving.shape[2:]).sub(1).clamp(min=1)
        unit = (points @ matrix.T + shift) * (2 / last) - 1
        grid = unit.flip(-1).view(1, *self.fixed.shape[2:], 3)
        # Values go on beyond the border, so that no window sees an edge there; validity ends there.
        values = F.grid_sample(self.moving[:, :1], grid, padding_mode="border", align_corners=True)
        valid = F.grid_sample(self.moving[:, 1:], grid, padding_mode="zeros", align_corners=True)
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


def _optimise(pair: _Pair, start: _Pose, kind: str, iterations: int) -> _Pose:
    """Follow the similarity uphill from `start` (L-BFGS); all parameters are millimetres at the image's radius."""

    def pose(theta: NDArray[np.float64]) -> _Pose:
        change = (
            Rotation.from_rotvec(theta[3:6]).as_matrix() if kind == "rigid" else np.eye(3) + theta[3:].reshape(3, 3)
        )
        return _Pose(start.linear @ change, start.offset + theta[:3])

    def loss(scaled: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        theta = scaled * units
        here = pose(theta)
        value, by_linear, by_offset = pair.gradient(here.linear, here.offset)
        by_change = start.linear.T @ by_linear
        turn = _by_rotation(theta[3:6], by_change) if kind == "rigid" else by_change.ravel()
        return value, np.concatenate([by_offset, turn]) * units

    size = 6 if kind == "rigid" else 12
    units = np.concatenate([np.full(3, 10.0), np.full(size - 3, 10.0 / pair.radius)])
    done = minimize(loss, np.zeros(size), jac=True, method="L-BFGS-B", options={"maxiter": iterations, "ftol": 1e-6})
    return pose(done.x * units)


def _by_rotation(vector: NDArray[np.float64], by_matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivative by a rotation vector from that by its matrix, by central differences of the (cheap) matrix."""
    out = np.empty(3)
    for axis, unit in enumerate(np.eye(3) * 1e-5):
        change = Rotation.from_rotvec(vector + unit).as_matrix() - Rotation.from_rotvec(vector - unit).as_matrix()
        out[axis] = (by_matrix * change).sum() / 2e-5
    return out


def _starts(pair: _Pair, start: Affine | None) -> list[_Pose]:
    """Centres of mass or fields of view together, or as the headers say, each upright and tilted about each axis."""
    shift = pair.fixed_center - pair.moving_center
    middles = (pair.moving_grid.center - pair.moving_center) + pair.points.double().numpy().mean(0) * -1
    tilts = [np.zeros(3), *(sign * axis for axis, sign in itertools.product(np.eye(3), (-1, 1)))]
    turns = [Rotation.from_rotvec(np.deg2rad(_TILT_DEGREES) * tilt).as_matrix() for tilt in tilts]
    poses = [_Pose(turn, offset) for offset, turn in itertools.product((np.zeros(3), middles, shift), turns)]
    if start is not None:
        linear = start.matrix[:3, :3]
        poses.insert(0, _Pose(linear, start(pair.fixed_center) - pair.moving_center))
    return poses


def _coarse(volume: Tensor, mask: Tensor | None, grid: Grid, size: float) -> tuple[Tensor, Tensor, Grid]:
    """Values, weights and grid with voxels of about `size` mm (never finer than they are, nor too many)."""
    size = max(size, (grid.voxels * grid.voxel_volume / _MOST_VOXELS) ** (1 / 3))
    shape = [max(1, min(n, round(n * s / size))) for n, s in zip(grid.shape, grid.spacing, strict=True)]
    values = F.interpolate(volume, size=shape, mode="area")
    weight = torch.ones_like(values) if mask is None else F.interpolate(mask, size=shape, mode="area")
    return smooth(values, 0.5), weight, grid.resampled(shape)


def _centre_of_mass(volume: Tensor, mask: Tensor | None, grid: Grid) -> NDArray[np.float64]:
    mass = (volume if mask is None else volume * mask)[0, 0].double()
    total = mass.sum()
    where = [
        (mass.sum(dim=[other for other in range(3) if other != axis]) * torch.arange(n)).sum() / total
        for axis, n in enumerate(mass.shape)
    ]
    return grid.to_world([float(position) for position in where])


def _refuse_far(prepared: Prepared, limit: float) -> None:
    """By the headers, how far the two fields of view (as boxes along the world's axes) lie from touching."""
    f, m = prepared.fixed_grid.corners(), prepared.moving_grid.corners()
    gap = float(np.linalg.norm(np.maximum(0, np.maximum(f.min(0) - m.max(0), m.min(0) - f.max(0)))))
    if gap > limit:
        raise GeometryError(
            f"{' and '.join(prepared.names)} lie {gap:.0f} mm apart by their headers, more than {limit:.0f} mm: they "
            "may not belong together. Check the files, or give an initial transform that brings them together."
        )


def _trouble(pose: _Pose, pair: _Pair, names: str) -> str:
    """What makes the pose unusable, as a sentence; empty where nothing does."""
    stretch = np.linalg.svd(pose.linear, compute_uv=False)
    if stretch.max() > _LARGEST_STRETCH or stretch.min() < 1 / _LARGEST_STRETCH:
        return (
            f"Aligning {names} would need scaling by {stretch.min():.2f} to {stretch.max():.2f}, more than bodies "
            "differ. Check that both images show the same region, or choose rigid, or give an initial transform."
        )
    with torch.no_grad():
        points = pair.points @ torch.tensor(pose.linear).float().T + torch.tensor(pose.offset).float()
        overlap = float((pair._sample(points)[:, 1:] * pair.weight).sum() / pair.weight.sum()) / pair.shareable
    if overlap < _LEAST_OVERLAP / 2:
        return (
            f"After alignment {names} share only {100 * overlap:.0f} % of what they could. "
            "Check that both show the same region, or give an initial transform."
        )
    return ""
