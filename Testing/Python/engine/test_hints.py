"""Points that guide: they lead where the images leave it open, help where these are weak, and cannot wreck a result."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from RegistrationNetLib.core.errors import GeometryError, InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.core.resample import to_displacement
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.hints import Hints
from RegistrationNetLib.engine.mend import corner_determinant
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.phantom import PhantomPair, Tissue, true_error
from Testing.Python.engine.anatomy import shifted, spine

FAST = Settings.preset("fast")
IDENTITY = Affine(np.eye(4))
OBLIQUE = Grid.of(
    (30, 40, 36), (4.0, 2.5, 3.0), np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0], (9, -8, 7)
)


def spread_points(count: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    return OBLIQUE.to_world(rng.uniform(8, np.array(OBLIQUE.shape) - 9, (count, 3)))


@pytest.fixture(scope="module")
def free(coarse_phantom):
    return register(coarse_phantom.fixed, coarse_phantom.moving, FAST)


@pytest.fixture(scope="module")
def guided(coarse_phantom):
    pair = coarse_phantom
    hints = pair.fixed_landmarks, pair.moving_landmarks
    return register(pair.fixed, pair.moving, FAST, constraints=Constraints(hints=hints))


def test_the_start_carries_points_far_without_folding():
    """Two points 20 mm apart on average that swap sides and more, on an oblique, anisotropic grid."""
    fixed = spread_points(6)
    moving = fixed + np.random.default_rng(3).normal(0, 12, fixed.shape)
    start = Hints(fixed, moving, np.ones(6, bool)).start(OBLIQUE, IDENTITY)
    assert float(corner_determinant(start).min()) > 0
    carried = to_displacement(start, OBLIQUE.resampled(start.shape[2:]))(fixed)
    before, after = (np.linalg.norm(points - moving, axis=1) for points in (fixed, carried))
    assert before.mean() > 15
    assert after.mean() < 0.2 * before.mean()


def test_the_pull_leads_to_the_points_and_is_softer_on_finer_voxels():
    fixed = spread_points(5)
    shift = np.array((2.0, -1.0, 1.5))
    hints = Hints(fixed, fixed + shift, np.ones(5, bool))
    fine, coarse = OBLIQUE, OBLIQUE.resampled((8, 10, 9))
    steps = []
    for grid in (fine, coarse):
        pull = hints.pull(grid, IDENTITY, float(fine.spacing.min()), torch.device("cpu"))
        moved = to_displacement(pull(torch.zeros((1, 3, *grid.shape))), grid)(fixed) - fixed
        along = moved @ shift / np.linalg.norm(shift)
        assert np.linalg.norm(moved, axis=1).mean() < 1.1 * along.mean()
        steps.append(along.mean())
    assert 0 < 2 * steps[0] < steps[1]


@pytest.mark.parametrize(("count", "turns"), [(1, False), (2, False), (3, True), (8, True)])
def test_as_many_points_as_there_are_give_a_shift_or_a_turn(count, turns):
    turned = Affine(np.array([[0, -1, 0, 5], [1, 0, 0, -9], [0, 0, 1, 30], [0, 0, 0, 1]], float))
    fixed = spread_points(count)
    found = Hints.of(fixed, turned(fixed)).rough()
    np.testing.assert_allclose(found(fixed.mean(0)), turned(fixed.mean(0)), atol=1e-9)
    np.testing.assert_allclose(found.matrix[:3, :3], turned.matrix[:3, :3] if turns else np.eye(3), atol=1e-9)


def test_points_on_a_line_give_no_turn_that_they_leave_open():
    fixed = np.array([[0.0, 0, 0], [10, 0, 0], [25, 0, 0]])
    np.testing.assert_allclose(Hints.of(fixed, fixed[:, ::-1]).rough().matrix[:3, :3], np.eye(3))


@pytest.mark.parametrize("count", [5, 6, 12])
def test_a_pair_30_mm_off_is_found_and_named(count):
    fixed = spread_points(count)
    moving = fixed + np.random.default_rng(4).normal(0, 3, fixed.shape)
    moving[1] += (0, 21, -21)
    hints = Hints.of(fixed, moving)
    assert list(np.flatnonzero(~hints.trusted)) == [1]
    (note,) = hints.notes()
    assert note.startswith("Hint pair 2 lies ")


@pytest.mark.parametrize("count", [8, 40, 300])
def test_wrong_pairs_are_found_among_many(count):
    rng = np.random.default_rng(count)
    fixed = rng.uniform(-80, 80, (count, 3))
    moving = fixed + rng.normal(0, 1, fixed.shape)
    moving[[0, 2]] += 57.0
    assert np.flatnonzero(~Hints.of(fixed, moving).trusted).tolist() == [0, 2]


def near_hints(mapping: Mapping, pair: PhantomPair, within_mm: float, where: np.ndarray) -> float:
    """Mean true error of the head's voxels so near a hint, of those `where` holds, mm."""
    points = pair.fixed.grid.points()[(pair.fixed_labels.scalar != Tissue.OUTSIDE) & where]
    points = points[cKDTree(pair.fixed_landmarks).query(points)[0] < within_mm]
    return float(tre(mapping(points), pair.truth(points)).mean())


