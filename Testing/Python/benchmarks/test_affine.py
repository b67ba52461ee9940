"""The affine benchmark's moves and truths are what it says, and what is published is met on the patient with MS."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks import affine
from benchmarks.affine import FARTHEST_MM, LARGEST_DEGREES, Trial, demands, random_move, row
from benchmarks.affine_cases import CONTRASTS, copy, cropped, from_common, ms, pair
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.prepare import prepare
from RegistrationNetLib.engine.settings import Align, Prepare
from RegistrationNetLib.files.images import read_image

GRID = Grid.of((20, 24, 28), (3, 2, 2), np.eye(3), (5, 6, 7))


def test_moves_reach_all_the_way_and_no_farther():
    rng = np.random.default_rng(0)
    moves = [random_move(rng, GRID.center) for _ in range(400)]
    shifts = [np.linalg.norm(move(GRID.center) - GRID.center) for move in moves]
    turns = [np.rad2deg(Rotation.from_matrix(move.matrix[:3, :3]).magnitude()) for move in moves]
    for sizes, largest in ((shifts, FARTHEST_MM), (turns, LARGEST_DEGREES)):
        assert 0.95 * largest < max(sizes) <= largest
        assert np.mean(sizes) == pytest.approx(largest / 2, rel=0.1)


def test_what_is_left_of_a_cropped_image_stays_in_its_place():
    image = Image(np.arange(GRID.voxels, dtype=np.float32).reshape(1, *GRID.shape), GRID)
    part = cropped(image, (0.25, 0, 0.5), (0, 0.5, 0))
    assert part.grid.shape == (15, 12, 14)
    assert np.array_equal(warp(image, Mapping(), part.grid, "nearest").data, part.data)


def test_a_copy_is_the_scan_seen_through_its_truth(data_folder):
    pair = copy("", "lung_mri/0004H1.nii.gz", seed=0, noise=0.0).load(data_folder)
    seen = warp(pair.moving, Mapping((pair.truth,)), pair.fixed.grid).scalar
    inside = pair.moving.grid.contains(pair.truth(pair.fixed.grid.points()), margin_voxels=0)
    assert inside.mean() > 0.2
    assert np.abs(seen[inside].astype(float) - pair.fixed.scalar[inside]).max() <= 1  # rounding


def test_a_row_counts_what_is_near_far_and_doubted():
    trials = [Trial(0.5, 2.0, True), Trial(3.0, 4.0, True), Trial(9.0, 3.0, False)]
    assert row("some", trials) == "| some | 3 | 1 | 1 | 3.00 | 9.00 | 3.0 (4.0) | 1 |"


TOGETHER = pair("heads", "a.nii", "b.nii")
TURNED = pair("24 orientations", "a.nii", "b.nii", quarter_turns=True)
APART = pair("not a pair", "a.nii", "b.nii", together=False)
NEAR, MISSED, SLOW = Trial(0.5, 2.0, True), Trial(3.0, 2.0, True), Trial(0.5, 6.0, True)
DOUBTED, TRUSTED, NONSENSE = Trial(np.nan, 9.0, False), Trial(np.nan, 9.0, True), Trial(50.0, 2.0, True)
GOOD = {TOGETHER: [NEAR] * 100, TURNED: [NEAR] * 24, APART: [DOUBTED] * 4}


def verdicts(done: dict, check_time: bool = False) -> list[str]:
    return [demand.verdict for demand in demands(done, check_time)]


def test_what_is_asked_of_the_alignment_can_be_met():
    assert verdicts(GOOD) == ["met"] * 5


@pytest.mark.parametrize(
    ("change", "which"),
    [
        ({TOGETHER: [NEAR] * 99}, 0),
        ({TOGETHER: [NEAR] * 97 + [MISSED] * 3}, 1),
        ({TURNED: [NEAR] * 23 + [MISSED]}, 2),
        ({APART: [DOUBTED] * 3 + [TRUSTED]}, 3),
        ({TOGETHER: [NEAR] * 99 + [NONSENSE]}, 3),
        ({TOGETHER: [NEAR] * 99 + [SLOW]}, 4),
    ],
)
def test_each_demand_on_the_alignment_can_be_missed(change, which):
    assert verdicts(GOOD | change) == ["met"] * which + ["missed"] + ["met"] * (4 - which)


def test_what_was_not_tried_counts_as_not_measured():
    assert verdicts({}) == ["missed", *["not measured"] * 4]


def test_seconds_decide_only_when_asked():
    slow = GOOD | {TOGETHER: [NEAR] * 99 + [SLOW]}
    assert [demands(slow, check)[-1].decides for check in (False, True)] == [False, True]


def test_the_best_known_alignment_is_looked_for_anew_by_another_version_of_ourselves(tmp_path, monkeypatch):
    looked: list[str] = []
    monkeypatch.setattr(affine, "KEPT", tmp_path)
    monkeypatch.setattr(affine, "replace", lambda prepared, **_: prepared)
    monkeypatch.setattr(affine, "align", lambda prepared, *_: looked.append(prepared) or Affine(np.eye(4)))
    for number in ("1", "1", "2", "2"):
        monkeypatch.setattr(affine, "version", lambda tool, number=number: number)
        affine._best("b onto a", number)
    assert looked == ["1", "2"]


def test_a_t1_meets_the_flair_of_another_visit_where_the_published_transforms_put_it(data_folder):
    case = ms(CONTRASTS, "study2_FLAIR", "study1_T1W").load(data_folder)
    folder = data_folder / "longitudinal_ms"
    mask = read_image(folder / "common_space" / "brainmask.nii.gz")
    brain = from_common(folder / "patient01", "study2_FLAIR")(mask.grid.points()[mask.scalar > 0][::50])
    found = align(prepare(case.fixed, case.moving, Prepare()), Align(), "affine")
    assert np.linalg.norm(found(brain) - case.truth(brain), axis=1).mean() < 2
    assert found.trust.high
