"""Deliberate mistakes of geometry, each in the function that would carry it, each caught by the proofs' own checks."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine, Mapping
from Testing.Python.geometry import checks
from Testing.Python.geometry.mistakes import (
    RAS,
    Mistake,
    axes_mixed,
    backwards,
    check_notices,
    field_to,
    grid_from,
    grid_to,
    half_voxel_sampling,
    matrix_to,
    moved,
    node_to_parent,
    over_spacing,
    swapped,
    turned,
    wrong_order,
)

scene_checks = import_module("Testing.Python.geometry.scene_checks") if find_spec("slicer") else None
needs_slicer = pytest.mark.skipif(scene_checks is None, reason="slicer-core is not installed here.")

ROOT = "RegistrationNetLib."
FIELD_FILE, FIELD_NODE = (ROOT + "files.transforms._write_step",), (ROOT + "scene.transforms._displacement_to_vtk",)
TO_ITK = (ROOT + "files.geometry.to_itk", ROOT + "files.transforms.to_itk")
FROM_ITK = (ROOT + "files.geometry.from_itk",)
IJK_TO_RAS = tuple(ROOT + f"scene.{name}.ijk_to_ras" for name in ("geometry", "transforms", "volumes"))
MRML_GRID = tuple(ROOT + f"scene.{name}.grid_of" for name in ("geometry", "transforms", "volumes"))
FLIP_POINTS = (ROOT + "scene.geometry.flip_points", ROOT + "scene.transforms.flip_points")
FLIP_MATRIX = (ROOT + "scene.geometry.flip_matrix", ROOT + "scene.transforms.flip_matrix")

CORE_AND_FILES = (
    # LPS for RAS
    Mistake("vectors written in RAS", FIELD_FILE, field_to(lambda s: s.field * RAS), "simpleitk_maps_points_as_known"),
    Mistake(
        "affine written in RAS",
        FIELD_FILE,
        matrix_to(lambda m: np.diag((-1, -1, 1, 1)) @ m @ np.diag((-1, -1, 1, 1))),
        "simpleitk_maps_points_as_known",
    ),
    Mistake(
        "affine file in RAS",
        (ROOT + "files.transforms.write_affine",),
        lambda original: lambda a, path: original(Affine(np.diag((-1, -1, 1, 1)) @ a.matrix), path),
        "simpleitk_maps_points_as_known",
    ),
    # A swapped axis
    Mistake("columns of ITK's direction swapped", TO_ITK, grid_to(swapped), "simpleitk_maps_points_as_known"),
    Mistake("columns of an image's direction swapped", TO_ITK, grid_to(swapped), "simpleitk_resamples_as_we_do"),
    Mistake("columns swapped on reading", FROM_ITK, grid_from(swapped), "geometry_of_simpleitk_is_understood"),
    Mistake("field stored in the other axis order", FIELD_FILE, field_to(axes_mixed), "simpleitk_maps_points_as_known"),
    Mistake("components z, y, x", FIELD_FILE, field_to(lambda s: s.field[::-1]), "simpleitk_maps_points_as_known"),
    Mistake(
        "positions w, h, d",
        (ROOT + "core.spatial.sample",),
        lambda original: lambda volume, positions, *how, **named: original(volume, positions.flip(1), *how, **named),
        "dense_warp_is_the_moving_value_at_the_mapped_point",
    ),
    Mistake(
        "labels looked up at w, h, d",
        (ROOT + "core.resample._nearest",),
        lambda original: lambda channel, positions, background: original(channel, positions.flip(1), background),
        "labels_carried_there_keep_their_landmarks",
    ),
    Mistake(
        "components of the voxel field swapped",
        (ROOT + "core.resample.to_displacement",),
        lambda original: lambda field, grid: original(field.flip(1), grid),
        "voxel_units_and_millimetres_are_one_field",
    ),
    # A wrong sign of a direction
    Mistake(
        "one direction of a file turned",
        TO_ITK,
        grid_to(lambda g: turned(g, (1, 1, -1))),
        "simpleitk_maps_points_as_known",
    ),
    Mistake(
        "one direction of an image file turned",
        (ROOT + "files.geometry.to_itk",),
        grid_to(lambda g: turned(g, (-1, 1, 1))),
        "image_files_keep_every_voxel_in_its_place",
    ),
    Mistake(
        "one direction turned on reading",
        FROM_ITK,
        grid_from(lambda g: turned(g, (1, -1, 1))),
        "a_file_read_back_maps_points_as_known",
    ),
    Mistake(
        "world to voxel turned",
        (ROOT + "core.grid.Grid.to_voxel",),
        lambda original: lambda self, world: original(turned(self, (1, -1, 1)), world),
        "core_maps_points_as_known",
    ),
    Mistake(
        "the field's sign",
        (ROOT + "core.mapping.Displacement.at",),
        lambda original: lambda self, world: -original(self, world),
        "core_maps_points_as_known",
    ),
    # Half a voxel
    Mistake(
        "voxels counted from their corners",
        (ROOT + "core.grid.Grid.to_voxel",),
        lambda original: lambda self, world: original(self, world) + 0.5,
        "core_maps_points_as_known",
    ),
    Mistake(
        "sampling from voxel corners",
        (ROOT + "core.spatial.sample",),
        half_voxel_sampling,
        "dense_warp_is_the_moving_value_at_the_mapped_point",
    ),
    Mistake(
        "sampling from voxel corners, a structure",
        (ROOT + "core.spatial.sample",),
        half_voxel_sampling,
        "a_structure_and_its_landmark_stay_together_both_ways",
    ),
    Mistake(
        "origin of a file's field at a corner",
        TO_ITK,
        grid_to(lambda g: moved(g, -0.5)),
        "simpleitk_maps_points_as_known",
    ),
    Mistake(
        "origin of an image at a corner",
        (ROOT + "files.geometry.to_itk",),
        grid_to(lambda g: moved(g, -0.5)),
        "image_files_keep_every_voxel_in_its_place",
    ),
    Mistake(
        "origin at a corner on reading",
        FROM_ITK,
        grid_from(lambda g: moved(g, 0.5)),
        "geometry_of_simpleitk_is_understood",
    ),
    Mistake(
        "first voxel of a resampled grid kept in place",
        (ROOT + "core.grid.Grid.resampled",),
        lambda original: lambda self, shape: moved(original(self, shape), 0.5),
        "a_resized_field_moves_the_same_points",
    ),
    Mistake(
        "labels rounded down",
        (ROOT + "core.resample._nearest",),
        lambda original: lambda channel, positions, background: original(channel, positions - 0.5, background),
        "labels_carried_there_keep_their_landmarks",
    ),
    # The wrong way round
    Mistake("affine written moving to fixed", FIELD_FILE, matrix_to(np.linalg.inv), "simpleitk_maps_points_as_known"),
    Mistake(
        "images carried by the inverse",
        (ROOT + "core.resample.places",),
        lambda original: lambda mapping, *rest: original(mapping.inverse(), *rest),
        "dense_warp_is_the_moving_value_at_the_mapped_point",
    ),
    Mistake(
        "an inverse that forgets to turn round",
        (ROOT + "core.mapping.Displacement.inverse",),
        lambda original: lambda self: self,
        "a_structure_and_its_landmark_stay_together_both_ways",
    ),
    # The wrong order
    Mistake(
        "steps acting last to first", (ROOT + "core.mapping.Mapping.__call__",), backwards, "core_maps_points_as_known"
    ),
    Mistake(
        "images through the steps last to first",
        (ROOT + "core.resample.places",),
        backwards,
        "dense_warp_is_the_moving_value_at_the_mapped_point",
    ),
    Mistake(
        "files with the steps last to first",
        (ROOT + "files.transforms.write_transform",),
        backwards,
        "simpleitk_maps_points_as_known",
    ),
    Mistake(
        "composites read first to last",
        (ROOT + "files.transforms._steps",),
        lambda original: lambda *given: tuple(original(*given))[::-1],
        "a_file_read_back_maps_points_as_known",
    ),
    Mistake(
        "a chain joined at the wrong end",
        (ROOT + "core.mapping.Mapping.then",),
        wrong_order,
        "chaining_and_turning_round_keep_the_order",
    ),
    Mistake(
        "an inverse that keeps the order",
        (ROOT + "core.mapping.Mapping.inverse",),
        lambda original: lambda self: Mapping(tuple(step.inverse() for step in self.steps)),
        "chaining_and_turning_round_keep_the_order",
    ),
    Mistake(
        "fields composed the other way",
        (ROOT + "core.spatial.compose",),
        lambda original: lambda first, then: original(then, first),
        "voxel_fields_compose_first_first",
    ),
    # Spacing
    Mistake(
        "voxels taken for millimetres",
        (ROOT + "core.resample.to_displacement",),
        lambda original: (
            lambda field, grid: replace(
                original(field, Grid.of(grid.shape, (1, 1, 1), grid.directions, (0, 0, 0))), grid=grid
            )
        ),
        "voxel_units_and_millimetres_are_one_field",
    ),
    Mistake(
        "directions left out of the vectors",
        (ROOT + "core.resample.to_displacement",),
        lambda original: (
            lambda field, grid: replace(
                original(field, Grid.of(grid.shape, grid.spacing, np.eye(3), (0, 0, 0))), grid=grid
            )
        ),
        "voxel_units_and_millimetres_are_one_field",
    ),
    Mistake("vectors stored in voxels", FIELD_FILE, field_to(over_spacing), "simpleitk_maps_points_as_known"),
    Mistake(
        "a resized field not rescaled",
        (ROOT + "core.spatial.resize_field",),
        lambda original: import_module(ROOT + "core.spatial").resize,
        "a_resized_field_moves_the_same_points",
    ),
    Mistake(
        "a resampled grid with its old spacing",
        (ROOT + "core.grid.Grid.resampled",),
        lambda original: (
            lambda self, shape: Grid.of(
                shape, self.spacing, self.directions, original(self, shape).voxel_to_world[:3, 3]
            )
        ),
        "a_resized_field_moves_the_same_points",
    ),
    Mistake(
        "a determinant that takes rows for columns of another axis",
        (ROOT + "core.spatial.gradient",),
        lambda original: lambda volume: original(volume).flip(2),
        "the_determinant_is_that_of_the_world",
    ),
    Mistake(
        "storage order taken for world axes",
        (ROOT + "core.mapping.Displacement.at",),
        lambda original: lambda self, world: original(self, world) * np.sign(self.grid.voxel_to_world[0, 0]),
        "storage_order_changes_nothing",
    ),
)

SCENE = (
    Mistake(
        "LPS matrices in a RAS scene",
        FLIP_MATRIX,
        lambda original: lambda matrix: matrix,
        "a_node_maps_points_as_known",
    ),
    Mistake("LPS vectors in a RAS grid", FIELD_NODE, field_to(lambda s: s.field * RAS), "a_node_maps_points_as_known"),
    Mistake(
        "LPS points into a RAS transform",
        FLIP_POINTS,
        lambda original: lambda points: np.asarray(points),
        "points_go_through_a_node_as_known",
    ),
    Mistake(
        "LPS geometry of a volume in a RAS scene",
        IJK_TO_RAS,
        lambda original: lambda grid: np.diag((-1, -1, 1, 1)) @ original(grid),
        "a_volume_node_keeps_every_voxel_in_its_place",
    ),
    Mistake(
        "RAS geometry read as LPS",
        MRML_GRID,
        lambda original: lambda size, matrix: original(size, np.diag((-1, -1, 1, 1)) @ matrix),
        "a_volume_node_keeps_every_voxel_in_its_place",
    ),
    Mistake("axes of a node's grid swapped", IJK_TO_RAS, grid_to(swapped), "a_node_maps_points_as_known"),
    Mistake(
        "vectors of a node in the other axis order", FIELD_NODE, field_to(axes_mixed), "a_node_maps_points_as_known"
    ),
    Mistake("axes of a volume swapped", IJK_TO_RAS, grid_to(swapped), "a_volume_node_keeps_every_voxel_in_its_place"),
    Mistake(
        "one direction of a node's grid turned",
        IJK_TO_RAS,
        grid_to(lambda g: turned(g, (1, -1, 1))),
        "a_node_maps_points_as_known",
    ),
    Mistake(
        "a node's grid from voxel corners", IJK_TO_RAS, grid_to(lambda g: moved(g, -0.5)), "a_node_maps_points_as_known"
    ),
    Mistake(
        "a volume from voxel corners",
        IJK_TO_RAS,
        grid_to(lambda g: moved(g, 0.5)),
        "a_volume_under_the_node_is_resampled_by_slicer_as_by_us",
    ),
    Mistake(
        "from parent taken for to parent",
        (ROOT + "scene.results._node_of",),
        node_to_parent,
        "a_node_maps_points_as_known",
    ),
    Mistake(
        "what is under the node goes the wrong way",
        (ROOT + "scene.results._node_of",),
        node_to_parent,
        "what_is_put_under_the_node_lands_in_fixed_space",
    ),
    Mistake(
        "a volume under the node goes the wrong way",
        (ROOT + "scene.results._node_of",),
        node_to_parent,
        "a_volume_under_the_node_is_resampled_by_slicer_as_by_us",
    ),
    Mistake(
        "to parent read as from parent",
        (ROOT + "scene.transforms.from_world",),
        lambda original: lambda node: node.GetTransformToParent(),
        "a_node_read_back_is_the_mapping",
    ),
    Mistake(
        "steps of a node last to first", (ROOT + "scene.transforms.to_vtk",), backwards, "a_node_maps_points_as_known"
    ),
    Mistake(
        "steps read from a node last to first",
        (ROOT + "scene.transforms.from_vtk",),
        lambda original: lambda *given: Mapping(original(*given).steps[::-1]),
        "a_node_read_back_is_the_mapping",
    ),
    Mistake("vectors of a node in voxels", FIELD_NODE, field_to(over_spacing), "a_node_maps_points_as_known"),
    Mistake(
        "a file with vectors in RAS, in Slicer",
        FIELD_FILE,
        field_to(lambda s: s.field * RAS),
        "slicer_reads_the_file_as_known",
    ),
    Mistake(
        "a file with its steps last to first, in Slicer",
        (ROOT + "files.transforms.write_transform", "Testing.Python.geometry.scene_checks.write_transform"),
        backwards,
        "slicer_reads_the_file_as_known",
    ),
)


@pytest.mark.parametrize("mistake", CORE_AND_FILES, ids=lambda mistake: mistake.name)
def test_a_mistake_in_core_or_files_is_caught(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check_notices(mistake, checks, monkeypatch, tmp_path)


@needs_slicer
@pytest.mark.parametrize("mistake", SCENE, ids=lambda mistake: mistake.name)
def test_a_mistake_in_the_scene_is_caught(mistake: Mistake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_notices(mistake, scene_checks, monkeypatch, tmp_path)


@pytest.mark.parametrize("check", checks.CORE_AND_FILES, ids=lambda check: check.__name__)
def test_every_check_of_core_and_files_has_caught_a_mistake(check: Any) -> None:
    assert check.__name__ in {mistake.check for mistake in CORE_AND_FILES}


@needs_slicer
@pytest.mark.parametrize("check", scene_checks.SCENE if scene_checks else (), ids=lambda check: check.__name__)
def test_every_check_of_the_scene_has_caught_a_mistake(check: Any) -> None:
    assert check.__name__ in {mistake.check for mistake in SCENE}
