"""The run beside other methods: it resumes, survives what crashes, says what is missing, and prints losses too."""

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.data import Pair
from benchmarks.peers_demands import demands
from benchmarks.peers_table import INTRODUCTION, both, compared, made, means, section
from benchmarks.tools import TOOLS, Tool
from RegistrationNetLib.core import metrics
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.judge import reference_report
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.phantom import phantom_pair

NAMES = ("affine", "fast")
LABELS = ("fixed_labels.nii.gz", "moving_labels.nii.gz")
THERE = Pair("head there", "fixed.nii.gz", "moving.nii.gz", LABELS)
BACK = Pair("head back", "moving.nii.gz", "fixed.nii.gz", LABELS[::-1])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> peers.Bench:
    """A small phantom as the data."""
    folder = tmp_path_factory.mktemp("peers")
    phantom = phantom_pair(voxel_mm=5.0)
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        write_image(getattr(phantom, name), folder / f"{name}.nii.gz")
    return peers.Bench(folder, folder / "results", threads=1)


@pytest.fixture(scope="module")
def found(bench: peers.Bench) -> dict:
    return peers.of_set(bench, [THERE, BACK], NAMES)


def test_a_method_is_judged_beside_the_alignment_that_it_started_from(found: dict):
    for figures in found.values():
        assert figures["fast"]["dice"] > figures["affine"]["dice"] + 0.01
        assert figures["affine"]["sd_log_jacobian"] == 0 < figures["fast"]["sd_log_jacobian"]
        assert figures["fast"]["cpu_seconds"] > 0


def test_a_pair_in_both_directions_says_how_far_there_and_back_leads_astray(found: dict, bench: peers.Bench):
    assert 0 < found[THERE.name]["fast"]["inconsistency_mm"] < 5
    assert "inconsistency_mm" not in peers.of_set(bench, [THERE], NAMES)[THERE.name]["fast"]


def test_what_is_at_hand_is_not_computed_again_unless_asked_or_on_other_threads(
    found: dict, bench: peers.Bench, monkeypatch: pytest.MonkeyPatch
):
    ran: list[str] = []
    monkeypatch.setattr(peers, "run", lambda name, folder, threads: ran.append(name) or found[THERE.name][name])
    bench.figures(THERE, NAMES)
    assert ran == []
    replace(bench, again=True).figures(THERE, ["fast"])
    assert ran == ["fast"]
    replace(bench, threads=2).figures(THERE, ["affine"])
    assert ran == ["fast", "affine"]


def test_another_start_is_computed_from_again_and_another_judgement_only_judged(
    bench: peers.Bench, monkeypatch: pytest.MonkeyPatch
):
    ran: list[str] = []
    run = peers.run
    monkeypatch.setattr(peers, "run", lambda name, folder, n: ran.append(name) or run(name, folder, n))
    bench.figures(THERE, ["affine"])
    with monkeypatch.context() as otherwise:
        otherwise.setattr(peers, "_JUDGEMENT", "other")
        otherwise.setattr(peers, "judged", lambda case, mapping: {"dice": 0.1})
        assert bench.figures(THERE, ["affine"])["affine"]["dice"] == 0.1
    assert bench.figures(THERE, ["affine"])["affine"]["dice"] > 0.1
    started = bench.start(THERE) / "start.json"
    kept = json.loads(started.read_text())
    started.write_text(json.dumps(kept | {"version": "0.0"}))
    bench.figures(THERE, ["affine"])
    assert json.loads(started.read_text()) == kept  # another version makes it anew, here the same
    assert ran == []
    started.write_text(json.dumps(kept | {"digest": "other"}))
    bench.figures(THERE, ["affine"])
    assert ran == ["affine"]
    started.write_text(json.dumps(kept))


@pytest.mark.parametrize("function", [peers.judged, metrics.dice, metrics.hd95, warp, reference_report])
def test_what_judges_is_known_by_its_digest(function):
    assert Path(inspect.getfile(function)) in peers.JUDGES


def test_a_method_that_crashes_is_a_row_that_says_so_and_the_others_go_on(
    found: dict, bench: peers.Bench, monkeypatch: pytest.MonkeyPatch
):
    run = peers.run
    monkeypatch.setattr(
        peers, "run", lambda name, folder, n: run(name, folder if name == "affine" else Path("nowhere"), n)
    )
    figures = replace(bench, again=True).figures(BACK, NAMES)
    assert "nowhere" in figures["fast"]["failed"]
    assert figures["affine"]["dice"] == found[BACK.name]["affine"]["dice"]
    table = means({THERE.name: found[THERE.name], BACK.name: figures}, {name: name for name in NAMES})
    assert "fast (1 failed: " in table


