"""The whole way, with torch in the worker's process only."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import Cancelled
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.phantom import phantom_pair
from RegistrationNetLib.scene import register_nodes, transforms, volumes
from Testing.Python.scene.cases import (
    FIXED_GRID,
    LINEAR,
    snapshot,
)

Add = Callable[..., Any]


def test_the_real_worker_brings_a_moved_volume_back(scene: Any, add_volume: Add, add_transform: Add) -> None:
    """The whole way, torch in the worker's process only: two blobs 5 mm apart, one under a linear parent."""
    grid = FIXED_GRID.resampled((24, 28, 26))
    shift = np.array([4.0, -3.0, 2.0])

    def blob(points: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(points - grid.center, -1, 0)
        inside = (x / 13) ** 2 + (y / 9) ** 2 + (z / 11) ** 2 < 1
        return np.where(inside, 100 + 40 * np.sin(x / 3) * np.cos(y / 3) + 20 * np.sin(z / 2.5), 0).astype(np.float32)

    fixed = add_volume(Image(blob(grid.points())[None], grid, 0.0, "fixed"))
    elsewhere = Grid(grid.shape, LINEAR.affine.matrix @ grid.voxel_to_world)
    moved = Image(blob(grid.points() - shift)[None], elsewhere, 0.0, "moving")
    moving = add_volume(moved, add_transform(LINEAR))
    stages = []
    settings = Settings.preset("fast").with_values(transform="rigid")
    result = register_nodes(fixed, moving, settings=settings, on_progress=lambda stage, *_: stages.append(stage))
    points = grid.center + np.random.default_rng(0).uniform(-6, 6, (50, 3))
    found = transforms.move(result.transform.GetTransformFromParent(), points)
    assert np.linalg.norm(found - points - shift, axis=1).mean() < 1.5
    assert stages[0] == "prepare"
    assert stages[-1] == "judge"
    assert result.table.GetNumberOfRows() >= 3


def test_the_real_worker_follows_a_deformation_and_everything_lies_in_the_world(add_volume: Add) -> None:
    """A deformable registration of two coarse heads whose landmarks are known."""
    heads = phantom_pair(voxel_mm=4.5)
    fixed, moving = add_volume(heads.fixed), add_volume(heads.moving)
    result = register_nodes(fixed, moving, preset="fast")

    def error(transform: Any) -> float:
        found = transforms.move(transform.GetTransformFromParent(), heads.fixed_landmarks)
        return float(np.linalg.norm(found - heads.moving_landmarks, axis=1).mean())

    before = float(np.linalg.norm(heads.fixed_landmarks - heads.moving_landmarks, axis=1).mean())
    assert before > 10
    assert error(result.transform) < error(result.affine) < before
    assert error(result.transform) < 2.5
    assert moving.GetParentTransformNode() is result.transform is result.moving_parent
    for node in (result.transform, result.warped, result.jacobian):
        assert node.GetParentTransformNode() is None
    fixed_image, warped = heads.fixed.scalar, volumes.image_of(result.warped)
    unmoved = warp(heads.moving, Mapping(), heads.fixed.grid).scalar
    assert warped.grid.isclose(heads.fixed.grid)
    assert np.corrcoef(fixed_image.ravel(), warped.scalar.ravel())[0, 1] > 0.85
    assert np.corrcoef(fixed_image.ravel(), unmoved.ravel())[0, 1] < 0.7
    jacobian = volumes.image_of(result.jacobian)
    assert jacobian.grid.isclose(heads.fixed.grid)
    assert 0 < jacobian.data.min() < 0.95
    assert jacobian.data.max() > 1.05
    figures = [result.table.GetCellText(row, 0) for row in range(result.table.GetNumberOfRows())]
    assert figures == ["Overall", *(check["name"] for check in result.report["checks"])]
    assert len(figures) >= 3


def test_cancelling_the_real_worker_leaves_the_scene_alone(scene: Any, pair: Add) -> None:
    fixed, moving = pair("linear", "none")
    before = snapshot(scene)
    job = register_nodes(fixed, moving, wait=False)
    assert not job.poll()
    job.cancel()
    with pytest.raises(Cancelled):
        job.result()
    assert job.done
    assert snapshot(scene) == before
