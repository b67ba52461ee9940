"""How often the 95 % intervals of lesion figures hold, by size and slice thickness.

`python -m benchmarks.lesion_intervals` draws lesions of known size (bumpy ellipsoids of 3 to 30 mm, turned at random,
anywhere between the voxels), lets readers outline them in two ways, measures them and counts how often each figure's
interval holds the truth: volume, longest diameter, short axis and mean intensity, and the relative change of volume
between two scans read by two readers. It also prints how often an unchanged lesion is called changed. The seed is
fixed. `--check` ends with an error where coverage, over all slice thicknesses of a size, leaves 93 to 97 % with readers
"by surface".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.lesion_shapes import Blob, Reader, by_contours, by_surface, intensity
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.change import relative_change
from RegistrationNetLib.lesions.estimate import Jitter
from RegistrationNetLib.lesions.measure import Measures, measure
from RegistrationNetLib.lesions.outline import Outline, surface

SIZES_MM = (3, 5, 8, 12, 20, 30)
THICKNESSES_MM = (1.0, 2.5, 5.0)
PIXEL_MM = 0.8
READERS: dict[str, Reader] = {"surface": by_surface, "contours": by_contours}
FIGURES = ("volume", "longest", "short axis", "mean", "change")
ASKED = (0.93, 0.97)


@dataclass(frozen=True)
class Trial:
    """held: for each of FIGURES, whether the interval holds the truth. false_change: of the unchanged lesion."""

    size_mm: float
    thickness_mm: float
    held: tuple[bool, ...]
    false_change: bool


def outlined(
    blob: Blob, thickness_mm: float, read: Reader, jitter: Jitter, rng: np.random.Generator
) -> tuple[Outline | None, Image]:
    """A blob on an oblique scan, outlined, and its image; no outline where the reader sees it in no voxel."""
    spacing = np.array((thickness_mm, PIXEL_MM, PIXEL_MM))
    shape = 2 * np.ceil((1.25 * blob.semi_mm.max() + 2) / spacing).astype(int) + 3
    offset = rng.uniform(-0.5, 0.5, 3)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    points = (index - (shape - 1) / 2 + offset) * spacing
    mask = read(blob, points, jitter, rng)
    directions = Rotation.from_rotvec((0.2, 0.3, -0.1)).as_matrix()[:, ::-1]
    grid = Grid.of(shape, spacing, directions, (-40, 25, 110))
    return Outline(mask, grid) if mask.any() else None, Image(intensity(blob)(points)[None], grid)


def scan(blob: Blob, thickness_mm: float, read: Reader, jitter: Jitter, rng: np.random.Generator) -> Measures | None:
    outline, image = outlined(blob, thickness_mm, read, jitter, rng)
    return None if outline is None else measure(outline, image, jitter)


def trial(size_mm: float, thickness_mm: float, read: Reader, rng: np.random.Generator) -> Trial | None:
    """One lesion at three visits: as it is, unchanged, and grown or shrunk to between 0.5 and 2 times its volume."""
    jitter = Jitter()
    blob = Blob.random(size_mm, rng)
    growth = float(np.exp(rng.uniform(np.log(0.5), np.log(2))))
    later = blob.scaled(np.cbrt(growth))
    visits = [scan(seen, thickness_mm, read, jitter, rng) for seen in (blob, blob, later)]
    if any(visit is None for visit in visits):
        return None
    first, again, last = (visit for visit in visits if visit is not None)
    longest, short = blob.diameters_mm()
    held = (
        blob.volume_mm3 in first.volume_mm3,
        longest in first.longest_mm,
        short in first.short_axis_mm,
        blob.mean_of(intensity(blob)) in first.mean,
        growth - 1 in relative_change(first.volume_mm3, last.volume_mm3),
    )
    return Trial(size_mm, thickness_mm, held, 0.0 not in relative_change(first.volume_mm3, again.volume_mm3))


def trials(read: Reader, count: int, seed: int = 31) -> Iterator[list[Trial]]:
    """Size by size and thickness by thickness, those of `count` lesions that were seen at all visits."""
    for size in SIZES_MM:
        for thickness in THICKNESSES_MM:
            rng = np.random.default_rng((seed, size, int(10 * thickness)))
            drawn = (trial(size, thickness, read, rng) for _ in range(count))
            yield [done for done in drawn if done is not None]


def coverage(done: list[Trial]) -> np.ndarray:
    """The share of trials in which each figure's interval held, (len(FIGURES),)."""
    return np.mean([one.held for one in done], axis=0)


