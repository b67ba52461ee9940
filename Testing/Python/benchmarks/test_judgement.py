"""The judgement that all methods share, on pairs and fields whose figures are known beforehand."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.cases import Case
from benchmarks.judgement import inconsistency_mm, jacobian, judged
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.engine.result import Reference

# A left-handed, oblique grid: SimpleITK's determinant knows only the spacing.
TILTED = np.array([[0, 0.8, 0.6], [0, -0.6, 0.8], [1, 0, 0]])
GRID = Grid.of((24, 30, 26), (2.0, 1.0, 1.5), TILTED, (-20, 30, 5))
SHIFT = TILTED @ (GRID.spacing * (1, -2, 2))  # whole voxels, so that labels carried truly are the same
TRUTH = Mapping((Displacement(np.broadcast_to(SHIFT[:, None, None, None], (3, *GRID.shape)), GRID),))
NOTHING = Mapping((Displacement(np.zeros((3, *GRID.shape), np.float32), GRID),))


def ball(center: np.ndarray) -> Image:
    away = np.linalg.norm(GRID.points() - center, axis=-1)
    return Image(np.digitize(-away, [-9.0, -6.0])[None].astype(np.uint8), GRID, name="balls")


FIXED, MOVING = ball(GRID.center), ball(GRID.center + SHIFT)
POINTS = GRID.center + np.array([[0.0, 0, 0], [3, 1, -2], [-2, 4, 1]])
CASE = Case(
    FIXED, MOVING, Reference(FIXED, MOVING, POINTS, POINTS + SHIFT), FIXED.scalar > 0, truth=Mapping(TRUTH.steps)
)


def test_the_true_mapping_has_every_label_and_landmark_in_place():
    found = judged(CASE, TRUTH)
    assert found["dice"] == 1
    assert found["hd95_mm"] == 0
    assert found["tre_mm"] == pytest.approx(0, abs=1e-4)
    assert found["error_mm"] == pytest.approx(0, abs=1e-4)
    assert found["folded_percent"] == 0
    assert found["sd_log_jacobian"] == pytest.approx(0, abs=1e-5)


def test_no_mapping_leaves_them_where_they_were():
    found = judged(CASE, NOTHING)
    assert found["dice"] < 0.6
    assert [found["tre_mm"], found["error_mm"]] == pytest.approx([np.linalg.norm(SHIFT)] * 2)


def test_the_affine_behind_the_field_counts_for_places_and_not_for_smoothness():
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    found = judged(CASE, NOTHING.then(Mapping((Affine(matrix),))))
    assert found["tre_mm"] == pytest.approx(0, abs=1e-9)
    stretched = judged(CASE, NOTHING.then(Mapping((Affine(np.diag([3.0, 1, 1, 1])),))))
    assert stretched["sd_log_jacobian"] == 0


def test_what_is_not_known_is_left_out():
    found = judged(replace(CASE, reference=Reference(), truth=None), NOTHING)
    assert set(found) == {"folded_percent", "sd_log_jacobian"}


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize(("slope", "determinant"), [(-0.5, 0.5), (0.3, 1.3), (-1.5, -0.5)])
def test_the_determinant_is_that_of_the_map_in_the_world_on_any_grid(axis: int, slope: float, determinant: float):
    field = np.zeros((3, *GRID.shape), np.float32)
    field[axis] = slope * GRID.points()[..., axis]
    inner = jacobian(Displacement(field, GRID))[2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(inner, determinant, atol=1e-4)


def test_folds_are_counted_on_the_whole_grid_and_not_in_the_body_alone():
    field = np.zeros((3, *GRID.shape), np.float32)
    depth = np.arange(GRID.shape[0], dtype=np.float32)[:, None, None]
    field[:] = (GRID.directions[:, 0, None, None, None] * -3 * GRID.spacing[0]) * np.maximum(0, depth - 20)[None]
    assert not CASE.body[20:].any()
    assert judged(CASE, Mapping((Displacement(field, GRID),)))["folded_percent"] == pytest.approx(100 * 4 / 24)


def test_there_and_back_is_nothing_for_a_mapping_and_its_inverse_and_the_shift_for_a_shift():
    assert inconsistency_mm(CASE, TRUTH, TRUTH.inverse()) < 0.01
    assert inconsistency_mm(CASE, TRUTH, NOTHING) == pytest.approx(np.linalg.norm(SHIFT), rel=1e-3)
