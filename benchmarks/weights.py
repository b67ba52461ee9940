"""What trained weights are worth: `python -m benchmarks.weights` registers images that no weights have learnt from by
the network alone, by network and refinement, and by refinement alone, all from one affine; `--write` puts the tables
into docs/benchmarks.md.

Shipped weights are compared, or those that `--weights` names. With `--validation` the pairs are those to choose weights
by. Figures are kept in build/weights, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import fmean

from benchmarks import cases, data
from benchmarks.data import Pair
from benchmarks.judgement import judged
from benchmarks.page import machine, write_table
from benchmarks.peers import FOLDER as PEERS
from benchmarks.peers import Bench
from benchmarks.peers_table import Figures
from benchmarks.tools import TOOLS, digest, version
from RegistrationNetLib.engine.settings import PRESETS
from RegistrationNetLib.networks import weights

FOLDER = Path(__file__).parents[1] / "build" / "weights"
REFINED = {"alone": None, "fast": PRESETS["fast"], "balanced": PRESETS["balanced"]}
"""What follows on the network's start."""
INTRODUCTION = """Means over pairs that no weights have learnt from, all from the same affine: {measure}, folded voxels
in percent, and seconds, first those of the refinement alone, then of each file of weights. *Equal time* is what the
refinement alone reaches in the time of network and refinement together, between presets by the logarithm of time."""


@dataclass(frozen=True)
class Point:
    """A way to register, as means over the pairs of a set. value: mean Dice, or mm."""

    value: float
    folded_percent: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.value:.3f}; {self.folded_percent:.3f}; {self.seconds:.1f} s"


def measure(figures: Figures) -> str:
    """By which a pair is judged."""
    return next(name for name in ("dice", "tre_mm", "error_mm") if name in figures)


def mean(figures: Sequence[Figures]) -> Point:
    by = measure(figures[0])
    return Point(*(fmean(one[name] for one in figures) for name in (by, "folded_percent", "seconds")))


def figures(bench: Bench, pair: Pair, file: Path, refined: str) -> Figures:
    """Of one pair, by a network of these weights; computed unless they are at hand."""
    folder = bench.start(pair)
    kept = FOLDER / f"{digest([file])}-{refined}-{folder.name}.json"
    made = {
        "version": version(TOOLS["balanced"]),
        "threads": bench.threads,
        "start": digest(folder / name for name in cases.SHARED),
    }
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if not made.items() <= known.items():
        whole, took = bench.ours(pair, REFINED[refined], file)
        FOLDER.mkdir(parents=True, exist_ok=True)
        known = made | took | judged(cases.load(pair, bench.data), whole)
        kept.write_text(json.dumps(known), encoding="utf-8")
    return known


def in_time(alone: Sequence[Point], seconds: float) -> float:
    """What the refinement alone reaches in so many seconds, between the points that were measured."""
    points = sorted(alone, key=lambda point: point.seconds)
    for before, after in pairwise(points):
        if seconds <= after.seconds:
            share = log(max(seconds, before.seconds) / before.seconds) / log(after.seconds / before.seconds)
            return before.value + share * (after.value - before.value)
    return points[-1].value


def table(bench: Bench, pairs: Sequence[Pair], files: Sequence[Path]) -> list[str]:
    """Markdown rows of one data set, printed as they come."""
    known = [bench.figures(pair, ["affine", *PRESETS]) for pair in pairs]
    affine, *alone = (mean([one[name] for one in known]) for name in ("affine", *PRESETS))
    rows = ["| | network alone | and fast | equal time | and balanced | equal time |", f"|{'---|' * 6}"]
    rows.append(f"| no network | {affine.value:.3f} | {alone[0]} | | {alone[1]} | |")
    rows.append(f"| no network, accurate | | | | {alone[2]} | |")
    print(*rows, sep="\n", flush=True)
    for file in files:
        points = {how: mean([figures(bench, pair, file, how) for pair in pairs]) for how in REFINED}
        fast, balanced = points["fast"], points["balanced"]
        equal = [f"{in_time(alone, point.seconds):.3f}" for point in (fast, balanced)]
        rows.append(f"| {file.stem} | {points['alone']} | {fast} | {equal[0]} | {balanced} | {equal[1]} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", type=Path, metavar="FILE", help="instead of those that are shipped")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these data sets, such as brain_ixi")
    parser.add_argument("--validation", action="store_true", help="the pairs to choose weights by")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    asked = parser.parse_args()
    bench = Bench(data.data_folder(), PEERS, asked.threads)
    sets = data.validation(bench.data) if asked.validation else data.for_weights(bench.data)
    files = asked.weights or list(weights.shipped().values())
    sections = []
    for name in asked.sets or sets:
        print(f"\n### {name}, {len(sets[name])} pairs\n", flush=True)
        sections.append("\n".join([f"### {name}, {len(sets[name])} pairs", "", *table(bench, sets[name], files)]))
    if asked.write:
        said = INTRODUCTION.format(measure="Dice (more is better), on lung_ct TRE in mm (less is better)")
        command = f"`python -m benchmarks.weights --threads {asked.threads} --write` on {machine()}:"
        write_table("weights", "\n\n".join([said, command, *sections]))


if __name__ == "__main__":
    main()
