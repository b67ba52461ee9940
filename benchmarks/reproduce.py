"""The papers' comparisons at our scale: `python -m benchmarks.reproduce` trains every network and every switch of it
alike, one row after the other, and says beside each paper's claim what came out; `--write` puts it into
docs/benchmarks.md.

Rows that have no result yet are printed as not run. What was trained is kept in build/reproduce, so that a run that was
stopped goes on where it was. `--rows` and `--seeds` say what is to be run, `--steps` how long each is trained.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from benchmarks import cases, data, tools
from benchmarks.data import Pair
from benchmarks.judgement import judged
from benchmarks.page import machine, write_table
from benchmarks.peers import FOLDER as PEERS
from benchmarks.peers import Bench
from RegistrationNetLib.core import metrics
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.files.transforms import read_transform
from RegistrationNetLib.networks import registry
from RegistrationNetLib.training.settings import Train
from RegistrationNetLib.training.train import train

FOLDER = Path(__file__).parents[1] / "build" / "reproduce"
RECIPE = Path(__file__).parents[1] / "recipes" / "hippocampus.toml"
_RESAMPLES = 2000
_SMALL: dict[str, dict[str, Any]] = {"cascaded-blocks": {"block": 24}, "maxca": {"region": 4}}
INTRODUCTION = """Every row is one network, trained without labels on the same crops for {steps} steps of one pair, its
best weights chosen on crops held back, and judged on {pairs} pairs that neither has seen: network alone, from our
affine. In brackets the 95 % confidence interval of the mean over pairs; *difference* is that to the first row of its
question, pair by pair. TC: pieces, holes and cavities of the labels that came or went by warping. Rows that were never
run say so."""


@dataclass(frozen=True)
class Row:
    """A network to be trained. switches: as for `registry.create`; smoothness: times its own weight of that."""

    title: str
    network: str
    switches: dict[str, Any] = field(default_factory=dict)
    smoothness: float = 1.0

    @property
    def made_with(self) -> dict[str, Any]:
        """All its switches: blocks and regions as large as such crops have room for."""
        return _SMALL.get(self.network, {}) | self.switches

    @property
    def key(self) -> str:
        """Names its results."""
        said = [f"{name}-{value}" for name, value in self.switches.items()]
        return "_".join([self.network, *said, *([f"smoothness-{self.smoothness}"] if self.smoothness != 1 else [])])


@dataclass(frozen=True)
class Question:
    """What a paper claims, and the rows that answer; the first is what the others are compared with."""

    title: str
    claim: str
    rows: tuple[Row, ...]


def switched(network: str, title: str, **switches: Any) -> Row:
    return Row(title, network, switches)


def _cascade() -> Iterator[Row]:
    """All eight combinations; the paper's reference has none of the three."""
    for number in range(8):
        on = {name: bool(number & bit) for name, bit in (("caml", 1), ("rbsc", 2), ("carsc", 4))}
        title = " + ".join(name.upper() for name, kept in on.items() if kept) or "none of the three"
        yield Row(title, "caml", {name: False for name, kept in on.items() if not kept})


