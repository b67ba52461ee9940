"""The comparison views show what they say, and what they need belongs to the run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.scene import SceneResult, compare, register_nodes, runs, volumes
from RegistrationNetLib.scene.runtime import slicer
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID, finds, image_on, known_mapping, rigid

Add = Callable[..., Any]


@pytest.fixture(params=["no parent", "parent"])
def result(request: Any, scene: Any, add_volume: Add, add_transform: Add) -> SceneResult:
    parent = add_transform(rigid((0.2, 0.1, -0.3), (5, -7, 9))) if request.param == "parent" else None
    fixed = add_volume(image_on(FIXED_GRID, "fixed"), parent)
    moving = add_volume(image_on(MOVING_GRID, "moving", np.int16))
    for node in (fixed, moving):
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAutoWindowLevel(0)
        node.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    view = slicer.vtkMRMLSliceCompositeNode()
    view.SetSingletonTag("Red")
    view.SetLayoutName("Red")
    scene.AddNode(view)
    return register_nodes(fixed, moving, start=finds(known_mapping()))


def shown(scene: Any) -> tuple[str, str, float]:
    view = scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    names = (scene.GetNodeByID(one).GetName() for one in (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()))
    return *names, view.GetForegroundOpacity()  # type: ignore[return-value]


def test_each_mode_shows_its_volume_over_the_fixed_one(scene: Any, result: SceneResult) -> None:
    base = "moving to fixed"
    for mode, (foreground, opacity) in {
        "fixed": (f"{base} warped", 0.0),
        "warped": (f"{base} warped", 1.0),
        "blend": (f"{base} warped", 0.3),
        "jacobian": (f"{base} Jacobian", 0.4),
        "checkerboard": (f"{base} checkerboard", 1.0),
        "edges": (f"{base} edges", 1.0),
        "difference": (f"{base} difference", 1.0),
    }.items():
        compare.show(result.transform, mode, opacity=0.3)
        assert shown(scene) == ("fixed", foreground, pytest.approx(opacity))
    made = scene.GetNumberOfNodes()
    compare.show(result.transform, "checkerboard")
    assert scene.GetNumberOfNodes() == made  # made once
    runs.remove(result.transform)
    assert not [k for k in range(scene.GetNumberOfNodes()) if base in (scene.GetNthNode(k).GetName() or "")]


def test_the_checkerboard_is_each_volume_in_half_of_its_tiles(scene: Any, result: SceneResult) -> None:
    compare.show(result.transform, "checkerboard")
    board = volumes.image_of(runs.member(result.transform, "checkerboard")).scalar
    fixed, warped = (compare.bright(node).scalar for node in (scene.GetFirstNodeByName("fixed"), result.warped))
    differ = np.abs(fixed - warped) > 0.01
    from_fixed = np.isclose(board, fixed, atol=1e-4)
    assert (from_fixed | np.isclose(board, warped, atol=1e-4)).all()
    assert 0.3 < from_fixed[differ].mean() < 0.7


def test_edges_lie_where_brightness_steps() -> None:
    grid = Grid.of((20, 24, 28), (2.0, 1.0, 1.5), np.eye(3)[:, ::-1], (0, 0, 0))
    values = np.zeros(grid.shape, np.float32)
    values[6:14, 8:16, 8:20] = 1
    found = compare.edges(Image(values[None], grid)) > 0
    assert found.any()
    near = np.zeros(grid.shape, bool)
    near[4:16, 5:19, 6:22] = True
    near[9:11, 11:13, 11:17] = False
    assert not (found & ~near).any()


def test_a_run_without_its_volumes_says_so(scene: Any, result: SceneResult) -> None:
    scene.RemoveNode(result.warped)
    with pytest.raises(InputError, match=r"The warped volume of 'moving to fixed .*' is no longer in the scene"):
        compare.show(result.transform, "blend")