def test_hints_lead_where_the_images_show_nothing(coarse_phantom):
    pair = coarse_phantom
    hidden = pair.fixed.grid.points()[..., 0] > pair.fixed.grid.center[0]
    seen = Image((~hidden)[None].astype(np.uint8), pair.fixed.grid, name="one half")
    hints = Constraints(hints=(pair.fixed_landmarks, pair.moving_landmarks))
    errors = [
        near_hints(
            register(pair.fixed, pair.moving, FAST, fixed_mask=seen, constraints=asked).mapping, pair, 25, hidden
        )
        for asked in (Constraints(), hints)
    ]
    assert errors[1] < 0.6 * errors[0]


def test_hints_help_around_them(coarse_phantom, free, guided):
    everywhere = np.ones(coarse_phantom.fixed.grid.shape, bool)
    errors = [near_hints(result.mapping, coarse_phantom, 15, everywhere) for result in (free, guided)]
    assert errors[1] < 0.9 * errors[0]
    told = guided.report["constraints"]["hints"]
    apart = np.linalg.norm(guided.mapping(coarse_phantom.fixed_landmarks) - coarse_phantom.moving_landmarks, axis=1)
    assert told["left_out"] == []
    assert told["after"] == pytest.approx(apart.mean(), abs=1e-3)
    assert told["after"] < 0.5 * told["after_align"]
    assert guided.report["jacobian"]["folded_voxels"] == 0


def test_one_wrong_pair_is_named_and_does_no_harm(coarse_phantom, free):
    pair = coarse_phantom
    wrong = pair.moving_landmarks.copy()
    wrong[4] += (0, 0, 30)
    result = register(pair.fixed, pair.moving, FAST, constraints=Constraints(hints=(pair.fixed_landmarks, wrong)))
    assert result.report["constraints"]["hints"]["left_out"] == [5]
    assert any(note.startswith("Hint pair 5 lies ") for note in result.report["notes"])
    (row,) = [check for check in result.report["checks"] if check["name"].startswith("Hints")]
    assert row["verdict"] == "look"
    errors = [true_error(r.mapping, pair)["after"]["p95"] for r in (free, result)]
    assert errors[1] < 1.05 * errors[0]


def test_a_wrong_pair_among_three_is_named_by_what_the_images_show(coarse_phantom, free):
    pair = coarse_phantom
    wrong = pair.moving_landmarks[:3].copy()
    wrong[1] += (0, 0, 30)
    result = register(pair.fixed, pair.moving, FAST, constraints=Constraints(hints=(pair.fixed_landmarks[:3], wrong)))
    assert any(note.startswith("Hint pair 2 still ends ") for note in result.report["notes"])
    errors = [true_error(r.mapping, pair)["after"]["median"] for r in (free, result)]
    assert errors[1] < 1.3 * errors[0]


def test_hints_in_the_wrong_order_are_left_out_altogether(coarse_phantom, free):
    pair = coarse_phantom
    hints = pair.fixed_landmarks, pair.moving_landmarks[::-1]
    result = register(pair.fixed, pair.moving, FAST, constraints=Constraints(hints=hints))
    assert np.array_equal(result.mapping.displacements[0].field, free.mapping.displacements[0].field)
    assert any("same order" in note for note in result.report["notes"])
    assert len(result.report["constraints"]["hints"]["left_out"]) == len(hints[0])


@pytest.mark.parametrize("direction", [1, -1])
def test_hints_lead_where_the_images_repeat_themselves(direction):
    """Equal vertebrae fit one too high and one too low as well."""
    period = 27.0
    fixed = np.array([[5.0, 0.0, -20.0], [-8.0, 6.0, 0.0], [0.0, -5.0, 15.0], [4.0, 4.0, 30.0]])
    moving = fixed + np.array((0.0, 0.0, direction * period))
    rigid = replace(FAST, transform="rigid")
    result = register(spine(40, period), spine(64, period), rigid, constraints=Constraints(hints=(fixed, moving)))
    np.testing.assert_allclose(result.mapping(fixed), moving, atol=1.0)


def test_hints_bring_together_images_that_lie_too_far_apart_without_them(coarse_phantom):
    pair = coarse_phantom
    away = shifted((0, 0, 1500))
    moving = replace(pair.moving, grid=Grid(pair.moving.grid.shape, away.matrix @ pair.moving.grid.voxel_to_world))
    rigid = replace(FAST, transform="rigid")
    with pytest.raises(GeometryError, match="mm apart"):
        register(pair.fixed, moving, rigid)
    hints = Constraints(hints=(pair.fixed_landmarks, away(pair.moving_landmarks)))
    result = register(pair.fixed, moving, rigid, constraints=hints)
    apart = np.linalg.norm(result.mapping(pair.fixed_landmarks) - away(pair.moving_landmarks), axis=1)
    assert np.median(apart) < 9  # two voxels; what deforms is left
    assert result.report["constraints"]["hints"]["left_out"] == []


