"""Each figure is judged against its stated limit, on both sides of it; a warning never hides behind a number."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from RegistrationNetLib.engine import limits, verdicts
from RegistrationNetLib.engine.limits import LIMITS, VERDICTS

PAGE = Path(__file__).parents[3] / "docs/quality.md"

GOOD: dict[str, Any] = {
    "fixed": {"spacing_mm": [1.0, 1.0, 2.5]},
    "moving": {"spacing_mm": [1.0, 2.0, 1.0]},
    "settings": {"refine": {"symmetric": True}},
    "overlap_percent": 99.0,
    "similarity": {"kind": "lncc", "before": 0.3, "after": 0.8},
    "jacobian": {
        "folded_voxels": 0,
        "folded_percent": 0.0,
        "min": 0.5,
        "max": 2.0,
        "sd_log": 0.1,
        "total_min": 0.5,
        "total_max": 2.0,
        "total_mean": 1.0,
    },
    "alignment": {"confidence": "high", "agreement": 0.9, "similarity": 0.6},
    "quality": {
        "tre_mm": {"before": 9.0, "after": 1.0, "max_after": 3.0},
        "dice": {"before": 0.5, "after": 0.9, "labels": 2, "per_label": {"1": 0.95, "2": 0.85}},
        "hd95_mm": {"before": 5.0, "after": 2.0},
    },
    "constraints": {
        "rigid": [{"deviation_mm": 0.05}],
        "volume": [{"change_percent": -0.1}],
        "region": {"largest_change_outside_mm": 0.0},
        "hints": {"pairs": 3, "left_out": [], "before": 8.0, "after": 1.0},
    },
}


def report(changes: dict[str, Any]) -> dict[str, Any]:
    """The good one, with values at paths such as "quality/tre_mm/after"."""
    changed = deepcopy(GOOD)
    for path, value in changes.items():
        *way, last = path.split("/")
        place = changed
        for step in way:
            place = place[step]
        place[last] = value
    return changed


def row(key: str, changes: dict[str, Any]) -> dict[str, str]:
    (found,) = [row for row in verdicts.checks(report(changes)) if row["name"] == LIMITS[key].name]
    return found


def test_a_result_that_meets_every_limit_is_good_in_every_check_and_overall() -> None:
    rows = verdicts.checks(GOOD)
    assert {row["verdict"] for row in rows} == {"good"}
    assert verdicts.overall(rows)["verdict"] == "good"
    assert {row["name"] for row in rows} == {LIMITS[key].name for key in {*LIMITS} - {"similarity mind", "accuracy"}}


def test_each_check_has_its_unit_threshold_source_and_a_sentence() -> None:
    for row in verdicts.checks(report({"settings/refine/symmetric": False})):
        assert all(row[key] for key in ("name", "value", "threshold", "source")), row
        assert row["sentence"].endswith("."), row


CASES = [
    ("overlap", {"overlap_percent": 90.0}, "good"),
    ("overlap", {"overlap_percent": 89.0}, "look"),
    ("overlap", {"overlap_percent": 24.0}, "bad"),
    ("alignment", {"alignment/confidence": "low"}, "look"),
    ("similarity lncc", {"similarity/after": 0.49}, "look"),
    ("similarity lncc", {"similarity/after": 0.34}, "bad"),
    ("similarity lncc", {"similarity/before": 0.9}, "bad"),
    ("similarity lncc", {"similarity/after": float("nan")}, "bad"),
    ("similarity mind", {"similarity/kind": "mind", "similarity/after": 0.41}, "good"),
    ("similarity mind", {"similarity/kind": "mind", "similarity/after": 0.39}, "cannot tell"),
    ("similarity mind", {"similarity/kind": "mind", "similarity/after": 0.19, "similarity/before": 0.1}, "bad"),
    ("folding", {"jacobian/folded_voxels": 1}, "bad"),
    ("jacobian", {"jacobian/min": 0.3}, "look"),
    ("jacobian", {"jacobian/max": 3.1}, "look"),
    ("volume", {"jacobian/total_mean": 3.1}, "look"),
    ("consistency", {"settings/refine/symmetric": False}, "cannot tell"),
    ("tre", {"quality/tre_mm/after": 2.5}, "good"),
    ("tre", {"quality/tre_mm/after": 2.6}, "look"),
    ("tre", {"quality/tre_mm/after": 3.1}, "bad"),
    ("tre", {"quality/tre_mm/after": 3.1, "fixed/spacing_mm": [5.0, 1.0, 1.0]}, "good"),
    ("tre", {"quality/tre_mm/before": 0.5}, "bad"),
    ("tre", {"quality/tre_mm/max_after": 5.1}, "look"),
    ("dice", {"quality/dice/per_label": {"1": 0.99, "2": 0.79}}, "look"),
    ("dice", {"quality/dice/after": 0.49, "quality/dice/before": 0.4}, "bad"),
    ("dice", {"quality/dice/before": 0.95}, "bad"),
    ("hd95", {"quality/hd95_mm/after": 5.1}, "look"),
    ("rigid", {"constraints/rigid": [{"deviation_mm": 0.05}, {"deviation_mm": 0.2}]}, "look"),
    ("kept volume", {"constraints/volume": [{"change_percent": 0.1}, {"change_percent": -0.3}]}, "look"),
    ("region", {"constraints/region/largest_change_outside_mm": 0.001}, "look"),
    ("hints", {"constraints/hints/after": 9.0}, "look"),
    ("hints", {"constraints/hints/left_out": [2]}, "look"),
]


@pytest.mark.parametrize(("key", "changes", "verdict"), CASES, ids=lambda value: str(value))
def test_a_figure_is_judged_on_either_side_of_its_limit(key: str, changes: dict[str, Any], verdict: str) -> None:
    assert row(key, changes)["verdict"] == verdict


@pytest.mark.parametrize(("key", "changes", "verdict"), CASES, ids=lambda value: str(value))
def test_the_worst_check_comes_first_and_decides_the_whole(key: str, changes: dict[str, Any], verdict: str) -> None:
    rows = verdicts.checks(report(changes))
    badness = [VERDICTS.index(row["verdict"]) for row in rows]
    assert badness == sorted(badness, reverse=True)
    whole = verdicts.overall(rows)
    assert whole["verdict"] == ("good" if key == "consistency" else verdict)
    assert (LIMITS[key].name in whole["sentence"]) == (verdict == "cannot tell")


def test_without_landmarks_and_labels_nobody_says_that_it_is_right() -> None:
    rows = verdicts.checks(report({"quality": {}}))
    (unknown,) = [row for row in rows if row["verdict"] == "cannot tell"]
    assert unknown["name"] == LIMITS["accuracy"].name
    assert "landmarks or structures on both images" in unknown["sentence"]
    assert verdicts.overall(rows)["verdict"] == "cannot tell"
    assert LIMITS["accuracy"].name not in {row["name"] for row in verdicts.checks(GOOD)}


def test_a_threshold_made_from_the_voxels_says_of_what_size_they_are() -> None:
    """Of both images the largest side."""
    assert row("tre", {})["threshold"].endswith("(here 2.5 mm)")
    assert row("consistency", {"moving/spacing_mm": [4.0, 1.0, 1.0]})["threshold"].endswith("(here 4 mm)")


def test_the_page_states_every_threshold_with_its_source_and_no_other() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("|")][2:]
    assert table == [f"| {limit.name} | {limit.threshold} | {limit.source} |" for limit in LIMITS.values()]


def test_the_words_of_a_threshold_are_made_from_the_number_that_decides() -> None:
    for key, number in (("overlap", limits.OVERLAP), ("tre", limits.TRE_MM), ("dice", limits.DICE)):
        assert f"{number:g}" in LIMITS[key].threshold
