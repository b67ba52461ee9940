"""What a registration is asked to keep it keeps: rigid parts, volumes, the surroundings of a region."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.hold import Restraint
from RegistrationNetLib.engine.mend import corner_determinant
from RegistrationNetLib.engine.parts import Parts
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.result import Registration
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.phantom import true_error

FAST = Settings.preset("fast")
SHRUNK, SWOLLEN = (28.0, 38.0, 8.0), (-6.0, -2.0, -7.0)  # where the phantom's truth changes volumes most, fixed world
CARRIED = (17.0, -4.0, -1.0)  # where it differs most from any affine


def ball(grid: Grid, center: tuple[float, float, float], radius: float, name: str = "ball.nii") -> Image:
    inside = np.linalg.norm(grid.points() - np.array(center), axis=-1) < radius
    return Image(inside.astype(np.uint8)[None], grid, name=name)


def bones(grid: Grid) -> Image:
    """Two pieces of one label."""
    pieces = ball(grid, SWOLLEN, 16).data | ball(grid, (-52.0, 10.0, -12.0), 11).data
    return Image(pieces, grid, name="bones.nii")


def lesion(grid: Grid) -> Image:
    return ball(grid, SHRUNK, 14, "lesion.nii")


def deviation_from_rigid(mapping: Mapping, points: np.ndarray) -> float:
    """Largest change of a distance between points, mm."""
    after = mapping(points)
    some = np.random.default_rng(0).integers(0, len(points), (2, 4000))
    before, now = (np.linalg.norm(p[some[0]] - p[some[1]], axis=1) for p in (points, after))
    return float(np.abs(before - now).max())


def least_determinant(registration: Registration) -> float:
    (field,) = registration.mapping.displacements
    inverse = np.linalg.inv(field.grid.voxel_to_world[:3, :3])
    voxels = np.einsum("cw,wdhg->cdhg", inverse, field.field).astype(np.float32)
    return float(corner_determinant(torch.from_numpy(voxels)[None]).min())


@pytest.fixture(scope="module")
def free(coarse_phantom):
    return register(coarse_phantom.fixed, coarse_phantom.moving, FAST)


@pytest.fixture(scope="module")
def held(coarse_phantom):
    """Two bones and a lesion at once."""
    grid = coarse_phantom.fixed.grid
    constraints = Constraints(rigid=bones(grid), volume=lesion(grid))
    return register(coarse_phantom.fixed, coarse_phantom.moving, FAST, constraints=constraints)


def test_a_bone_only_turns_and_shifts_in_the_whole_mapping_though_the_affine_scales(coarse_phantom, free, held):
    grid = coarse_phantom.fixed.grid
    assert np.abs(np.linalg.svd(held.mapping.affine.matrix[:3, :3], compute_uv=False) - 1).max() > 0.01
    parts = Parts.of(Constraints(rigid=bones(grid)), grid)
    for _, voxels in parts.voxels():
        points = grid.to_world(voxels)
        assert deviation_from_rigid(held.mapping, points) < 0.05 < deviation_from_rigid(free.mapping, points)
    assert [part["deviation_mm"] < 0.05 for part in held.report["constraints"]["rigid"]] == [True, True]


def test_each_piece_of_a_bone_moves_on_its_own(coarse_phantom, held):
    grid = coarse_phantom.fixed.grid
    assert deviation_from_rigid(held.mapping, grid.to_world(np.argwhere(bones(grid).scalar))) > 0.1


def test_a_lesion_keeps_its_volume_voxel_by_voxel_beside_the_affine(coarse_phantom, free, held):
    inside = lesion(coarse_phantom.fixed.grid).scalar > 0
    assert np.abs(held.jacobian.scalar[inside] - 1).max() < 1e-3
    assert np.abs(free.jacobian.scalar[inside].mean() - 1) > 0.05
    (reached,) = held.report["constraints"]["volume"]
    assert abs(reached["change_percent"]) < 0.25


def test_what_is_kept_neither_folds_nor_spoils_the_rest(coarse_phantom, free, held):
    assert least_determinant(held) > 0
    grid = coarse_phantom.fixed.grid
    near = sum(ball(grid, *where).scalar for where in ((SWOLLEN, 30), ((-52.0, 10.0, -12.0), 25), (SHRUNK, 28))) > 0
    points = grid.points()[(coarse_phantom.fixed_labels.scalar > 0) & ~near]
    errors = [np.linalg.norm(r.mapping(points) - coarse_phantom.truth(points), axis=-1).mean() for r in (free, held)]
    assert errors[1] < 1.1 * errors[0]


def test_a_lesion_moves_with_its_surroundings_whatever_it_shows_itself(coarse_phantom):
    """Growth must not push: what the lesion shows has no influence, yet it is where its surroundings went."""
    pair, grid = coarse_phantom, coarse_phantom.fixed.grid
    marked = ball(grid, CARRIED, 12)
    bright = replace(pair.fixed, data=np.where(marked.data > 0, pair.fixed.data.max(), pair.fixed.data))
    kept = Constraints(volume=marked)
    one, other = (register(fixed, pair.moving, FAST, constraints=kept) for fixed in (pair.fixed, bright))
    assert same_bits(one, other)
    points = grid.to_world(np.argwhere(marked.scalar))
    found, aligned, true = (m(points).mean(axis=0) for m in (one.mapping, one.mapping.affine, pair.truth))
    assert np.linalg.norm(found - true) < 0.7 * np.linalg.norm(aligned - true)  # voxels of 4.5 mm see 0.5 unhindered


@pytest.mark.parametrize("kind", ["rigid", "volume"])
def test_a_part_without_forces_of_its_own_moves_as_those_around_it(coarse_phantom, kind):
    """In each step, at once."""
    grid = coarse_phantom.fixed.grid
    asked = Constraints(**{kind: ball(grid, CARRIED, 16)})
    hold = Restraint.of(asked, grid).on(grid, Affine(np.eye(4)), torch.device("cpu"), exact=True)
    inside = torch.from_numpy(Parts.of(asked, grid).nodes(grid) > 0)
    forces = torch.tensor([0.4, -0.2, 0.1]).view(1, 3, 1, 1, 1) * ~inside
    step = hold.limit(forces, torch.zeros_like(forces))
    torch.testing.assert_close(step, torch.ones_like(step) * torch.tensor([0.4, -0.2, 0.1]).view(1, 3, 1, 1, 1))


def test_parts_hold_on_thick_slices_coarser_working_voxels_and_half_the_fields_resolution(coarse_phantom):
    pair = coarse_phantom
    shape = (pair.fixed.grid.shape[0] // 2, *pair.fixed.grid.shape[1:])
    thick = warp(pair.fixed, Mapping(), pair.fixed.grid.resampled(shape))
    chosen = FAST.with_values(prepare__max_voxels=30_000, refine__field_grid="half")
    constraints = Constraints(rigid=ball(thick.grid, (-45.0, 10.0, -12.0), 14), volume=lesion(thick.grid))
    result = register(thick, pair.moving, chosen, constraints=constraints)
    assert max(part["deviation_mm"] for part in result.report["constraints"]["rigid"]) < 0.05
    assert np.abs(result.jacobian.scalar[lesion(thick.grid).scalar > 0] - 1).max() < 1e-3
    assert least_determinant(result) > 0


def test_bones_that_touch_are_not_torn_and_the_report_says_what_is_not_kept(coarse_phantom):
    grid = coarse_phantom.fixed.grid
    slabs = np.floor(grid.points()[..., 2] / 14).astype(int) + 20
    spine = Image(np.where(ball(grid, (0.0, 0.0, 0.0), 55).data > 0, slabs, 0), grid, name="spine.nii")
    result = register(coarse_phantom.fixed, coarse_phantom.moving, FAST, constraints=Constraints(rigid=spine))
    assert least_determinant(result) > 0
    (row,) = [check for check in result.report["checks"] if check["name"].startswith("Parts kept rigid")]
    worst = max(part["deviation_mm"] for part in result.report["constraints"]["rigid"])
    assert (row["verdict"] == "good") == (worst <= 0.1)
    assert worst > 0.1


@pytest.fixture(scope="module")
def confined(coarse_phantom):
    constraints = Constraints(region=ball(coarse_phantom.fixed.grid, SHRUNK, 30))
    return register(coarse_phantom.fixed, coarse_phantom.moving, FAST, constraints=constraints)


def outside(grid: Grid, margin_mm: float) -> np.ndarray:
    """Points farther than the margin from every voxel of the region."""
    points = grid.points().reshape(-1, 3)
    region = grid.to_world(np.argwhere(ball(grid, SHRUNK, 30).scalar))
    distance = np.linalg.norm(region - SHRUNK, axis=1).max()
    return points[np.linalg.norm(points - SHRUNK, axis=1) > distance + margin_mm]


def test_around_the_region_not_a_bit_differs_from_the_affine_and_inside_it_deforms(coarse_phantom, confined, free):
    grid = coarse_phantom.fixed.grid
    points = outside(grid, 10.0)
    assert len(points) > 10_000
    assert np.array_equal(confined.mapping(points), confined.mapping.affine(points))
    assert confined.report["constraints"]["region"]["largest_change_outside_mm"] == 0
    inside = grid.points()[ball(grid, SHRUNK, 20).scalar > 0]
    errors = [
        np.linalg.norm(mapping(inside) - coarse_phantom.truth(inside), axis=-1).mean()
        for mapping in (confined.mapping, free.mapping, free.mapping.affine)
    ]
    assert errors[1] < errors[0] < 0.95 * errors[2]
    assert least_determinant(confined) > 0


def test_motion_in_a_narrow_region_is_found():
    """Hardly wider than four voxels of the coarsest level, with a margin of one of the finest."""
    grid = Grid.of((56, 56, 56), (3.0, 3.0, 3.0), np.eye(3)[:, ::-1], (-82.5, -82.5, -82.5))
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=grid.shape), 2.0)
    moving = Image((noise / noise.std()).astype(np.float32)[None], grid, name="moving.nii")
    from_middle = np.linalg.norm(grid.points(), axis=-1)
    field = np.zeros((3, *grid.shape), np.float32)
    field[0] = 6 * np.exp(-((from_middle / 10) ** 4))
    truth = Mapping((Displacement(field, grid),))
    fixed = replace(warp(moving, truth, grid), name="fixed.nii")
    constraints = Constraints(region=ball(grid, (0.0, 0.0, 0.0), 14), margin_mm=3.0)
    found = register(fixed, moving, Settings(), initial=Mapping(), constraints=constraints)
    core = grid.points()[from_middle < 6]
    assert np.linalg.norm(found.mapping(core) - truth(core), axis=-1).mean() < 2.4
    assert least_determinant(found) > 0


@pytest.mark.parametrize("margin_mm", [0.5, 25.0])
def test_the_margin_may_be_less_than_a_voxel_or_wide(coarse_phantom, margin_mm):
    grid = coarse_phantom.fixed.grid
    constraints = Constraints(region=ball(grid, SHRUNK, 30), margin_mm=margin_mm)
    chosen = FAST.with_values(refine__field_grid="half" if margin_mm > 20 else "full")
    result = register(coarse_phantom.fixed, coarse_phantom.moving, chosen, constraints=constraints)
    points = outside(grid, margin_mm)
    assert np.array_equal(result.mapping(points), result.mapping.affine(points))
    assert np.abs(result.mapping.displacements[0].field).max() > 1
    assert least_determinant(result) > 0


def starts(grid: Grid) -> dict[str, Mapping]:
    near = np.eye(4)
    near[:3, 3] = (8, -7, 6)
    around = grid.padded((8, 8, 8), (8, 8, 8))
    field = np.zeros((3, *around.shape), np.float32)
    field[2] = 3 * np.sin(np.linspace(0, np.pi, around.shape[0])).astype(np.float32)[:, None, None]
    return {"affine": Mapping((Affine(near),)), "deformable": Mapping((Displacement(field, around), Affine(near)))}


@pytest.mark.parametrize("kind", ["affine", "deformable"])
def test_with_an_initial_transform_a_regions_surroundings_stay_as_that_has_them(coarse_phantom, kind):
    grid = coarse_phantom.fixed.grid
    start = starts(grid)[kind]
    constraints = Constraints(region=ball(grid, SHRUNK, 30))
    result = register(coarse_phantom.fixed, coarse_phantom.moving, FAST, initial=start, constraints=constraints)
    points = outside(grid, 10.0)
    assert np.array_equal(result.mapping(points), start(points))
    inside = grid.points()[ball(grid, SHRUNK, 20).scalar > 0]
    assert np.linalg.norm(result.mapping(inside) - start(inside), axis=-1).max() > 2


def test_a_lesion_is_kept_inside_a_region(coarse_phantom):
    grid = coarse_phantom.fixed.grid
    constraints = Constraints(volume=lesion(grid), region=ball(grid, SHRUNK, 30))
    result = register(coarse_phantom.fixed, coarse_phantom.moving, FAST, constraints=constraints)
    assert np.abs(result.jacobian.scalar[lesion(grid).scalar > 0] - 1).max() < 1e-3
    points = outside(grid, 10.0)
    assert np.array_equal(result.mapping(points), result.mapping.affine(points))
    assert true_error(result.mapping, coarse_phantom)["after"]["median"] < 4.5


def same_bits(one: Registration, other: Registration) -> bool:
    fields = zip(one.mapping.displacements, other.mapping.displacements, strict=True)
    return all(np.array_equal(a.field, b.field) for a, b in fields)


def test_the_same_constraints_give_the_same_bits(coarse_phantom, held):
    grid = coarse_phantom.fixed.grid
    constraints = Constraints(rigid=bones(grid), volume=lesion(grid))
    assert same_bits(register(coarse_phantom.fixed, coarse_phantom.moving, FAST, constraints=constraints), held)


def away(grid: Grid) -> Image:
    """A mask of another patient."""
    return ball(grid.padded((500, 0, 0), (-470, 0, 0)), (0.0, 0.0, 0.0), 1e4, "other.nii")


def specks(grid: Grid) -> Image:
    """Every third voxel along each axis."""
    data = np.zeros((1, *grid.shape), np.uint8)
    data[:, ::3, ::3, ::3] = 1
    return Image(data, grid, name="specks.nii")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda g: {"rigid": ball(g, SHRUNK, 0.0)}, r"'ball\.nii' marks nothing to keep rigid"),
        (lambda g: {"volume": ball(g, SHRUNK, 0.0)}, r"'ball\.nii' marks nothing to keep the volume of"),
        (lambda g: {"region": ball(g, SHRUNK, 0.0)}, r"'ball\.nii' marks nothing to stay in"),
        (lambda g: {"rigid": away(g)}, r"'other\.nii' marks nothing inside the fixed image"),
        (lambda g: {"region": away(g)}, r"'other\.nii' marks nothing inside the fixed image"),
        (lambda g: {"region": ball(g, SHRUNK, 9.0), "margin_mm": 0.0}, r"margin.* is 0 mm"),
        (lambda g: {"region": ball(g, SHRUNK, 9.0), "rigid": bones(g)}, r"'bones\.nii' piece \d reaches beyond"),
        (
            lambda g: {"rigid": specks(g)},
            r"'specks\.nii' falls into [\d,]+ separate pieces or more; .* specks first",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(coarse_phantom, asked, words):
    with pytest.raises(InputError, match=words):
        register(
            coarse_phantom.fixed,
            coarse_phantom.moving,
            FAST,
            constraints=Constraints(**asked(coarse_phantom.fixed.grid)),
        )


def test_a_linear_registration_and_a_start_that_deforms_cannot_keep_parts(coarse_phantom):
    pair, grid = coarse_phantom, coarse_phantom.fixed.grid
    for part in (Constraints(rigid=bones(grid)), Constraints(region=lesion(grid))):
        with pytest.raises(InputError, match="need a deformable registration, not a affine one"):
            register(pair.fixed, pair.moving, replace(FAST, transform="affine"), constraints=part)
    start = starts(grid)["deformable"]
    with pytest.raises(InputError, match="initial transform that deforms"):
        register(pair.fixed, pair.moving, FAST, initial=start, constraints=Constraints(volume=lesion(grid)))


@settings(max_examples=25)
@given(
    st.tuples(*[st.integers(4, 24)] * 3),
    st.tuples(*[st.integers(2, 9)] * 3),
    st.integers(0, 99),
)
def test_interpolation_near_a_part_uses_no_node_that_is_not_its_own(shape, voxel, seed):
    """On any field grid, finer or coarser, of any proportions: from a voxel's place and its six neighbours'."""
    rng = np.random.default_rng(seed)
    fixed = Grid.of((10, 12, 9), (2.0, 1.0, 3.0), np.linalg.qr(rng.standard_normal((3, 3)))[0], rng.normal(size=3))
    labels = np.zeros((1, *fixed.shape), np.uint8)
    labels[(0, *np.minimum(voxel, np.array(fixed.shape) - 2))] = 1
    nodes = Parts.of(Constraints(rigid=Image(labels, fixed)), fixed).nodes(fixed.resampled(shape))
    for offset in (*np.eye(3), *-np.eye(3), np.zeros(3)):
        place = fixed.resampled(shape).to_voxel(fixed.to_world(np.argwhere(labels[0])[0] + offset))
        last = np.array(shape) - 1
        for corner in np.ndindex(2, 2, 2):
            node = np.clip(np.floor(place + 1e-6).astype(int) + corner, 0, last)
            touched = np.abs(node - np.clip(place, 0, last)).max() < 1 - 1e-6
            assert not touched or nodes[tuple(node)] == 1
