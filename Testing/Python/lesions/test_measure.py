"""Figures of a lesion against shapes known on paper and against ITK."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings

from RegistrationNetLib.core.errors import GeometryError, InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.diameters import diameters, longest_run
from RegistrationNetLib.lesions.estimate import Jitter
from RegistrationNetLib.lesions.measure import measure
from RegistrationNetLib.lesions.outline import Outline, plane, slice_axis, slice_thickness_mm, surface
from RegistrationNetLib.lesions.precision import volume_estimate
from Testing.Python.strategies import Storage, storages

from .shapes import TILT, ellipsoid, flat, oblique


def test_an_ellipsoid_on_an_oblique_stack():
    grid = oblique()
    figures = measure(ellipsoid(grid, (9, 12, 7), (0.3, 0.2, -0.1)), flat(grid))
    assert figures.volume_mm3.value == pytest.approx(4 / 3 * np.pi * 9 * 12 * 7, rel=0.01)
    assert figures.longest_mm.value == pytest.approx(24, abs=0.8)  # a pixel
    assert figures.short_axis_mm.value == pytest.approx(14, abs=0.8)
    np.testing.assert_allclose(figures.centroid, grid.center + grid.directions @ (0.3, 0.2, -0.1), atol=0.15)
    np.testing.assert_allclose([size.value for size in figures.extent_mm], (18, 24, 14), atol=2.5)
    assert figures.slices == 7


def test_the_lines_lie_where_they_were_measured():
    grid = oblique()
    lines = measure(ellipsoid(grid, (9, 12, 7), (6, 0, 0)), flat(grid)).lines
    assert lines.longest.length_mm == pytest.approx(np.linalg.norm(np.diff(lines.longest.ends, axis=0)))
    ends = grid.to_voxel(np.concatenate((lines.longest.ends, lines.perpendicular.ends)))
    np.testing.assert_allclose(ends[:, 0], lines.slice_index, atol=1e-9)
    middle = (np.array(grid.shape[0]) - 1) / 2 + 6 / 2.5
    assert abs(lines.slice_index - middle) <= 0.5
    one, two = (np.diff(line.ends, axis=0)[0] for line in (lines.longest, lines.perpendicular))
    assert abs(one @ two) < 1e-6
    np.testing.assert_allclose(np.abs(one / np.linalg.norm(one) @ grid.directions), (0, 1, 0), atol=0.15)


@pytest.mark.parametrize("semi", [(1.5, 1.5, 1.5), (4, 6, 5), (9, 12, 7), (15, 15, 15)])
def test_a_smooth_surface_has_its_own_area_and_not_the_staircases(semi: tuple[float, float, float]):
    p = 1.6075  # Thomsen's formula for ellipsoids, right to 1 %
    a, b, c = (s**p for s in semi)
    true = 4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / p)
    assert surface(ellipsoid(oblique((0.8, 0.8, 0.8)), semi)).area_mm2 == pytest.approx(true, rel=0.06)


def itk(values: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(grid.spacing[::-1].tolist())
    image.SetOrigin(grid.voxel_to_world[:3, 3].tolist())
    image.SetDirection(grid.directions[:, ::-1].ravel().tolist())
    return image


def random_lesion(seed: int) -> tuple[Outline, Image]:
    """Irregular, in one piece, on an oblique stack, on a noisy image."""
    rng, grid = np.random.default_rng(seed), oblique((2.5, 0.8, 0.9))
    away = (grid.points() - grid.center) @ grid.directions
    radius = 9 + 2 * np.sin(away @ rng.normal(0, 0.25, 3) + 1) + 2 * np.sin(away @ rng.normal(0, 0.25, 3))
    mask = np.linalg.norm(away, axis=-1) < radius
    return Outline(mask, grid), Image(rng.normal(50, 10, (1, *grid.shape)).astype(np.float32), grid)


@pytest.mark.parametrize("seed", range(4))
def test_volume_centroid_and_intensities_are_those_of_itk(seed: int):
    outline, image = random_lesion(seed)
    theirs = sitk.LabelIntensityStatisticsImageFilter()
    theirs.Execute(itk(outline.mask.astype(np.uint8), outline.grid), itk(image.scalar, outline.grid))
    ours = measure(outline, image)
    assert ours.volume_mm3.value == pytest.approx(theirs.GetPhysicalSize(1), rel=1e-6)
    np.testing.assert_allclose(ours.centroid, theirs.GetCentroid(1), atol=1e-4)
    for mine, other in (
        (ours.mean, theirs.GetMean(1)),
        (ours.highest, theirs.GetMaximum(1)),
        (ours.lowest, theirs.GetMinimum(1)),
    ):
        assert mine.value == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_longest_diameter_lies_between_itks_and_a_pixel_more(seed: int):
    """ITK measures between the centres of the outermost pixels of a slice, half a pixel inside at either end."""
    outline, _ = random_lesion(seed)
    found = diameters(outline)
    longest = []
    for inside in outline.mask:
        theirs = sitk.LabelShapeStatisticsImageFilter()
        theirs.ComputeFeretDiameterOn()
        image = sitk.GetImageFromArray(inside.astype(np.uint8))
        image.SetSpacing((0.9, 0.8))
        theirs.Execute(image)
        longest.append(theirs.GetFeretDiameter(1) if theirs.HasLabel(1) else 0)
    assert max(longest) - 0.1 <= found.longest.length_mm <= max(longest) + np.hypot(0.8, 0.9)


@settings(max_examples=25, deadline=None)
@given(storages())
def test_however_the_voxels_are_stored(storage: Storage):
    outline, image = random_lesion(1)
    ours = measure(outline, image)
    mask = np.ascontiguousarray(storage.data(outline.mask[None])[0])
    other = measure(Outline(mask, storage.grid(outline.grid)), storage.image(image))
    for name in ("volume_mm3", "longest_mm", "short_axis_mm", "mean", "highest", "lowest"):
        assert getattr(other, name).value == pytest.approx(getattr(ours, name).value, rel=1e-3), name
    np.testing.assert_allclose(other.centroid, ours.centroid, atol=1e-6)
    assert (other.plane, other.slices) == (ours.plane, ours.slices)
    assert other.volume_mm3.high == pytest.approx(ours.volume_mm3.high, rel=0.02)
    assert other.longest_mm.high == pytest.approx(ours.longest_mm.high, abs=0.05)


AXES = np.eye(3)


@pytest.mark.parametrize(
    ("spacing", "directions", "axis", "name"),
    [
        ((5, 0.8, 0.8), AXES[:, ::-1], 0, "axial"),
        ((5, 0.8, 0.8), TILT, 0, "axial"),  # tilted: the slices that were acquired
        ((3, 0.5, 0.5), AXES, 0, "sagittal"),  # a sagittal stack is measured in its own plane
        ((1, 1, 1), AXES, 2, "axial"),  # isotropic, stored sagittally: across the body's long axis
        ((0.8, 0.8, 0.6), AXES, 2, "axial"),  # slices thinner than pixels
    ],
)
def test_the_slice_plane_is_the_one_of_acquisition(spacing, directions: np.ndarray, axis: int, name: str):
    grid = Grid.of((4, 5, 6), spacing, directions, (0, 0, 0))
    assert (slice_axis(grid), plane(grid)) == (axis, name)
    assert slice_thickness_mm(grid) == pytest.approx(spacing[axis])


def drawn(rows: str) -> Outline:
    """One slice of 1 mm pixels from a drawing in rows of '.' and '#', each ten times as large."""
    inside = np.array([[mark == "#" for mark in row] for row in rows.split()]).repeat(10, 0).repeat(10, 1)
    grid = Grid.of((1, *inside.shape), (5, 1, 1), AXES[:, ::-1], (0, 0, 0))
    return Outline(inside[None], grid)


def test_a_perpendicular_stays_inside_a_hollow_lesion():
    found = diameters(drawn("###### #.....  #..... ###### ".replace(" ", "\n")))
    assert found.longest.length_mm == pytest.approx(np.hypot(60, 40), abs=2)
    assert found.perpendicular.length_mm < 35  # across the gap it would be over 40


def test_of_the_stretches_that_a_line_crosses_the_longest_counts():
    crossed = np.array((-1.0, 1, -1, -1, 1, 1, 1, -3, -1, 1, -1))
    assert longest_run(crossed, np.arange(11.0)) == (3.5, 6.25)
    assert longest_run(-np.ones(3), np.arange(3.0)) == (0, 0)


def test_a_diameter_does_not_leap_from_piece_to_piece():
    assert diameters(drawn("##......##")).longest.length_mm == pytest.approx(np.hypot(20, 10), abs=1.5)
    assert diameters(drawn("##.. ..##".replace(" ", "\n"))).longest.length_mm == pytest.approx(
        np.hypot(40, 20), abs=1.5
    )


def test_one_voxel_can_be_measured():
    grid = oblique((5, 0.8, 0.8))
    mask = np.zeros(grid.shape, bool)
    mask[3, 20, 20] = True
    figures = measure(Outline(mask, grid), flat(grid))
    assert figures.volume_mm3.value == pytest.approx(5 * 0.8**2)
    assert 0.5 < figures.longest_mm.value < 1.5
    assert figures.longest_mm.low >= 0
    assert figures.volume_mm3.high > 10 * figures.volume_mm3.value


def test_what_limits_the_figures_is_said():
    grid = oblique((5, 0.8, 0.8))
    one = measure(ellipsoid(grid, (2, 3, 3), (2.5, 0, 0)), flat(grid))
    assert one.slices == 1
    assert any("one slice of 5.0 mm" in note for note in one.notes)
    assert any("less than two slices" in note for note in one.notes)
    edge = measure(ellipsoid(grid, (10, 8, 8), (15, 0, 0)), flat(grid))
    assert any("touches the edge of the image" in note for note in edge.notes)
    assert measure(ellipsoid(grid, (10, 8, 8), (0.1, 0, 0)), flat(grid)).notes == ()


def test_thicker_slices_and_readers_further_apart_widen_every_interval():
    def widths(spacing: tuple[float, float, float], jitter: Jitter) -> np.ndarray:
        grid = oblique(spacing)
        image = Image(((grid.points() - grid.center)[None, ..., 0] ** 2).astype(np.float32), grid)
        figures = measure(ellipsoid(grid, (4, 5, 4), (0.2, 0.1, 0.3)), image, jitter)
        sizes = (figures.volume_mm3, figures.longest_mm, figures.short_axis_mm, figures.mean, *figures.extent_mm[:1])
        return np.array([*(one.high - one.low for one in sizes), figures.centroid_error_mm])

    fine = widths((1, 0.8, 0.8), Jitter())
    thick = widths((5, 0.8, 0.8), Jitter())
    assert (thick[[0, 1, 2, 4, 5]] > 1.05 * fine[[0, 1, 2, 4, 5]]).all()
    assert (widths((1, 0.8, 0.8), Jitter(0.4, 0.68)) > 1.5 * fine).all()


def test_the_extremes_interval_is_what_outlines_further_in_or_out_show():
    grid = oblique((1, 1, 1))
    away = np.linalg.norm(grid.points() - grid.center, axis=-1)
    figures = measure(ellipsoid(grid, (8, 8, 8)), Image(away[None].astype(np.float32), grid), Jitter(0.5, 0.0))
    assert figures.highest.low < figures.highest.value < figures.highest.high
    assert figures.highest.high == pytest.approx(8 + 2 * 0.5, abs=0.6)
    assert figures.highest.low == pytest.approx(8 - 2 * 0.5, abs=0.6)
    assert figures.lowest.low == figures.lowest.value == figures.lowest.high  # deep inside, where no outline reaches


def test_a_surface_smaller_than_a_balls_does_not_narrow_the_volumes_interval():
    ball, jitter = ellipsoid(oblique((1, 1, 1)), (6, 6, 6)), Jitter()
    skin = surface(ball)
    low, lower = (volume_estimate(ball, replace(skin, areas_mm2=skin.areas_mm2 * part), jitter) for part in (0.8, 0.6))
    assert lower.high == pytest.approx(low.high)
    assert low.high == pytest.approx(volume_estimate(ball, skin, jitter).high, rel=0.02)


def test_the_longest_diameters_interval_knows_that_jitter_lengthens_it():
    grid = oblique((1, 0.8, 0.8))
    longest = measure(ellipsoid(grid, (10, 10, 10)), flat(grid), Jitter(0.0, 0.6)).longest_mm
    assert (longest.low + longest.high) / 2 < longest.value - 0.2


def test_of_exact_outlines_intervals_are_narrow_and_hold():
    rng, grid, held = np.random.default_rng(0), oblique((1, 0.8, 0.8), 16), []
    for semi, offset in zip(rng.uniform(4, 6, (60, 3)), rng.uniform(-0.5, 0.5, (60, 3)), strict=True):
        volume = measure(ellipsoid(grid, semi, offset), flat(grid), Jitter(0.0, 0.0)).volume_mm3
        held.append(4 / 3 * np.pi * semi.prod() in volume)
        assert volume.high - volume.low < 0.06 * volume.value
    assert np.mean(held) >= 0.9


def test_outlines_that_cannot_be_measured_are_refused():
    grid = oblique()
    good = ellipsoid(grid, (5, 5, 5))
    with pytest.raises(InputError, match="empty"):
        Outline(np.zeros(grid.shape, bool), grid, "L1")
    with pytest.raises(InputError, match="resample it"):
        Outline(np.ones((2, 2, 2), bool), grid, "L1")
    with pytest.raises(InputError, match="true or false"):
        Outline(good.mask.astype(int), grid, "L1")
    moved = replace(flat(grid), grid=Grid.of(grid.shape, grid.spacing, grid.directions, (0, 0, 0)))
    with pytest.raises(GeometryError, match="native image"):
        measure(good, moved)
