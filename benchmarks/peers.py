"""How we compare with what else a user would take: `python -m benchmarks.peers` registers the same prepared pairs with
each, from the same affine alignment, on the same threads, judges all alike, and prints a table of each data set.

`make peers` installs the others. Images, fields and figures are kept in build/peers (some GB), so that a run that was
stopped goes on where it was; what was computed from another start, on other threads or by another version is computed
again, and what was judged otherwise is judged again. `--write` puts each data set's tables into docs/benchmarks.md as
soon as they are complete; `--check` ends with an error where we miss what we ask of ourselves.
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
from tempfile import TemporaryDirectory

import SimpleITK as sitk
import torch

from benchmarks import cases, data, judgement
from benchmarks.data import Pair
from benchmarks.demands import Demand, meet, table
from benchmarks.judgement import inconsistency_mm, judged
from benchmarks.page import PAGE, machine, write_table
from benchmarks.peers_demands import demands as demanded
from benchmarks.peers_table import INTRODUCTION, Figures, line, made, section
from benchmarks.tools import TOOLS, digest, measured, ours, version
from RegistrationNetLib.core import metrics, resample
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine import judge
from RegistrationNetLib.engine.settings import Refine
from RegistrationNetLib.files.transforms import read_transform

FOLDER = Path(__file__).parents[1] / "build" / "peers"
_STARTED = "start.json"
JUDGES = tuple(Path(str(module.__file__)) for module in (judgement, judge, metrics, resample))
_JUDGEMENT = digest(JUDGES)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
_ONLY_FOR = {
    **dict.fromkeys(("greedy", "greedy-long"), ("brain", "hippocampus")),
    **dict.fromkeys(("greedy-wide", "greedy-wide-long"), ("lung",)),
    "ants-cc": ("brain_ixi", "hippocampus"),
    "ants-cc-long": ("hippocampus hippocampus_00",),
}
"""Data sets, or pairs, by the beginning of their names: lungs want larger windows of greedy; ANTs by correlation takes
a quarter of an hour for a pair of millions of voxels, an hour at full resolution."""


@dataclass(frozen=True)
class Bench:
    """Where the real images are, where results are kept, on how many threads, and whether all is computed anew."""

    data: Path
    folder: Path
    threads: int
    again: bool = False

    def start(self, pair: Pair, again: bool = False) -> Path:
        """The pair's folder, with what all methods start from, made anew by another version of ourselves."""
        folder = self.folder / pair.name.replace(" ", "_")
        made_by = version(TOOLS["affine"])
        kept = {} if again else _read(folder / _STARTED)
        if kept.get("version") != made_by:
            (folder / _STARTED).unlink(missing_ok=True)
            cases.share(cases.load(pair, self.data), folder)
            kept = {"version": made_by, "digest": digest(folder / name for name in cases.SHARED)}
            (folder / _STARTED).write_text(json.dumps(kept), encoding="utf-8")
        return folder

    def figures(self, pair: Pair, names: Sequence[str]) -> dict[str, Figures]:
        """Those of each tool on a pair: computed, or only judged, where they are not at hand."""
        folder = self.start(pair, self.again)
        case = cases.load(pair, self.data)
        found = {}
        for name in names:
            file = folder / f"{name}.json"
            made = {"threads": self.threads, "version": version(TOOLS[name]), "title": TOOLS[name].title}
            made["start"] = _read(folder / _STARTED)["digest"]
            kept = {} if self.again else _read(file)
            if not made.items() <= kept.items():
                kept = made | run(name, folder, self.threads)
            if "failed" not in kept and kept.get("judgement") != _JUDGEMENT:
                kept |= judged(case, self.mapping(pair, name)) | {"judgement": _JUDGEMENT}
                print(f"{pair.name}: {TOOLS[name].title}: {line(kept)}", flush=True)
            file.write_text(json.dumps(kept), encoding="utf-8")
            found[name] = kept
        return found

    def ours(self, pair: Pair, refinement: Refine | None, trained: Path | None = None) -> tuple[Mapping, Figures]:
        """What a schedule, or weights in a file, or both find in this process, and what that took."""
        folder = self.start(pair)
        images = (sitk.ReadImage(str(folder / f"{side}.mha")) for side in ("fixed", "moving"))
        field, took = measured(ours(refinement, *images, self.threads, trained))
        with TemporaryDirectory() as kept:
            file = Path(kept) / "field.mha"
            sitk.WriteImage(sitk.Cast(field, sitk.sitkVectorFloat32), str(file))
            return read_transform(file).then(read_transform(folder / "affine.tfm")), took

    def mapping(self, pair: Pair, name: str) -> Mapping:
        folder = self.start(pair)
        return read_transform(folder / f"{name}.mha").then(read_transform(folder / "affine.tfm"))


