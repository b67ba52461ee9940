"""Every preset beside the affine it starts from, on images that nothing here was made for.

`python -m benchmarks.others` registers MR lungs of two people both ways, an abdominal CT onto its own known warps and
hippocampus crops of 35 voxels a side, says for each pair whether each preset is better than the affine alone, and ends
with an error where one is not. `--write` puts the table into docs/benchmarks.md. The images are found through
REGISTRATIONNET_DATA.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import Pair, data_folder, sets
from benchmarks.page import machine, write_table
from benchmarks.truth import known_pair, smooth_field
from RegistrationNetLib import register
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.engine.result import Registration
from RegistrationNetLib.engine.settings import PRESETS
from RegistrationNetLib.files.images import read_image, read_labels

WARPS = ((1, 10, 25), (2, 10, 25), (3, 10, 25), (4, 20, 40), (5, 20, 40), (6, 20, 40))
"""Seed, largest displacement and sigma (mm) of the warps of the abdomen."""
_NOISE_HU = 20.0
_POINTS = 50_000
_BODY_HU = -300
INTRODUCTION = """Each preset beside the affine alone, from which it starts: mean Dice over labels (higher is better),
or the mean distance from the true place in mm over the body (lower is better). `lung_mri`: two people, five lobes;
`abdomen_ct`: one scan and its known random warp, noise in both; `hippocampus`: two people, crops of about
35 x 51 x 36 voxels, all pairs that are for evaluation."""


@dataclass(frozen=True, eq=False)
class Case:
    """A pair with labels, and the true mapping where it is known."""

    name: str
    fixed: Image
    moving: Image
    fixed_labels: Image
    moving_labels: Image
    truth: Mapping | None = None


@dataclass(frozen=True)
class Row:
    """One measure of one pair: of the affine, and of each preset."""

    name: str
    measure: str
    affine: float
    presets: dict[str, float]

    @property
    def losses(self) -> list[str]:
        """The presets that are no better than the affine."""
        sign = 1 if self.measure == "Dice" else -1
        return [name for name, value in self.presets.items() if not sign * value > sign * self.affine]

    def __str__(self) -> str:
        form = "{:.3f}" if self.measure == "Dice" else "{:.2f}"
        values = [form.format(value) for value in (self.affine, *self.presets.values())]
        return f"| {' | '.join([self.name, self.measure, *values])} |"


def cases(data: Path) -> Iterator[Case]:
    """All pairs, one at a time."""
    yield from (lungs(data, *two) for two in (("0004", "0006"), ("0006", "0004")))
    yield from (abdomen(data, *warp) for warp in WARPS)
    yield from (crops(data, pair) for pair in sets(data)["hippocampus"])


def lungs(data: Path, fixed: str, moving: str) -> Case:
    images, labels = ([f"lung_mri/{name}{kind}.nii.gz" for name in (fixed, moving)] for kind in ("H1", "Lobes"))
    return _read(f"lung_mri {moving} onto {fixed}", data, images, labels)


def abdomen(data: Path, seed: int, peak_mm: float, sigma_mm: float) -> Case:
    scan = read_image(data / "abdomen_ct/ct.nii.gz")
    truth = Mapping((smooth_field(scan.grid, seed, peak_mm, sigma_mm),))
    pair = known_pair(scan, truth, _NOISE_HU, seed, read_labels(data / "abdomen_ct/seg_hist.nii.gz"))
    assert pair.fixed_labels is not None
    assert pair.moving_labels is not None
    name = f"abdomen_ct, warp {seed} of up to {peak_mm:g} mm"
    return Case(name, pair.fixed, pair.moving, pair.fixed_labels, pair.moving_labels, truth)


def crops(data: Path, pair: Pair) -> Case:
    assert pair.labels is not None
    return _read(pair.name, data, (pair.fixed, pair.moving), pair.labels)


def rows(case: Case, presets: Iterable[str] = PRESETS) -> list[Row]:
    """Each measure that the pair has."""
    found = {
        preset: register(
            case.fixed, case.moving, preset=preset, fixed_labels=case.fixed_labels, moving_labels=case.moving_labels
        )
        for preset in presets
    }
    dice = {preset: result.report["quality"]["dice"] for preset, result in found.items()}
    affine = next(iter(dice.values()))["after_align"]
    measured = [Row(case.name, "Dice", affine, {preset: values["after"] for preset, values in dice.items()})]
    return [*measured, *([_errors(case, case.truth, found)] if case.truth is not None else [])]


def _errors(case: Case, truth: Mapping, found: dict[str, Registration]) -> Row:
    body = case.fixed.grid.to_world(np.argwhere(case.fixed.scalar > _BODY_HU))
    points = np.random.default_rng(0).choice(body, min(_POINTS, len(body)), replace=False)

    def error(mapping: Mapping) -> float:
        return float(tre(mapping(points), truth(points)).mean())

    affine = Mapping((next(iter(found.values())).mapping.affine,))
    return Row(case.name, "mm", error(affine), {preset: error(result.mapping) for preset, result in found.items()})


def _read(name: str, data: Path, images: tuple[str, str] | list[str], labels: tuple[str, str] | list[str]) -> Case:
    fixed, moving = (read_image(data / file) for file in images)
    fixed_labels, moving_labels = (read_labels(data / file) for file in labels)
    return Case(name, fixed, moving, fixed_labels, moving_labels)


def verdict(measured: list[Row]) -> str:
    """One sentence: whether each preset is better than the affine on each pair, or where it is not."""
    lost = [f"{preset} on {row.name} ({row.measure})" for row in measured for preset in row.losses]
    if not lost:
        return f"All {len(PRESETS)} presets are better than the affine on every pair."
    return f"No better than the affine: {'; '.join(lost)}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    chosen = parser.parse_args()
    header = f"| pair (moving onto fixed) | measure | affine | {' | '.join(PRESETS)} |\n|{'---|' * (3 + len(PRESETS))}"
    print(header)
    measured: list[Row] = []
    for case in cases(data_folder()):
        for row in rows(case):
            measured.append(row)
            print(row, flush=True)
    print(verdict(measured))
    if chosen.write:
        command = f"`python -m benchmarks.others --write` on {machine()}:"
        lines = [INTRODUCTION, "", verdict(measured), "", command, "", header, *map(str, measured)]
        write_table("others", "\n".join(lines))
    if any(row.losses for row in measured):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
