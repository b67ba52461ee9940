"""What a user gets on real pairs: `python -m benchmarks.pairs` runs the command line on each and writes the table of
docs/benchmarks.md. The images are found through REGISTRATIONNET_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.data import Pair, data_folder, ixi, landmarks, lung, oasis
from benchmarks.page import machine, write_table

HEADER = """| pair (moving onto fixed) | measure | before | after affine | after | folded % | SD log J | s | MiB |
|---|---|---|---|---|---|---|---|---|"""
INTRODUCTION = """Mean Dice over all labels of at least 50 voxels in the fixed image (label maps warped by nearest
neighbour), or mean target registration error (TRE, mm) over landmarks. Folded voxels and the standard deviation of the
log Jacobian determinant (of the deformable part) are taken inside the fixed labels, or else the body by Otsu's
threshold. Seconds (s) are wall time of the whole command, reading and writing all results
included; MiB is its peak memory. The command fails where a voxel is folded in any pair, or a pair misses its floor, and
these have one:
{floors}.
How well the others come together is shown, not guarded."""

FLOORS = {
    "brain_oasis 1003 onto 1000": 0.65,
    "lung_ct followup onto baseline": 2.2,
    "lung_ct baseline onto followup": 2.2,
}
"""The least mean Dice, or the largest mean TRE in mm, that is acceptable, by the pair's name."""

PAIRS = (
    oasis("1000", "1003"),
    oasis("1000", "1001"),
    oasis("1001", "1002"),
    oasis("1002", "1006"),
    lung("baseline", "followup"),
    lung("followup", "baseline"),
    ixi("IXI012", "IXI013"),
    ixi("IXI014", "IXI015"),
    Pair(
        "lung_mri 0006 onto 0004 (lobes)",
        "lung_mri/0004H1.nii.gz",
        "lung_mri/0006H1.nii.gz",
        ("lung_mri/0004Lobes.nii.gz", "lung_mri/0006Lobes.nii.gz"),
    ),
)


def measure(pair: Pair, data: Path, preset: str, threads: int | None) -> tuple[str, bool]:
    """Run the command on one pair; its row of the table, and whether it is acceptable: no fold, and above its floor."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [str(Path(sys.executable).with_name("registrationnet")), "register"]
        command += [str(data / pair.fixed), str(data / pair.moving), "-o", str(out), "--preset", preset]
        command += _truth(pair, data, Path(folder))
        environment = os.environ if threads is None else {**os.environ, "OMP_NUM_THREADS": str(threads)}
        seconds, peak = _timed(command, dict(environment))
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return row(pair.name, report, seconds, peak), acceptable(pair, report)


def acceptable(pair: Pair, report: dict[str, Any]) -> bool:
    """No folded voxel in the body, and at least as good as the pair's floor."""
    quality, floor = report["quality"], FLOORS.get(pair.name)
    if floor is None:
        good = True
    elif "dice" in quality:
        good = quality["dice"]["after"] >= floor
    else:
        good = quality["tre_mm"]["after"] <= floor
    return good and report["jacobian"]["folded_voxels"] == 0


def row(name: str, report: dict[str, Any], seconds: float, peak_mib: float) -> str:
    """One line of the table from a report."""
    quality, jacobian = report["quality"], report["jacobian"]
    if "dice" in quality:
        values, kind, form = quality["dice"], f"Dice ({quality['dice']['labels']} labels)", "{:.3f}"
    else:
        values, kind, form = quality["tre_mm"], f"TRE mm ({quality['tre_mm']['landmarks']} landmarks)", "{:.2f}"
    cells = [name, kind, *(form.format(values[stage]) for stage in ("before", "after_align", "after"))]
    cells += [f"{jacobian['folded_percent']:.4f}", f"{jacobian['sd_log']:.2f}", f"{seconds:.0f}", f"{peak_mib:.0f}"]
    return f"| {' | '.join(cells)} |"


def guarded() -> str:
    """The pairs that have a floor, in words."""
    measures = {pair.name: "Dice at least {:g}" if pair.labels else "TRE at most {:g} mm" for pair in PAIRS}
    return "; ".join(f"{name} ({measures[name].format(floor)})" for name, floor in FLOORS.items())


def _truth(pair: Pair, data: Path, folder: Path) -> list[str]:
    if pair.labels is not None:
        sides = zip(("fixed", "moving"), pair.labels, strict=True)
        return [part for side, file in sides for part in (f"--{side}-labels", str(data / file))]
    options = []
    for side, image, points in zip(("fixed", "moving"), (pair.fixed, pair.moving), pair.landmarks or (), strict=True):
        table = folder / f"{side}.csv"
        rows = [",".join(f"{value:.4f}" for value in point) for point in landmarks(data / image, data / points)]
        table.write_text("\n".join(["x,y,z", *rows]) + "\n")
        options += [f"--{side}-landmarks", str(table)]
    return options


def _timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds and peak MiB of a process and its children."""
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"The command failed with status {process.returncode}: {' '.join(command)}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", nargs="+", metavar="NAME", help="only pairs whose name contains one of these")
    parser.add_argument("--preset", default="balanced", help="fast, balanced or accurate")
    parser.add_argument("--threads", type=int, help="threads to compute with (default: what is free)")
    chosen = parser.parse_args()
    pairs = [p for p in PAIRS if not chosen.pairs or any(name in p.name for name in chosen.pairs)]
    if not pairs:
        parser.error("no such pair; there are: " + ", ".join(p.name for p in PAIRS))
    print(HEADER)
    rows, failed = [], []
    for pair in pairs:
        line, good = measure(pair, data_folder(), chosen.preset, chosen.threads)
        rows.append(line)
        failed += [] if good else [pair.name]
        print(line, flush=True)
    if len(pairs) == len(PAIRS) and chosen.preset == "balanced":
        command = " ".join(["python -m benchmarks.pairs", *sys.argv[1:]])
        said = INTRODUCTION.format(floors=guarded())
        write_table("pairs", "\n".join([f"{said}\n\n`{command}` on {machine()}:\n", HEADER, *rows]))
    if failed:
        raise SystemExit(f"Below the floor or folded: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
