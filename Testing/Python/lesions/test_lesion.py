"""A lesion knows its place and size in the world, however its voxels are stored or numbered."""

import numpy as np
import pytest
from hypothesis import given

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.lesion import Lesion, clicked, outlined
from Testing.Python.strategies import Storage, grids, probes, storages


def two_boxes(grid: Grid) -> Image:
    """Label 3 in one corner, label 7 in the opposite one."""
    labels = np.zeros((1, *grid.shape), np.int16)
    labels[0, :2, :2, :2] = 3
    labels[0, -1:, -2:, -1:] = 7
    return Image(labels, grid, name="lesions")


@given(grids())
def test_each_label_is_a_lesion_with_its_own_voxels(grid: Grid):
    labels = two_boxes(grid)
    found = {lesion.name: lesion for lesion in outlined(labels)}
    assert set(found) == {"3", "7"}
    for name, lesion in found.items():
        inside = grid.points()[labels.scalar == int(name)]
        np.testing.assert_allclose(np.sort(lesion.points, axis=0), np.sort(inside, axis=0), atol=1e-6)
        assert lesion.volume_mm3 == pytest.approx(len(inside) * grid.voxel_volume)


@given(grids())
def test_a_point_lies_in_a_lesion_where_the_nearest_voxel_does(grid: Grid):
    labels = two_boxes(grid)
    places = probes(grid)
    voxel = grid.to_voxel(places)
    clear = np.abs(voxel - np.floor(voxel) - 0.5).min(axis=1) > 1e-3  # of the faces between voxels
    whole = Lesion("3", Image((labels.data == 3).astype(np.uint8), grid))
    cut = next(lesion for lesion in outlined(labels) if lesion.name == "3")
    nearest = np.rint(voxel).astype(int)
    expected = ((nearest >= 0) & (nearest < 2)).all(axis=1)
    for lesion in (whole, cut):
        assert np.array_equal(lesion.holds(places)[clear], expected[clear])


@given(grids(), storages())
def test_the_anchor_is_inside_and_does_not_depend_on_how_voxels_are_stored(grid: Grid, storage: Storage):
    labels = two_boxes(grid)
    for lesion, stored in zip(outlined(labels), outlined(storage.image(labels)), strict=True):
        assert lesion.holds(lesion.anchor)
        np.testing.assert_allclose(lesion.anchor, stored.anchor, atol=1e-6)


def test_the_anchor_of_a_ring_is_in_the_ring_and_not_in_its_hole():
    inside = np.ones((1, 3, 9, 9), np.uint8)
    inside[0, :, 3:6, 3:6] = 0
    ring = Lesion("ring", Image(inside, Grid.of((3, 9, 9), (1, 1, 1), np.eye(3), (0, 0, 0))))
    assert not ring.holds(ring.center)
    assert ring.holds(ring.anchor)


def test_a_click_is_its_point():
    lesion = clicked("1", (3.5, -20, 7))
    assert lesion.clicked
    np.testing.assert_allclose(lesion.center, (3.5, -20, 7))
    np.testing.assert_allclose(lesion.anchor, (3.5, -20, 7))


def test_an_empty_outline_is_refused_by_name():
    with pytest.raises(InputError, match="'4' has an empty outline"):
        Lesion("4", Image(np.zeros((1, 2, 2, 2), np.uint8), Grid.of((2, 2, 2), (1, 1, 1), np.eye(3), (0, 0, 0))))
