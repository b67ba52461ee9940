"""Images that nothing here was made for: each preset is better than the affine it starts from."""

import pytest

from benchmarks import others
from benchmarks.data import sets
from benchmarks.others import Case, Row, abdomen, crops, lungs, rows, verdict
from RegistrationNetLib.engine.settings import PRESETS


def require_gain(case: Case, presets: tuple[str, ...]) -> None:
    measured = rows(case, presets)
    assert [name for row in measured for name in row.presets] == len(measured) * list(presets)
    assert all(not row.losses for row in measured), [str(row) for row in measured]


def test_mr_lungs_of_two_people(data_folder):
    require_gain(lungs(data_folder, "0006", "0004"), ("fast",))


def test_an_abdomen_and_its_known_warp(data_folder):
    case = abdomen(data_folder, seed=1, peak_mm=10, sigma_mm=25)
    require_gain(case, ("fast",))


def test_crops_of_35_voxels_a_side(data_folder):
    require_gain(crops(data_folder, sets(data_folder)["hippocampus"][0]), tuple(PRESETS))


def test_every_pair_of_crops_for_evaluation_is_looked_at(data_folder, monkeypatch):
    for name in ("lungs", "abdomen"):
        monkeypatch.setattr(others, name, lambda *_: None)
    monkeypatch.setattr(others, "crops", lambda _, pair: pair)
    assert [case for case in others.cases(data_folder) if case] == list(sets(data_folder)["hippocampus"])


@pytest.mark.parametrize(("measure", "worse", "better"), [("Dice", 0.7, 0.9), ("mm", 3.0, 1.0)])
def test_what_is_worse_than_the_affine_or_no_better_is_named(measure, worse, better):
    middle = (worse + better) / 2
    row = Row("this pair", measure, middle, {"fast": worse, "balanced": middle, "accurate": better})
    assert row.losses == ["fast", "balanced"]
    assert (
        verdict([row])
        == f"No better than the affine: fast on this pair ({measure}); balanced on this pair ({measure})."
    )
    assert "every pair" in verdict([Row("that pair", measure, middle, {"accurate": better})])


@pytest.mark.parametrize("fast", [0.8, 0.6])
def test_it_ends_with_an_error_where_a_preset_is_no_better_than_the_affine(fast, monkeypatch):
    monkeypatch.setattr("sys.argv", ["others"])
    monkeypatch.setenv("REGISTRATIONNET_DATA", "anywhere")
    monkeypatch.setattr(others, "cases", lambda data: [None])
    monkeypatch.setattr(others, "rows", lambda case: [Row("this pair", "Dice", 0.7, {"fast": fast})])
    if fast > 0.7:
        others.main()
    else:
        with pytest.raises(SystemExit, match="1"):
            others.main()
