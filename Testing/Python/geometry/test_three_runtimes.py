"""One mapping, three runtimes: our core, SimpleITK reading our files, Slicer's MRML nodes. All say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Displacement, Mapping
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.files.transforms import write_transform
from RegistrationNetLib.phantom import PhantomPair, phantom_pair
from Testing.Python.geometry import checks
from Testing.Python.geometry.checks import Case, case_of, known_case, lattice_of
from Testing.Python.strategies import Storage, affines, grids, wave_fields

scene_checks = import_module("Testing.Python.geometry.scene_checks") if find_spec("slicer") else None
needs_slicer = pytest.mark.skipif(scene_checks is None, reason="slicer-core is not installed here.")

ANY_GEOMETRY = (
    checks.core_maps_points_as_known,
    checks.chaining_and_turning_round_keep_the_order,
    checks.voxel_units_and_millimetres_are_one_field,
    checks.a_resized_field_moves_the_same_points,
    checks.the_determinant_is_that_of_the_world,
    checks.storage_order_changes_nothing,
    checks.simpleitk_maps_points_as_known,
    checks.a_file_read_back_maps_points_as_known,
    checks.simpleitk_resamples_as_we_do,
    checks.image_files_keep_every_voxel_in_its_place,
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A smooth field and an affine between two random lattices that lie on each other through the affine."""
    grid, moving = draw(grids(low=8, high=13)), draw(grids(low=8, high=13))
    field = draw(wave_fields(grid))
    gentle = np.clip(field.size, -0.7 * grid.spacing.min(), 0.7 * grid.spacing.min())
    matrix = draw(affines()).matrix.copy()
    matrix[:3, 3] += moving.center - matrix[:3, :3] @ grid.center - matrix[:3, 3]
    return case_of(lattice_of(grid), replace(field, size=gentle), matrix, lattice_of(moving))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("geometry")


@pytest.fixture(scope="module")
def pair() -> PhantomPair:
    return phantom_pair(seed=1, voxel_mm=5.0)


@pytest.mark.parametrize("check", checks.CORE_AND_FILES, ids=lambda check: check.__name__)
def test_core_and_files_say_the_same_of_a_known_mapping(check: Any, folder: Path) -> None:
    check(known_case(), folder)


@pytest.mark.parametrize("check", ANY_GEOMETRY, ids=lambda check: check.__name__)
@settings(max_examples=10)
@given(case=cases())
def test_core_and_files_say_the_same_on_any_grid(check: Any, folder: Path, case: Case) -> None:
    check(case, folder)


@needs_slicer
@pytest.mark.parametrize("check", scene_checks.SCENE if scene_checks else (), ids=lambda check: check.__name__)
@settings(max_examples=10)
@given(case=cases())
def test_slicer_says_the_same_on_any_grid(check: Any, folder: Path, case: Case) -> None:
    check(case, folder)


def cropped(image: Image, middle: np.ndarray, shape: tuple[int, int, int]) -> Image:
    """The part of an image around a world point."""
    start = np.rint(image.grid.to_voxel(middle)).astype(int) - np.array(shape) // 2
    part = tuple(slice(begin, begin + n) for begin, n in zip(start, shape, strict=True))
    grid = image.grid.padded(-start, start + np.array(shape) - image.grid.shape)
    return replace(image, data=image.data[(slice(None), *part)], grid=grid)


@needs_slicer
def test_what_the_engine_makes_is_one_mapping_in_all_three_and_slicers_cubic_interpolation_adds_no_fold(
    folder: Path, record_property: Any
) -> None:
    pair = phantom_pair()
    middle = pair.fixed_landmarks.mean(0)
    fixed, moving = cropped(pair.fixed, middle, (48, 60, 52)), cropped(pair.moving, pair.truth(middle), (60, 64, 70))
    mapping = register(fixed, moving).mapping
    grid = mapping.displacements[0].grid
    last = np.array(grid.shape) - 1
    voxels = np.random.default_rng(3).uniform(-0.2 * last, 1.2 * last, (3000, 3))  # inside, at and beyond the border
    points = grid.to_world(np.concatenate([voxels, np.rint(voxels)]))
    expected = mapping(points)
    assert np.linalg.norm(expected - mapping.affine(points), axis=1).max() > 4

    node = scene_checks.loaded(mapping, folder)
    checks.same_points(checks.by_simpleitk(folder / "transform.h5", points), expected, "SimpleITK")
    cubic = scene_checks.by_vtk(node.GetTransformFromParent(), points)
    checks.same_points(cubic[3000:], expected[3000:], "Slicer, cubic, at nodes")
    checks.same_points(cubic, expected, "Slicer, cubic", 0.2)
    record_property(
        "largest difference of cubic interpolation, mm", float(np.linalg.norm(cubic - expected, axis=1).max())
    )
    assert determinants(lambda p: scene_checks.by_vtk(node.GetTransformFromParent(), p), points[:3000]).min() > 0
    linear = scene_checks.linear(node.GetTransformFromParent())
    checks.same_points(scene_checks.by_vtk(linear, points), expected, "Slicer, linear")


def determinants(function: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> np.ndarray:
    columns = [(function(points + step) - function(points - step)) / 0.1 for step in 0.05 * np.eye(3)]
    return np.linalg.det(np.stack(columns, axis=-1))


@needs_slicer
def test_beyond_a_field_that_does_not_end_in_zeros_simpleitk_agrees_and_slicer_continues_the_edge(folder: Path) -> None:
    """Why the engine's fields end in two layers of zeros: only then does every runtime say the same outside."""
    case = known_case()
    constant = Displacement(np.full((3, *case.lattice.shape), 2.0, np.float32), case.lattice.grid)
    mapping = Mapping((constant,))
    write_transform(mapping, folder / "edge.h5")
    rows = [(7, 6, 17.4), (7, 6, 17.6), (-0.4, 6, 9), (-0.6, 6, 9), (-30, 6, 9)]
    outward = case.lattice.grid.to_world(rows)
    ours = mapping(outward) - outward
    np.testing.assert_allclose(ours, np.outer([2, 0, 2, 0, 0], np.ones(3)), atol=1e-6)
    checks.same_points(checks.by_simpleitk(folder / "edge.h5", outward), outward + ours, "SimpleITK")
    node = scene_checks.loaded(mapping, folder)
    continued = scene_checks.by_vtk(scene_checks.linear(node.GetTransformFromParent()), outward) - outward
    np.testing.assert_allclose(continued, 2, atol=1e-6)


def test_a_registration_does_not_depend_on_the_storage_order_of_its_images(pair: PhantomPair) -> None:
    """Sums run in another order, and rounding grows in a greedy search: 0.1 mm is a fiftieth of these voxels.

    Whether a voxel is bent so much that it is mended is a yes or no, which rounding may turn: few points, more.
    """
    one, other = Storage((2, 0, 1), (True, False, True)), Storage((1, 0, 2), (False, True, False))
    plain = register(pair.fixed, pair.moving).mapping
    turned = register(one.image(pair.fixed), other.image(pair.moving)).mapping
    head = pair.fixed.grid.points()[pair.fixed_labels.scalar > 0]
    apart = np.linalg.norm(turned(head) - plain(head), axis=-1)
    assert np.percentile(apart, 99.5) < 0.1
    checks.same_points(turned(head), plain(head), "registration of images stored otherwise", 0.5)
