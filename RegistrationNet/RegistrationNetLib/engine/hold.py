"""Holding a deformation to what is asked of it, at every iteration of a level: parts that only turn and shift or keep
their volume, surroundings that do not move, points that belong together.

A step inside a part is replaced by the motion of the part's kind nearest to it and blended smoothly into the steps
around it: velocities are blended, not positions, after Arsigny's polyrigid transformations, so that the composed
deformation does not fold between parts. What composing and smoothing then leave is taken out of the field itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.hints import Hints, Pull
from RegistrationNetLib.engine.parts import Parts, distance_from
from RegistrationNetLib.engine.rigid import nearest_rotation

_BLEND = 1.5  # voxels, sigma over which a part's step passes into those around it
_COLLAR = 2  # voxels around a part whose forces move it too
_STRETCH = 2.0  # at most, along any direction of a part that keeps its volume
_LONGEST_STEP = 0.95  # voxels along an axis; `spatial.advance` takes no whole one
_TINY = 1e-6

Fit = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""(3, 3) covariances y x and x x of a part -> the linear map of its kind that takes x nearest to y."""


@dataclass(frozen=True, eq=False)
class Hold:
    """What holds on one field grid; with nothing given, everything goes.

    window: (1, 1, D, H, W), 1 in the region, 0 where nothing may move.
    """

    pull: Pull | None = None
    window: Tensor | None = None
    parts: HeldParts | None = None

    def fade(self, start: Tensor) -> Tensor:
        """A deformation that did not heed this window, let in as far as something may move."""
        return start if self.window is None else start * self.window

    def limit(self, step: Tensor, field: Tensor) -> Tensor:
        """A step from a field, (1, 3, D, H, W), as it may be taken, pulled towards the hints."""
        if self.pull is not None:
            step = (step + self.pull(field)).clamp_(-_LONGEST_STEP, _LONGEST_STEP)
        if self.window is not None:
            step = step * self.window
        if self.parts is not None:
            step = self.parts.steer(step)
        return self._still(step)

    def keep(self, field: Tensor) -> Tensor:
        """The field (1, 3, D, H, W) with the parts exactly as they must be, and zero where nothing may move."""
        return self._still(field if self.parts is None else self.parts.keep(field))

    def _still(self, field: Tensor) -> Tensor:
        return field if self.window is None else field * (self.window > 0)


@dataclass(frozen=True, eq=False)
class Restraint:
    """Constraints made ready on the fixed grid, for `Hold`s on grids of any resolution."""

    grid: Grid
    parts: Parts | None
    distance: Image | None
    margin_mm: float
    hints: Hints | None = None

    @classmethod
    def of(cls, constraints: Constraints, fixed: Grid) -> Restraint:
        """Raises InputError where a part reaches out of the region."""
        parts = Parts.of(constraints, fixed)
        region = constraints.region
        distance = None if region is None else Image(distance_from(region, fixed)[None], fixed, np.inf, region.name)
        if parts is not None and distance is not None:
            out = np.unique(parts.labels[distance.scalar > 0])
            if out.max() > 0:
                raise InputError(
                    f"{parts.names[out.max() - 1]} reaches beyond the region '{distance.name}', outside of which all "
                    "stays as it was. Draw the region around all that is kept rigid or of its volume."
                )
        return cls(fixed, parts, distance, constraints.margin_mm)

    def on(self, grid: Grid, affine: Affine, device: torch.device, exact: bool) -> Hold:
        """For fields in voxels of `grid` that are followed by the affine.

        exact: whether all must be kept at every voxel, or roughly, on the way to finer grids.
        """
        window = None if self.distance is None else torch.from_numpy(self._window(grid, exact))[None, None].to(device)
        hints, parts = self.hints, self.parts
        nearest = float(self.grid.spacing.min())
        return Hold(
            None if hints is None else hints.pull(grid, affine, nearest, device),
            window,
            None if parts is None else HeldParts.of(parts.nodes(grid, exact), parts.rigid, grid, affine, device),
        )

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return not (self.parts is None and self.distance is None and self.hints is None)

    def _window(self, grid: Grid, exact: bool) -> NDArray[np.float32]:
        """1 in the region, falling as half a cosine to 0 at the margin; exact, at every node that reaches a voxel
        beyond it, which would leave coarse grids nothing to move in a narrow one.
        """
        assert self.distance is not None
        distance, reach = self.distance.scalar, self.margin_mm
        if not grid.isclose(self.grid):
            distance = warp(self.distance, Mapping(), grid).scalar
            reach -= float(np.linalg.norm(self.grid.spacing)) / 2 if exact else 0.0
        reach -= float(np.linalg.norm(grid.spacing)) if exact else 0.0
        share = np.clip(distance / max(reach, _TINY), 0, 1)
        return np.asarray(np.where(distance < reach, 0.5 + 0.5 * np.cos(np.pi * share), 0), np.float32)