def row(name: str, done: list[Trial]) -> str:
    shares = "".join(f"{100 * share:12.1f}" for share in coverage(done))
    return f"{name:<24}{len(done):7d}{shares}{100 * np.mean([one.false_change for one in done]):14.1f}"


def outside(size_mm: float, done: list[Trial]) -> list[str]:
    """Figures of a size whose coverage over all slice thicknesses leaves what is asked, in words.

    Mean intensity counts only where slices are at most a third of the size: of a lesion seen in a slice or two it may
    lie anywhere, which its notes say.
    """
    thin = [one for one in done if 3 * one.thickness_mm <= size_mm] or done
    shares = [coverage(thin if name == "mean" else done)[at] for at, name in enumerate(FIGURES)]
    return [
        f"{name} of {size_mm:g} mm lesions: {100 * share:.1f} %"
        for name, share in zip(FIGURES, shares, strict=True)
        if not ASKED[0] <= share <= ASKED[1]
    ]


def volume_errors(size_mm: float, thickness_mm: float, count: int) -> tuple[float, float]:
    """Root mean square error (relative) of exact outlines: the counted volume, the one inside the smooth surface."""
    rng = np.random.default_rng((9, int(size_mm), int(10 * thickness_mm)))
    errors = []
    for _ in range(count):
        blob = Blob.random(size_mm, rng)
        outline, _ = outlined(blob, thickness_mm, by_surface, Jitter(0, 0), rng)
        if outline is not None:
            skin = surface(outline)
            inside = ((skin.points - skin.points.mean(0)) * skin.normals).sum(1) @ skin.areas_mm2 / 3
            counted = outline.mask.sum() * outline.grid.voxel_volume
            errors.append(np.array((counted, inside)) / blob.volume_mm3 - 1)
    one, two = np.sqrt(np.square(errors).mean(0))
    return float(one), float(two)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="lesions of each size and slice thickness")
    parser.add_argument("--reader", choices=READERS, help="only this way of outlining")
    parser.add_argument("--check", action="store_true", help="fail where coverage leaves 93 to 97 %%")
    asked = parser.parse_args()
    print("Error of the volume (root mean square), counted / inside the smooth surface, by size and slice thickness")
    for size in SIZES_MM:
        pairs = [volume_errors(size, thickness, 60) for thickness in THICKNESSES_MM]
        print(f"{size:>3} mm" + "".join(f"{100 * one:10.1f} / {100 * two:5.1f} %" for one, two in pairs), flush=True)
    missed = []
    for name in (asked.reader,) if asked.reader else READERS:
        print(f"\nReaders by {name}: % of 95 % intervals that hold")
        print(f"{'':<24}{'seen':>7}" + "".join(f"{figure:>12}" for figure in FIGURES) + f"{'false change':>14}")
        every: list[Trial] = []
        for done in trials(READERS[name], asked.count):
            if done:
                print(row(f"{done[0].size_mm:g} mm, {done[0].thickness_mm:g} mm slices", done), flush=True)
            every += done
        for size in SIZES_MM:
            done = [one for one in every if one.size_mm == size]
            print(row(f"{size} mm, all slices", done))
            missed += outside(size, done) if name == "surface" else []
        print(row("all", every))
    print("\nOutside 93 to 97 %, readers by surface: " + ("; ".join(missed) or "none"))
    return 1 if asked.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
