"""Lesions matched over made-up studies of which all is known (`lesion_studies.py`), beside matching by nearest centres.

`python -m benchmarks.lesion_matching` prints, by the number of lesions and the size of the registration's errors, F1 of
links, merges and splits, and how far probabilities are to be believed. `--check` ends with an error where a demand is
missed at the errors that were measured on real scans (level 1); `--write` puts the tables into docs/benchmarks.md.
The generator and the seeds here were fixed before anything was tuned; what is tuned is tuned with `--tune`, on other
seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.demands import Demand, at_least, at_most, meet, table
from benchmarks.lesion_studies import Fate, Return, Study, study
from benchmarks.page import machine, write_table
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.lesions.events import History, Timepoint, history
from RegistrationNetLib.lesions.residuals import Residuals

LESIONS = {10: 40, 50: 8, 200: 2}
"""Lesions at first, and how many studies of three timepoints: as many lesions in each row of the table."""
JUDGED, TUNING = 100, 10_000
"""The first seed of those that are judged, and of those that may be looked at while tuning."""
LEVELS = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Errors of the registration, as multiples of those measured on real scans."""
LIMIT_MM = 10.0
"""Of the baseline: farther apart nothing is linked."""

LEAST_LINKS, LEAST_PARTS, MOST_OFF = 0.97, 0.90, 0.02
"""Demands: F1 of links; of merges and of splits; how far stated probabilities may be off, in the mean."""
_BINS = 10
INTRODUCTION = """Lesions of 3 to 30 mm over three timepoints, made up (`lesion_studies.py`): half stay as they are,
the others grow, shrink, go, split or merge, come anew or come back; gaps are down to one diameter of the smaller one,
and less between those that may merge. Errors of the registration are multiples of those measured on real scans (level
1, `benchmarks.lesion_residuals`); all that the matching is told of them is their mean. Merges and splits count only
with exactly the right lesions, *back* is what reappeared. *Nearest* links each lesion with the nearest centre of the
other timepoint, from both sides, up to {limit:g} mm. *Off by*: mean distance between the stated probability of a link
and how often such links are true. Figures are F1 but for mm and the last. Seeds {judged} and on; tuned on seeds
{tuning} and on."""
HEADER = f"""| lesions | level | mean mm | links | merges | splits | back | nearest: links | merges | splits | off by |
|{"---|" * 11}"""

Link = tuple[str, str]


@dataclass
class Count:
    """What was found and what is true, added up over studies."""

    right: int = 0
    found: int = 0
    true: int = 0

    def add(self, found: set, true: set) -> None:
        self.right += len(found & true)
        self.found += len(found)
        self.true += len(true)

    @property
    def f1(self) -> float:
        """2 right / (found + true); nan where there is neither."""
        return 2 * self.right / (self.found + self.true) if self.found + self.true else float("nan")


@dataclass
class Score:
    """links: pairs of one lesion; merges, splits: right only with exactly the same lesions on both sides; returns: of
    what reappeared; stated, true: of each link that was given a probability, that and whether it is one."""

    links: Count = field(default_factory=Count)
    merges: Count = field(default_factory=Count)
    splits: Count = field(default_factory=Count)
    returns: Count = field(default_factory=Count)
    stated: list[float] = field(default_factory=list)
    true: list[bool] = field(default_factory=list)

    def add(self, found: Iterable[Fate], true: Iterable[Fate]) -> None:
        found, true = tuple(found), tuple(true)
        self.links.add(links(found), links(true))
        self.merges.add(_sides(found, "merged"), _sides(true, "merged"))
        self.splits.add(_sides(found, "split"), _sides(true, "split"))


def links(fates: Iterable[Fate]) -> set[Link]:
    return {(old, new) for fate in fates for old in fate.earlier for new in fate.later}


def nearest(study: Study, step: int) -> tuple[Fate, ...]:
    """The baseline: each lesion with the nearest centre on the other side, from both sides, up to `LIMIT_MM`.

    Two that come to one are a merge, one that comes to two is a split; nothing else is told.
    """
    earlier, later = study.timepoints[step : step + 2]
    carried = study.mappings[step]([lesion.center for lesion in earlier])
    apart = tre(carried[:, None], np.array([lesion.center for lesion in later])[None])
    near = (apart == apart.min(axis=0)) | (apart == apart.min(axis=1, keepdims=True))
    pairs = np.argwhere(near & (apart <= LIMIT_MM))
    linked = [(earlier[i].name, later[j].name) for i, j in pairs]
    return tuple(_fate(part) for part in _connected(linked))


def _fate(part: set[Link]) -> Fate:
    old, new = (tuple(sorted({link[side] for link in part})) for side in (0, 1))
    kind = "merged" if len(old) > 1 else "split" if len(new) > 1 else "stable"
    return Fate(old, new, kind)


def _connected(linked: list[Link]) -> list[set[Link]]:
    """Links that share a lesion, directly or through others."""
    parts: list[set[Link]] = []
    for link in linked:
        touching = [part for part in parts if any(link[0] == old or link[1] == new for old, new in part)]
        parts = [part for part in parts if part not in touching] + [{link}.union(*touching)]
    return parts


