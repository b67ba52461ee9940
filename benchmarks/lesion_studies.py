"""Made-up studies of which all is known: lesions over timepoints, what became of each, and where registration errs.

Geometry only, no images. Lesions live in one anatomy; each timepoint sees it through a smooth motion of its own and
through voxels of its own size, and a reader whose outlines wobble. The generator and the seeds that are judged were
fixed before anything was tuned on it (`benchmarks/lesion_matching.py` tunes on other seeds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from benchmarks.lesion_lobes import (
    DIAMETERS_MM,
    SPLITTABLE_MM,
    Lobe,
    Shape,
    any_direction,
    any_phase,
    ellipsoid,
    melted,
    pieces,
)
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.residuals import Residuals

BOX_MM = (240.0, 200.0, 300.0)
"""The part of the body in which lesions lie."""
STEADY = 0.05
"""Standard deviation of log volume of what is stable."""
SHARES = {"stable": 0.5, "grown": 0.15, "shrunk": 0.15, "resolved": 0.1, "split": 0.1}
"""How often each becomes of a lesion from one timepoint to the next, where no merging takes it up."""
NEW, TWINS, MERGED, REAPPEARED = 0.1, 0.2, 0.6, 0.5
"""New lesions for each old one; lesions set close beside another; how many such groups merge in a step; how many of
those that resolved come back."""


MOTION = Residuals(scale_mm=5.0, spread=0.0, length_mm=45.0)
"""How the anatomy itself moves between timepoints."""


@dataclass(frozen=True)
class Fate:
    """What became of lesions from one timepoint to the next: names at either; one of both sides may be empty."""

    earlier: tuple[str, ...]
    later: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class Return:
    """A lesion last seen at timepoint `seen` under one name that is there again at `again` under another."""

    seen: int
    earlier: str
    again: int
    later: str


@dataclass(frozen=True, eq=False)
class Study:
    """timepoints: the lesions at each, in no order; mappings: from each to the next (earlier world -> later world),
    the true ones at first; fates: of each step; returns: what reappeared; error_mm: expected of the mappings."""

    seed: int
    timepoints: tuple[tuple[Lesion, ...], ...]
    mappings: tuple[Mapping, ...]
    fates: tuple[tuple[Fate, ...], ...]
    returns: tuple[Return, ...]
    error_mm: float = 0.0

    def registered(self, residuals: Residuals) -> Study:
        """The same with mappings that err; errors of another size are the same fields times a number."""
        rng = np.random.default_rng((self.seed, 1))
        erring = tuple(mapping.then(Mapping((residuals.drawn(rng, BOX_MM),))) for mapping in self.mappings)
        return replace(self, mappings=erring, error_mm=residuals.mean_mm)


@dataclass(frozen=True, eq=False)
class _Step:
    """later: lesions by number after a step; came_from: (old numbers, new numbers, kind) of all that happened."""

    later: dict[int, Shape]
    came_from: list[tuple[tuple[int, ...], tuple[int, ...], str]]


def study(lesions: int, seed: int, timepoints: int = 3) -> Study:
    """A patient with so many lesions at first; the same seed gives the same study."""
    rng = np.random.default_rng(seed)
    now = _first(lesions, rng)
    every, steps, numbers = [now], [], _Numbers(lesions)
    gone: dict[int, tuple[int, Shape]] = {}
    returned: list[tuple[int, int, int, int]] = []
    for time in range(1, timepoints):
        step = _step(now, numbers, rng)
        returned += _bring_back(step, gone, time, numbers, rng)
        gone |= {old[0]: (time - 1, now[old[0]]) for old, _, kind in step.came_from if kind == "resolved"}
        every.append(now := step.later)
        steps.append(step)
    motions = [Mapping(), *(Mapping((MOTION.drawn(rng, BOX_MM),)) for _ in steps)]
    names = [_names(shapes, rng) for shapes in every]
    drawn = [_outlines(*seen, rng) for seen in zip(every, names, motions, strict=True)]
    mappings = [before.then(after.inverse()) for before, after in pairwise(motions)]
    fates = [_fates(step, names[time], names[time + 1]) for time, step in enumerate(steps)]
    returns = [Return(seen, names[seen][old], again, names[again][new]) for seen, old, again, new in returned]
    return Study(seed, tuple(drawn), tuple(mappings), tuple(fates), tuple(returns))


class _Numbers:
    """A new number for each lesion that was not there before."""

    def __init__(self, last: int) -> None:
        self.last = last

    def new(self) -> int:
        self.last += 1
        return self.last


def _first(lesions: int, rng: np.random.Generator) -> dict[int, Shape]:
    """Set one after the other, half of them as near to another as is allowed, some closer still: these may merge."""
    placed: dict[int, Shape] = {}
    for number in range(1, lesions + 1):
        twin = bool(placed) and rng.random() < TWINS
        placed[number] = _placed(list(placed.values()), rng, twin)
    return placed


def _placed(others: Sequence[Shape], rng: np.random.Generator, twin: bool = False) -> Shape:
    """A lesion at least a diameter (of the smaller) from all others; a twin lies up to 0.35 diameters from one."""
    while True:
        shape = ellipsoid(np.exp(rng.uniform(*np.log(DIAMETERS_MM))) / 2, rng)
        beside = others[int(rng.integers(len(others)))] if len(others) and (twin or rng.random() < 0.5) else None
        center = rng.uniform(0, BOX_MM) if beside is None else _beside(beside.lobes[0], shape, rng, twin)
        shape = shape.grown(1.0, center)
        if np.all((center >= 0) & (center <= BOX_MM)) and all(
            shape.gap_mm(other) >= (1.0 if twin and other is beside else 2 * min(shape.radius_mm, other.radius_mm))
            for other in others
        ):
            return shape


def _beside(lobe: Lobe, shape: Shape, rng: np.random.Generator, twin: bool) -> Points:
    direction, diameter = any_direction(rng), 2 * min(shape.radius_mm, lobe.radius_mm)
    gap = max(1.5, diameter * rng.uniform(0.1, 0.35)) if twin else diameter * rng.uniform(1, 2)
    return lobe.center + direction * (gap + lobe.toward_mm(direction) + shape.lobes[0].toward_mm(direction))


def _step(now: dict[int, Shape], numbers: _Numbers, rng: np.random.Generator) -> _Step:
    step = _Step({}, [])
    left = dict(now)
    for group in _close_groups(now):
        merged = melted([now[number] for number in group], rng)
        clear = all(merged.gap_mm(other) > 1.0 for number, other in now.items() if number not in group)
        if clear and rng.random() < MERGED:
            for number in group:
                left.pop(number)
            one = numbers.new()
            step.later[one] = merged
            step.came_from.append((group, (one,), "merged"))
    for number, shape in left.items():
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        if kind == "split" and 2 * shape.radius_mm < SPLITTABLE_MM:
            kind = "stable"
        after = _after(kind, shape, _room_mm(number, now), rng)
        new = (number,) if kind in ("stable", "grown", "shrunk") else tuple(numbers.new() for _ in after)
        step.later.update(zip(new, after, strict=True))
        step.came_from.append(((number,), new, kind))
    for _ in range(rng.binomial(len(now), NEW)):
        number = numbers.new()
        step.later[number] = _placed([*now.values(), *step.later.values()], rng)
        step.came_from.append(((), (number,), "new"))
    return step


def _close_groups(now: dict[int, Shape]) -> list[tuple[int, ...]]:
    """Two or three lesions less than half a diameter (of the smaller) apart, no lesion in two groups."""
    groups: list[list[int]] = []
    for number, shape in now.items():
        near = [
            group
            for group in groups
            if len(group) < 3 and any(shape.gap_mm(now[k]) < min(shape.radius_mm, now[k].radius_mm) for k in group)
        ]
        if near:
            near[0].append(number)
        else:
            groups.append([number])
    return [tuple(group) for group in groups if len(group) > 1]


def _after(kind: str, shape: Shape, room_mm: float, rng: np.random.Generator) -> list[Shape]:
    """What a lesion has become. What grows leaves 60 % of the room to its neighbour free, and grows to one side."""
    if kind == "resolved":
        return []
    if kind == "split":
        return pieces(shape, rng)
    largest = ((shape.radius_mm + 0.4 * room_mm) / shape.radius_mm) ** 3
    factor: float = {
        "stable": float(np.exp(STEADY * rng.standard_normal())),
        "grown": min(rng.uniform(1.5, 4.0), largest),
        "shrunk": rng.uniform(0.25, 0.7),
    }[kind]
    change_mm = abs(factor ** (1 / 3) - 1) * shape.radius_mm
    return [shape.grown(factor, 0.3 * change_mm * any_direction(rng))]


def _room_mm(number: int, now: dict[int, Shape]) -> float:
    gaps = [now[number].gap_mm(other) for key, other in now.items() if key != number]
    return max(0.0, min(gaps, default=100.0))


def _bring_back(
    step: _Step, gone: dict[int, tuple[int, Shape]], time: int, numbers: _Numbers, rng: np.random.Generator
) -> list[tuple[int, int, int, int]]:
    """Some of what resolved before this step is there again, near where it was: (seen, old, again, new)."""
    returned = []
    for old in [old for old in gone if rng.random() < REAPPEARED]:
        seen, shape = gone.pop(old)
        again = shape.grown(rng.uniform(0.5, 1.3), 0.2 * shape.radius_mm * any_direction(rng))
        if all(again.gap_mm(other) > 1.5 for other in step.later.values()):
            number = numbers.new()
            step.later[number] = again
            step.came_from.append(((), (number,), "reappeared"))
            returned.append((seen, old, time, number))
    return returned


def _names(shapes: dict[int, Shape], rng: np.random.Generator) -> dict[int, str]:
    """As if every timepoint had been outlined by somebody else, in another order."""
    order = rng.permutation(len(shapes)) + 1
    return {number: str(name) for number, name in zip(shapes, order, strict=True)}


def _outlines(
    shapes: dict[int, Shape], names: dict[int, str], motion: Mapping, rng: np.random.Generator
) -> tuple[Lesion, ...]:
    """As a reader draws them in voxels; motion: the timepoint's world -> the anatomy."""
    in_plane, slices = rng.uniform(0.7, 1.3), rng.uniform(1.0, 3.0)
    drawn = [
        _drawn(names[number], shape, (slices, in_plane, in_plane), motion, rng) for number, shape in shapes.items()
    ]
    return tuple(sorted(drawn, key=lambda lesion: int(lesion.name)))


def _drawn(
    name: str, shape: Shape, spacing_mm: tuple[float, float, float], motion: Mapping, rng: np.random.Generator
) -> Lesion:
    """Slices along world z, on the lattice that the whole timepoint shares; never less than a voxel."""
    middle = motion.inverse()(shape.center)
    half = 1.2 * shape.reach_mm + 2 * max(spacing_mm)
    first = np.floor((middle[::-1] - half) / spacing_mm)
    count = np.ceil(2 * half / np.array(spacing_mm)).astype(int) + 1
    grid = Grid.of(count, spacing_mm, np.eye(3)[:, ::-1], (first * spacing_mm)[::-1])
    inside = shape.holds(motion(grid.points()), any_phase(rng))
    inside[tuple(np.rint(grid.to_voxel(middle)).astype(int))] |= not inside.any()
    return Lesion(name, Image(inside[None].astype(np.uint8), grid, name=name))


def _fates(step: _Step, before: dict[int, str], after: dict[int, str]) -> tuple[Fate, ...]:
    return tuple(
        Fate(tuple(sorted(before[n] for n in old)), tuple(sorted(after[n] for n in new)), kind)
        for old, new, kind in step.came_from
    )
