"""Lesion tracking on real scans: what is found of what changed, what the second look around lesions is worth, and how
far proposed volumes are off.

`python -m benchmarks.lesion_tracking` follows the patient with multiple sclerosis over two visits (FLAIR), on which
nobody outlined lesions apart, and says how much of the published mask of changed lesions lies in the candidates. Then
it registers scans with their own known warps, carries balls that stand for lesions, and prints how far they end from
their true place before and after the second look. Last, balls that grow and shrink by known amounts are drawn into both
scans of such a pair, protected and unprotected registrations carry the first scan's outlines, and volumes of proposed
outlines are compared with the true ones. `--write` puts all into docs/benchmarks.md. The images are found through
REGISTRATIONNET_DATA.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, label

from benchmarks.affine_cases import from_common
from benchmarks.data import data_folder
from benchmarks.lesion_residuals import Case, all_cases
from benchmarks.page import machine, write_table
from RegistrationNetLib import register, track
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.nearby import nudge
from RegistrationNetLib.files.images import read_image, read_mask
from RegistrationNetLib.lesions.candidates import Candidate
from RegistrationNetLib.lesions.lesion import Lesion, outlined
from RegistrationNetLib.lesions.local import corrected
from RegistrationNetLib.lesions.study import Scan, Study

_LESIONS, _RADII_MM = 40, (1.5, 15.0)
_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)
INTRODUCTION = """One patient with multiple sclerosis, two visits, FLAIR of 4 and 3 mm slices, registered with the
`fast` preset and searched within the brain mask; the published mask of changed lesions has {pieces} pieces and
{mm3:.0f} mm3 (agreed on from three contrasts, so not all of it shows in FLAIR). The settings of the search were chosen
on this patient."""
HEADER = "| candidates | holding changed lesions | largest changed lesion is candidate | pieces found | volume found |"
LOCAL = """Distance of the centres of {count} balls of {low:g} to {high:g} mm radius from their true place, mm, through
the `fast` preset and after the second look around each; scans registered with themselves through known warps."""
_GROWING_MM, _GROWTH, _NOISE_HU, _LEVELS_HU = (2.5, 12.0), (0.5, 4.0), 20.0, (140.0, 250.0)
_SIZES_MM = ((5, 8), (8, 12), (12, 25))
GROWTH = """Balls of two brightnesses drawn into an abdominal CT (voxels of 3 mm, soft tissue of about 50 HU, noise of
20 HU beside its own) and into the same scan through a known warp, where they are 0.5 to 4 times as large; nobody
outlines the second scan. *Jacobian off 1*: median distance of the mean determinant inside the outline from 1, which is
what the deformation made of the growth. Volumes of proposed outlines, against the balls' own."""
GROWTH_HEADER = "| HU | protected | diameter mm | balls | Jacobian off 1 | proposed | volume off | within 10 % |"
LOCAL_HEADER = "| pair | median mm | after | 90 % mm | after | corrections kept | of these better |"


@dataclass(frozen=True, eq=False)
class Grown:
    """A pair with balls drawn into both scans: the baseline's outlines, and each ball's volume there and later, mm3."""

    study: Study
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True)
class Shares:
    """What candidates hold of a mask: candidates in all, those that touch it, the place in the list of the one that
    holds most of its largest piece (0: none), pieces touched, share of its volume."""

    candidates: int
    touching: int
    rank_of_largest: int
    pieces: int
    volume: float


def ms_study(data: Path) -> Study:
    """Two visits; the dates are made up, as the published scans have none."""
    folder = data / "longitudinal_ms"
    scans = [read_image(folder / "patient01" / f"study{visit}_FLAIR.nii.gz") for visit in (1, 2)]
    brain = _from_common(folder / "common_space" / "brainmask.nii.gz", data, scans[0].grid)
    days = date(2001, 1, 1), date(2002, 1, 1)
    return Study(tuple(Scan(day, scan) for day, scan in zip(days, scans, strict=True)), "patient01", brain)


