"""What is asked of us beside the others of `benchmarks.peers`, data set by data set."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.demands import Demand, at_least, at_most
from benchmarks.peers_table import OURS, Found, both, mean
from benchmarks.tools import TOOLS

MOST_SPREAD, LEAST_AHEAD, MOST_BEHIND = 0.05, 0.02, 0.02
"""Of SD log J above greedy's; of Dice, `accurate` above all, `fast` below greedy."""
LEAST_GAIN = {"brain_oasis": 0.01, "brain_ixi": 0.01, "hippocampus": 0.0}
"""Of Dice, `balanced` over greedy's longer schedule."""
SHARE, AIM, SHARE_FAST = 0.35, 0.2, 0.12
"""Of greedy's wall time."""
LUNG = 0.9
"""Of the best method's error."""
LABEL_PEERS, LUNG_PEERS = ("greedy", "greedy-long", "ants"), ("greedy-wide", "convexadam")
"""Without these, none is the best."""
_DICE = "{:+.3f}"


def demands(kind: str, found: Found) -> list[Demand]:
    """Those that concern this data set. What was not run leaves them without a figure."""
    if kind in LEAST_GAIN:
        return [*_labels(found, LEAST_GAIN[kind]), _sound(found)]
    if kind == "lung_ct":
        return [*_landmarks(found), _sound(found)]
    if kind == "lung_ct_warped":
        return [_lung(found, "error_mm", "error of known warps"), _sound(found)]
    return [_sound(found)]


def _labels(found: Found, gain: float) -> list[Demand]:
    usual, best = TOOLS["greedy"].title, TOOLS["greedy-long"].title
    gained, lost = difference(found, "balanced", "greedy-long", "dice"), difference(found, "fast", "greedy", "dice")
    above = f"at least {gain:g} above" if gain else "no lower than"
    return [
        at_least(f"`balanced`: Dice {above} {best}", gained, gain, _DICE),
        _spread(found),
        _seconds(found, "balanced", SHARE, AIM),
        _above_all(found),
        at_least(f"`fast`: Dice at most {MOST_BEHIND:g} below {usual}", lost, -MOST_BEHIND, _DICE),
        _seconds(found, "fast", SHARE_FAST),
    ]


def _spread(found: Found) -> Demand:
    usual, best = (difference(found, "balanced", name, "sd_log_jacobian") for name in ("greedy", "greedy-long"))
    beside = "" if usual is None else f" ({usual:+.3f} beside {TOOLS['greedy'].title})"
    what = f"`balanced`: SD log J at most {MOST_SPREAD:g} above {TOOLS['greedy-long'].title}"
    return at_most(what, best, MOST_SPREAD, "{:+.3f}" + beside)


def _seconds(found: Found, mine: str, share: float, aim: float | None = None) -> Demand:
    wall, cpu = (ratio(found, mine, "greedy", key) for key in ("seconds", "cpu_seconds"))
    what = f"`{mine}`: wall time at most {share:g} of {TOOLS['greedy'].title}'s"
    form = "{:.2f} x" + ("" if cpu is None else f" (CPU {cpu:.2f} x)")
    if aim is not None and wall is not None:
        what, form = f"{what} (aim {aim:g})", f"{form}, aim {'reached' if wall <= aim else 'not reached'}"
    return at_most(what, wall, share, form)


def _above_all(found: Found) -> Demand:
    """The best is the one that we are least ahead of, over the pairs that both finished."""
    known = {name: difference(found, "accurate", name, "dice") for name in others(found)}
    ahead = {name: value for name, value in known.items() if value is not None}
    best = min(ahead, key=ahead.__getitem__) if set(LABEL_PEERS) <= ahead.keys() else None
    value, title = _named(ahead, best)
    what = f"`accurate`: Dice at least {LEAST_AHEAD:g} above the best other method"
    return at_least(what, value, LEAST_AHEAD, _DICE + title)


def _landmarks(found: Found) -> list[Demand]:
    """There and back, beside the method that is best at the landmarks: one that finds nothing is consistent too."""
    best, _ = best_in_lungs(found, "tre_mm")
    astray = None if best is None else ratio(found, "balanced", best, "inconsistency_mm")
    beside = "the best other method at the landmarks" if best is None else TOOLS[best].title
    there_and_back = at_most(f"`balanced`: there and back no farther astray than {beside}", astray, 1.0, "{:.2f} x")
    return [_lung(found, "tre_mm", "TRE"), there_and_back]


def _lung(found: Found, key: str, title: str) -> Demand:
    best, share = best_in_lungs(found, key)
    value, name = _named(share, best)
    return at_most(f"`balanced`: {title} at most {LUNG:g} of the best other method's", value, LUNG, "{:.2f} x" + name)


def best_in_lungs(found: Found, key: str) -> tuple[str | None, dict[str, float]]:
    """The method whose error is the smallest beside ours, and our part of each one's."""
    known = {name: ratio(found, "balanced", name, key) for name in others(found)}
    share = {name: value for name, value in known.items() if value is not None}
    return (max(share, key=share.__getitem__) if set(LUNG_PEERS) <= share.keys() else None), share


def _named(values: dict[str, float], best: str | None) -> tuple[float | None, str]:
    """The value beside the best method, and that one's name in brackets."""
    return (None, "") if best is None else (values[best], f" ({TOOLS[best].title})")


def _sound(found: Found) -> Demand:
    """Of everything of ours."""
    mine = [figures[name] for figures in found.values() for name in OURS if name in figures]
    failed = sum("failed" in one for one in mine)
    folded = max((one["folded_percent"] for one in mine if "failed" not in one), default=0.0)
    said = f"{failed} failed, at most {folded:.4f} % folded"
    what = "every preset finishes every pair without a folded voxel"
    return Demand(what, said if mine else "", failed == 0 and folded == 0 if mine else None)


def others(found: Found) -> Sequence[str]:
    names = dict.fromkeys(name for figures in found.values() for name in figures)
    return [name for name in names if name not in OURS and name != "affine"]


def difference(found: Found, mine: str, other: str, key: str) -> float | None:
    """Ours less theirs, of means over the pairs that both finished; None where there is none."""
    means = _means(found, mine, other, key)
    return None if means is None else means[0] - means[1]


def ratio(found: Found, mine: str, other: str, key: str) -> float | None:
    """Ours over theirs, of means over the pairs that both finished; None where there is none."""
    means = _means(found, mine, other, key)
    return None if means is None else means[0] / means[1]


def _means(found: Found, mine: str, other: str, key: str) -> tuple[float, float] | None:
    pairs = both(found, mine, other)
    ours, theirs = (mean([pair[side] for pair in pairs], key) for side in (0, 1))
    return None if ours is None or theirs is None else (ours, theirs)
