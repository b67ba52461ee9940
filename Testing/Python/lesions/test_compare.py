"""What the later layers call: a lesion measured, compared with an earlier scan, judged, and written as JSON."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from RegistrationNetLib.core.errors import GeometryError, InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.compare import compare
from RegistrationNetLib.lesions.criteria import Course, Followed, Visit, measured
from RegistrationNetLib.lesions.estimate import Estimate, exactly
from RegistrationNetLib.lesions.jacobian import JacobianMeans
from RegistrationNetLib.lesions.lesion import clicked
from RegistrationNetLib.lesions.lesion import outlined as lesions_of
from RegistrationNetLib.lesions.measure import Measures, measure
from RegistrationNetLib.lesions.outline import Outline
from RegistrationNetLib.lesions.plain import plain
from RegistrationNetLib.lesions.recist import recist

from .shapes import ellipsoid, flat, oblique

AWAY = np.array((0, 3, 4))
"""5 mm."""


@pytest.fixture(scope="module")
def scans() -> tuple[Measures, Measures]:
    """Of a ball of 8 mm radius and one of twice its volume, the second thicker in its slices."""
    thin, thick = oblique((1, 0.8, 0.8)), oblique((2.5, 0.8, 0.8))
    radius = 8 * 2 ** (1 / 3)
    return (
        measure(ellipsoid(thin, (8, 8, 8)), flat(thin)),
        measure(ellipsoid(thick, (radius, radius, radius)), flat(thick)),
    )


def test_a_lesion_of_a_label_map_is_measured_as_its_mask_is():
    outline = ellipsoid(oblique(), (5, 6, 7), (3, -4, 5))
    rng = np.random.default_rng(0)
    image = Image(rng.normal(50, 10, (1, *outline.grid.shape)).astype(np.float32), outline.grid)
    (lesion,) = lesions_of(Image(outline.mask[None].astype(np.uint8), outline.grid, name="labels"))
    assert plain(measure(Outline.of(lesion, image), image)) == plain(measure(outline, image))


def test_a_lesion_of_another_image_or_without_an_outline_is_refused():
    outline = ellipsoid(oblique(), (5, 6, 7))
    (lesion,) = lesions_of(Image(outline.mask[None].astype(np.uint8), outline.grid, name="labels"))
    grid = outline.grid
    for other in (
        oblique((2.5, 0.9, 0.8)),
        Grid.of(grid.shape, grid.spacing, grid.directions, grid.to_world((0.5, 0, 0))),
        Grid.of(grid.shape, grid.spacing, grid.directions, grid.to_world((0, 30, 0))),
    ):
        with pytest.raises(GeometryError, match="native image"):
            Outline.of(lesion, flat(other))
    with pytest.raises(InputError, match="'A' is a point without an outline"):
        Outline.of(clicked("A", grid.center), flat(grid))


def test_a_comparison_holds_all_that_changed(scans: tuple[Measures, Measures]):
    before, after = scans
    jacobian = JacobianMeans(Estimate(1.0, 0.9, 1.1), Estimate(1.0, 0.9, 1.1))
    found = compare(before, after, days_between=90, carried=after.centroid + AWAY, jacobian=jacobian)
    assert found.volume.value == pytest.approx(1.0, abs=0.03)
    assert found.changed
    assert found.longest_mm.value == pytest.approx(16 * (2 ** (1 / 3) - 1), abs=0.8)
    assert found.doubling_days.value == pytest.approx(90, abs=2)
    assert found.displacement_mm.value == pytest.approx(5)
    assert found.said[0].startswith("The volume changed by +")
    assert found.said[1].startswith("The volume doubles every")
    assert any("1.0 mm apart on the first scan and 2.5 mm on the second" in note for note in found.notes)
    assert any("trust the outlines" in note for note in found.notes)


def test_what_was_not_given_is_not_compared(scans: tuple[Measures, Measures]):
    found = compare(scans[0], scans[0])
    assert not found.changed
    assert (found.doubling_days, found.displacement_mm, found.jacobian, found.notes) == (None, None, None, ())
    assert found.said == (found.said[0],)


def test_a_lesion_that_fell_apart_counts_with_the_sum_of_its_parts(scans: tuple[Measures, Measures]):
    one, two = scans
    whole, parts = measured("L1", one), measured("L1", one, two)
    assert whole.longest_mm.value == one.longest_mm.value
    assert parts.longest_mm.value == pytest.approx(one.longest_mm.value + two.longest_mm.value)
    assert parts.volume_mm3.value == pytest.approx(one.volume_mm3.value + two.volume_mm3.value)


def test_measures_go_into_criteria_as_they_are(scans: tuple[Measures, Measures]):
    before, after = scans
    visits = (Visit(date(2024, 1, 1), (measured("L1", before),)), Visit(date(2024, 4, 1), (measured("L1", after),)))
    (assessment,) = recist(Course((Followed("L1", "target", "liver", False),), visits))
    assert assessment.response == "SD"  # 16 to 20.2 mm: 26 %, but less than 5 mm
    assert json.loads(json.dumps(plain(assessment)))["day"] == "2024-04-01"


def test_all_results_are_plain_json(scans: tuple[Measures, Measures]):
    before, after = scans
    written = json.loads(json.dumps(plain(before), allow_nan=False))
    assert written["volume_mm3"]["value"] == before.volume_mm3.value
    assert written["lines"]["longest"]["ends"] == before.lines.longest.ends.tolist()
    assert written["centroid"] == before.centroid.tolist()
    assert "borders" not in written["lines"]
    endless = compare(replace(before, volume_mm3=Estimate(8, 0, 27)), replace(after, volume_mm3=exactly(64)))
    low = pytest.approx((4 / 3) ** 3 - 1)
    assert json.loads(json.dumps(plain(endless), allow_nan=False))["volume"] == {"value": 7, "low": low, "high": None}
    with pytest.raises(TypeError, match="No plain form of set"):
        plain({1, 2})
