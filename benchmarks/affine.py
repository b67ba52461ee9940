"""Does the affine alignment find its way? `python -m benchmarks.affine` moves one image of real pairs to random places,
up to 60 mm and 45 degrees off, aligns each pair anew and says how many end within 2 mm of the best alignment known.

Pairs that do not belong together go along: they must be told by their confidence. It ends with an error where what is
asked for is missed; seconds are shown, and count only with `--check-time`. The images are found through
REGISTRATIONNET_DATA; the best alignments of pairs without a known truth are kept in build/affine, for this version of
ourselves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from benchmarks.affine_cases import CASES, Case, Loaded
from benchmarks.data import data_folder
from benchmarks.demands import Demand, at_least, at_most, meet, table
from benchmarks.page import machine, write_table
from benchmarks.tools import TOOLS, version
from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.engine import devices
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.pose import about
from RegistrationNetLib.engine.prepare import Prepared, foreground, prepare
from RegistrationNetLib.engine.settings import Align, Prepare

FARTHEST_MM, LARGEST_DEGREES = 60.0, 45.0
WITHIN_MM, LOST_MM = 2.0, 5.0
LEAST_SHARE, LEAST_TRIALS, MOST_SECONDS = 0.98, 100, 5.0
DENSE = Align(starts=20)
KEPT = Path(__file__).parents[1] / "build" / "affine"
HEADER = """| pairs | trials | within 2 mm | beyond 5 mm | median mm | largest mm | CPU s (largest) | low confidence |
|---|---|---|---|---|---|---|---|"""
INTRODUCTION = """The moving image's header is turned by up to 45 degrees about a random axis and moved by up to 60
mm in a random direction (both uniform), and the pair is aligned anew. Distance: mean over the fixed image's body,
as far as the moving image shows it, from the alignment that is known (synthetic motion, or the transforms published
with the scans) or else from the best known one: our own, the best of 20 followed starts from the header as it is; there
nearness says that the start does not matter, not that the place is right. Copies are affinely moved, parts of both
cropped away, noise added. 24 orientations: the header turned by each of the 24 ways to turn a box, and
`--align-orientations any`. What does not belong together has no distance; there, and beyond 5 mm, the confidence
should be low. CPU seconds are the alignment's alone, on one thread of cores that other work used too."""


@dataclass(frozen=True)
class Trial:
    """error: mm, or NaN where there is no truth; an alignment that was refused is infinitely far off and doubted."""

    error: float
    seconds: float
    confident: bool


@dataclass(frozen=True, eq=False)
class Ready:
    """A case prepared: what is aligned, the alignment known, and points of the fixed body (N, 3)."""

    prepared: Prepared
    truth: Affine | None
    points: Points

    @classmethod
    def of(cls, case: Case, data: Path) -> Ready:
        loaded: Loaded = case.load(data)
        prepared = prepare(loaded.fixed, loaded.moving, Prepare())
        if case.together:
            truth = loaded.truth or _best(case.name, prepared)
            thin = tuple(slice(None, None, max(1, round(6 / s))) for s in prepared.fixed_grid.spacing)
            points = prepared.fixed_grid.points()[thin][foreground(prepared.fixed)[thin]]
            return cls(prepared, truth, points[prepared.moving_grid.contains(truth(points))])
        apart = about(prepared.moving_grid.center, np.eye(3), prepared.fixed_grid.center)
        return cls(_moved(prepared, apart), None, np.empty((0, 3)))

    def trial(self, move: Affine, settings: Align) -> Trial:
        """The pair aligned after its moving image was moved."""
        prepared = _moved(self.prepared, move)
        started = time.process_time()
        try:
            with devices.flushed_denormals():
                found = align(prepared, settings, "affine")
        except GeometryError:
            return Trial(np.inf if self.truth else np.nan, time.process_time() - started, False)
        seconds = time.process_time() - started
        if self.truth is None:
            return Trial(np.nan, seconds, found.trust.high)
        error = np.linalg.norm(found(self.points) - move(self.truth(self.points)), axis=1).mean()
        return Trial(float(error), seconds, found.trust.high)


def _best(name: str, prepared: Prepared) -> Affine:
    """What a far denser search finds from the header as it is; kept for the next run."""
    file = KEPT / version(TOOLS["affine"]) / f"{name.replace(' ', '_')}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, align(replace(prepared, notes=[]), DENSE, "affine").matrix)
    return Affine(np.load(file))


def _moved(prepared: Prepared, move: Affine) -> Prepared:
    grid = prepared.moving_grid
    return replace(prepared, moving_grid=Grid(grid.shape, move.matrix @ grid.voxel_to_world), notes=[])


