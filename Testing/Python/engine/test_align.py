"""Affine alignment: finds a known map from far off, refuses what cannot be aligned."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.prepare import prepare
from RegistrationNetLib.engine.settings import Align, Prepare
from Testing.Python.engine.anatomy import body, grid, image


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


def test_identical_images_stay_where_they_are():
    fixed = image(grid())
    result = align(prepare(fixed, fixed, Prepare()), Align(), "affine")
    np.testing.assert_allclose(result(fixed.grid.corners()), fixed.grid.corners(), atol=0.02)


def test_images_a_metre_apart_are_refused_with_the_gap():
    fixed, moving = image(grid()), image(grid(center=(0, 0, 1120)), Mapping((Affine(_shift(-1120)),)))
    with pytest.raises(GeometryError, match="1003 mm apart"):
        align(prepare(fixed, moving, Prepare()), Align(), "affine")


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


def _shift(z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[2, 3] = z
    return matrix