QUESTIONS = (
    Question(
        "The five beside the baseline",
        "each above VoxelMorph in its paper's own setting",
        (
            Row("VoxelMorph", "voxelmorph"),
            Row("UDRNet", "udrnet"),
            Row("CAML-RBSC-CARSC", "caml"),
            Row("MSR-Dilformer-SRF", "dilformer"),
            Row("MAXCA", "maxca"),
            Row("Cascaded blocks", "cascaded-blocks"),
        ),
    ),
    Question(
        "Does scHAF help?",
        "lung CT: Dice +0.25, 1-MSE +0.18, NCC +0.13 points over the same network without it",
        (
            switched("udrnet", "without scHAF", schaf=False),
            Row("with scHAF", "udrnet"),
            switched("udrnet", "its gate over space alone", schaf="channel"),
            switched("udrnet", "its gate over channels alone", schaf="spatial"),
        ),
    ),
    Question(
        "CAML, RBSC, CARSC: which of them helps?",
        "Dice: RBSC up to 0.6 %, CAML 0.5 %, RBSC + CARSC 1.7 %, CARSC + CAML 1.3 %, RBSC + CAML 1.0 %",
        tuple(_cascade()),
    ),
    Question(
        "MSR, Dilformer, SRF, the multi-resolution loss",
        "IXI, 30 labels: Dice 0.769, above all that it was compared with; no ablation is visible",
        (
            Row("all", "dilformer"),
            switched("dilformer", "without MSR", msr=False),
            switched("dilformer", "without Dilformer", dilformer=False),
            switched("dilformer", "without SRF", srf=False),
            switched("dilformer", "loss at the finest level alone", multi_resolution_loss=False),
            switched("dilformer", "no dilation", dilations="1-1-1-1"),
        ),
    ),
    Question(
        "Does MAXCA beat its host, and plain global attention?",
        "state of the art on seven sets; plain cross-covariance attention catches coarse dependencies only",
        (
            switched("maxca", "host alone", regional=False, dilated=False),
            Row("MAXCA", "maxca"),
            switched("maxca", "global attention", attention="global"),
            switched("maxca", "regional alone", dilated=False),
            switched("maxca", "dilated alone", regional=False),
        ),
    ),
    Question(
        "Attention, blocks, passes and restoration",
        "better on brain, good on other parts of the body; no figures visible",
        (
            Row("all", "cascaded-blocks"),
            switched("cascaded-blocks", "without attention", attention=False),
            switched("cascaded-blocks", "the whole volume at once", blocks=False),
            switched("cascaded-blocks", "without restoration", restore=False),
            switched("cascaded-blocks", "two passes", passes=2),
            switched("cascaded-blocks", "three passes", passes=3),
        ),
    ),
    Question(
        "How much smoothness? (CAML-RBSC-CARSC)",
        "a weight was chosen among several, which are lost",
        tuple(Row(f"{weight:g} times", "caml", smoothness=weight) for weight in (1.0, 0.1, 0.5, 2.0, 4.0)),
    ),
    Question(
        "Other libraries' networks",
        "UDRNet above attention U-Net, residual U-Net and TransUNet",
        (
            Row("UDRNet", "udrnet"),
            Row("attention U-Net", "attention-unet"),
            Row("residual U-Net", "residual-unet"),
            Row("Swin UNETR", "swin-unetr"),
        ),
    ),
)


