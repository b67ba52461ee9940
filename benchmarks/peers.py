"""How we compare with what else a user would take: `python -m benchmarks.peers` registers the same prepared pairs with
each, from the same affine alignment, on the same threads, judges all alike, and prints a table of each data set.

`make peers` installs the others. Images, fields and figures are kept in build/peers (some GB), so that a run that was
stopped goes on where it was; what was computed on other threads, or by another version, is computed again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks import cases, data
from benchmarks.data import Pair
from benchmarks.judgement import inconsistency_mm, judged
from benchmarks.page import machine, write_table
from benchmarks.peers_table import Figures, introduction, line, section
from benchmarks.tools import TOOLS, version
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.files.transforms import read_transform

FOLDER = Path(__file__).parents[1] / "build" / "peers"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
_FOR_LUNGS, _NOT_FOR_LUNGS = {"greedy-wide", "greedy-wide-long"}, {"greedy", "greedy-long"}
"""Lungs want larger windows of greedy."""


@dataclass(frozen=True)
class Bench:
    """Where the real images are, where results are kept, on how many threads, and whether all is computed anew."""

    data: Path
    folder: Path
    threads: int
    again: bool = False

    def start(self, pair: Pair) -> Path:
        """The pair's folder, with what all methods start from."""
        folder = self.folder / pair.name.replace(" ", "_")
        if not (folder / "fixed.mha").exists():
            cases.share(cases.load(pair, self.data), folder)
        return folder

    def figures(self, pair: Pair, names: Sequence[str]) -> dict[str, Figures]:
        """Those of each tool on a pair, computed where they are not at hand."""
        folder = self.start(pair)
        found = {name: self._kept(folder, name) for name in names}
        missing = [name for name in names if not found[name]]
        case = cases.load(pair, self.data) if missing else None
        for name in missing:
            assert case is not None
            took = run(name, folder, self.threads)
            figures = took if "failed" in took else took | judged(case, self.mapping(pair, name))
            (folder / f"{name}.json").write_text(json.dumps(figures), encoding="utf-8")
            found[name] = figures
            print(f"{pair.name}: {TOOLS[name].title}: {line(figures)}", flush=True)
        return found

    def mapping(self, pair: Pair, name: str) -> Mapping:
        folder = self.start(pair)
        return read_transform(folder / f"{name}.mha").then(read_transform(folder / "affine.tfm"))

    def _kept(self, folder: Path, name: str) -> Figures:
        file = folder / f"{name}.json"
        if self.again or not file.exists():
            return {}
        figures: Figures = json.loads(file.read_text(encoding="utf-8"))
        fits = figures["threads"] == self.threads and figures["version"] == version(TOOLS[name])
        return figures if fits else {}


def run(name: str, folder: Path, threads: int) -> Figures:
    """What a tool took, in a process of its own, or under `failed` why it did not get there."""
    command = [sys.executable, "-m", "benchmarks.tools", name, str(folder), "--threads", str(threads)]
    environment = os.environ | dict.fromkeys(_THREADS, str(threads))
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    took: Figures = {"threads": threads, "version": version(TOOLS[name])}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
        return took | {"failed": last[:200]}
    return took | json.loads((folder / f"{name}.took.json").read_text(encoding="utf-8"))


def of_set(bench: Bench, pairs: Sequence[Pair], names: Sequence[str]) -> dict[str, dict[str, Figures]]:
    """Figures by pair and tool; where a pair comes in both directions, also how far there and back leads astray."""
    found = {pair.name: bench.figures(pair, names) for pair in pairs}
    for pair in pairs:
        back = [
            other for other in pairs if (other.fixed, other.moving) == (pair.moving, pair.fixed) != (pair.fixed,) * 2
        ]
        for other in back:
            case = cases.load(pair, bench.data)
            for name in names:
                if not any("failed" in found[each.name][name] for each in (pair, other)):
                    there, again = bench.mapping(pair, name), bench.mapping(other, name)
                    found[pair.name][name]["inconsistency_mm"] = inconsistency_mm(case, there, again)
    return found


def usable(names: Sequence[str], kind: str) -> list[str]:
    """The tools that suit a data set."""
    left_out = _NOT_FOR_LUNGS if kind.startswith("lung") else _FOR_LUNGS
    return [name for name in names if name not in left_out]


def require(names: Sequence[str]) -> None:
    """Raises SystemExit, saying how to install them, where packages are missing."""
    missing = sorted({TOOLS[name].package for name in names if find_spec(TOOLS[name].module) is None})
    if missing:
        raise SystemExit(
            f"Not installed: {', '.join(missing)}. Run `make peers` once, or choose others with --tools "
            f"(there are {', '.join(TOOLS)})."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS), help="only these")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these data sets, such as brain_ixi")
    parser.add_argument("--pairs", nargs="+", metavar="NAME", help="only pairs whose name contains one of these")
    parser.add_argument("--threads", type=int, default=2, help="for every tool (default: 2)")
    parser.add_argument("--again", action="store_true", help="compute anew what is at hand from earlier runs")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    asked = parser.parse_args()
    require(asked.tools)
    torch.set_num_threads(asked.threads)
    bench = Bench(data.data_folder(), FOLDER, asked.threads, asked.again)
    sections = []
    for kind, pairs in data.sets(bench.data).items():
        chosen = [pair for pair in pairs if not asked.pairs or any(part in pair.name for part in asked.pairs)]
        if chosen and (not asked.sets or kind in asked.sets):
            names = usable(asked.tools, kind)
            sections.append(section(kind, of_set(bench, chosen, names), {name: TOOLS[name].title for name in names}))
            print(f"\n{sections[-1]}\n", flush=True)
    if not sections:
        parser.error(f"nothing to do; the data sets are {', '.join(data.sets(bench.data))}")
    if asked.write:
        versions = {TOOLS[name].package: version(TOOLS[name]) for name in asked.tools}
        write_table("peers", "\n\n".join([introduction(asked.threads, machine(), versions), *sections]))


if __name__ == "__main__":
    main()
