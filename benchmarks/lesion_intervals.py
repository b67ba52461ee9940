"""How often the 95 % intervals of lesion figures hold, by size and slice thickness.

`python -m benchmarks.lesion_intervals` draws lesions of known size (bumpy ellipsoids of 3 to 30 mm, turned at random,
anywhere between the voxels), lets readers outline them, measures them and counts how often each figure's interval holds
the truth. Neither the shapes nor the readers' displacements are those of the model that makes the intervals. The seed
is fixed; the default number of lesions takes about ten minutes on one thread. `--write` puts the tables into
docs/lesions.md. `--check` ends with an error where coverage over all slice thicknesses of a size leaves 93 to 97 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.demands import Demand, at_least, at_most, meet, table
from benchmarks.lesion_shapes import Blob, Reader, by_contours, by_surface, intensity
from benchmarks.page import PAGE, machine, write_table
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.change import distinguishable, doubling_time, relative_change
from RegistrationNetLib.lesions.estimate import Jitter
from RegistrationNetLib.lesions.measure import Measures, measure
from RegistrationNetLib.lesions.outline import Outline, surface

SIZES_MM = (3, 5, 8, 12, 20, 30)
THICKNESSES_MM = (1.0, 2.5, 5.0)
PIXEL_MM = 0.8
DAYS = 90
"""Between the scans of which a doubling time is asked for."""
READERS: dict[str, Reader] = {"surface": by_surface, "contours": by_contours}
ASKED = ("volume", "longest diameter", "short axis", "change of volume")
BESIDE = ("mean intensity",)
LEAST, MOST = 0.93, 0.97

INTRODUCTION = """Coverage: which percentage of 95 % intervals holds the truth; in bold what leaves 93 to 97. Lesions
are bumpy ellipsoids turned at random, anywhere between voxels of {pixel:g} mm in the slice, each read twice unchanged
and once grown or shrunk to between half and twice its volume; {reader}. *Change*: relative change of volume between two
readings, and with it the growth rate, which is a function of it. *Called changed*: pairs of an unchanged lesion whose
interval leaves out no change, and *time stated*: changed ones for which a doubling time is told at all, with how often
its interval then holds: for small lesions it is told where chance has enlarged the change. A figure's standard error at
a coverage of 95 % is {error:.1f} points in the rows of one slice thickness (at least, as readings of one lesion share
its shape), and {less:.1f} in those of all. {count} lesions a row; *readings* are those of at least one voxel."""
SAID = {
    "surface": "readers move its surface by a field with a Matern correlation (the intervals assume a Gaussian one)",
    "contours": "readers draw contours slice by slice, moved within their slices only",
}
HEADER = f"""| mm | slices | readings | {" | ".join((*ASKED, *BESIDE))} | called changed | time stated | holds then |
|{"---|" * (len(ASKED) + len(BESIDE) + 6)}"""

Tally = dict[str, list[bool]]
"""By figure, whether each interval held; and by event, whether it happened."""


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


def scan(blob: Blob, thickness_mm: float, read: Reader, rng: np.random.Generator) -> Measures | None:
    outline, image = outlined(blob, thickness_mm, read, Jitter(), rng)
    return None if outline is None else measure(outline, image)


def trial(size_mm: float, thickness_mm: float, read: Reader, rng: np.random.Generator) -> Tally:
    """One lesion read twice as it is, and once grown or shrunk to between 0.5 and 2 times its volume."""
    blob = Blob.random(size_mm, rng)
    growth = float(np.exp(rng.uniform(np.log(0.5), np.log(2))))
    first, again, last = (scan(seen, thickness_mm, read, rng) for seen in (blob, blob, blob.scaled(np.cbrt(growth))))
    readings = [one for one in (first, again) if one is not None]
    later = [(one, last, growth) for one in readings if last is not None]
    tally = one_reading(blob, readings) | {"readings": [one is not None for one in (first, again)]}
    return tally | two_readings([*later, (first, again, 1.0)] if first and again else later)


def one_reading(blob: Blob, readings: Sequence[Measures]) -> Tally:
    (longest, short), volume, mean = blob.diameters_mm(), blob.volume_mm3, blob.mean_of(intensity(blob))
    return {
        "volume": [volume in one.volume_mm3 for one in readings],
        "longest diameter": [longest in one.longest_mm for one in readings],
        "short axis": [short in one.short_axis_mm for one in readings],
        "mean intensity": [mean in one.mean for one in readings],
    }


def two_readings(pairs: Sequence[tuple[Measures, Measures, float]]) -> Tally:
    """Of pairs with their true growth, 1 for an unchanged lesion."""
    changes = [(relative_change(one.volume_mm3, two.volume_mm3), growth) for one, two, growth in pairs]
    times = [(doubling_time(one, two, DAYS).days, growth) for one, two, growth in pairs if growth != 1]
    return {
        "change of volume": [growth - 1 in change for change, growth in changes],
        "called changed": [distinguishable(change) for change, growth in changes if growth == 1],
        "time stated": [time is not None for time, _ in times],
        "holds then": [DAYS * np.log(2) / np.log(growth) in time for time, growth in times if time is not None],
    }


def together(parts: Iterable[Tally]) -> Tally:
    whole: Tally = {}
    for part in parts:
        for name, held in part.items():
            whole.setdefault(name, []).extend(held)
    return whole


def cells(read: Reader, count: int, seed: int = 31) -> Iterator[tuple[int, float, Tally]]:
    """Size by size and thickness by thickness, of `count` lesions."""
    for size in SIZES_MM:
        for thickness in THICKNESSES_MM:
            rng = np.random.default_rng((seed, size, int(10 * thickness)))
            yield size, thickness, together(trial(size, thickness, read, rng) for _ in range(count))


def row(size: str, thickness: str, tally: Tally) -> str:
    figures = [percent(tally[name], judged=True) for name in (*ASKED, *BESIDE)]
    events = [percent(tally[name]) for name in ("called changed", "time stated", "holds then")]
    return f"| {' | '.join([size, thickness, str(sum(tally['readings'])), *figures, *events])} |"


def percent(held: Sequence[bool], judged: bool = False) -> str:
    if not held:
        return "-"
    share = float(np.mean(held))
    said = f"{100 * share:.1f}"
    return f"**{said}**" if judged and not LEAST <= share <= MOST else said


def demands(sizes: dict[int, Tally]) -> list[Demand]:
    """Over all slice thicknesses of a size."""
    asked = []
    for name in ASKED:
        shares = [float(np.mean(tally[name])) for tally in sizes.values()]
        asked.append(at_least(f"{name}: at least 93 % hold at every size", min(shares), LEAST, "{:.1%}"))
        asked.append(at_most(f"{name}: at most 97 % hold at any size", max(shares), MOST, "{:.1%}"))
    return asked


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


def volume_table() -> list[str]:
    titles = [f"{thickness:g} mm slices" for thickness in THICKNESSES_MM]
    rows = [f"| mm | {' | '.join(titles)} |", f"|{'---|' * (len(titles) + 1)}"]
    for size in SIZES_MM:
        pairs = [volume_errors(size, thickness, 60) for thickness in THICKNESSES_MM]
        rows.append(f"| {size} | {' | '.join(f'{one:.1%} / {two:.1%}' for one, two in pairs)} |")
    return ["Volumes of exact outlines, root mean square error: counted / inside the smooth surface.", "", *rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=120, help="lesions of each size and slice thickness")
    parser.add_argument("--reader", choices=READERS, default="surface", help="how outlines are drawn")
    parser.add_argument("--check", action="store_true", help="fail where coverage leaves 93 to 97 %%")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/lesions.md")
    chosen = parser.parse_args()
    print(HEADER)
    rows, by_size = [], {size: [] for size in SIZES_MM}
    for size, thickness, tally in cells(READERS[chosen.reader], chosen.count):
        by_size[size].append(tally)
        rows.append(row(str(size), f"{thickness:g}", tally))
        print(rows[-1], flush=True)
    sizes = {size: together(parts) for size, parts in by_size.items()}
    rows += [row(str(size), "all", tally) for size, tally in sizes.items()]
    rows.append(row("all", "all", together(sizes.values())))
    asked = demands(sizes)
    volumes = volume_table()
    print(*rows[-len(SIZES_MM) - 1 :], "", table(asked), "", *volumes, sep="\n")
    if chosen.write:
        error = 100 * np.sqrt(0.95 * 0.05 / (2 * chosen.count))
        less = error / np.sqrt(len(THICKNESSES_MM))
        said = INTRODUCTION.format(
            pixel=PIXEL_MM, reader=SAID[chosen.reader], count=chosen.count, error=error, less=less
        )
        options = f" --reader {chosen.reader}" if chosen.reader != "surface" else ""
        options += f" --count {chosen.count}" if chosen.count != parser.get_default("count") else ""
        command = f"`python -m benchmarks.lesion_intervals{options} --write` on {machine()}:"
        body = [said, "", command, "", HEADER, *rows, "", table(asked), "", *volumes]
        write_table(f"lesion_intervals {chosen.reader}", "\n".join(body), PAGE.with_name("lesions.md"))
    if chosen.check:
        meet(asked)


if __name__ == "__main__":
    main()
