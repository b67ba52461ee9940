"""Time against accuracy: `python -m benchmarks.front` refines the same pairs with more and more iterations, the presets
among them, and prints the curve; `--write` puts it into docs/benchmarks.md. A preset that does not lie on it has no
reason to be: where another schedule is both faster and better, that is said.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from benchmarks import cases
from benchmarks.data import data_folder, sets
from benchmarks.judgement import judged
from benchmarks.page import machine, write_table
from benchmarks.peers import FOLDER, Bench
from RegistrationNetLib.engine.settings import PRESETS, Refine

PAIRS = {"brain_oasis": 2, "brain_ixi": 4, "hippocampus": 8}
"""How many of each data set; every one is registered once per schedule."""
STEPS = ((20, 20, 0, 0), (25, 30, 2, 0), (25, 30, 4, 0), (25, 40, 16, 0), (40, 60, 16, 0), (40, 60, 16, 16))
INTRODUCTION = """More iterations (at the coarse levels, at half and at full resolution, and on voxels finer than the
images', where those are larger than 1.5 mm) from the same affine: mean Dice, standard deviation of the log Jacobian
determinant, processor seconds of the refinement."""
Curve = Mapping[str, Mapping[str, "Point"]]
"""By schedule and data set."""


@dataclass(frozen=True)
class Point:
    """A schedule's means over one data set."""

    dice: float
    sd_log_jacobian: float
    cpu_seconds: float

    def outdoes(self, other: Point) -> bool:
        return self.dice > other.dice and self.cpu_seconds < other.cpu_seconds

    def __str__(self) -> str:
        return f"{self.dice:.4f}; {self.sd_log_jacobian:.3f}; {self.cpu_seconds:.2f} s"


def schedules() -> dict[str, Refine]:
    """By name, from little work to much."""
    names = ("steps_coarse", "steps_half", "steps_full", "steps_finer")
    plain = [replace(Refine(), **dict(zip(names, steps, strict=True))) for steps in STEPS]
    named = {_name(refine): refine for refine in plain} | {
        _preset(preset): refine for preset, refine in PRESETS.items()
    }
    return dict(sorted(named.items(), key=lambda item: (item[1].steps_full, item[1].steps_half, item[1].steps_finer)))


def _name(refine: Refine) -> str:
    return f"{refine.steps_coarse}, {refine.steps_half}, {refine.steps_full}, {refine.steps_finer}"


def _preset(name: str) -> str:
    return f"{_name(PRESETS[name])} **{name}**"


def verdict(preset: str, curve: Curve) -> str:
    """Whether another schedule is both faster and better than a preset, in words."""
    mine = curve[_preset(preset)]
    better = [
        f"{name} on {data} ({points[data]})"
        for name, points in curve.items()
        for data in mine
        if points[data].outdoes(mine[data])
    ]
    if better:
        return f"`{preset}` does not lie on the curve: both faster and better are {', '.join(better)}."
    return f"`{preset}` lies on the curve: no other schedule here is both faster and better."


def point(bench: Bench, name: str, refine: Refine) -> Point:
    figures = []
    for pair in sets(bench.data)[name][: PAIRS[name]]:
        whole, took = bench.ours(pair, refine)
        figures.append(judged(cases.load(pair, bench.data), whole) | took)
    return Point(*(fmean(f[what] for f in figures) for what in ("dice", "sd_log_jacobian", "cpu_seconds")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    asked = parser.parse_args()
    bench = Bench(data_folder(), FOLDER, asked.threads)
    rows = [f"| iterations | {' | '.join(PAIRS)} |", f"|---|{'---|' * len(PAIRS)}"]
    print(*rows, sep="\n", flush=True)
    curve = {}
    for name, refine in schedules().items():
        curve[name] = {data: point(bench, data, refine) for data in PAIRS}
        rows.append(f"| {name} | {' | '.join(map(str, curve[name].values()))} |")
        print(rows[-1], flush=True)
    verdicts = " ".join(verdict(preset, curve) for preset in PRESETS)
    print(verdicts)
    if asked.write:
        command = f"`python -m benchmarks.front --threads {asked.threads} --write` on {machine()}"
        write_table("front", "\n".join([INTRODUCTION, "", verdicts, "", f"{command}:", "", *rows]))


if __name__ == "__main__":
    main()
