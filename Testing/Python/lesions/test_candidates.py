"""What nobody outlined: a new or vanished lesion is found first, where it is, and only where one looks."""

import numpy as np
import pytest

from Python.lesions.heads import Balls, carried, timepoint, truth
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Displacement, Mapping
from RegistrationNetLib.lesions.candidates import Candidate, candidates, stiffened
from RegistrationNetLib.lesions.study import Scan

OLD, NEW = (30, -20, 20), (-28, -25, 10)
BEFORE: Balls = {1: (OLD, 7)}
AFTER: Balls = {5: (NEW, 7)}


@pytest.fixture(scope="module")
def scans() -> tuple[Scan, Scan]:
    return timepoint(0, BEFORE), timepoint(1, AFTER)


def found(scans: tuple[Scan, Scan], mapping: Mapping, where: slice = slice(None)) -> tuple[Candidate, ...]:
    region = np.zeros((1, *scans[0].image.grid.shape), np.uint8)
    region[..., where] = scans[0].image.data[..., where] > 100
    images = scans[0].image, scans[1].image
    lesions = scans[0].lesions or (), scans[1].lesions or ()
    return candidates(*images, mapping, Image(region, images[0].grid), *lesions)


def test_a_new_and_a_vanished_lesion_come_first_with_their_sign_and_place(scans):
    first = {one.lesion or one.lesion_there: one for one in found(scans, truth(0, 1))[:2]}
    assert first["1"].sigma < 0 < first["5"].sigma
    center, there = scans[0].lesions[0].center, scans[1].lesions[0].center
    assert np.linalg.norm(first["1"].center - center) < 4
    assert np.linalg.norm(first["1"].center_there - carried(center, 0, 1)) < 4
    assert np.linalg.norm(first["5"].center_there - there) < 4


def test_only_the_region_is_searched(scans):
    half = scans[0].image.grid.shape[2] // 2
    voxel = scans[0].image.grid.to_voxel(scans[0].lesions[0].center)[2]
    side = slice(half, None) if voxel >= half else slice(0, half)
    assert {one.lesion or one.lesion_there for one in found(scans, truth(0, 1), side)} <= {"1", ""}


def test_what_is_stiff_follows_organs_and_no_lesion():
    field = truth(0, 1).displacements[0]
    points = np.array([[0.0, 0.0, 0.0], [20.0, 10.0, 5.0]])
    np.testing.assert_allclose(stiffened(Mapping((field,)))(points), Mapping((field,))(points), atol=1.5)
    small = Displacement(np.zeros_like(field.field), field.grid)
    d, h, w = np.rint(field.grid.to_voxel(points[0])).astype(int)
    small.field[0, d - 1 : d + 2, h - 1 : h + 2, w - 1 : w + 2] = 5.0
    assert np.abs(stiffened(Mapping((small,)))(points[0]) - points[0]).max() < 0.2
