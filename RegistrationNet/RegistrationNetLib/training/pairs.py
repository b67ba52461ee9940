"""Pairs to learn from, each made anew from a number: the same number gives the same pair, on any device, in whichever
process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.training import synthesis
from RegistrationNetLib.training.cases import Cases
from RegistrationNetLib.training.settings import Change, Train
from RegistrationNetLib.training.synthesis import uniform

_STRIPPED = 0.4  # how often what lies outside the organ is left out of a made-up scan
_PLAIN = Change(turn_degrees=0, scale=0, shift_mm=0, deform_mm=0, contrast=0)


@dataclass(frozen=True, eq=False)
class Pair:
    """fixed, moving: (1, 1, D, H, W) in [0, 1]; labels: the same shape, whole numbers below `count`, 0 for none, or
    None where nothing is labelled."""

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    count: int = 0


class Source(Protocol):
    """Where pairs come from."""

    def pair(self, number: int) -> Pair:
        """One to learn from."""

    def held_back(self) -> Sequence[Pair]:
        """Those that are never learnt from, as they are."""


def source(settings: Train, cache: Path, device: torch.device) -> Source:
    """What `settings.data` describes. Raises SettingsError or InputError for what cannot be used."""
    if settings.data.kind == "shapes":
        return Shapes(settings, device)
    cases = Cases.of(settings.data, cache)
    return (Scans if settings.data.kind == "images" else Maps)(settings, cases, device)


def _generator(settings: Train, number: int) -> torch.Generator:
    """One for this pair; PyTorch's own would take numbers that share their lower half for the same."""
    mixed = np.random.SeedSequence([settings.seed, abs(number), number < 0]).generate_state(1)
    return torch.Generator().manual_seed(int(mixed[0]))


@dataclass(frozen=True, eq=False)
class Shapes:
    """Made-up anatomies; both scans of a pair show the same one, each deformed on its own."""

    settings: Train
    device: torch.device

    def pair(self, number: int) -> Pair:
        generator = _generator(self.settings, number)
        shape = (self.settings.data.size,) * 3
        labels = synthesis.shapes(shape, generator, self.device)
        return _made_up(labels, labels, int(labels.max()) + 1, self.settings, generator)

    def held_back(self) -> list[Pair]:
        return [self.pair(-1 - k) for k in range(self.settings.data.held_back)]


@dataclass(frozen=True, eq=False)
class Maps:
    """Scans made up from the label maps of two bodies."""

    settings: Train
    cases: Cases
    device: torch.device
    known: dict[str, Tensor] = field(default_factory=dict)

    def pair(self, number: int) -> Pair:
        generator = _generator(self.settings, number)
        return self._between(_two(self.cases.learnt, generator), self.settings, generator)

    def held_back(self) -> list[Pair]:
        plain = replace(self.settings, change=_PLAIN)
        return [
            self._between(names, plain, _generator(plain, -1 - k)) for k, names in enumerate(_held_back(self.cases))
        ]

    def _between(self, names: Sequence[str], settings: Train, generator: torch.Generator) -> Pair:
        values, (fixed, moving) = _values(self.cases), (self._labels(name) for name in names)
        if settings.data.outside and uniform(generator, 0, 1) < _STRIPPED:
            kept = torch.from_numpy(np.where(values < settings.data.outside, np.arange(len(values)), 0)).to(self.device)
            fixed, moving = kept[fixed], kept[moving]
        return _made_up(fixed, moving, len(values), settings, generator)

    def _labels(self, name: str) -> Tensor:
        if name not in self.known:
            self.known[name] = _counted(self.cases[name].labels, _values(self.cases)).to(self.device)
        return self.known[name]


