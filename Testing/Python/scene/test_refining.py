"""A result is refined where it is wrong and nowhere else; the earlier one stays, and both can be taken back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Displacement, Mapping
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.request import Request
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.phantom import PhantomPair, phantom_pair
from RegistrationNetLib.scene import SceneResult, refine_result, register_nodes, runs, transforms
from RegistrationNetLib.scene.runtime import slicer
from Testing.Python.scene.cases import (
    FIXED_GRID,
    KnownJob,
    finds,
    known_mapping,
    points_node,
    rigid,
    snapshot,
    world_points,
)

Add = Callable[..., Any]
FAST = Settings.preset("fast")
FAULT, FAULT_MM = np.array((-30.0, 0.0, 10.0)), 9.0


class Seen:
    """A start that keeps what it was asked and finds the known mapping."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request, on_progress: Any, watch: Any) -> KnownJob:
        self.requests.append(request)
        return KnownJob(request, known_mapping())


def roi(scene: Any, center: np.ndarray, size: tuple[float, ...], turn: Mapping | None = None) -> Any:
    """center: LPS."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    node.SetCenter(*(center * (-1, -1, 1)))
    node.SetSize(*size)
    if turn is not None:
        parent = scene.AddNewNodeByClass("vtkMRMLTransformNode")
        parent.SetAndObserveTransformToParent(transforms.to_vtk(turn))
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def moved(result: SceneResult, points: np.ndarray) -> np.ndarray:
    return transforms.move(result.transform.GetTransformFromParent(), points)


@pytest.mark.parametrize("parent", ["none", "linear", "nonlinear"])
def test_what_is_refined_is_what_was_registered(scene: Any, pair: Add, parent: str) -> None:
    """The moving volume as it lay then, although it lies under the result now; the result is where it starts."""
    seen = Seen()
    first = register_nodes(*pair("none", parent), start=seen)
    refine_result(first.transform, region=roi(scene, FIXED_GRID.center, (10, 10, 10)), start=seen)
    before, now = seen.requests
    assert now.moving.grid.isclose(before.moving.grid)
    np.testing.assert_allclose(now.moving.data, before.moving.data, atol=1)  # of 200 grey levels, resampled
    np.testing.assert_array_equal(now.fixed.data, before.fixed.data)
    assert now.initial is not None
    points = world_points()
    np.testing.assert_allclose(now.initial(points), known_mapping()(points), atol=1e-4)


def test_points_are_marked_where_the_result_shows_them(scene: Any, pair: Add) -> None:
    seen = Seen()
    first = register_nodes(*pair(), start=seen)
    fixed, shown = world_points(3), world_points(6)[3:]
    nodes = [points_node(scene, points, None) for points in (fixed, shown)]
    refine_result(first.transform, fixed_points=nodes[0], moving_points=nodes[1], start=seen)
    asked = seen.requests[1].constraints
    assert asked.hints is not None
    assert asked.region is not None
    np.testing.assert_allclose(asked.hints[0], fixed, atol=1e-6)
    np.testing.assert_allclose(asked.hints[1], known_mapping()(shown), atol=1e-4)
    apart = np.linalg.norm(FIXED_GRID.points()[..., None, :] - fixed, axis=-1).min(axis=-1)
    np.testing.assert_array_equal(asked.region.scalar > 0, apart <= 20)


def test_a_refinement_is_deformable_without_network_and_one_sided_whatever_the_run_was(scene: Any, pair: Add) -> None:
    seen = Seen()
    first = register_nodes(*pair(), start=seen)
    box = roi(scene, FIXED_GRID.center, (10, 10, 10))
    asked = FAST.with_values(transform="rigid", model="udrnet", refine__symmetric=True, refine__window=3)
    refine_result(first.transform, region=box, settings=asked, margin_mm=4, start=seen)
    settings = seen.requests[1].settings
    assert (settings.transform, settings.model, settings.refine.symmetric) == ("deformable", "none", False)
    assert settings.refine.window == 3
    assert seen.requests[1].constraints.margin_mm == 4


def test_a_box_is_a_region_as_it_lies_in_the_world(scene: Any, pair: Add) -> None:
    seen, turn = Seen(), rigid((0.3, -0.2, 0.5), (1, 2, -3))
    first = register_nodes(*pair(), start=seen)
    center, size = turn.inverse()(FIXED_GRID.center), (14.0, 9.0, 20.0)
    refine_result(first.transform, region=roi(scene, center, size, turn), start=seen)
    region = seen.requests[1].constraints.region
    assert region is not None
    own = np.abs(turn.inverse()(FIXED_GRID.points()) - center)
    np.testing.assert_array_equal(region.scalar > 0, (own <= np.array(size) / 2).all(axis=-1))
    assert 100 < region.scalar.sum() < 2000


def test_the_earlier_result_stays_and_each_is_taken_back_alone(scene: Any, pair: Add) -> None:
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    fixed, moving = pair("none", "linear")
    before = snapshot(scene)
    first = register_nodes(fixed, moving, start=finds(known_mapping(1)))
    as_found = moved(first, world_points())
    box = roi(scene, FIXED_GRID.center, (10, 10, 10))
    with_box = snapshot(scene)
    second = refine_result(first.transform, region=box, start=finds(known_mapping(2))).result()
    assert second.transform.GetName() == "moving to fixed (deformable, refined)"
    assert runs.transforms(scene) == [first.transform, second.transform]
    assert runs.refined_by(second.transform) is first.transform
    assert runs.refined_by(first.transform) is None
    assert moving.GetParentTransformNode() is second.moving_parent
    np.testing.assert_array_equal(moved(first, world_points()), as_found)
    runs.remove(second.transform)
    assert snapshot(scene) == with_box
    again = refine_result(first.transform, region=box, start=finds(known_mapping(3))).result()
    runs.remove(first.transform)
    assert moving.GetParentTransformNode() is again.moving_parent
    runs.remove(again.transform)
    scene.RemoveNode(box.GetDisplayNode())
    scene.RemoveNode(box)
    assert [entry for entry in snapshot(scene) if entry in before] == before


def test_what_cannot_be_refined_is_said_in_a_sentence(scene: Any, pair: Add) -> None:
    fixed, moving = pair()
    first = register_nodes(fixed, moving, start=finds(known_mapping()))
    points = points_node(scene, world_points(2), None)
    with pytest.raises(InputError, match="Choose a region, or points on both volumes"):
        refine_result(first.transform)
    with pytest.raises(InputError, match="Only one side's points"):
        refine_result(first.transform, fixed_points=points)
    far = roi(scene, FIXED_GRID.center + 500, (10, 10, 10))
    with pytest.raises(InputError, match="'box' lies beside the fixed volume"):
        refine_result(first.transform, region=far)
    small = roi(scene, world_points(2)[0], (6, 6, 6))
    with pytest.raises(InputError, match="Point 2 lies outside the region 'box'"):
        refine_result(first.transform, region=small, fixed_points=points, moving_points=points)
    scene.RemoveNode(moving)
    with pytest.raises(InputError, match=r"The moving volume of 'moving to fixed .*' is no longer in the scene"):
        refine_result(first.transform, region=small)


@pytest.fixture(scope="module")
def heads() -> PhantomPair:
    return phantom_pair(voxel_mm=4.5)


@pytest.fixture(scope="module")
def faulty(heads: PhantomPair) -> Mapping:
    """A good mapping but for one place, around which it is several millimetres off."""
    found = register(heads.fixed, heads.moving, FAST).mapping
    around = heads.fixed.grid.padded((4, 4, 4), (4, 4, 4))
    distance = np.linalg.norm(around.points() - FAULT, axis=-1)
    field = np.zeros((3, *around.shape), np.float32)
    field[1] = FAULT_MM * np.clip(np.exp(-((distance / 14) ** 2)) - np.exp(-4), 0, None)
    return Mapping((Displacement(field, around), *found.steps))


class Computed(KnownJob):
    """The real engine in this process."""

    def wait(self) -> Any:
        asked = self.request
        return register(asked.fixed, asked.moving, asked.settings, initial=asked.initial, constraints=asked.constraints)


@pytest.mark.parametrize(("by", "share"), [("region", 0.65), ("points", 0.5)])
def test_inside_the_landmarks_come_closer_and_outside_nothing_changes(
    scene: Any, add_volume: Add, heads: PhantomPair, faulty: Mapping, by: str, share: float
) -> None:
    nodes = add_volume(heads.fixed), add_volume(heads.moving)
    first = register_nodes(*nodes, preset="fast", start=finds(faulty))
    marks = FAULT + 10 * np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    if by == "region":
        asked, far = {"region": roi(scene, FAULT, (50, 50, 50))}, boxed(heads.fixed.grid, 25)
    else:
        shown = faulty.inverse()(heads.truth(marks))
        asked = {f"{side}_points": points_node(scene, p, None) for side, p in (("fixed", marks), ("moving", shown))}
        far = np.linalg.norm(heads.fixed.grid.points()[..., None, :] - marks, axis=-1).min(axis=-1) - 20
    job = refine_result(first.transform, settings=FAST, **asked, start=lambda r, *_: Computed(r, faulty))
    second = job.result()

    outside = heads.fixed.grid.points()[far > 10 + 4.5 * np.sqrt(3) / 2]
    assert len(outside) > 10_000
    assert np.abs(moved(first, outside) - moved(second, outside)).max() < 1e-3
    errors = [np.linalg.norm(moved(r, marks) - heads.truth(marks), axis=1).mean() for r in (first, second)]
    assert errors[0] > 4
    assert errors[1] < share * errors[0]
    assert second.report["jacobian"]["folded_voxels"] == 0


def boxed(grid: Grid, half: float) -> np.ndarray:
    """How far each voxel lies from a cube around the fault, mm."""
    beyond = np.clip(np.abs(grid.points() - FAULT) - half, 0, None)
    return np.asarray(np.linalg.norm(beyond, axis=-1))
