"""What every method starts from: both images on one grid, the moving one through the affine, in known units."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from benchmarks.cases import Case, load, share
from benchmarks.data import Pair, landmarks
from benchmarks.judgement import jacobian, judged
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.result import Reference
from RegistrationNetLib.files.geometry import grid_of
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.files.transforms import read_transform
from RegistrationNetLib.phantom import PhantomPair, phantom_pair

CHEST = Grid.of((40, 44, 48), (5.0, 4.0, 4.0), np.eye(3)[:, ::-1], (-90, -80, 20))
LUNG = 0.6  # of the way to the skin; lung tissue reaches a little farther, so that no voxel is partly wall


def from_the_middle() -> np.ndarray:
    """0 in the middle of the chest, 1 on its skin."""
    return np.linalg.norm((CHEST.points() - CHEST.center) / (70, 60, 80), axis=-1)


@pytest.fixture(scope="module")
def phantom() -> PhantomPair:
    return phantom_pair(voxel_mm=4.0)


@pytest.fixture(scope="module")
def case(phantom: PhantomPair) -> Case:
    reference = Reference(
        phantom.fixed_labels, phantom.moving_labels, phantom.fixed_landmarks, phantom.moving_landmarks
    )
    return Case(phantom.fixed, phantom.moving, reference, phantom.fixed_labels.scalar > 0)


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A made-up CT and its known warp, from files."""
    folder = tmp_path_factory.mktemp("chest")
    away = from_the_middle()
    rough = 40 * np.sin(CHEST.points().sum(-1) / 15)
    scan = np.where(away < 0.7, -800 + rough, np.where(away < 1, 50 + rough, -1000)) + 150 * (abs(away - 0.85) < 0.03)
    write_image(Image(scan[None].astype(np.int16), CHEST), folder / "scan.mha")
    write_image(Image((away < LUNG)[None].astype(np.uint8), CHEST), folder / "mask.mha")
    return load(Pair("chest", "scan.mha", "scan.mha", body="mask.mha", warp_seed=1), folder)


def test_the_true_field_of_the_phantom_is_judged_good_and_no_field_as_bad_as_it_is(phantom: PhantomPair, case: Case):
    points = phantom.fixed.grid.points()
    field = np.moveaxis(phantom.truth(points) - points, -1, 0).astype(np.float32)
    true = judged(case, Mapping((Displacement(field, phantom.fixed.grid),)))
    none = judged(case, Mapping((Displacement(np.zeros_like(field), phantom.fixed.grid),)))
    apart = np.linalg.norm(phantom.fixed_landmarks - phantom.moving_landmarks, axis=1).mean()
    assert true["tre_mm"] < 0.1
    assert none["tre_mm"] == pytest.approx(apart)
    assert true["dice"] > 0.8 > none["dice"] + 0.2
    assert true["folded_percent"] == 0


def test_all_start_from_the_moving_image_on_the_fixed_grid_through_the_affine(case: Case, tmp_path: Path):
    share(case, tmp_path)
    fixed, moving = (sitk.ReadImage(str(tmp_path / f"{side}.mha")) for side in ("fixed", "moving"))
    assert grid_of(fixed).isclose(case.fixed.grid)
    assert grid_of(moving).isclose(case.fixed.grid)
    affine = read_transform(tmp_path / "affine.tfm")
    (step,) = affine.steps
    assert isinstance(step, Affine)
    carried = warp(case.moving, affine, case.fixed.grid).scalar
    inside = carried > 0
    assert np.corrcoef(carried[inside], sitk.GetArrayFromImage(moving)[inside])[0, 1] > 0.99
    assert sitk.GetArrayFromImage(fixed).max() == 1000


def test_ct_stays_in_hounsfield_units_within_the_window(chest: Case, tmp_path: Path):
    share(chest, tmp_path)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "fixed.mha")))
    assert values.min() == -1000
    assert 100 < values.max() <= 500


def test_a_known_warp_leads_every_point_outside_the_lung_to_its_own_value(chest: Case):
    assert chest.truth is not None
    carried = warp(chest.moving, chest.truth, CHEST).scalar.astype(float)
    inner = ~chest.body & np.pad(np.ones(np.array(CHEST.shape) - 8, bool), 4)
    difference = (chest.fixed.scalar - carried)[inner]
    assert abs(difference.mean()) < 2
    assert difference.std() < 40  # noise of 20 HU in each
    assert np.abs(chest.fixed.scalar - chest.moving.scalar.astype(float))[inner].std() > 100


def test_where_the_lung_is_wider_it_is_darker_by_as_much_air(chest: Case):
    """Mass is kept: HU above air times volume is the same before and after, voxel by voxel."""
    assert chest.truth is not None
    carried = warp(chest.moving, chest.truth, CHEST).scalar[chest.body] + 1000.0
    ratio = (chest.fixed.scalar[chest.body] + 1000.0) / carried
    volume = jacobian(chest.truth.on(CHEST))[chest.body]  # of the moving lung, for one of the fixed
    wide, narrow = volume < np.quantile(volume, 0.1), volume > np.quantile(volume, 0.9)
    assert ratio[wide].mean() == pytest.approx(volume[wide].mean(), rel=0.02)
    assert ratio[narrow].mean() == pytest.approx(volume[narrow].mean(), rel=0.02)
    assert volume[narrow].mean() > 1.1 * volume[wide].mean()


def test_landmarks_are_read_as_voxel_indices_in_the_order_of_the_file(tmp_path: Path):
    write_image(
        Image(np.zeros((1, 4, 5, 6), np.uint8), Grid.of((4, 5, 6), (3, 2, 1), np.eye(3)[:, ::-1], (10, 20, 30))),
        tmp_path / "image.mha",
    )
    (tmp_path / "points.txt").write_text("index\n2\n1 2 3\n0 0 0\n")
    np.testing.assert_allclose(landmarks(tmp_path / "image.mha", tmp_path / "points.txt"), [[11, 24, 39], [10, 20, 30]])