@dataclass(frozen=True)
class Study:
    """Where the data are, and how long each row is trained."""

    bench: Bench
    steps: int

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return data.sets(self.bench.data)["hippocampus"]

    def folder(self, row: Row, seed: int) -> Path:
        return FOLDER / f"{row.key}_steps-{self.steps}_seed-{seed}"

    def results(self, row: Row, seed: int) -> dict[str, Any] | None:
        """None where it was not run."""
        file = self.folder(row, seed) / "results.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def run(self, row: Row, seed: int) -> None:
        """Train it, or go on, and judge it."""
        folder, recipe = self.folder(row, seed), Train.read(RECIPE)
        settings = replace(
            recipe,
            network=row.network,
            switches=row.made_with,
            seed=seed,
            loss=replace(recipe.loss, smoothness=row.smoothness),
            course=replace(recipe.course, steps=self.steps, minutes=0.0),
        )
        done = train(settings, folder)
        figures = [] if done.weights is None else [self._judged(pair, done.weights) for pair in self.pairs]
        parameters = sum(p.numel() for p in registry.create(row.network, **row.made_with).parameters())
        found = {"pairs": figures, "parameters": parameters}
        (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")

    def _judged(self, pair: Pair, file: Path) -> dict[str, float]:
        """Of the network alone."""
        folder, case = self.bench.start(pair), cases.load(pair, self.bench.data)
        images = (sitk.ReadImage(str(folder / f"{side}.mha")) for side in ("fixed", "moving"))
        deformation, took = tools.measured(tools.ours(None, *images, self.bench.threads, file))
        sitk.WriteImage(sitk.Cast(deformation, sitk.sitkVectorFloat32), str(FOLDER / "field.mha"))
        whole = read_transform(FOLDER / "field.mha").then(read_transform(folder / "affine.tfm"))
        assert case.reference.moving_labels is not None
        before = case.reference.moving_labels.scalar
        after = warp(case.reference.moving_labels, whole, case.fixed.grid, "nearest").scalar
        changed = metrics.topology_change(before, after, metrics.common_labels(before, after))
        return judged(case, whole) | took | {"topology_change": float(changed)}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % of the means of as many values drawn from these again and again."""
    known = np.asarray(values)
    drawn = np.random.default_rng(0).integers(len(known), size=(_RESAMPLES, len(known)))
    low, high = np.percentile(known[drawn].mean(1), (2.5, 97.5))
    return float(low), float(high)


def pooled(study: Study, row: Row, seeds: Sequence[int]) -> list[dict[str, float]] | None:
    """Of each pair, means over the seeds that were run; None where none was."""
    runs = [found["pairs"] for seed in seeds if (found := study.results(row, seed)) and found["pairs"]]
    return [
        {name: float(np.mean([one[name] for one in same])) for name in same[0] if type(same[0][name]) is float}
        for same in zip(*runs, strict=True)
    ] or None


def cells(study: Study, row: Row, first: Row, seeds: Sequence[int]) -> list[str]:
    """Of one row of a table."""
    found, reference = pooled(study, row, seeds), pooled(study, first, seeds)
    ran = [seed for seed in seeds if study.results(row, seed)]
    if found is None:
        return ["not run" if not ran else "no better than untrained", *[""] * 8]
    parameters = (study.results(row, ran[0]) or {})["parameters"]
    mean = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    difference = ""
    if reference is not None and row != first:
        gains = [one["dice"] - other["dice"] for one, other in zip(found, reference, strict=True)]
        difference = "{:+.4f} [{:+.4f}, {:+.4f}]".format(np.mean(gains), *interval(gains))
    return [
        "{:.4f} [{:.4f}, {:.4f}]".format(mean["dice"], *interval([one["dice"] for one in found])),
        difference,
        f"{mean['hd95_mm']:.2f}",
        f"{mean['folded_percent']:.3f}",
        f"{mean['topology_change']:.1f}",
        f"{parameters / 1e6:.2f}",
        f"{mean['mib']:.0f}",
        f"{mean['seconds']:.2f}",
        str(len(ran)),
    ]


def table(study: Study, question: Question, seeds: Sequence[int]) -> str:
    heading = ["Dice", "difference", "HD95, mm", "folded, %", "TC", "million parameters", "MiB", "s", "seeds"]
    rows = [f"| {' | '.join(['', *heading])} |", f"|{'---|' * (1 + len(heading))}"]
    rows += [f"| {row.title} | {' | '.join(cells(study, row, question.rows[0], seeds))} |" for row in question.rows]
    return "\n".join([f"### {question.title}", "", f"Claim: {question.claim}.", "", *rows])


def main() -> None:
    known = {row.key: row for question in QUESTIONS for row in question.rows}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", choices=known, metavar="ROW", help="only these: " + ", ".join(known))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000, help="of one pair, for every row alike")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    study = Study(Bench(data.data_folder(), PEERS, asked.threads), asked.steps)
    for seed in asked.seeds:
        for key in known if asked.rows is None else asked.rows:
            if study.results(known[key], seed) is None:
                started = time.monotonic()
                study.run(known[key], seed)
                print(f"{key}, seed {seed}: {(time.monotonic() - started) / 60:.0f} minutes", flush=True)
    tables = [table(study, question, asked.seeds) for question in QUESTIONS]
    print(*tables, sep="\n\n")
    if asked.write:
        said = INTRODUCTION.format(steps=asked.steps, pairs=len(study.pairs))
        command = f"`python -m benchmarks.reproduce --steps {asked.steps} --write` on {machine()}:"
        write_table("reproduce", "\n\n".join([said, command, *tables]))


if __name__ == "__main__":
    main()
