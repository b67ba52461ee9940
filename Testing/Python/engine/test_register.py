"""From two images to one mapping: what comes back is right, complete, and leaves nothing behind."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from RegistrationNetLib.core.errors import Cancelled, DeviceError, InputError, SettingsError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.engine.limits import VERDICTS
from RegistrationNetLib.engine.register import STAGES, register
from RegistrationNetLib.engine.result import Reference
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.phantom import true_error

FAST = Settings.preset("fast")


@pytest.fixture(scope="module")
def found(coarse_phantom):
    return register(coarse_phantom.fixed, coarse_phantom.moving, FAST)


@pytest.fixture(scope="module")
def precise(fine_phantom):
    pair = fine_phantom
    reference = Reference(pair.fixed_labels, pair.moving_labels, pair.fixed_landmarks, pair.moving_landmarks)
    return register(pair.fixed, pair.moving, reference=reference)


def test_the_mapping_is_close_to_the_truth(fine_phantom, precise):
    error = true_error(precise.mapping, fine_phantom)
    assert error["before"]["median"] > 10
    assert error["after"]["median"] < 0.4 * 2.4  # of the mean voxel edge


def test_deformation_improves_on_the_affine_alone(fine_phantom, precise):
    affine = register(fine_phantom.fixed, fine_phantom.moving, Settings(transform="affine"))
    assert not affine.mapping.displacements
    alone, both = (true_error(r.mapping, fine_phantom)["after"]["median"] for r in (affine, precise))
    assert both < 0.7 * alone


def test_a_rigid_result_turns_and_shifts_but_never_stretches(coarse_phantom):
    rigid = register(coarse_phantom.fixed, coarse_phantom.moving, replace(FAST, transform="rigid"))
    linear = rigid.mapping.affine.matrix[:3, :3]
    np.testing.assert_allclose(linear.T @ linear, np.eye(3), atol=1e-5)
    assert np.linalg.det(linear) > 0


def test_the_report_is_plain_json_and_says_what_each_stage_brought(precise):
    report = json.loads(json.dumps(precise.report, allow_nan=False))
    assert [stage["name"] for stage in report["stages"]] == list(STAGES)
    before, aligned, _, refined, judged = (stage["similarity"] for stage in report["stages"])
    assert before < aligned < refined == judged == report["similarity"]["after"]
    assert report["quality"]["dice"]["after"] > report["quality"]["dice"]["after_align"]
    assert report["quality"]["tre_mm"]["after"] < report["quality"]["tre_mm"]["after_align"]
    assert report["jacobian"]["folded_voxels"] == 0
    assert {check["verdict"] for check in report["checks"]} <= set(VERDICTS)
    assert report["overlap_percent"] > 95
    assert report["alignment"]["confidence"] == "high"
    assert "Affine alignment found" in {check["name"] for check in report["checks"]}


def test_warped_keeps_the_moving_images_type_and_lies_on_the_fixed_grid(coarse_phantom, found):
    assert found.warped.data.dtype == coarse_phantom.moving.data.dtype
    assert found.warped.grid.isclose(coarse_phantom.fixed.grid)
    assert found.jacobian.data.dtype == np.float32


def test_identical_images_give_the_identity(coarse_phantom):
    same = register(coarse_phantom.fixed, coarse_phantom.fixed, FAST)
    points = coarse_phantom.fixed.grid.points()[::4, ::4, ::4]
    moved = np.linalg.norm(same.mapping(points) - points, axis=-1)
    assert moved.max() < 1e-3 * coarse_phantom.fixed.grid.spacing.min()


def test_storage_order_and_direction_of_the_inputs_change_nothing_in_the_world(coarse_phantom, found):
    fixed = stored_otherwise(coarse_phantom.fixed, axes=(2, 0, 1), flips=(0, 2))
    moving = stored_otherwise(coarse_phantom.moving, axes=(1, 2, 0), flips=(1,))
    other = register(fixed, moving, FAST)
    points = coarse_phantom.fixed.grid.points()[::3, ::3, ::3]
    inside = coarse_phantom.fixed_labels.scalar[::3, ::3, ::3] > 0
    apart = np.linalg.norm(other.mapping(points) - found.mapping(points), axis=-1)[inside]
    # Pyramids of odd sizes start at the other end of a flipped axis: a fraction of a voxel, and no more, may remain.
    assert np.median(apart) < 0.1 * coarse_phantom.fixed.grid.spacing.min()


def test_a_part_of_an_image_stays_where_its_header_says(fine_phantom):
    """Ten voxels a side show too little for an alignment; what the headers say is kept where it fits better."""
    whole = fine_phantom.fixed
    middle = np.array(whole.grid.shape) // 2
    box = tuple(slice(m - 5, m + 5) for m in middle)
    part = Image(
        whole.data[(slice(None), *box)],
        whole.grid.padded(5 - middle, middle + 5 - np.array(whole.grid.shape)),
        name="part",
    )
    result = register(part, whole, FAST)
    points = part.grid.points()
    assert np.linalg.norm(result.mapping(points) - points, axis=-1).max() < 0.5 * part.grid.spacing.min()


def test_an_initial_affine_is_where_the_search_starts(coarse_phantom):
    """75 degrees are too far for a search without a hint, and nothing with one."""
    turn = np.eye(4)
    angle = np.deg2rad(75)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = replace(
        coarse_phantom.moving,
        grid=Grid(coarse_phantom.moving.grid.shape, turn @ coarse_phantom.moving.grid.voxel_to_world),
    )
    result = register(coarse_phantom.fixed, turned, FAST, initial=Mapping((Affine(turn),)))
    points = coarse_phantom.fixed_landmarks
    error = np.linalg.norm(Affine(turn).inverse()(result.mapping(points)) - coarse_phantom.moving_landmarks, axis=-1)
    assert np.median(error) < 0.4 * 4.5


def test_an_initial_deformation_is_kept_behind_what_is_found(coarse_phantom):
    grid = coarse_phantom.fixed.grid.padded((8, 8, 8), (8, 8, 8))
    field = np.zeros((3, *grid.shape), np.float32)
    field[2] = 3 * np.sin(np.linspace(0, np.pi, grid.shape[0])).astype(np.float32)[:, None, None]
    initial = Mapping((Displacement(field, grid),))
    result = register(coarse_phantom.fixed, coarse_phantom.moving, FAST, initial=initial)
    assert result.mapping.steps[-1] is initial.steps[0]
    assert true_error(result.mapping, coarse_phantom)["after"]["median"] < 0.5 * 4.5


def test_cancel_stops_within_the_running_stage(coarse_phantom):
    seen = []
    stop = threading.Event()

    def on_progress(stage, fraction, message):
        seen.append((stage, fraction))
        if stage == "refine":
            stop.set()

    with pytest.raises(Cancelled):
        register(coarse_phantom.fixed, coarse_phantom.moving, FAST, on_progress=on_progress, cancelled=stop.is_set)
    assert seen[-1][0] == "refine"
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)


def test_threads_and_denormals_are_as_they_were(coarse_phantom, found):
    threads = torch.get_num_threads()
    register(coarse_phantom.fixed, coarse_phantom.moving, replace(FAST, transform="rigid"))
    assert torch.get_num_threads() == threads
    assert torch.tensor(1e-40).mul(1.0) > 0


def test_an_untrained_network_is_skipped_and_said_so(coarse_phantom):
    result = register(coarse_phantom.fixed, coarse_phantom.moving, replace(FAST, model="voxelmorph"))
    assert not result.report["model"]["used"]
    assert "no trained weights" in result.report["model"]["note"]


def test_a_mask_is_the_body_that_statements_are_made_of(coarse_phantom):
    mask = replace(coarse_phantom.fixed_labels, data=(coarse_phantom.fixed_labels.data == 5).astype(np.uint8))
    result = register(coarse_phantom.fixed, coarse_phantom.moving, FAST, fixed_mask=mask)
    assert result.report["jacobian"]["body"] == "fixed mask"
    inside = result.jacobian.scalar[mask.scalar > 0]
    assert result.report["jacobian"]["max"] == pytest.approx(float(inside.max()))


@pytest.mark.parametrize(
    ("change", "error"), [({"device": "cuda:99"}, DeviceError), ({"model": "nonsense"}, SettingsError)]
)
def test_unknown_devices_and_networks_are_refused_before_anything_is_computed(coarse_phantom, change, error):
    stages = []
    with pytest.raises(error):
        register(
            coarse_phantom.fixed,
            coarse_phantom.moving,
            replace(FAST, **change),
            on_progress=lambda *a: stages.append(a),
        )
    assert not stages


def test_a_constant_image_is_refused_by_name(coarse_phantom):
    flat = Image(np.full_like(coarse_phantom.moving.data, 7), coarse_phantom.moving.grid, name="flat.nii")
    with pytest.raises(InputError, match=r"flat\.nii"):
        register(coarse_phantom.fixed, flat, FAST)


def stored_otherwise(image: Image, axes: tuple[int, int, int], flips: tuple[int, ...]) -> Image:
    """The same image in the world, its array permuted and flipped."""
    grid, data = image.grid, image.scalar
    matrix = grid.voxel_to_world.copy()
    for axis in flips:
        data = np.flip(data, axis)
        matrix[:3, 3] += matrix[:3, axis] * (grid.shape[axis] - 1)
        matrix[:3, axis] *= -1
    data = np.ascontiguousarray(data.transpose(axes))
    matrix[:3, :3] = matrix[:3, axes]
    return replace(image, data=data[None], grid=Grid(data.shape, matrix))
