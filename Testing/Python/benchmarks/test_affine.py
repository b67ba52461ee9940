"""The affine benchmark's moves and truths are what it says, and what is published is met on the patient with MS."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.affine import FARTHEST_MM, LARGEST_DEGREES, Trial, random_move, row
from benchmarks.affine_cases import CONTRASTS, copy, cropped, from_common, ms
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
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


def test_a_t1_meets_the_flair_of_another_visit_where_the_published_transforms_put_it(data_folder):
    case = ms(CONTRASTS, "study2_FLAIR", "study1_T1W").load(data_folder)
    folder = data_folder / "longitudinal_ms"
    mask = read_image(folder / "common_space" / "brainmask.nii.gz")
    brain = from_common(folder / "patient01", "study2_FLAIR")(mask.grid.points()[mask.scalar > 0][::50])
    found = align(prepare(case.fixed, case.moving, Prepare()), Align(), "affine")
    assert np.linalg.norm(found(brain) - case.truth(brain), axis=1).mean() < 2
    assert found.trust.high
