"""Scans of one head in two contrasts, one of them warped by a known smooth field: how far from the truth we end up.

`python -m benchmarks.multimodal --write` puts the table into docs/benchmarks.md. It ends with an error where what is
taken when neither measure is asked for leaves more than 1.2 mm. The images are found through REGISTRATIONNET_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from benchmarks.data import data_folder
from benchmarks.demands import Demand, at_most, meet, table
from benchmarks.page import machine, write_table
from benchmarks.truth import smooth_field
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine import devices, judge
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.features import decided
from RegistrationNetLib.engine.mend import extend
from RegistrationNetLib.engine.prepare import prepare
from RegistrationNetLib.engine.refine import refine
from RegistrationNetLib.engine.settings import Prepare, Settings
from RegistrationNetLib.files.images import read_image

CONTRASTS = ("T1", "T2", "FLAIR")
SAME = ("T1", "T1")
SEEDS = (100, 101)
PEAK_MM, SIGMA_MM = 10.0, 20.0
MOST_MM = 1.2
_FIGURES = "folded % | SD log J | s"
HEADER = f"""| moving onto fixed | before | affine | lncc: mm | {_FIGURES} | mind: mm | {_FIGURES} | auto takes |
|{"---|" * 12}"""
INTRODUCTION = """Mean distance from the truth inside the head, mm: the fixed scan is one contrast of a head
(`stroke_multimodal`) through a random smooth field, {peak:g} mm at its largest (Gaussian noise of {sigma:g} mm), the
moving one another contrast of it as it is. Mean over the fields {seeds}, which were not looked at while settings were
chosen. After the affine that both start from, local correlation of intensities (lncc) and of structure (mind) refine
with the same preset; the last column says what is taken where neither is asked for. Seconds (s) are CPU time of the
refinement alone. The first row is a pair of one contrast."""


@dataclass(frozen=True)
class Outcome:
    """Of one field: mean errors in mm; per measure the error, folded %, SD log J and CPU seconds; what auto takes."""

    before: float
    affine: float
    lncc: tuple[float, float, float, float]
    mind: tuple[float, float, float, float]
    auto: str

    @property
    def error(self) -> float:
        """Of what auto takes, mm."""
        return {"lncc": self.lncc, "mind": self.mind}[self.auto][0]


def outcome(fixed: Image, moving: Image, seed: int, settings: Settings) -> Outcome:
    """Recover the field of one seed between two contrasts on one grid."""
    truth = Mapping((smooth_field(fixed.grid, seed, PEAK_MM, SIGMA_MM),))
    warped = warp(fixed, truth, fixed.grid)
    head = warped.scalar > 0  # the scans are stripped of everything else
    points = fixed.grid.points()[head]
    prepared = prepare(warped, moving, Prepare())
    with devices.flushed_denormals():
        affine = align(prepared, settings.align, "affine")
        auto = decided(prepared, affine, settings.refine).similarity

        def refined(similarity: Literal["lncc", "mind"]) -> tuple[float, float, float, float]:
            chosen = replace(settings.refine, similarity=similarity)
            started = time.process_time()
            field = refine(prepared, affine, None, chosen, devices.choose("cpu"))
            seconds = time.process_time() - started
            found = Mapping((extend(*field), affine))
            jacobian = judge.jacobian_report(judge.jacobian_image(found, warped), found, head, "head")
            error = tre(found(points), truth(points)).mean()
            return float(error), jacobian["folded_percent"], jacobian["sd_log"], seconds

        before, aligned = (float(tre(there, truth(points)).mean()) for there in (points, affine(points)))
        return Outcome(before, aligned, refined("lncc"), refined("mind"), auto)


def row(name: str, outcomes: list[Outcome]) -> str:
    """One line of the table: means over the fields, and what auto took of them."""
    cells = [name, *(f"{np.mean([getattr(one, stage) for one in outcomes]):.2f}" for stage in ("before", "affine"))]
    for similarity in ("lncc", "mind"):
        mm, folded, spread, seconds = np.mean([getattr(one, similarity) for one in outcomes], axis=0)
        cells += [f"{mm:.2f}", f"{folded:.4f}", f"{spread:.2f}", f"{seconds:.0f}"]
    taken = [one.auto for one in outcomes]
    cells.append(", ".join(f"{kind} {taken.count(kind)}/{len(taken)}" for kind in sorted(set(taken))))
    return f"| {' | '.join(cells)} |"


def demand(name: str, outcomes: Sequence[Outcome]) -> Demand:
    """What is asked of a pair: of what auto takes, in the mean over the fields."""
    error = float(np.mean([one.error for one in outcomes]))
    return at_most(f"{name}: at most {MOST_MM:g} mm by what auto takes", error, MOST_MM, "{:.2f} mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="balanced", help="fast, balanced or accurate")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="of the fields")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    chosen = parser.parse_args()
    folder = data_folder() / "stroke_multimodal"
    scans = {name: read_image(folder / f"{name}.nii.gz") for name in CONTRASTS}
    print(HEADER)
    rows, demands = [], []
    for fixed, moving in (SAME, *itertools.permutations(CONTRASTS, 2)):
        settings, name = Settings.preset(chosen.preset), f"{moving} onto {fixed}"
        outcomes = [outcome(scans[fixed], scans[moving], seed, settings) for seed in chosen.seeds]
        rows.append(row(name, outcomes))
        demands.append(demand(name, outcomes))
        print(rows[-1], flush=True)
    print("", table(demands), sep="\n")
    if chosen.write:
        said = INTRODUCTION.format(peak=PEAK_MM, sigma=SIGMA_MM, seeds=", ".join(map(str, chosen.seeds)))
        command = f"`python -m benchmarks.multimodal --preset {chosen.preset} --write` on {machine()}:\n"
        write_table("multimodal", "\n".join([f"{said}\n\n{command}", HEADER, *rows, "", table(demands)]))
    meet(demands)


if __name__ == "__main__":
    main()