def changed(data: Path, grid: Grid) -> Image:
    """The mask of changed lesions on the first visit's grid."""
    return _from_common(data / "longitudinal_ms" / "patient01" / "gt.nii.gz", data, grid)


def _from_common(path: Path, data: Path, grid: Grid) -> Image:
    common = from_common(data / "longitudinal_ms" / "patient01", "study1_FLAIR").inverse()
    return warp(read_mask(path), common, grid, "nearest")


def shares(mask: Image, candidates: Sequence[Candidate]) -> Shares:
    """mask: on the baseline's grid."""
    pieces, count = label(mask.scalar > 0, _EVERY_NEIGHBOUR)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    places = mask.grid.to_world(np.argwhere(pieces > 0))
    numbers = pieces[pieces > 0]
    held = np.array([one.outline.holds(places) for one in candidates]).reshape(len(candidates), len(places))
    of_largest = held[:, numbers == 1 + int(sizes.argmax())].sum(axis=1)
    return Shares(
        candidates=len(candidates),
        touching=int(held.any(axis=1).sum()),
        rank_of_largest=1 + int(of_largest.argmax()) if of_largest.any() else 0,
        pieces=len(np.unique(numbers[held.any(axis=0)])),
        volume=float(held.any(axis=0).mean()),
    )


def balls(case: Case) -> tuple[Lesion, ...]:
    """The same ones each time, on the fixed image's lattice."""
    rng = np.random.default_rng(0)
    centers = rng.choice(case.body, _LESIONS, replace=False)
    radii = np.exp(rng.uniform(*np.log(_RADII_MM), _LESIONS))
    return tuple(_ball(str(n), *one) for n, one in enumerate(zip(centers, radii, strict=True)))