def test_methods_that_are_not_installed_are_named_with_the_cure(monkeypatch: pytest.MonkeyPatch):
    missing = Tool("other", "other-package", "no_such_module", TOOLS["greedy"].job)
    monkeypatch.setitem(peers.TOOLS, "other", missing)
    with pytest.raises(SystemExit, match=r"Not installed: other-package\. Run `make peers`"):
        peers.require(["affine", "other"])
    peers.require(["affine", "fast"])


def figures(dice: float, seconds: float) -> dict:
    return {"dice": dice, "seconds": seconds, "cpu_seconds": 2 * seconds}


def test_a_comparison_gives_dice_by_difference_and_both_times_by_ratio_with_losses_in_bold():
    assert compared([(figures(0.66, 3), figures(0.65, 10))]) == "+0.010; 0.30 x s; 0.30 x CPU"
    assert compared([(figures(0.64, 30), figures(0.65, 10))]) == "**-0.010**; **3.00 x s**; **3.00 x CPU**"
    disturbed = figures(0.66, 3) | {"seconds": 12}
    assert compared([(disturbed, figures(0.65, 10))]) == "+0.010; **1.20 x s**; 0.30 x CPU"
    assert compared([({"tre_mm": 1.2}, {"tre_mm": 1.5}), ({"tre_mm": 1.8}, {"tre_mm": 2.0})]) == "0.86 x mm"
    assert compared([({"tre_mm": 2.0}, {"tre_mm": 1.0})]) == "**2.00 x mm**"
    assert compared([]) == ""


def test_ratios_are_taken_over_the_pairs_that_both_finished():
    tools = {"balanced": "ours", "greedy": "greedy"}
    done = {"balanced": figures(0.7, 1), "greedy": figures(0.6, 2)}
    one = {"balanced": figures(0.2, 9), "greedy": {"failed": "out of memory"}}
    text = section("brains", {"first": done, "second": one}, tools)
    assert "| greedy | +0.100; 0.50 x s; 0.50 x CPU |" in text
    assert "| first | +0.100; 0.50 x s; 0.50 x CPU |" in text
    assert "| second | failed |" in text
    assert "| greedy (1 failed: out of memory) | 0.600 | 2.0 | 4.0 |" in text
    assert "brains, 2 pairs" in text


@pytest.mark.parametrize("failing", ["balanced", "greedy"])
def test_a_pair_that_either_did_not_finish_is_in_neither_mean(failing: str):
    done = {"balanced": figures(0.7, 1), "greedy": figures(0.6, 2)}
    found = {"first": done, "second": {"balanced": figures(0.1, 9), "greedy": figures(0.1, 9), failing: {"failed": ""}}}
    assert both(found, "balanced", "greedy") == [(done["balanced"], done["greedy"])]


def test_a_table_names_machine_threads_and_versions():
    text = made("python -m benchmarks.peers", 2, "4 cores", {"picsl-greedy": "1.4"})
    assert "2 threads for each method on 4 cores" in text
    assert "picsl-greedy 1.4" in text