@dataclass(frozen=True, eq=False)
class HeldParts:
    """The parts on one field grid. Positions and displacements are in voxels of it, about each part's centre."""

    held: _Nodes
    steering: _Nodes
    near: Tensor  # (1, 1, D, H, W): share of held nodes around each node
    blend: Tensor  # (1, 1, D, H, W): 1 at the parts, 0 away from them
    sigma: list[float]
    field_fits: list[Fit]
    step_fits: list[Fit]

    @classmethod
    def of(
        cls, nodes: NDArray[np.int32], rigid: NDArray[np.bool_], grid: Grid, affine: Affine, device: torch.device
    ) -> HeldParts:
        """nodes: which part has each node, from 1; rigid: how each part is kept."""
        sigma = [float(_BLEND * grid.spacing.min() / spacing) for spacing in grid.spacing]
        near = smooth(torch.from_numpy((nodes > 0).astype(np.float32))[None, None].to(device), sigma)
        voxel, total = grid.voxel_to_world[:3, :3], affine.matrix[:3, :3] @ grid.voxel_to_world[:3, :3]
        return cls(
            held=_Nodes.of(nodes, len(rigid), device),
            steering=_Nodes.of(_collar(nodes), len(rigid), device),
            near=near.clamp(min=_TINY),
            blend=(2 * near).clamp(max=1),
            sigma=sigma,
            field_fits=[_rigid(voxel, total) if stiff else _of_one_volume for stiff in rigid],
            step_fits=[_rigid(voxel, voxel) if stiff else _of_one_volume for stiff in rigid],
        )

    def keep(self, field: Tensor) -> Tensor:
        """The field with every part replaced by the motion of its kind that is nearest."""
        moved = self.held.at(field)
        motion = self.held.motion(moved, torch.ones_like(moved[:, 0]), self.field_fits)
        return self.held.put(self.held.displaced(motion), field)

    def steer(self, step: Tensor) -> Tensor:
        """The step with every part moved as the forces in and right around it agree, blended into its surroundings."""
        forces = self.steering.at(step)
        strength = forces.norm(dim=1)
        moved = self.held.displaced(self.steering.motion(forces, strength + _TINY, self.step_fits, self.held))
        moved = self.held.at_most(moved, float(strength.max())) if len(strength) else moved
        inside = self.held.put(moved, torch.zeros_like(step))
        around = smooth(inside, self.sigma) / self.near
        return self.held.put(moved, step + self.blend * (around - step))


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Nodes of a grid that belong to parts: index into the flattened grid, part (from 0), and position about the middle
    of the part, (N,), (N,), (N, 3); middles (K, 3).
    """

    index: Tensor
    part: Tensor
    position: Tensor
    middles: Tensor

    @classmethod
    def of(cls, labels: NDArray[np.int32], count: int, device: torch.device) -> _Nodes:
        where = np.argwhere(labels > 0)
        part = labels[tuple(where.T)] - 1
        size = np.maximum(np.bincount(part, minlength=count), 1)
        middles = np.stack([np.bincount(part, column, count) for column in where.T], axis=1) / size[:, None]
        index = np.ravel_multi_index(tuple(where.T), labels.shape)
        single = lambda values: torch.from_numpy(np.asarray(values, np.float32)).to(device)  # noqa: E731
        whole = lambda values: torch.from_numpy(np.asarray(values, np.int64)).to(device)  # noqa: E731
        return cls(whole(index), whole(part), single(where - middles[part]), single(middles))

    def at(self, field: Tensor) -> Tensor:
        """(1, 3, D, H, W) -> (N, 3)."""
        return field.view(3, -1)[:, self.index].T

    def put(self, values: Tensor, field: Tensor) -> Tensor:
        """A copy of the field with these values, (N, 3), at the nodes."""
        out = field.clone()
        out.view(3, -1)[:, self.index] = values.T
        return out

    def motion(
        self, displacement: Tensor, weight: Tensor, fits: list[Fit], about: _Nodes | None = None
    ) -> tuple[Tensor, Tensor]:
        """Each part's linear map less the identity, (K, 3, 3), and shift (K, 3), about its own middle or another."""
        x, u = self.position, displacement
        terms = torch.cat([torch.ones_like(x[:, :1]), x, u, _outer(u, x), _outer(x, x)], dim=1) * weight[:, None]
        sums = torch.zeros((len(self.middles), terms.shape[1]), device=x.device).index_add_(0, self.part, terms)
        linear, shift = np.zeros((len(fits), 3, 3)), np.zeros((len(fits), 3))
        apart = np.zeros((len(fits), 3)) if about is None else (about.middles - self.middles).double().cpu().numpy()
        for part, row in enumerate(sums.double().cpu().numpy()):
            if row[0] > _TINY:
                mean_x, mean_u = row[1:4] / row[0], row[4:7] / row[0]
                ux, xx = (block.reshape(3, 3) / row[0] for block in (row[7:16], row[16:25]))
                xx = xx - np.outer(mean_x, mean_x)
                ux = ux - np.outer(mean_u, mean_x)
                linear[part] = fits[part](ux + xx, xx) - np.eye(3)
                shift[part] = mean_u + linear[part] @ (apart[part] - mean_x)
        single = lambda values: torch.from_numpy(values.astype(np.float32)).to(x.device)  # noqa: E731
        return single(linear), single(shift)

    def displaced(self, motion: tuple[Tensor, Tensor]) -> Tensor:
        """The displacement of each node by its part's motion, (N, 3)."""
        linear, shift = motion
        out = shift[self.part]
        for column in range(3):
            out += linear[self.part, :, column] * self.position[:, column, None]
        return out

    def at_most(self, displacement: Tensor, length: float) -> Tensor:
        """Slower for parts that would somewhere move by more than `length` voxels."""
        longest = torch.zeros(len(self.middles), device=displacement.device)
        longest = longest.scatter_reduce(0, self.part, displacement.norm(dim=1), "amax")
        return displacement * (length / longest.clamp(min=max(length, _TINY)))[self.part, None]