def _ball(name: str, center: Points, radius: float) -> Lesion:
    count = int(2 * np.ceil(radius) + 1)
    grid = Grid.of((count,) * 3, (1.0,) * 3, np.eye(3)[:, ::-1], center - count // 2)
    inside = tre(grid.points(), center) <= radius
    return Lesion(name, Image(inside[None].astype(np.uint8), grid, name=name))


def local_row(case: Case, mapping: Mapping) -> str:
    lesions = balls(case)
    after, looked = corrected(case.fixed, case.moving, lesions, mapping, nudge)
    centers = np.array([one.center for one in lesions])
    errors = [tre(way(centers), case.truth(centers)) for way in (mapping, after)]
    kept = [_better(errors, [int(name) for name in one.lesions]) for one in looked if one.kept]
    cells = [f"{np.percentile(error, share):.2f}" for share in (50, 90) for error in errors]
    return f"| {' | '.join([case.name, *cells, f'{len(kept)} of {len(looked)}', str(sum(kept))])} |"


def _better(errors: Sequence[NDArray[np.float64]], which: list[int]) -> bool:
    before, after = (error[which].mean() for error in errors)
    return bool(after < before)


def grown(case: Case, level: float) -> Grown:
    """Balls of 2.5 to 12 mm radius in soft tissue, later 0.5 to 4 times as large, their edges blurred by a voxel.

    level: theirs, in HU.
    """
    rng = np.random.default_rng(1)
    soft = np.argwhere(binary_erosion((case.fixed.scalar > 0) & (case.fixed.scalar < 120)))
    centers, radii = np.empty((0, 3)), np.empty(0)
    while len(radii) < _LESIONS:
        center, radius = case.fixed.grid.to_world(rng.choice(soft)), np.exp(rng.uniform(*np.log(_GROWING_MM)))
        if np.all(tre(centers, center) > radius + radii + 8):
            centers, radii = np.vstack([centers, center]), np.append(radii, radius)
    later = radii * np.exp(rng.uniform(*np.log(_GROWTH), _LESIONS)) ** (1 / 3)
    (first, labels), (second, _) = (
        _drawn(case.fixed, centers, radii, level),
        _drawn(case.moving, case.truth(centers), later, level),
    )
    scans = Scan(date(2001, 1, 1), first, outlined(labels)), Scan(date(2002, 1, 1), second)
    names = [str(number) for number in range(1, _LESIONS + 1)]
    volumes = (dict(zip(names, (4 / 3 * np.pi * size**3).tolist(), strict=True)) for size in (radii, later))
    return Grown(Study(scans), *volumes)


def _drawn(scan: Image, centers: Points, radii: NDArray[np.float64], level: float) -> tuple[Image, Image]:
    values, labels = scan.data.astype(np.float64), np.zeros(scan.data.shape, np.int32)
    points, voxel = scan.grid.points(), float(scan.grid.spacing.mean())
    for number, (center, radius) in enumerate(zip(centers, radii, strict=True), 1):
        far = tre(points, center) - radius
        share = np.clip(0.5 - far / voxel, 0, 1)
        values[0] = values[0] * (1 - share) + level * share
        labels[0][far <= 0] = number
    noise = np.random.default_rng(number).normal(0, _NOISE_HU, values.shape)
    return Image(np.rint(values + noise).astype(np.int16), scan.grid, scan.background), Image(labels, scan.grid)


def growth_rows(case: Case, level: float) -> Iterator[str]:
    known = grown(case, level)
    timepoint = known.study.scans[1].name
    for protect in (True, False):
        found = track(known.study, preset="fast", protect=protect).tracking
        for low, high in _SIZES_MM:
            names = [one.name for one in known.study.baseline if low <= 2 * _radius(known.before[one.name]) < high]
            inside = [found.forwards[timepoint, name].jacobian.inside.value for name in names]
            proposals = {name: found.proposals[timepoint, name].lesion for name in names}
            off = np.array(
                [one.volume_mm3 / known.after[name] - 1 for name, one in proposals.items() if one is not None]
            )
            cells = [
                f"{level:g}",
                "yes" if protect else "no",
                f"{low:g} to {high:g}",
                len(names),
                f"{100 * np.median(np.abs(np.array(inside) - 1)):.2f} %",
                len(off),
                f"{100 * np.median(np.abs(off)):.0f} %",
                f"{100 * (np.abs(off) <= 0.1).mean():.0f} %",
            ]
            yield f"| {' | '.join(map(str, cells))} |"


def _radius(volume: float) -> float:
    return float((3 * volume / (4 * np.pi)) ** (1 / 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    chosen = parser.parse_args()
    data = data_folder()
    study = ms_study(data)
    mask = changed(data, study.scans[0].image.grid)
    found = track(study, preset="fast").tracking
    told = shares(mask, found.candidates[study.scans[1].name])
    pieces = label(mask.scalar > 0, _EVERY_NEIGHBOUR)[1]
    volume = float((mask.scalar > 0).sum() * mask.grid.voxel_volume)
    cells = [told.candidates, told.touching, f"{told.rank_of_largest}.", told.pieces, f"{100 * told.volume:.0f} %"]
    rows = [HEADER, f"|{'---|' * 5}", f"| {' | '.join(map(str, cells))} |"]
    lines = [INTRODUCTION.format(pieces=pieces, mm3=volume), "", *rows, "", found.series.loops[0].in_words()]
    print("\n".join(lines), flush=True)
    looked = [LOCAL_HEADER, f"|{'---|' * 7}"]
    for case in all_cases(data):
        looked.append(local_row(case, register(case.fixed, case.moving, preset="fast").mapping))
        print(looked[-1], flush=True)
    volumes = [GROWTH_HEADER, f"|{'---|' * 8}"]
    for level in _LEVELS_HU:
        for line in growth_rows(next(all_cases(data)), level):
            volumes.append(line)
            print(line, flush=True)
    if chosen.write:
        command = f"`python -m benchmarks.lesion_tracking --write` on {machine()}:"
        said = LOCAL.format(count=_LESIONS, low=_RADII_MM[0], high=_RADII_MM[1])
        write_table(
            "lesion_tracking", "\n".join([command, "", *lines, "", said, "", *looked, "", GROWTH, "", *volumes])
        )


if __name__ == "__main__":
    main()