def _read(file: Path) -> Figures:
    """What a file holds; nothing where there is none."""
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def run(name: str, folder: Path, threads: int) -> Figures:
    """What a tool took, in a process of its own, or under `failed` why it did not get there."""
    command = [sys.executable, "-m", "benchmarks.tools", name, str(folder), "--threads", str(threads)]
    environment = os.environ | dict.fromkeys(_THREADS, str(threads))
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
        return {"failed": last[:200]}
    return _read(folder / f"{name}.took.json")


def of_set(bench: Bench, pairs: Sequence[Pair], names: Sequence[str]) -> dict[str, dict[str, Figures]]:
    """Figures by pair and tool; where a pair comes in both directions, also how far there and back leads astray."""
    found = {pair.name: bench.figures(pair, usable(names, pair.name)) for pair in pairs}
    for pair in pairs:
        back = [
            other for other in pairs if (other.fixed, other.moving) == (pair.moving, pair.fixed) != (pair.fixed,) * 2
        ]
        for other in back:
            case = cases.load(pair, bench.data)
            for name in found[pair.name].keys() & found[other.name].keys():
                if not any("failed" in found[each.name][name] for each in (pair, other)):
                    there, again = bench.mapping(pair, name), bench.mapping(other, name)
                    found[pair.name][name]["inconsistency_mm"] = inconsistency_mm(case, there, again)
    return found


def usable(names: Sequence[str], pair: str) -> list[str]:
    """The tools that suit a pair."""
    return [name for name in names if pair.startswith(_ONLY_FOR.get(name, ""))]


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
    parser.add_argument("--check", action="store_true", help="fail where what we ask of ourselves is missed")
    asked = parser.parse_args()
    if asked.write and asked.pairs:
        parser.error("--write puts whole data sets into the page: leave out --pairs")
    require(asked.tools)
    torch.set_num_threads(asked.threads)
    bench = Bench(data.data_folder(), FOLDER, asked.threads, asked.again)
    known = data.sets(bench.data)
    if unknown := set(asked.sets or known) - set(known):
        parser.error(f"no data set {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = {
        kind: [pair for pair in known[kind] if not asked.pairs or any(part in pair.name for part in asked.pairs)]
        for kind in asked.sets or known
    }
    if not any(chosen.values()):
        parser.error(f"nothing to do: no pair's name in {', '.join(chosen)} contains {' or '.join(asked.pairs)}")
    command = " ".join(["python -m benchmarks.peers", *sys.argv[1:]])
    listed: list[Demand] = []
    for kind, pairs in chosen.items():
        if pairs:
            found = of_set(bench, pairs, asked.tools)
            names = [name for name in asked.tools if any(name in figures for figures in found.values())]
            listed += demanded(kind, found)
            tables = [section(kind, found, {name: TOOLS[name].title for name in names}), table(demanded(kind, found))]
            print("", *tables, sep="\n\n", flush=True)
            if asked.write:
                versions = {TOOLS[name].package: version(TOOLS[name]) for name in names}
                write(kind, [*tables, made(command, asked.threads, machine(), versions)])
    if asked.check:
        meet(listed)


def write(kind: str, tables: Sequence[str], page: Path = PAGE) -> None:
    """Put one data set's tables into the page, where its own stand or below all, and above them what they mean."""
    write_table("peers", INTRODUCTION, page)
    write_table(f"peers {kind}", "\n\n".join(tables), page)


if __name__ == "__main__":
    main()
