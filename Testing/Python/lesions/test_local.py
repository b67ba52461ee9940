"""The second look around a lesion: it finds the place better, leaves the lesion's inside out, and keeps volumes."""

import numpy as np
import pytest

from Python.lesions.heads import LESION, Balls, timepoint
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.engine.nearby import nudge
from RegistrationNetLib.lesions.forward import determinant
from RegistrationNetLib.lesions.likeness import alike
from RegistrationNetLib.lesions.local import FARTHEST_MM, corrected
from RegistrationNetLib.lesions.study import Scan, box_around, label_map

BALLS: Balls = {1: ((30, -20, 20), 7), 2: ((-30, 10, 25), 7), 3: ((-30, 26, 25), 4)}


@pytest.fixture(scope="module")
def scan() -> Scan:
    return timepoint(0, BALLS, voxel_mm=3.0)


def shift(x: float, y: float = 0.0, z: float = 0.0) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = (x, y, z)
    return Affine(matrix)


def centers(scan: Scan) -> Points:
    return np.array([one.center for one in scan.lesions or ()])


@pytest.fixture(scope="module")
def found(scan: Scan) -> Mapping:
    """The scan onto itself through a mapping that is 2.9 mm off; the other side's lesions have all faded away."""
    bright = scan.image.data > 0.8 * 4 * LESION
    faded = Image(np.where(bright, 500, scan.image.data).astype(np.int16), scan.image.grid)
    mapping, looked = corrected(scan.image, faded, scan.lesions or (), Mapping((shift(2.5, -1.5),)), nudge)
    assert [(one.lesions, one.kept) for one in looked] == [(("1",), True), (("2", "3"), True)]  # 3 is close to 2
    return mapping


def test_a_place_that_is_off_is_found_though_the_lesion_itself_has_changed(scan: Scan, found: Mapping):
    assert np.linalg.norm(found(centers(scan)) - centers(scan), axis=1).max() < 0.7


def test_every_lesion_and_a_voxel_around_it_is_hidden_from_the_second_look(scan: Scan):
    seen: list[Image] = []

    def spy(fixed: Image, moving: Image, mapping: Mapping, hidden: Image, apart: Image | None) -> Affine:
        seen.append(hidden)
        return shift(0)

    corrected(scan.image, scan.image, scan.lesions or (), Mapping(), spy)
    for hidden in seen:
        points = np.concatenate([one.points for one in scan.lesions or ()])
        beside = np.concatenate([points, points + hidden.grid.voxel_to_world[:3, 0]])
        voxels = np.rint(hidden.grid.to_voxel(beside[hidden.grid.contains(beside, 0.1)])).astype(int)
        assert hidden.scalar[tuple(voxels.T)].all()
        assert hidden.scalar.mean() < 0.2


def test_what_is_hidden_has_no_influence(scan: Scan):
    lesion = (scan.lesions or ())[0]
    box = box_around(lesion.points, scan.image.grid, 20.0)
    hidden = label_map((lesion,), box)
    whole = label_map((lesion,), scan.image.grid).data > 0
    noise = np.random.default_rng(0).integers(0, 1500, whole.shape)
    spoilt = Image(np.where(whole, noise, scan.image.data).astype(np.int16), scan.image.grid)
    looked = [nudge(image, scan.image, Mapping((shift(1.5),)), hidden, None).matrix for image in (scan.image, spoilt)]
    np.testing.assert_allclose(looked[0], looked[1], atol=1e-6)
    seen = nudge(spoilt, scan.image, Mapping((shift(1.5),)), Image(0 * hidden.data, box), None).matrix
    assert np.abs(seen - looked[0]).max() > 1e-3


def test_no_volume_is_changed_by_it(scan: Scan, found: Mapping):
    for lesion in scan.lesions or ():
        inside = determinant(lesion, found)
        values = inside.scalar[tuple(np.rint(inside.grid.to_voxel(lesion.points)).astype(int).T)]
        assert abs(values.mean() - 1) < 0.0025


def test_far_from_lesions_nothing_is_changed(scan: Scan, found: Mapping):
    far = centers(scan).mean(axis=0) + np.array([[0.0, 0.0, -80.0], [0.0, 70.0, -40.0]])
    np.testing.assert_allclose(found(far) - far, [[2.5, -1.5, 0.0]] * 2, atol=1e-6)


def test_the_correction_fades_without_a_tear(scan: Scan, found: Mapping):
    line = centers(scan)[0] + np.arange(60)[:, None] * [0.0, 0.0, 1.0]
    moved = found(line) - line
    assert np.linalg.norm(moved[0] - moved[-1]) > 2
    assert np.linalg.norm(np.diff(moved, axis=0), axis=1).max() < 0.4


@pytest.mark.parametrize("wrong", [shift(1.0), shift(FARTHEST_MM + 0.5)])
def test_what_makes_the_surroundings_no_more_alike_or_moves_far_is_not_kept(scan: Scan, wrong: Affine):
    start = Mapping() if wrong.matrix[0, 3] < 2 else Mapping((wrong.inverse(),))
    mapping, looked = corrected(scan.image, scan.image, scan.lesions or (), start, lambda *_: wrong)
    assert not any(one.kept for one in looked)
    np.testing.assert_array_equal(mapping(centers(scan)), start(centers(scan)))


def test_likeness_knows_no_contrast_but_knows_shape(scan: Scan):
    points = scan.image.grid.to_world(np.argwhere(scan.image.scalar > 300)[::50])
    inverted = Image((3000 - 2 * scan.image.data.astype(np.int32)), scan.image.grid)
    assert alike(scan.image, inverted, Mapping(), points) == pytest.approx(1)
    assert alike(scan.image, scan.image, Mapping((shift(4.0),)), points) < 0.9