def random_move(rng: np.random.Generator, middle: Points) -> Affine:
    """A turn about `middle` and a shift, each of a random direction, and of a size uniform up to the farthest."""
    axis, way = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 3)))
    turn = Rotation.from_rotvec(axis * rng.uniform(0, LARGEST_DEGREES), degrees=True).as_matrix()
    return about(middle, turn, middle + way * rng.uniform(0, FARTHEST_MM))


def moves(case: Case, ready: Ready, trials: int, seed: int) -> Iterator[tuple[Affine, Align]]:
    """Where the moving image is put, and the settings to find it with."""
    middle = ready.prepared.moving_grid.center
    if case.quarter_turns:
        for turn in Rotation.create_group("O").as_matrix():
            yield about(middle, turn, middle), Align(orientations="any")
    else:
        rng = np.random.default_rng([seed, *case.name.encode()])
        for _ in range(trials):
            yield random_move(rng, middle), Align()


def row(name: str, trials: list[Trial]) -> str:
    errors = np.array([trial.error for trial in trials])
    seconds = [trial.seconds for trial in trials]
    known = ~np.isnan(errors)
    figures = ["", "", "", ""]
    if known.all():
        figures = [f"{(errors < WITHIN_MM).sum()}", f"{(errors > LOST_MM).sum()}"]
        figures += [f"{np.median(errors):.2f}", f"{errors.max():.2f}"]
    doubted = sum(not trial.confident for trial in trials)
    cells = [name, str(len(trials)), *figures, f"{np.mean(seconds):.1f} ({max(seconds):.1f})", str(doubted)]
    return f"| {' | '.join(cells)} |"


def rows(done: Mapping[Case, list[Trial]]) -> list[str]:
    """One for each kind, and one for all random starts of what belongs together."""
    kinds: dict[str, list[Trial]] = {}
    for case, trials in done.items():
        kinds.setdefault(case.kind, []).extend(trials)
    listed = [row(kind, trials) for kind, trials in kinds.items()]
    counted = starts(done)
    return [*listed, *([row("**all random starts of what belongs together**", counted)] if counted else [])]


def starts(done: Mapping[Case, Sequence[Trial]]) -> list[Trial]:
    """The random ones, of what belongs together."""
    return [trial for case, trials in done.items() if case.together and not case.quarter_turns for trial in trials]


def demands(done: Mapping[Case, Sequence[Trial]], check_time: bool = False) -> list[Demand]:
    """What is asked of the alignment, of all trials by case. check_time: whether seconds decide."""
    random = starts(done)
    turned = [trial for case, trials in done.items() if case.quarter_turns for trial in trials]
    lost = [trial for trials in done.values() for trial in trials if not trial.error <= LOST_MM]
    apart = any(not case.together for case in done)
    near = [sum(trial.error < WITHIN_MM for trial in trials) for trials in (random, turned)]
    doubted = sum(not trial.confident for trial in lost)
    slowest = max((trial.seconds for trial in random), default=None)
    return [
        at_least(f"at least {LEAST_TRIALS} random starts", len(random), LEAST_TRIALS, "{}"),
        at_least(
            f"at least {100 * LEAST_SHARE:g} % of them within {WITHIN_MM:g} mm",
            near[0] / len(random) if random else None,
            LEAST_SHARE,
            "{:.1%}",
        ),
        Demand(
            f"every orientation within {WITHIN_MM:g} mm",
            f"{near[1]} of {len(turned)}",
            near[1] == len(turned) if turned else None,
        ),
        Demand(
            f"low confidence in all that does not belong together or ends beyond {LOST_MM:g} mm",
            f"{doubted} of {len(lost)}",
            doubted == len(lost) if apart else None,
        ),
        at_most(f"every random start in under {MOST_SECONDS:g} s", slowest, MOST_SECONDS, "{:.1f} CPU s", check_time),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4, help="of each pair (default: 4)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--pairs", nargs="+", metavar="NAME", help="only those whose kind or name contains one of these"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--check-time", action="store_true", help="fail where an alignment takes too long, too")
    asked = parser.parse_args()
    chosen = [c for c in CASES if not asked.pairs or any(part in f"{c.kind} {c.name}" for part in asked.pairs)]
    torch.set_num_threads(1)
    done: dict[Case, list[Trial]] = {}
    for case in chosen:
        ready = Ready.of(case, data_folder())
        done[case] = [ready.trial(*move) for move in moves(case, ready, asked.trials, asked.seed)]
        print(row(f"{case.kind}: {case.name}", done[case]), flush=True)
    listed = demands(done, asked.check_time)
    lines = [HEADER, *rows(done), "", table(listed)]
    print(*lines, sep="\n")
    if asked.write:
        command = f"`python -m benchmarks.affine --trials {asked.trials} --seed {asked.seed} --write` on {machine()}"
        write_table("affine", "\n".join([f"{INTRODUCTION}\n\n{command}:\n", *lines]))
    meet(listed)


if __name__ == "__main__":
    main()
