"""How far a registration leaves lesions from their true place: real scans, each registered with its own known warp.

`python -m benchmarks.lesion_residuals` says for each pair how the error is spread, and what a random field needs to
have errors like these (`lesions.residuals.Residuals`, whose defaults are the figures of all pairs together); `--write`
puts the table into docs/benchmarks.md. A lesion's centre is a point of the body, so points of the body stand for
lesions. The images are found through REGISTRATIONNET_DATA.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import cases, others
from benchmarks.data import data_folder, lung_warped
from benchmarks.page import machine, write_table
from RegistrationNetLib import register
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.lesions.residuals import CHI3_LOG_MEAN, CHI3_LOG_VARIANCE, Residuals

WARPS = ((1, 10.0, 25.0), (4, 20.0, 40.0))
"""Of the abdomen: seed, largest displacement and sigma, mm."""
_POINTS, _APART_MM = 5_000, 10.0
_BODY_HU = -300
FAR_MM = 5.0
HEADER = f"""| pair | median mm | 90 % mm | 99 % mm | over {FAR_MM:g} mm % | scale mm | spread | length mm |
|{"---|" * 8}"""
INTRODUCTION = """Distance of {points} random points of the body from their true place after a registration, mm. Each
scan is registered with itself through a known random warp (abdomen: up to 10 mm on a sigma of 25 mm, and up to 20 mm
on 40 mm; lung: up to 15 mm on 40 mm), with noise of its own in both. Scale, spread and length are what a
random field needs to have errors like these (`lesions.residuals.Residuals`)."""


@dataclass(frozen=True, eq=False)
class Case:
    """body: world points of the fixed image among which lesions may lie, (N, 3)."""

    name: str
    fixed: Image
    moving: Image
    truth: Mapping
    body: Points


@dataclass(frozen=True, eq=False)
class Errors:
    """here: vectors from the true to the found place, (N, 3) mm; beside: those of points `_APART_MM` away."""

    here: Points
    beside: Points

    @property
    def mm(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(self.here, axis=1))


def all_cases(data: Path) -> Iterator[Case]:
    """One at a time."""
    for warp in WARPS:
        case = others.abdomen(data, *warp)
        assert case.truth is not None
        yield Case(case.name, case.fixed, case.moving, case.truth, _points(case.fixed.scalar > _BODY_HU, case.fixed))
    lung = cases.load(lung_warped("baseline", 1), data)
    assert lung.truth is not None
    yield Case("lung_ct, warp 1 of up to 15 mm", lung.fixed, lung.moving, lung.truth, _points(lung.body, lung.fixed))


def measured(case: Case, mapping: Mapping) -> Errors:
    """Of points drawn from the body, the same ones each time."""
    rng = np.random.default_rng(0)
    here = rng.choice(case.body, _POINTS, replace=False)
    turn = rng.standard_normal(here.shape)
    beside = here + _APART_MM * turn / np.linalg.norm(turn, axis=1, keepdims=True)
    return Errors(*(mapping(points) - case.truth(points) for points in (here, beside)))


def fitted(errors: Sequence[Errors]) -> Residuals:
    """By moments of log |e|, and by the correlation of errors `_APART_MM` apart."""
    logs = np.log(np.concatenate([one.mm for one in errors]))
    here, beside = (np.concatenate([getattr(one, side) for one in errors]) for side in ("here", "beside"))
    alike = (here * beside).sum() / np.sqrt((here**2).sum() * (beside**2).sum())
    return Residuals(
        scale_mm=float(np.exp(logs.mean() - CHI3_LOG_MEAN)),
        spread=float(np.sqrt(max(0.0, logs.var() - CHI3_LOG_VARIANCE))),
        length_mm=float(_APART_MM / (2 * np.sqrt(-np.log(alike)))),
    )


def row(name: str, errors: Sequence[Errors]) -> str:
    mm = np.concatenate([one.mm for one in errors])
    like = fitted(errors)
    cells = [*np.percentile(mm, (50, 90, 99)), 100 * (mm > FAR_MM).mean(), like.scale_mm, like.spread, like.length_mm]
    return f"| {' | '.join([name, *(f'{cell:.2f}' for cell in cells)])} |"


def _points(body: NDArray[np.bool_], image: Image) -> Points:
    return image.grid.to_world(np.argwhere(body))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="fast", help="fast, balanced or accurate")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    chosen = parser.parse_args()
    print(HEADER)
    every, rows = [], []
    for case in all_cases(data_folder()):
        every.append(measured(case, register(case.fixed, case.moving, preset=chosen.preset).mapping))
        rows.append(row(case.name, every[-1:]))
        print(rows[-1], flush=True)
    rows.append(row("all", every))
    print(rows[-1])
    if chosen.write:
        command = f"`python -m benchmarks.lesion_residuals --preset {chosen.preset} --write` on {machine()}:"
        said = INTRODUCTION.format(points=_POINTS)
        write_table("lesion_residuals", "\n".join([said, "", command, "", HEADER, *rows]))


if __name__ == "__main__":
    main()