@dataclass(frozen=True, eq=False)
class Scans:
    """Two real scans, varied as another machine and another position might show them."""

    settings: Train
    cases: Cases
    device: torch.device
    known: dict[str, tuple[Tensor, Tensor | None]] = field(default_factory=dict)

    def pair(self, number: int) -> Pair:
        generator = _generator(self.settings, number)
        return self._between(_two(self.cases.learnt, generator), self.settings.change, generator)

    def held_back(self) -> list[Pair]:
        return [self._between(names, _PLAIN, _generator(self.settings, -1)) for names in _held_back(self.cases)]

    def _between(self, names: Sequence[str], change: Change, generator: torch.Generator) -> Pair:
        (one, one_labels), (two, two_labels) = (self._case(name) for name in names)
        still = replace(change, deform_mm=0.0)  # two bodies differ enough
        here, there = _places(one.shape[2:], still, self.settings.data.spacing_mm, generator, self.device)
        fixed, moving = spatial.sample(one, here), spatial.sample(two, there)
        if change.contrast:
            fixed, moving = (synthesis.weathered(image, change.contrast, generator) for image in (fixed, moving))
        if one_labels is None or two_labels is None:
            return Pair(fixed, moving)
        return Pair(fixed, moving, _nearest(one_labels, here), _nearest(two_labels, there), len(_values(self.cases)))

    def _case(self, name: str) -> tuple[Tensor, Tensor | None]:
        if name not in self.known:
            case = self.cases[name]
            assert case.values is not None
            values = torch.from_numpy(case.values.astype(np.float32)).to(self.device)[None, None]
            labelled = case.labels is not None
            labels = _counted(case.labels, _values(self.cases)).to(self.device) if labelled else None
            self.known[name] = values, labels
        return self.known[name]


def _made_up(fixed: Tensor, moving: Tensor, count: int, settings: Train, generator: torch.Generator) -> Pair:
    """Scans of two label maps, each moved, deformed and shown in a contrast of its own, at times not all of it; the
    labels know what is hidden.
    """
    here, there = _places(fixed.shape[2:], settings.change, settings.data.spacing_mm, generator, fixed.device)
    one, two = _nearest(fixed, here), _nearest(moving, there)
    shown = [synthesis.cut(synthesis.painted(labels, count, generator), generator) for labels in (one, two)]
    return Pair(shown[0], shown[1], one, two, count)


def _places(
    shape: Sequence[int], change: Change, spacing: float, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Where the voxels of the fixed and of the moving scan look."""

    def pose(part: float) -> Tensor:
        sizes = (part * change.turn_degrees, part * change.scale, part * change.shift_mm / spacing)
        return torch.cat([synthesis.pose(shape, *sizes, generator), torch.tensor([[0.0, 0, 0, 1]])])

    def place(where: Tensor) -> Tensor:
        deformed = None
        if change.deform_mm:
            deformed = synthesis.deformation(shape, change.deform_mm / spacing, generator, device)
        return synthesis.positions(shape, where.to(device), deformed)

    both = pose(1.0)
    return place(both), place(both @ pose(change.residual))


def _nearest(labels: Tensor, at: Tensor) -> Tensor:
    return spatial.sample(labels.float(), at, mode="nearest", padding="zeros").long()


def _two(names: Sequence[str], generator: torch.Generator) -> tuple[str, str]:
    one, other = torch.randperm(len(names), generator=generator)[:2].tolist()
    return names[one], names[other]


def _held_back(cases: Cases) -> list[tuple[str, str]]:
    """Each with the next; one alone with a case that is learnt from."""
    names = cases.held_back
    following = (*names[1:], names[0]) if len(names) > 1 else cases.learnt[:1]
    return list(zip(names, following, strict=True))


@lru_cache(maxsize=4)
def _values(cases: Cases) -> NDArray[np.int32]:
    """Every label of the first case, in order, from 0; others are none."""
    labels = cases[cases.learnt[0]].labels
    assert labels is not None
    return np.union1d(labels, [0])


def _counted(labels: NDArray[np.int32] | None, values: NDArray[np.int32]) -> Tensor:
    """Labels (D, H, W) as their places among `values`, 0 for others, (1, 1, D, H, W)."""
    assert labels is not None
    place = np.searchsorted(values, labels).clip(max=len(values) - 1)
    return torch.from_numpy(np.where(values[place] == labels, place, 0).astype(np.int64))[None, None]
