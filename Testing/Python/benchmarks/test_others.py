"""Images that nothing here was made for: each preset is better than the affine it starts from."""

import pytest

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
    require_gain(crops(data_folder, 0), tuple(PRESETS))


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
