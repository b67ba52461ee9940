"""Refinement: recovers a known deformation, never folds, and leaves alike images alone."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv3d

from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.core.spatial import jacobian_determinant
from RegistrationNetLib.engine import bends, mend
from RegistrationNetLib.engine.bends import unbend
from RegistrationNetLib.engine.levels import levels
from RegistrationNetLib.engine.mend import corner_determinant, extend, fit_to_store, unfold
from RegistrationNetLib.engine.prepare import Prepared, prepare
from RegistrationNetLib.engine.refine import refine
from RegistrationNetLib.engine.settings import Prepare, Refine, Settings
from Testing.Python.engine.anatomy import body, grid, image

CPU = torch.device("cpu")
IDENTITY = Affine(np.eye(4))


def bump(onto, amplitude: float = 7.0) -> Displacement:
    """A smooth known field, mm: several waves, zero towards the border."""
    points = onto.points()
    waves = np.stack([np.sin(points[..., (axis + 1) % 3] / 18 + axis) for axis in range(3)])
    fade = np.exp(-((np.linalg.norm(points, axis=-1) / 42) ** 4))
    return Displacement((amplitude * waves * fade).astype(np.float32), onto)


def deformed_pair(amplitude: float = 7.0) -> tuple[Prepared, Displacement]:
    """moving is plain anatomy; fixed shows it through the truth, so that the truth maps fixed to moving points."""
    truth = bump(grid(), amplitude)
    return prepare(image(grid(), Mapping((truth,))), image(grid(2.5, 66.0)), Prepare()), truth


def errors(found: Mapping, truth: Displacement) -> tuple[float, float]:
    """Mean distance from the truth inside the body before and after, mm."""
    points = grid().points()[body(grid())]
    wanted = truth(points)
    return tuple(float(np.linalg.norm(p - wanted, axis=1).mean()) for p in (points, found(points)))


@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_a_known_deformation_is_recovered_without_folds(preset):
    prepared, truth = deformed_pair()
    found = extend(*refine(prepared, IDENTITY, None, Settings.preset(preset).refine, CPU))
    before, after = errors(Mapping((found,)), truth)
    assert before > 4
    assert after < 0.25 * before
    assert float(corner_determinant(_voxels(found)).min()) > 0


def test_large_voxels_are_compared_on_finer_ones_at_the_end_which_tells_more():
    prepared, truth = deformed_pair()
    plain, finer = Refine(), Refine(steps_finer=8)
    assert [plan.grid.shape for plan in levels(prepared, plain)] == [
        plan.grid.shape for plan in levels(prepared, finer)[:-1]
    ]
    assert levels(prepared, finer)[-1].grid.spacing.max() < 0.7 * prepared.fixed_grid.spacing.min()
    field, onto = refine(prepared, IDENTITY, None, finer, CPU)
    assert onto is prepared.fixed_grid
    found, without = extend(field, onto), extend(*refine(prepared, IDENTITY, None, plain, CPU))
    assert errors(Mapping((found,)), truth)[1] < errors(Mapping((without,)), truth)[1]
    assert float(corner_determinant(_voxels(found)).min()) > 0


@pytest.mark.parametrize(
    "change", [{"max_voxels": 100_000}, {"fixed_grid": Grid.of((40, 40, 40), [1.4] * 3, np.eye(3), np.zeros(3))}]
)
def test_voxels_do_not_become_finer_than_pays_or_can_be_afforded(change):
    prepared = replace(deformed_pair()[0], **change)
    assert len(levels(prepared, Refine(steps_finer=8))) == len(levels(prepared, Refine()))


def test_more_effort_brings_more():
    prepared, truth = deformed_pair()
    after = [
        errors(Mapping((extend(*refine(prepared, IDENTITY, None, Settings.preset(name).refine, CPU)),)), truth)[1]
        for name in ("fast", "accurate")
    ]
    assert after[1] < after[0]


def test_the_deformation_acts_before_the_affine():
    truth = bump(grid())
    matrix = np.diag([1.1, 0.95, 1.0, 1.0])
    matrix[:3, 3] = (30, -20, 10)
    affine = Affine(matrix)
    moving = image(grid(2.5, 72.0, (30, -20, 10)), Mapping((affine.inverse(),)))
    prepared = prepare(image(grid(), Mapping((truth,))), moving, Prepare())
    field, where = refine(prepared, affine, None, Refine(), CPU)
    before, after = errors(Mapping((extend(field, where),)), truth)
    assert after < 0.3 * before


def test_identical_images_stay_within_a_thousandth_of_a_voxel():
    same = image(grid())
    field, _ = refine(prepare(same, same, Prepare()), IDENTITY, None, Refine(), CPU)
    assert float(field.abs().max()) < 1e-3


def test_a_start_is_where_the_search_begins():
    prepared, truth = deformed_pair()
    start = torch.from_numpy(np.linalg.inv(grid().voxel_to_world[:3, :3]).astype(np.float32)) @ torch.from_numpy(
        truth.field
    ).flatten(1)
    start = start.view(1, 3, *grid().shape)
    few = Refine(steps_coarse=0, steps_half=0, steps_full=1)
    _, cold = errors(Mapping((extend(*refine(prepared, IDENTITY, None, few, CPU)),)), truth)
    _, warm = errors(Mapping((extend(*refine(prepared, IDENTITY, start, few, CPU)),)), truth)
    assert warm < 0.2 * cold


def test_inverted_contrast_and_images_of_nothing_in_common_do_not_break_it():
    prepared, _ = deformed_pair()
    for moving in (1 - prepared.moving, torch.rand_like(prepared.moving)):
        field, where = refine(replace(prepared, moving=moving), IDENTITY, None, Refine(), CPU)
        assert bool(torch.isfinite(field).all())
        assert float(corner_determinant(_voxels(extend(field, where))).min()) > 0


def test_what_the_mask_hides_does_not_pull():
    prepared, truth = deformed_pair()
    seen = torch.ones_like(prepared.moving)
    seen[..., :20] = 0  # a third of the moving image is padding that shows garbage
    broken = torch.where(seen > 0, prepared.moving, torch.rand_like(prepared.moving))
    masked = replace(prepared, moving=broken, moving_mask=seen)
    field, where = refine(masked, IDENTITY, None, Refine(), CPU)
    points = grid().points()[body(grid())]
    points = points[points[:, 0] > 5]  # tensor axis w is world x here
    error = np.linalg.norm(extend(field, where)(points) - truth(points), axis=1).mean()
    assert error < 0.3 * np.linalg.norm(truth(points) - points, axis=1).mean()


def test_the_stored_field_may_be_of_half_resolution():
    prepared, truth = deformed_pair()
    field, where = refine(prepared, IDENTITY, None, Refine(field_grid="half"), CPU)
    assert where.shape == (20, 20, 20)
    before, after = errors(Mapping((extend(field, where),)), truth)
    assert after < 0.3 * before


def test_a_folded_field_is_mended_where_it_folds_and_only_there():
    field = torch.zeros((1, 3, 24, 24, 24))
    field[0, 0, 6] = 3.0
    mended = unfold(field)
    assert float(corner_determinant(field).min()) < 0 < float(corner_determinant(mended).min())
    torch.testing.assert_close(mended[:, :, 18:], field[:, :, 18:])


def test_corner_determinants_are_stricter_than_central_ones():
    field = smooth(torch.randn((1, 3, 16, 16, 16), generator=torch.Generator().manual_seed(3)), 1.0)
    corners, central = corner_determinant(field), jacobian_determinant(field)
    assert float(corners.min()) <= float(central[..., 1:-1, 1:-1, 1:-1].min())
    torch.testing.assert_close(corner_determinant(torch.zeros_like(field)), torch.ones_like(corners))


def test_cubic_interpolation_stays_near_linear():
    field = torch.zeros((1, 3, 20, 20, 20))
    field[0, 0, 10, 10, 10] = 4.0
    gentle = unbend(field, (2.0, 2.0, 2.0))
    line = gentle[0, 0, :, 10, 10] * 2
    bend = (line[1:-2] + line[2:-1] - line[:-3] - line[3:]).abs() / 16
    assert float(bend.max()) <= 0.2


def test_what_is_too_bent_is_straightened_with_little_change_and_nothing_else_is_touched():
    noise = torch.randn((1, 3, 32, 32, 32), generator=torch.Generator().manual_seed(5))
    detail = smooth(noise, 1.0) * 1.6
    detail[..., 16:] = 0
    straight = unbend(detail, (2.0, 2.0, 2.0))
    bent = _bends_mm(detail, 2.0)
    assert 0.01 < float((bent[-1] > 0.2).float().mean()) < 0.05
    assert max(float(bend.max()) for bend in _bends_mm(straight, 2.0)) <= 0.2
    assert float((straight - detail).norm()) < 0.12 * float(detail.norm())  # smoothing there: more than 0.3
    assert float((straight - detail)[..., 20:].abs().max()) == 0


NOISE = torch.randn((1, 3, 24, 26, 28), generator=torch.Generator().manual_seed(7))
EVERYWHERE, A_PATCH = NOISE, NOISE * (torch.arange(28) > 20)


@pytest.mark.parametrize("field", [EVERYWHERE, 5 * smooth(NOISE, 1.0), 20 * A_PATCH], ids=["noise", "smooth", "patch"])
def test_whatever_the_field_it_ends_neither_bent_nor_folded(field):
    mended = fit_to_store(field, (1.0, 2.0, 3.0))
    assert max(float(bend.max()) for bend in _bends_mm(mended, (1.0, 2.0, 3.0))) <= 0.2
    assert float(corner_determinant(mended).min()) > 0


def test_looking_only_at_what_has_changed_finds_the_same():
    field = 0.3 * smooth(NOISE, 2.0)
    changed = field.clone()
    changed[:, :, 10:12, 13, 5:9] += 4 * NOISE[:, :, 10:12, 13, 5:9]
    changed[:, :, 0, 0, -1] += 3  # at the border
    near = (changed != field).any(1).flatten().nonzero()[:, 0]
    spacing = (2.0, 2.0, 2.0)
    assert unbend(field, spacing) is field
    assert unfold(field) is field
    assert torch.equal(unbend(changed, spacing, near=near), unbend(changed, spacing))
    assert torch.equal(unfold(changed, near=near), unfold(changed))
    assert not torch.equal(unfold(changed), changed)


def _bends_mm(field: torch.Tensor, spacing: float | tuple[float, ...]) -> list[torch.Tensor]:
    """How far cubic and linear interpolation differ in the middles of edges, faces and, last, cells."""
    at, half = torch.tensor([0.0, 1, 0, 0]), torch.tensor([[-1.0, 9, 9, -1], [0, 8, 8, 0]]) / 16
    bends = []
    for middle in itertools.product((False, True), repeat=3):
        cubic, linear = (
            torch.einsum("i,j,k->ijk", *(half[kind] if here else at for here in middle)) for kind in (0, 1)
        )
        by_axis = conv3d(field.transpose(0, 1), (cubic - linear)[None, None])
        bends.append((by_axis * torch.tensor(spacing).view(-1, 1, 1, 1, 1)).norm(dim=0))
    return bends


@settings(max_examples=40)
@given(st.tuples(*[st.integers(1, 6)] * 3), st.sampled_from(["half", "full"]), st.integers(0, 9))
def test_images_of_a_few_slices_are_refined_without_folding(shape, field_grid, seed):
    rng = np.random.default_rng(seed)
    where = Grid.of(shape, (3.0, 3.0, 3.0), np.eye(3), (0, 0, 0))
    volumes = [torch.from_numpy(rng.random((1, 1, *shape), np.float32)) for _ in range(2)]
    pair = Prepared(*volumes, where, where, None, None, "other", [])
    found = extend(*refine(pair, IDENTITY, None, Refine(steps_full=3, field_grid=field_grid), CPU))
    assert np.isfinite(found.field).all()
    assert float(corner_determinant(_voxels(found)).min()) > 0


@pytest.mark.parametrize("shape", [(2, 9, 9), (3, 4, 5), (1, 9, 9), (2, 2, 2)])
def test_few_slices_are_no_trouble_where_cubic_interpolation_has_too_few(shape):
    field = torch.zeros((1, 3, *shape))
    field[0, 0, 0, 0, 0] = 3.0
    gentle = unbend(field, (2.0, 2.0, 2.0))
    for axis in (2, 3, 4):
        if shape[axis - 2] > 3:
            a, b, c, d = (gentle.narrow(axis, start, shape[axis - 2] - 3) for start in range(4))
            assert float(((b + c - a - d) / 16 * 2).norm(dim=1).max()) <= 0.2


def test_a_field_with_nothing_left_to_mend_is_not_looked_at_again(monkeypatch):
    looks = []
    for home, name in ((mend, "corner_determinant"), (bends, "_bends")):
        plain = getattr(home, name)
        monkeypatch.setattr(home, name, lambda *args, plain=plain, name=name: looks.append(name) or plain(*args))
    field = torch.zeros(1, 3, 20, 20, 20)
    field[:, 0, 10, 10, 10] = 0.5  # bent by a quarter of a millimetre, but not folded
    mended = fit_to_store(field, (8.0, 8.0, 8.0))
    assert looks == ["_bends"] * looks.count("_bends") + ["corner_determinant"]
    assert not torch.equal(mended, field)
    looks.clear()
    assert fit_to_store(mended, (8.0, 8.0, 8.0)) is mended
    assert looks == ["_bends", "corner_determinant"]


@pytest.mark.parametrize("size", [0.0, 1.0, 6.0])
def test_beyond_the_fixed_image_the_field_ends_in_two_layers_of_zero_without_folding(size):
    noise = torch.randn((1, 3, 20, 22, 24), generator=torch.Generator().manual_seed(1))
    field = smooth(noise, 8.0)
    field = size * field / field.abs().max()
    where = grid().resampled((20, 22, 24))
    whole = extend(field, where)
    voxels = _voxels(whole)
    for axis in (2, 3, 4):
        for layers in (voxels.narrow(axis, 0, 2), voxels.narrow(axis, voxels.shape[axis] - 2, 2)):
            assert float(layers.abs().max()) == 0
    assert float(corner_determinant(voxels).min()) > 0
    inside = extend(field, where).at(where.points())
    expected = np.einsum("wc,cdhg->dhgw", where.voxel_to_world[:3, :3], field[0].numpy())
    np.testing.assert_allclose(inside, expected, atol=1e-4)


def test_lung_landmarks_come_together(data_folder):
    from RegistrationNetLib.engine.align import align
    from RegistrationNetLib.engine.settings import Align
    from RegistrationNetLib.files.images import read_image

    fixed, moving = (read_image(data_folder / f"lung_ct/{name}.mha") for name in ("baseline", "followup"))
    here, there = (
        side.grid.to_world(np.loadtxt(data_folder / f"lung_ct/{name}.txt", skiprows=2)[:, ::-1])
        for side, name in ((fixed, "baseline"), (moving, "followup"))
    )
    prepared = prepare(fixed, moving, Prepare())
    affine = align(prepared, Align(), "affine")
    field = extend(*refine(prepared, affine, None, Settings.preset("fast").refine, CPU))
    errors = [np.linalg.norm(m(here) - there, axis=1).mean() for m in (Mapping((affine,)), Mapping((field, affine)))]
    assert errors[0] < 6.5  # the published affine's; they start 35 mm apart
    assert errors[1] < 2.2


def _voxels(displacement: Displacement) -> torch.Tensor:
    inverse = np.linalg.inv(displacement.grid.voxel_to_world[:3, :3])
    return torch.from_numpy(np.einsum("cw,wdhg->cdhg", inverse, displacement.field).astype(np.float32))[None]