def test_a_data_set_written_alone_leaves_the_others_as_they_are(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\nSaid by hand.\n")
    for kind, tables in (("brains", ["ONE"]), ("lungs", ["TWO"]), ("brains", ["THREE", "FOUR"])):
        peers.write(kind, tables, page)
    text = page.read_text()
    assert [text.count(part) for part in ("Said by hand.", INTRODUCTION, "ONE", "TWO")] == [1, 1, 0, 1]
    assert text.index(INTRODUCTION) < text.index("THREE\n\nFOUR") < text.index("TWO")


GOOD = {"folded_percent": 0.0, "cpu_seconds": 1.0}
BRAIN = {
    "balanced": GOOD | {"dice": 0.66, "sd_log_jacobian": 0.44, "seconds": 3.0},
    "fast": GOOD | {"dice": 0.63, "sd_log_jacobian": 0.40, "seconds": 1.0},
    "accurate": GOOD | {"dice": 0.68, "sd_log_jacobian": 0.45, "seconds": 9.0},
    "greedy": GOOD | {"dice": 0.64, "sd_log_jacobian": 0.40, "seconds": 10.0},
    "greedy-long": GOOD | {"dice": 0.645, "sd_log_jacobian": 0.42, "seconds": 20.0},
    "ants": GOOD | {"dice": 0.655, "sd_log_jacobian": 0.30, "seconds": 60.0},
}
LUNG = {
    "balanced": GOOD | {"tre_mm": 1.2, "inconsistency_mm": 0.3},
    "greedy-wide": GOOD | {"tre_mm": 1.5, "inconsistency_mm": 0.4},
    "convexadam": GOOD | {"tre_mm": 1.9, "inconsistency_mm": 0.1},
}
WARPED = {name: GOOD | {"error_mm": one["tre_mm"]} for name, one in LUNG.items()}


def missed(kind: str, figures: dict) -> list[str]:
    return [demand.what for demand in demands(kind, {"pair": figures}) if not demand.met]


@pytest.mark.parametrize(("kind", "figures"), [("brain_ixi", BRAIN), ("lung_ct", LUNG), ("lung_ct_warped", WARPED)])
def test_what_is_asked_of_us_can_be_met(kind: str, figures: dict):
    assert missed(kind, figures) == []


@pytest.mark.parametrize(
    ("kind", "figures", "change", "said"),
    [
        ("brain_oasis", BRAIN, ("balanced", "dice", 0.653), "`balanced`: Dice at least 0.01 above greedy"),
        ("hippocampus", BRAIN, ("balanced", "dice", 0.644), "`balanced`: Dice no lower than greedy"),
        ("brain_ixi", BRAIN, ("balanced", "sd_log_jacobian", 0.48), "SD log J at most 0.05 above greedy"),
        ("brain_ixi", BRAIN, ("balanced", "seconds", 3.6), "`balanced`: wall time at most 0.35 of greedy"),
        ("brain_ixi", BRAIN, ("ants", "dice", 0.665), "`accurate`: Dice at least 0.02 above"),
        ("brain_ixi", BRAIN, ("fast", "dice", 0.615), "`fast`: Dice at most 0.02 below greedy"),
        ("brain_ixi", BRAIN, ("fast", "seconds", 1.3), "`fast`: wall time at most 0.12 of greedy"),
        ("brain_ixi", BRAIN, ("fast", "folded_percent", 0.001), "without a folded voxel"),
        ("brain_ixi", BRAIN, ("accurate", "failed", "out of memory"), "finishes every pair"),
        ("lung_ct", LUNG, ("greedy-wide", "tre_mm", 1.3), "TRE at most 0.9 of"),
        ("lung_ct", LUNG, ("balanced", "inconsistency_mm", 0.5), "no farther astray than greedy"),
        ("lung_ct_warped", WARPED, ("convexadam", "error_mm", 1.3), "error of known warps at most 0.9 of"),
    ],
)
def test_each_demand_can_be_missed(kind: str, figures: dict, change: tuple, said: str):
    name, key, value = change
    assert any(said in what for what in missed(kind, figures | {name: figures[name] | {key: value}}))


def test_a_best_method_is_not_known_until_those_named_were_run():
    without = {name: one for name, one in BRAIN.items() if name != "ants"}
    (above,) = (demand for demand in demands("brain_ixi", {"pair": without}) if "best other" in demand.what)
    assert above.verdict == "not measured"


def test_wall_time_has_cpu_time_and_the_aim_beside_it():
    said = {demand.what: demand.measured for demand in demands("brain_ixi", {"pair": BRAIN})}
    assert said["`balanced`: wall time at most 0.35 of greedy NCC 2x2x2, 100x50x10's (aim 0.2)"] == (
        "0.30 x (CPU 1.00 x), aim not reached"
    )


def test_each_set_gets_the_windows_that_suit_it():
    assert "greedy-wide" not in peers.usable(list(TOOLS), "brain_ixi")
    assert {"greedy", "greedy-long"}.isdisjoint(peers.usable(list(TOOLS), "lung_ct"))
    assert "ants-cc-long" not in peers.usable(list(TOOLS), "brain_oasis 1001 onto 1000")
    assert np.all([name in peers.usable(list(TOOLS), "lung_ct") for name in ("fast", "greedy-wide", "ants")])


def test_a_method_that_is_run_on_some_pairs_only_says_so_and_is_compared_on_them():
    assert "ants-cc-long" in peers.usable(list(TOOLS), "hippocampus hippocampus_003 onto hippocampus_001")
    assert "ants-cc-long" not in peers.usable(list(TOOLS), "hippocampus hippocampus_014 onto hippocampus_011")
    found = {"first": {"balanced": figures(0.7, 1), "slow": figures(0.6, 2)}, "second": {"balanced": figures(0.2, 9)}}
    text = section("brains", found, {"balanced": "ours", "slow": "slow"})
    assert "| slow (run on 1 of 2 pairs) | 0.600 | 2.0 | 4.0 |" in text
    assert "| slow | +0.100; 0.50 x s; 0.50 x CPU |" in text
    assert "| second |  |" in text