def _outer(one: Tensor, other: Tensor) -> Tensor:
    return (one[:, :, None] * other[:, None, :]).flatten(1)


def _rigid(voxel: NDArray[np.float64], total: NDArray[np.float64]) -> Fit:
    """The map in voxels that, seen in mm, is a rotation: `total` takes voxels to where they end, mm."""
    back = np.linalg.inv(total)

    def fit(yx: NDArray[np.float64], xx: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(back @ nearest_rotation(total @ yx @ voxel.T) @ voxel)

    return fit


def _of_one_volume(yx: NDArray[np.float64], xx: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine map with determinant 1, stretching no direction too far."""
    firm = xx + np.eye(3) * _TINY * (1 + np.trace(xx))
    left, stretch, right = np.linalg.svd(np.linalg.solve(firm, (yx + firm - xx).T).T)
    if np.linalg.det(left @ right) < 0:
        return np.eye(3)
    stretch = np.clip(stretch, 1 / _STRETCH, _STRETCH)
    return np.asarray(left @ np.diag(stretch / np.prod(stretch) ** (1 / 3)) @ right)


def _collar(nodes: NDArray[np.int32]) -> NDArray[np.int32]:
    """The parts a little larger; what is free may count for any of them."""
    wide = ndimage.grey_dilation(nodes, size=2 * _COLLAR + 1)
    return np.where(nodes > 0, nodes, wide)