@pytest.mark.parametrize("count", [1, 4])
def test_hints_correct_an_initial_transform(count):
    """It leads one vertebra too low, and turns as it should."""
    turn = Affine(np.diag((-1.0, -1.0, 1.0, 1.0)))  # half a turn about the spine, which one point cannot tell
    period = 27.0
    long = spine(64, period)
    moving = replace(long, grid=Grid(long.grid.shape, turn.matrix @ long.grid.voxel_to_world))
    fixed = np.array([[5.0, 0.0, -20.0], [-8.0, 6.0, 0.0], [0.0, -5.0, 15.0], [4.0, 4.0, 30.0]])[:count]
    wanted = shifted((0, 0, period))(turn(fixed))
    initial = Affine(shifted((0, 0, -period)).matrix @ turn.matrix)
    rigid = replace(FAST, transform="rigid")
    hints = Constraints(hints=(fixed, wanted))
    result = register(spine(40, period), moving, rigid, initial=Mapping((initial,)), constraints=hints)
    np.testing.assert_allclose(result.mapping(fixed), wanted, atol=1.0)
    np.testing.assert_allclose(result.mapping.affine.matrix[:3, :3], turn.matrix[:3, :3], atol=0.05)


def body_of_cells(onto: Grid, z: float, brightness: tuple[float, ...], air: float, sigma: float) -> np.ndarray:
    """A body `z` mm higher or lower, each cell of it of one of four tissues, blurred by so many voxels."""
    rng = np.random.default_rng(0)
    middles, tissue = rng.uniform(-45, 45, (500, 3)), rng.integers(0, 4, 500)
    points = onto.points() - (0, 0, z)
    inside = np.linalg.norm(points / (30, 34, 28), axis=-1) < 1
    return gaussian_filter(
        np.where(inside, np.array(brightness)[tissue[cKDTree(middles).query(points)[1]]], air), sigma
    )


def test_right_hints_are_kept_between_ct_and_mr_though_another_place_correlates_more():
    """Beside the body lies a blurred one whose brightness, unlike the body's, goes with that of the MR scan."""
    where, wide = (Grid.of((32, 32, size), (3.0, 3.0, 3.0), np.eye(3), (-46.5,) * 3) for size in (32, 56))
    mr = body_of_cells(where, 0, (0.25, 0.5, 0.75, 1.0), 0.0, 0.6)
    body = body_of_cells(wide, 0, (0.3, -0.09, 0.2, 0.02), -1.0, 0.6)
    other = body_of_cells(wide, 72, (-0.05, 0.05, 0.15, 0.25), -1.0, 1.2)
    ct = np.where(wide.points()[..., 2] < 36, body, other)
    scans = (
        Image((1000 * data + 10 * np.random.default_rng(1).standard_normal(data.shape)).astype(np.float32)[None], grid)
        for data, grid in ((mr, where), (ct, wide))
    )
    points = np.array([[20.0, 0, 0], [-10, 15, 0], [0, -20, 10], [0, 5, -18]])
    rigid = replace(FAST, transform="rigid")
    result = register(*scans, rigid, constraints=Constraints(hints=(points, points)))
    assert result.report["constraints"]["hints"]["left_out"] == []
    assert np.linalg.norm(result.mapping(points) - points, axis=1).max() < 3  # one voxel


def test_hints_count_inside_a_region_and_move_nothing_outside(coarse_phantom):
    pair, grid = coarse_phantom, coarse_phantom.fixed.grid
    near = np.linalg.norm(grid.points() - grid.center, axis=-1) < 45
    rough = Hints.of(pair.fixed_landmarks, pair.moving_landmarks).rough()
    constraints = Constraints(
        region=Image(near.astype(np.uint8)[None], grid, name="near"),
        hints=(pair.fixed_landmarks, pair.moving_landmarks),
    )
    result = register(pair.fixed, pair.moving, FAST, initial=Mapping((rough,)), constraints=constraints)
    told = result.report["constraints"]
    assert told["region"]["largest_change_outside_mm"] == 0
    assert told["hints"]["after"] < told["hints"]["after_align"] == told["hints"]["before"]


@pytest.mark.parametrize("counts", [(3, 4), (0, 0)])
def test_hints_that_are_no_pairs_are_refused(counts):
    with pytest.raises(InputError, match=f"{counts[0]} fixed hints and {counts[1]} moving ones.*same number"):
        Constraints(hints=(np.zeros((counts[0], 3)), np.zeros((counts[1], 3))))
