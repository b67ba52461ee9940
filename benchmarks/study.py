"""Where a comparison of networks takes its cases from, and one row of it: trained, then judged."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import cases, data
from benchmarks.cases import Case
from benchmarks.data import Pair
from benchmarks.judgement import judged
from benchmarks.peers import FOLDER as PEERS
from benchmarks.peers import Bench
from benchmarks.protocol import RECIPE, Protocol, of_labels
from RegistrationNetLib.core import metrics
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.networks import registry
from RegistrationNetLib.training.settings import Train
from RegistrationNetLib.training.train import train

_FOLDER = Path(__file__).parents[1] / "build" / "reproduce"
_RECIPE = Path(__file__).parents[1] / "recipes" / "hippocampus.toml"
_SMALL: dict[str, dict[str, Any]] = {"cascaded-blocks": {"block": 24}, "maxca": {"region": 4}}


@dataclass(frozen=True)
class Row:
    """A network to be trained. switches: as for `registry.create`; smoothness: times its own weight of that."""

    title: str
    network: str
    switches: dict[str, Any] = field(default_factory=dict)
    smoothness: float = 1.0

    @property
    def key(self) -> str:
        """Names its results."""
        said = [f"{name}-{value}" for name, value in self.switches.items()]
        return "_".join([self.network, *said, *([f"smoothness-{self.smoothness}"] if self.smoothness != 1 else [])])


@dataclass(frozen=True)
class Study:
    """Where cases, pairs and recipe come from, and where results are kept.

    name: of the protocol, empty for ours. steps: of each row. labels: sets of them by name, each with a mean Dice of
    its own, the first above all; none for all labels. metrics: what else is said. switches: of a network, for images of
    this size.
    """

    name: str
    bench: Bench
    pairs: tuple[Pair, ...]
    recipe: Train
    kept: Path
    steps: int
    labels: dict[str, tuple[int, ...]] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("hd95_mm", "folded_percent", "topology_change")
    switches: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of_hippocampus(cls, steps: int, threads: int) -> Study:
        """Ours; blocks and regions as large as such crops have room for."""
        bench = Bench(data.data_folder(), PEERS, threads)
        pairs = data.sets(bench.data)["hippocampus"]
        return cls("", bench, pairs, Train.read(_RECIPE), _FOLDER, steps, switches=_SMALL)

    @classmethod
    def of_protocol(cls, folder: Path, steps: int, threads: int) -> Study:
        """A paper's, with what is kept in its folder. Raises InputError for a folder that was not prepared."""
        protocol, kept = Protocol.read(folder), folder / "results"
        bench, recipe = Bench(folder, kept / "pairs", threads), Train.read(folder / RECIPE)
        return cls(protocol.name, bench, protocol.to_judge(), recipe, kept, steps, protocol.labels, protocol.metrics)

    @property
    def beside(self) -> tuple[str, ...]:
        """Names of the sets of labels that are judged by besides the first."""
        return tuple(self.labels)[1:]

    def made_with(self, row: Row) -> dict[str, Any]:
        return self.switches.get(row.network, {}) | row.switches

    def folder(self, row: Row, seed: int) -> Path:
        return self.kept / f"{row.key}_steps-{self.steps}_seed-{seed}"

    def results(self, row: Row, seed: int) -> dict[str, Any] | None:
        """None where it was not run."""
        file = self.folder(row, seed) / "results.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def run(self, row: Row, seed: int) -> None:
        """Train it, or go on, and judge it."""
        folder, switches = self.folder(row, seed), self.made_with(row)
        settings = replace(
            self.recipe,
            network=row.network,
            switches=switches,
            seed=seed,
            loss=replace(self.recipe.loss, smoothness=row.smoothness),
            course=replace(self.recipe.course, steps=self.steps, minutes=0.0),
        )
        done = train(settings, folder)
        figures = [] if done.weights is None else [self.figures(pair, done.weights) for pair in self.pairs]
        parameters = sum(p.numel() for p in registry.create(row.network, **switches).parameters())
        found = {"pairs": figures, "parameters": parameters}
        (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")

    def figures(self, pair: Pair, file: Path) -> dict[str, float]:
        """Of the network alone, with the weights in a file."""
        whole_case, (whole, took) = cases.load(pair, self.bench.data), self.bench.ours(pair, None, file)
        case, *others = [of_labels(whole_case, values) for values in self.labels.values()] or [whole_case]
        found = judged(case, whole) | took | {"topology_change": topology_change(case, whole)}
        if "ncc" in self.metrics:
            found |= likeness(case, whole)
        return found | {name: judged(other, whole)["dice"] for name, other in zip(self.beside, others, strict=True)}


def topology_change(case: Case, mapping: Mapping) -> float:
    """Of the moving labels by warping."""
    assert case.reference.moving_labels is not None
    before = case.reference.moving_labels.scalar
    after = warp(case.reference.moving_labels, mapping, case.fixed.grid, "nearest").scalar
    return float(metrics.topology_change(before, after, metrics.common_labels(before, after)))


def likeness(case: Case, mapping: Mapping) -> dict[str, float]:
    """Of the fixed and the warped moving image, which have values in [0, 1], all over the fixed grid."""
    images = case.fixed.scalar, warp(case.moving, mapping, case.fixed.grid).scalar
    return {"one_minus_mse": metrics.one_minus_mse(*images), "ncc": metrics.ncc(*images)}
