"""Affine alignment: finds a known map from far off, refuses what cannot be aligned."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.threads import threads
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.pose import Pair
from RegistrationNetLib.engine.prepare import prepare
from RegistrationNetLib.engine.settings import Align, Prepare
from RegistrationNetLib.engine.trust import Alignment
from Testing.Python.engine.anatomy import body, grid, image, shifted, spine

COARSE = Align(coarse_mm=14, fine_mm=6, starts=3)


def affine(degrees, shift, scales=(1.0, 1.0, 1.0)) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * scales
    matrix[:3, 3] = shift
    return Affine(matrix)


def found(truth: Affine, kind: str, start: Affine | None = None) -> tuple[Affine, float]:
    """The map found between two fields of view of different size, and its largest error inside the body, mm."""
    fixed = image(grid(half=54))
    moving = image(grid(spacing=2.5, half=66, center=tuple(truth([0.0, 0, 0]))), Mapping((truth.inverse(),)))
    result = align(prepare(fixed, moving, Prepare()), Align(), kind, start)
    points = fixed.grid.points()[body(fixed.grid)]
    return result, float(np.linalg.norm(result(points) - truth(points), axis=1).max())


def test_an_affine_map_is_recovered_without_a_hint():
    _, error = found(affine((8, -12, 10), (60, -35, 120), (1.08, 0.95, 1.0)), "affine")
    assert error < 0.5


def test_a_rigid_map_is_recovered_from_a_large_turn_and_stays_rigid():
    result, error = found(affine((35, 10, -20), (20, 0, -15)), "rigid")
    assert error < 0.5
    linear = result.matrix[:3, :3]
    np.testing.assert_allclose(linear.T @ linear, np.eye(3), atol=1e-6)
    assert np.linalg.det(linear) > 0


def test_a_start_reaches_what_blind_search_does_not():
    truth = affine((0, 0, 170), (5, 5, 5))
    assert found(truth, "rigid", start=affine((0, 0, 160), (0, 0, 0)))[1] < 0.5


def test_a_start_is_followed_where_another_place_fits_but_little_better():
    """Vertebrae along a slight curve: each is most like itself, and almost as much like its neighbours."""
    prepared = prepare(spine(20, 27.0, bend_mm=4), spine(38, 27.0, bend_mm=4), Prepare())
    fits = Pair.of(prepared, 6.0, local=True)
    assert fits.loss(shifted((0, 0, 0))) < fits.loss(shifted((0, 0, 27))) < 0.05
    found = align(prepared, COARSE, "rigid", shifted((0, 0, 27)))
    assert found((0, 0, 0))[2] == pytest.approx(27, abs=3)
    assert not prepared.notes


def test_a_start_that_makes_no_sense_is_recovered_from_and_it_is_said(coarse_phantom):
    pair = coarse_phantom
    prepared = prepare(pair.fixed, pair.moving, Prepare())
    found = align(prepared, COARSE, "rigid", affine((150, 20, 0), (70, -40, 90)))
    error = np.linalg.norm(found(pair.fixed_landmarks) - pair.moving_landmarks, axis=1)
    assert np.median(error) < 9  # two voxels; what deforms is left
    assert [note for note in prepared.notes if "The initial transform was not followed" in note]


def test_identical_images_stay_where_they_are():
    fixed = image(grid())
    result = align(prepare(fixed, fixed, Prepare()), Align(), "affine")
    np.testing.assert_allclose(result(fixed.grid.corners()), fixed.grid.corners(), atol=0.02)


def test_images_a_metre_apart_are_refused_with_the_gap():
    fixed, moving = image(grid()), image(grid(center=(0, 0, 1120)), Mapping((Affine(_shift(-1120)),)))
    with pytest.raises(GeometryError, match="1003 mm apart"):
        align(prepare(fixed, moving, Prepare()), Align(), "affine")


@pytest.mark.parametrize("degrees", [(90, 0, 0), (0, 0, 90), (180, 0, 0), (0, 180, 0), (0, 0, 180)])
def test_headers_that_are_turned_by_quarters_are_seen_through_and_said(coarse_phantom, degrees):
    pair = coarse_phantom
    turn = _about(pair.moving.grid.center, degrees)
    turned = replace(pair.moving, grid=replace(pair.moving.grid, voxel_to_world=turn @ pair.moving.grid.voxel_to_world))
    prepared = prepare(pair.fixed, turned, Prepare())
    result = align(prepared, Align(), "affine")
    error = np.linalg.norm(result(pair.fixed_landmarks) - Affine(turn)(pair.moving_landmarks), axis=1)
    assert np.median(error) < 4.5  # one voxel
    (note,) = (note for note in prepared.notes if f"The headers say otherwise, but '{turned.name}'" in note)
    assert abs(int(note.split(" degrees")[0].split()[-1]) - max(degrees)) < 20


def test_headers_that_are_right_are_not_doubted(coarse_phantom):
    prepared = prepare(coarse_phantom.fixed, coarse_phantom.moving, Prepare())
    align(prepared, Align(), "affine")
    assert not any("headers" in note for note in prepared.notes)


def test_where_an_affine_runs_away_the_images_are_aligned_rigidly_and_it_is_said():
    where = Grid.of((6, 6, 6), (3.0, 3.0, 3.0), np.eye(3), (0, 0, 0))
    fell_back = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        pair = [Image(rng.random((1, 6, 6, 6), np.float32), where, name=name) for name in ("one", "other")]
        prepared = prepare(*pair, Prepare())
        linear = align(prepared, Align(), "affine").matrix[:3, :3]
        stretch = np.linalg.svd(linear, compute_uv=False)
        assert 0.5 <= stretch.min() <= stretch.max() <= 2
        fell_back.append(any("'one' and 'other' was found; they were aligned rigidly" in n for n in prepared.notes))
        assert fell_back[-1] == np.allclose(linear.T @ linear, np.eye(3), atol=1e-6)
    assert any(fell_back)


def test_a_scale_beyond_bodies_is_refused_where_a_rigid_map_would_keep_it():
    scale = Affine(np.diag([3.0, 3.0, 3.0, 1.0]))
    moving = image(grid(spacing=9, half=180), Mapping((scale.inverse(),)))
    with pytest.raises(GeometryError, match=r"need scaling by [23]\.\d+ to 3\.\d+"):
        align(prepare(image(grid()), moving, Prepare()), Align(), "affine", scale)


@pytest.mark.parametrize("shape", [(2, 20, 20), (20, 3, 20), (4, 4, 4), (2, 2, 2)])
def test_a_few_slices_are_aligned(shape):
    where = Grid.of(shape, (3.0, 3.0, 3.0), np.eye(3), (0, 0, 0))
    same = Image(np.random.default_rng(0).random((1, *shape), np.float32), where, name="few")
    result = align(prepare(same, same, Prepare()), Align(), "affine")
    np.testing.assert_allclose(result(where.corners()), where.corners(), atol=1.0)


def test_progress_only_grows_and_can_stop_the_search():
    fixed = image(grid(spacing=6))
    prepared = prepare(fixed, fixed, Prepare())
    seen = []
    align(prepared, Align(), "rigid", progress=seen.append)
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] <= 1

    def stop(fraction: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        align(prepared, Align(), "rigid", progress=stop)


def test_threads_that_share_the_search_change_no_bit(coarse_phantom):
    prepared = prepare(coarse_phantom.fixed, coarse_phantom.moving, Prepare())
    found = []
    for count in (1, 2):
        with threads(count):
            found.append(align(prepared, COARSE, "affine").matrix)
    assert np.array_equal(*found)


@pytest.mark.parametrize("seed", range(2))
def test_sixty_millimetres_and_forty_five_degrees_are_not_too_far(coarse_phantom, seed):
    rng = np.random.default_rng(seed)
    axis, way = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 3)))
    move = _about(coarse_phantom.moving.grid.center, tuple(np.rad2deg(_xyz(np.deg2rad(45) * axis))))
    move[:3, 3] += 60 * way
    error, alignment = _found_again(coarse_phantom, move, Align())
    assert error < 4.5  # one voxel
    assert alignment.trust.high


@pytest.mark.parametrize("way", range(24))
def test_each_way_to_turn_a_box_is_found_when_all_are_asked_for(coarse_phantom, way):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.create_group("O").as_matrix()[way]
    settings = replace(COARSE, orientations="any")
    assert _found_again(coarse_phantom, turn, settings, "rigid")[0] < 9  # two voxels; what deforms is left


def test_another_contrast_is_aligned_as_well(coarse_phantom):
    """Bright is dark and dark is bright, but air is dark in both: no linear relation, nor even a monotonic one."""
    pair = coarse_phantom
    data = pair.moving.data.astype(np.float32)
    low, high = np.percentile(data, (1, 99))
    level = np.clip((data - low) / (high - low), 0, 1)
    inverted = replace(pair, moving=replace(pair.moving, data=np.where(level > 0.15, 1.1 - level, level)))
    assert _found_again(inverted, _about(pair.moving.grid.center, (20, -25, 10)), Align())[0] < 4.5  # one voxel


def test_what_does_not_belong_together_is_not_trusted(coarse_phantom):
    noise = np.random.default_rng(0).random(coarse_phantom.moving.data.shape, np.float32)
    prepared = prepare(coarse_phantom.fixed, replace(coarse_phantom.moving, data=noise), Prepare())
    assert not align(prepared, Align(), "affine").trust.high


def _found_again(pair, move: np.ndarray, settings: Align, kind: str = "affine") -> tuple[float, Alignment]:
    """Median error at the landmarks, mm, after the moving image's header was moved, and what was found."""
    grid = replace(pair.moving.grid, voxel_to_world=move @ pair.moving.grid.voxel_to_world)
    found = align(prepare(pair.fixed, replace(pair.moving, grid=grid), Prepare()), settings, kind)
    truth = Affine(move)(pair.moving_landmarks)
    return float(np.median(np.linalg.norm(found(pair.fixed_landmarks) - truth, axis=1))), found


def _xyz(vector: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(vector).as_euler("xyz")


def _about(center: np.ndarray, degrees: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = center - matrix[:3, :3] @ center
    return matrix


def _shift(z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[2, 3] = z
    return matrix