def ours(patient: Study) -> History:
    times = [Timepoint(str(number), lesions) for number, lesions in enumerate(patient.timepoints)]
    return history(times, patient.mappings, [patient.error_mm] * len(patient.mappings))


def judge(patient: Study, score: Score, baseline: Score) -> None:
    """Add what we and the baseline make of a study."""
    found = ours(patient)
    for step, true in enumerate(patient.fates):
        score.add(_fates(found, step), true)
        baseline.add(nearest(patient, step), true)
        known = links(true)
        for link, probability in found.matchings[str(step), str(step + 1)].probabilities.items():
            score.stated.append(probability)
            score.true.append(link in known)
    back = {
        Return(int(old[0]), old[1], int(new[0]), new[1])
        for event in found.events
        if event.kind == "reappeared"
        for old in event.earlier
        for new in event.later
    }
    score.returns.add(back, set(patient.returns))


def calibration(scores: Sequence[Score]) -> list[tuple[float, float, int]]:
    """Of links by their stated probability, in tenths: mean stated, share that is true, how many."""
    stated, true = (np.concatenate([getattr(score, name) for score in scores]) for name in ("stated", "true"))
    tenth = np.minimum((stated * _BINS).astype(int), _BINS - 1)
    return [
        (float(stated[tenth == k].mean()), float(true[tenth == k].mean()), int((tenth == k).sum()))
        for k in range(_BINS)
        if (tenth == k).any()
    ]


def off_by(scores: Sequence[Score]) -> float:
    """Expected calibration error (Naeini et al. 2015)."""
    bins = calibration(scores)
    return sum(abs(stated - true) * count for stated, true, count in bins) / sum(count for *_, count in bins)


def row(lesions: int, level: float, score: Score, baseline: Score) -> str:
    figures = [
        *(score.links.f1, score.merges.f1, score.splits.f1, score.returns.f1),
        *(baseline.links.f1, baseline.merges.f1, baseline.splits.f1, off_by([score])),
    ]
    mean_mm = Residuals().times(level).mean_mm
    return f"| {' | '.join([str(lesions), f'{level:g}', f'{mean_mm:.1f}', *(f'{value:.3f}' for value in figures)])} |"


def demands(scores: Sequence[Score]) -> list[Demand]:
    """Of all numbers of lesions together, each row weighing the same number of them."""

    def f1(name: str) -> float:
        counts = [getattr(score, name) for score in scores]
        return Count(*(sum(getattr(one, part) for one in counts) for part in ("right", "found", "true"))).f1

    return [
        at_least(f"links: F1 at least {LEAST_LINKS}", f1("links"), LEAST_LINKS, "{:.3f}"),
        at_least(f"merges: F1 at least {LEAST_PARTS:.2f}", f1("merges"), LEAST_PARTS, "{:.3f}"),
        at_least(f"splits: F1 at least {LEAST_PARTS:.2f}", f1("splits"), LEAST_PARTS, "{:.3f}"),
        at_most(f"probabilities: off by at most {MOST_OFF}", off_by(scores), MOST_OFF, "{:.3f}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", action="store_true", help="on the seeds that may be looked at")
    parser.add_argument("--check", action="store_true", help="end with an error where a demand is missed")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    chosen = parser.parse_args()
    print(HEADER)
    rows, by_level = [], {level: [] for level in LEVELS}
    for lesions, studies in LESIONS.items():
        first = TUNING if chosen.tune else JUDGED
        patients = [study(lesions, seed) for seed in range(first, first + studies)]
        for level in LEVELS:
            score, baseline = Score(), Score()
            for patient in patients:
                judge(patient.registered(Residuals().times(level)), score, baseline)
            by_level[level].append(score)
            rows.append(row(lesions, level, score, baseline))
            print(rows[-1], flush=True)
    asked = demands(by_level[1.0])
    every = [score for scores in by_level.values() for score in scores]
    bins = ["| stated | true | links |\n|---|---|---|"]
    bins += [f"| {stated:.2f} | {true:.2f} | {count} |" for stated, true, count in calibration(every)]
    print("", *bins, "", table(asked), sep="\n")
    if chosen.write:
        said = INTRODUCTION.format(limit=LIMIT_MM, judged=JUDGED, tuning=TUNING)
        command = f"`python -m benchmarks.lesion_matching --write` on {machine()}:\n"
        body = [said, "", command, HEADER, *rows, "", "Probabilities of links, all rows together:", "", *bins]
        write_table("lesion_matching", "\n".join([*body, "", "At level 1:", "", table(asked)]))
    if chosen.check:
        meet(asked)


def _fates(found: History, step: int) -> tuple[Fate, ...]:
    """Our links of one step in the study's own words."""
    chosen = found.matchings[str(step), str(step + 1)].chosen
    parts = [group.links for group in chosen if group.links]
    return tuple(_fate(part) for part in parts)


def _sides(fates: Iterable[Fate], kind: str) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    return {(fate.earlier, fate.later) for fate in fates if fate.kind == kind}


if __name__ == "__main__":
    main()
