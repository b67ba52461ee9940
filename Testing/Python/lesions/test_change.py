"""Change, doubling time, displacement and the Jacobian's view, by figures worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from RegistrationNetLib.core.errors import GeometryError, InputError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.change import (
    change_in_words,
    displacement_mm,
    distinguishable,
    doubling_time,
    relative_change,
)
from RegistrationNetLib.lesions.estimate import Estimate, Jitter, difference, exactly, total
from RegistrationNetLib.lesions.jacobian import disagreement, jacobian_means
from RegistrationNetLib.lesions.measure import Measures, measure

from .shapes import ellipsoid, flat, oblique

AWAY = np.array((0, 3, 4))
"""5 mm."""


@pytest.fixture(scope="module")
def sphere() -> Measures:
    grid = oblique()
    return measure(ellipsoid(grid, (8, 8, 8)), flat(grid))


def sized(like: Measures, volume: Estimate, **more) -> Measures:
    return replace(like, volume_mm3=volume, **more)


def cube(side: float, half: float) -> Estimate:
    """A volume whose cube root is known to within `half`."""
    return Estimate(side**3, (side - half) ** 3, (side + half) ** 3)


def test_relative_change_of_exact_volumes_is_exact():
    assert relative_change(exactly(200), exactly(250)) == Estimate(0.25, pytest.approx(0.25), pytest.approx(0.25))


def test_relative_change_holds_the_truth_in_95_of_100_cases():
    """Simulated: cube roots of 10 and 11 with an SD of 1, at which a symmetric interval of the ratio would not hold."""
    rng = np.random.default_rng(0)
    half = 1.959964
    drawn = rng.normal((10, 11), 1, (4000, 2))
    changes = [relative_change(cube(one, half), cube(two, half)) for one, two in drawn]
    held = np.mean([1.1**3 - 1 in change for change in changes])
    assert 0.94 < held < 0.96


def test_a_first_volume_that_may_be_nothing_leaves_no_upper_end():
    change = relative_change(cube(2, 3), cube(4, 0.1))
    assert change.high == np.inf
    assert not distinguishable(change)


def test_words_tell_change_from_no_change():
    assert change_in_words(Estimate(0.25, 0.1, 0.4)) == "The volume changed by +25 % (95 % interval +10 to +40 %)."
    assert change_in_words(Estimate(0.25, -0.1, 0.7)).endswith("not distinguishable from no change.")


def test_a_volume_that_doubles_in_90_days(sphere: Measures):
    found = doubling_time(sized(sphere, cube(10, 0.1)), sized(sphere, cube(10 * 2 ** (1 / 3), 0.1)), 90)
    assert found.days is not None
    assert found.days.value == pytest.approx(90)
    assert found.days.low < 90 < found.days.high
    assert found.in_words().startswith("The volume doubles every 90 days (95 % interval 8")
    assert found.notes == ()


def test_a_volume_that_halves_twice_in_90_days(sphere: Measures):
    found = doubling_time(sized(sphere, cube(10, 0.1)), sized(sphere, cube(10 * 4 ** (-1 / 3), 0.1)), 90)
    assert found.days.value == pytest.approx(-45)
    assert found.days.low < -45 < found.days.high
    assert "halves every 45 days (95 % interval 4" in found.in_words()


def test_growth_within_the_error_has_no_doubling_time_but_a_bound(sphere: Measures):
    found = doubling_time(sized(sphere, cube(10, 0.5)), sized(sphere, cube(10.2, 0.5)), 90)
    assert found.days is None
    fastest = 90 * np.log(2) / np.log(1 + relative_change(cube(10, 0.5), cube(10.2, 0.5)).high)
    assert found.in_words() == (
        f"Growth is not distinguishable from no change; if it grows, it doubles in no less than {fastest:.0f} days."
    )


def test_other_slices_are_warned_of(sphere: Measures):
    thick = replace(sphere, slice_thickness_mm=5.0)
    (note,) = doubling_time(sphere, thick, 90).notes
    assert "2.5 mm apart on the first scan and 5.0 mm on the second" in note
    assert doubling_time(sphere, replace(sphere, slice_thickness_mm=2.6), 90).notes == ()
    assert "sagittal" in doubling_time(sphere, replace(sphere, plane="sagittal"), 90).notes[0]
    with pytest.raises(InputError, match="later second scan"):
        doubling_time(sphere, sphere, 0)


def test_sums_and_differences_add_errors_in_quadrature():
    assert total((Estimate(10, 7, 13), Estimate(20, 16, 24))) == Estimate(30, 25, 35)
    assert difference(Estimate(20, 16, 23), Estimate(10, 6, 13)) == Estimate(10, 5, 15)


def test_displacement_from_where_the_centre_was_carried(sphere: Measures):
    exact = replace(sphere, centroid_error_mm=0.0)
    assert displacement_mm(exact.centroid + AWAY, exact, exact) == Estimate(5, 5, 5)
    unsure = displacement_mm(exact.centroid + AWAY, exact, exact, carrying_error_mm=2.7955)
    assert (unsure.low, unsure.high) == pytest.approx((5 - 1.96, 5 + 1.96), abs=0.01)
    assert displacement_mm(sphere.centroid, sphere, sphere).low == 0


def test_mean_jacobian_inside_and_in_the_rim():
    grid, other = oblique((5, 0.8, 0.8)), oblique((2, 2, 2), size_mm=44)
    away = np.linalg.norm(other.points() - grid.center, axis=-1)
    determinant = Image((1 + 0.1 * away)[None].astype(np.float32), other, name="Jacobian")
    means = jacobian_means(ellipsoid(grid, (8, 8, 8), (0.1, 0.2, 0.1)), determinant)
    assert means.inside.value == pytest.approx(1 + 0.1 * 0.75 * 8, abs=0.03)  # the mean radius of a ball is 3/4
    radius = 0.75 * (13**4 - 8**4) / (13**3 - 8**3)
    assert means.rim.value == pytest.approx(1 + 0.1 * radius, abs=0.04)
    assert means.inside.low < means.inside.value < means.inside.high


def test_the_jacobians_interval_comes_from_the_outline():
    """A ball in which the determinant is twice the radius: moved out by e, its mean of 3/2 r grows by 3/2 e."""
    grid = oblique((1, 1, 1), size_mm=50)
    away = np.linalg.norm(grid.points() - grid.center, axis=-1)
    means = jacobian_means(
        ellipsoid(grid, (10, 10, 10)), Image(2 * away[None].astype(np.float32), grid), Jitter(0.5, 0.0)
    )
    assert means.inside.high - means.inside.value == pytest.approx(1.5 * 0.5 * 1.96, rel=0.1)


def test_a_jacobian_that_does_not_reach_the_rim_is_refused():
    grid = oblique()
    small = oblique(size_mm=20)
    with pytest.raises(GeometryError, match="does not reach 5 mm beyond"):
        jacobian_means(ellipsoid(grid, (8, 8, 8)), flat(small, 1))


def test_a_jacobian_that_contradicts_the_outlines_is_flagged():
    assert disagreement(Estimate(1.0, 0.8, 1.2), Estimate(2.1, 2.0, 2.2)) == ""
    said = disagreement(Estimate(1.0, 0.8, 1.2), Estimate(1.1, 1.0, 1.2))
    assert "+100 %" in said
    assert "+10 %" in said
