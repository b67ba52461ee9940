"""Corresponding points that guide a registration: where it starts, and a soft pull that the similarity can outweigh.

Between the points a displacement is carried by Gaussians (kriging with noise: points are met closely, not exactly). The
start is the flow of small such displacements, one after the other, after the landmark matching of Joshi and Miller, so
that it does not fold however far the points move.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.slabs import at_once
from RegistrationNetLib.engine.align import Progress, align
from RegistrationNetLib.engine.features import Agreement, coarse_grid, decided
from RegistrationNetLib.engine.mend import unfold
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.rigid import nearest_rigid
from RegistrationNetLib.engine.settings import Refine, Settings
from RegistrationNetLib.engine.trust import CLEARLY, Alignment

Measure = Callable[[Mapping], float]
"""How alike images are under a mapping."""

_REACH_MM = 30.0  # sigma of a point's influence
_REACH_SHARE = 0.2  # of the shortest side of a small image
_NOISE = 0.05  # variance of a point's placing over that of the displacement
_FLOW_STEPS = 10
_NODES_PER_REACH = 3.0
_OFF_MM, _OFF_TIMES = 15.0, 3.0  # that far, and so many times the median, from where the other pairs would have it
_TRIES = 500
_GAIN, _LARGEST_GAIN = 0.05, 0.2  # share of what is missing that is pulled in an iteration, at the finest level
_FASTEST = 0.5  # voxels an iteration


@dataclass(frozen=True, eq=False)
class Hints:
    """fixed, moving: (N, 3) LPS mm; trusted: (N,), whether a pair agrees with the others."""

    fixed: Points
    moving: Points
    trusted: NDArray[np.bool_]

    @classmethod
    def of(cls, fixed: Points, moving: Points) -> Hints:
        return cls(fixed, moving, _agreeing(fixed, moving))

    def notes(self) -> list[str]:
        """A sentence for each pair that is left out."""
        off = np.linalg.norm(self.rough()(self.fixed) - self.moving, axis=1)
        return [
            f"Hint pair {index + 1} lies {off[index]:.0f} mm from where the other pairs would have it, so it was left "
            "out. Check whether its two points mark the same place."
            for index in np.flatnonzero(~self.trusted)
        ]

    def rough(self, start: Affine | None = None) -> Affine:
        """The rotation and shift that the trusted pairs agree on, behind a start if there is one; a shift alone where
        they are too few.
        """
        start = start or Affine(np.eye(4))
        rigid = nearest_rigid(start(self.fixed[self.trusted]), self.moving[self.trusted])
        return Affine(rigid.matrix @ start.matrix)

    def start(self, grid: Grid, affine: Affine) -> Tensor:
        """The deformation, to be followed by the affine, that brings the trusted pairs together: (1, 3, d, h, w), in
        voxels of a coarse grid over the field of view of `grid`.
        """
        reach = _reach(grid)
        coarse = _coarse(grid, reach)
        points = coarse.points().reshape(-1, 3)
        pairs = self.fixed[self.trusted], affine.inverse()(self.moving[self.trusted])
        moved = coarse.to_voxel(_flow(points, *pairs, reach)) - coarse.to_voxel(points)
        return unfold(torch.from_numpy(moved.T.reshape(1, 3, *coarse.shape).astype(np.float32)))

    def pull(self, grid: Grid, affine: Affine, finest_mm: float, device: torch.device) -> Pull:
        """For fields in voxels of `grid` that are followed by the affine; weaker where voxels are finer."""
        fixed = self.fixed[self.trusted]
        reach = _reach(grid)
        coarse = _coarse(grid, reach)
        wanted = grid.to_voxel(affine.inverse()(self.moving[self.trusted])) - grid.to_voxel(fixed)
        weights = np.linalg.inv(_influence(fixed, fixed, reach) + _NOISE * np.eye(len(fixed)))
        basis = _influence(coarse.points().reshape(-1, 3), fixed, reach) @ weights
        tensor = lambda values: torch.from_numpy(values.astype(np.float32)).to(device)  # noqa: E731
        return Pull(
            positions=tensor(grid.to_voxel(fixed)).T[None, :, :, None, None],
            wanted=tensor(wanted),
            basis=tensor(basis.T),
            shape=coarse.shape,
            gain=min(_GAIN * float(grid.spacing.min()) / finest_mm, _LARGEST_GAIN),
        )


@at_once()
def guided(
    prepared: Prepared,
    hints: Hints,
    settings: Settings,
    start: Affine | None,
    alike: Measure,
    weight: Callable[[Grid], Tensor],
    progress: Progress,
) -> tuple[Affine, Hints | None]:
    """The alignment that the hints lead to, and the hints; without them, and None, where the images fit clearly better.

    start: as of `align`; the hints correct it. alike: compares the images where they are of one kind; weight: what
    counts when they are not, on any grid.
    Adds a sentence to `prepared.notes` where the hints are left out. Raises GeometryError where nothing leads anywhere.
    """
    kind = "rigid" if settings.transform == "rigid" else "affine"
    hinted, unhinted = replace(prepared, notes=[]), replace(prepared, notes=[])
    led: Alignment | None = None
    with suppress(GeometryError):
        half = lambda fraction: progress(fraction / 2)  # noqa: E731
        led = align(hinted, settings.align, kind, hints.rough(start), half, only=True)
    try:
        free = align(unhinted, settings.align, kind, start, lambda fraction: progress((1 + fraction) / 2))
    except GeometryError:
        if led is None:
            raise
        free = led
    if led is not None:
        measure = _measure(prepared, settings.refine, alike, weight, (led, free))
        if measure(Mapping((led,))) >= measure(Mapping((free,))) - CLEARLY:
            prepared.notes.extend(hinted.notes)
            return led, hints
    prepared.notes.extend(unhinted.notes)
    prepared.notes.append(
        "The images fit clearly better where the hints do not lead, so these were left out. Check that both lists "
        "mark the same places in the same order."
    )
    return free, None


def _measure(
    prepared: Prepared, settings: Refine, alike: Measure, weight: Callable[[Grid], Tensor], found: Sequence[Affine]
) -> Measure:
    """What tells which of some alignments is right: intensities if they go together under any, structure if not."""
    quiet = replace(prepared, notes=[])
    choices = [decided(quiet, affine, settings) for affine in found]
    if any(choice.similarity == "lncc" for choice in choices):
        return alike
    grid = coarse_grid(prepared, choices[0])
    return Agreement(prepared, grid, weight(grid))


@dataclass(frozen=True, eq=False)
class Pull:
    """What the hints add to each step of a level; voxels of its field grid.

    positions: (1, 3, N, 1, 1); wanted: (N, 3), the displacements there; basis: (N, nodes) on a coarse grid of `shape`.
    """

    positions: Tensor
    wanted: Tensor
    basis: Tensor
    shape: tuple[int, int, int]
    gain: float

    def __call__(self, field: Tensor) -> Tensor:
        """A smooth step towards the hints, as large as the field."""
        missing = self.wanted - spatial.sample(field, self.positions)[0, :, :, 0, 0].T
        step = (self.gain * missing).T @ self.basis
        step = step * (_FASTEST / step.norm(dim=0).max().clamp(min=_FASTEST))
        return spatial.resize(step.view(1, 3, *self.shape), field.shape[2:])


def _agreeing(fixed: Points, moving: Points) -> NDArray[np.bool_]:
    """Which pairs lie near the rigid motion that most of them agree on (least median of squares, Rousseeuw 1984).

    Fewer than five pairs have no majority: all are believed.
    """
    count = len(fixed)
    if count < 5:
        return np.ones(count, bool)
    rng = np.random.default_rng(0)
    few = math.comb(count, 3) <= _TRIES
    triples = itertools.combinations(range(count), 3) if few else (rng.choice(count, 3, False) for _ in range(_TRIES))
    fits = [nearest_rigid(fixed[list(triple)], moving[list(triple)]) for triple in triples]
    residuals = [np.linalg.norm(fit(fixed) - moving, axis=1) for fit in fits]
    most = (count + 4) // 2  # beside the three that fit by construction
    best = min(residuals, key=lambda off: float(np.sort(off)[most - 1]))
    return np.asarray(best <= max(_OFF_MM, _OFF_TIMES * float(np.median(best))))


def _flow(points: Points, sources: Points, targets: Points, reach: float) -> Points:
    """Where points go while the sources go straight to the targets."""
    for left in range(_FLOW_STEPS, 0, -1):
        among = _influence(sources, sources, reach)
        weights = np.linalg.solve(among + _NOISE * np.eye(len(sources)), (targets - sources) / left)
        points = points + _influence(points, sources, reach) @ weights
        sources = sources + among @ weights
    return points


def _influence(points: Points, sources: Points, reach: float) -> NDArray[np.float64]:
    """(M, N) Gaussians of the distances."""
    squared = ((points[:, None] - sources[None]) ** 2).sum(-1)
    return np.asarray(np.exp(-0.5 * squared / reach**2))


def _reach(grid: Grid) -> float:
    return min(_REACH_MM, _REACH_SHARE * float((np.array(grid.shape) * grid.spacing).min()))


def _coarse(grid: Grid, reach: float) -> Grid:
    """The same field of view with a few nodes within reach of a point."""
    wanted = np.array(grid.shape) * grid.spacing * _NODES_PER_REACH / reach
    return grid.resampled(np.clip(np.ceil(wanted).astype(int), 1, grid.shape))
