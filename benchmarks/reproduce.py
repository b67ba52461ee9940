"""The papers' comparisons at our scale: `python -m benchmarks.reproduce` trains every network and every switch of it
alike, one row after the other, and says beside each paper's claim what came out; `--write` puts it into
docs/benchmarks.md.

Rows that have no result yet are printed as not run. What was trained is kept in build/reproduce, so that a run that was
stopped goes on where it was. `--rows` and `--seeds` say what is to be run, `--steps` how long each is trained. Without
more it is our hippocampus crops; `--protocol FOLDER` asks the same of a paper's own data, which
`python -m benchmarks.protocols` prepared; what is trained is then kept in FOLDER/results.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.page import machine, write_table
from benchmarks.study import Row, Study
from RegistrationNetLib.core.errors import RegistrationError

_RESAMPLES = 2000
COLUMNS = {
    "hd95_mm": ("HD95, mm", "{:.2f}"),
    "folded_percent": ("folded, %", "{:.3f}"),
    "topology_change": ("TC", "{:.1f}"),
    "one_minus_mse": ("1-MSE", "{:.4f}"),
    "ncc": ("NCC", "{:.4f}"),
    "tre_mm": ("TRE, mm", "{:.2f}"),
}
"""Title and form of what rows are judged by besides Dice."""
INTRODUCTION = """Every row is one network, trained without labels on the same images for {steps} steps of one pair, its
best weights chosen on images held back, and judged on {pairs} pairs that neither has seen: network alone, from our
affine. In brackets the 95 % confidence interval of the mean over pairs; *difference* is that to the first row of its
question, pair by pair. TC: pieces, holes and cavities of the labels that came or went by warping. Rows that were never
run say so."""


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
        return ["not run" if not ran else "no better than untrained", *[""] * (len(heading(study)) - 1)]
    parameters = (study.results(row, ran[0]) or {})["parameters"]
    mean = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    difference = ""
    if reference is not None and row != first:
        gains = [one["dice"] - other["dice"] for one, other in zip(found, reference, strict=True)]
        difference = "{:+.4f} [{:+.4f}, {:+.4f}]".format(np.mean(gains), *interval(gains))
    return [
        "{:.4f} [{:.4f}, {:.4f}]".format(mean["dice"], *interval([one["dice"] for one in found])),
        difference,
        *(f"{mean[name]:.4f}" for name in study.beside),
        *(COLUMNS[name][1].format(mean[name]) for name in study.metrics),
        f"{parameters / 1e6:.2f}",
        f"{mean['mib']:.0f}",
        f"{mean['seconds']:.2f}",
        str(len(ran)),
    ]


def heading(study: Study) -> list[str]:
    """Of the columns after the first."""
    first = f"Dice, {next(iter(study.labels))}" if study.labels else "Dice"
    beside = [f"Dice, {name}" for name in study.beside]
    judged_by = [COLUMNS[name][0] for name in study.metrics]
    return [first, "difference", *beside, *judged_by, "million parameters", "MiB", "s", "seeds"]


def table(study: Study, question: Question, seeds: Sequence[int]) -> str:
    titles = ["", *heading(study)]
    rows = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    rows += [f"| {row.title} | {' | '.join(cells(study, row, question.rows[0], seeds))} |" for row in question.rows]
    return "\n".join([f"### {question.title}", "", f"Claim: {question.claim}.", "", *rows])


def main() -> None:
    known = {row.key: row for question in QUESTIONS for row in question.rows}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", choices=known, metavar="ROW", help="only these: " + ", ".join(known))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000, help="of one pair, for every row alike")
    parser.add_argument("--protocol", type=Path, metavar="FOLDER", help="a paper's data instead of ours")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    try:
        study = (
            Study.of_protocol(asked.protocol, asked.steps, asked.threads)
            if asked.protocol
            else Study.of_hippocampus(asked.steps, asked.threads)
        )
    except RegistrationError as error:
        raise SystemExit(str(error)) from error
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
        options = f"--protocol {study.name} " if asked.protocol else ""
        command = f"`python -m benchmarks.reproduce {options}--steps {asked.steps} --write` on {machine()}:"
        write_table(" ".join(filter(None, ["reproduce", study.name])), "\n\n".join([said, command, *tables]))


if __name__ == "__main__":
    main()
