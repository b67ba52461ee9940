"""What two processes hand each other arrives as it was sent."""

import numpy as np
import pytest

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.engine import parcel
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.result import Reference, Registration

GRID = Grid.of((4, 5, 6), (2.0, 1.0, 0.5), np.eye(3)[:, ::-1], (-3.0, 7.0, 1.5))


def image(name: str, dtype: type = np.int16) -> Image:
    values = np.arange(GRID.voxels).reshape(1, *GRID.shape).astype(dtype)
    return Image(values, GRID, background=-1024.0, name=name)


def mapping() -> Mapping:
    matrix = np.eye(4)
    matrix[:3, 3] = 1 / 3, -2.5, 1e-7
    field = np.random.default_rng(0).normal(size=(3, *GRID.shape)).astype(np.float32)
    return Mapping((Displacement(field, GRID), Affine(matrix), Displacement(-field, GRID, inverted=True)))


def test_an_image_keeps_values_type_grid_background_and_name(tmp_path):
    sent = image("Müller: 1/2")
    parcel.put_image(tmp_path, "fixed", sent)
    got = parcel.get_image(tmp_path, "fixed")
    assert got is not None
    np.testing.assert_array_equal(got.data, sent.data)
    assert got.data.dtype == np.int16
    assert got.grid.shape == GRID.shape
    np.testing.assert_array_equal(got.grid.voxel_to_world, GRID.voxel_to_world)
    assert (got.background, got.name) == (sent.background, sent.name)


def test_a_registration_keeps_its_mapping_bit_for_bit(tmp_path):
    sent = Registration(mapping(), image("warped"), image("jacobian", np.float32), {"notes": ["a", "b"], "x": None})
    parcel.put_registration(tmp_path, sent)
    got = parcel.get_registration(tmp_path)
    assert [type(step) for step in got.mapping.steps] == [type(step) for step in sent.mapping.steps]
    np.testing.assert_array_equal(got.mapping.steps[1].matrix, sent.mapping.steps[1].matrix)
    for one, other in zip(got.mapping.displacements, sent.mapping.displacements, strict=True):
        np.testing.assert_array_equal(one.field, other.field)
        assert one.inverted == other.inverted
    assert got.report == sent.report


def test_what_was_not_given_is_none_and_an_unfinished_result_is_refused(tmp_path):
    parcel.put_image(tmp_path, "fixed_mask", None)
    parcel.put_mapping(tmp_path, "initial", None)
    assert parcel.get_image(tmp_path, "fixed_mask") is None
    assert parcel.get_mapping(tmp_path, "initial") is None
    parcel.put_mapping(tmp_path, "mapping", mapping())
    with pytest.raises(FileNotFoundError):
        parcel.get_registration(tmp_path)


@pytest.mark.parametrize("hints", [None, (np.array([[1 / 3, -2.0, 5.0]]), np.array([[0.1, 7.0, 1e-7]]))])
def test_constraints_arrive_as_they_were_asked(tmp_path, hints):
    sent = Constraints(rigid=image("bones"), region=image("near"), margin_mm=7.5, hints=hints)
    parcel.put_constraints(tmp_path, sent)
    got = parcel.get_constraints(tmp_path)
    assert got.volume is None
    assert got.margin_mm == 7.5
    for name in ("rigid", "region"):
        np.testing.assert_array_equal(getattr(got, name).data, getattr(sent, name).data)
    for arrived, left in zip(got.hints or (), hints or (), strict=True):
        np.testing.assert_array_equal(arrived, left)


def test_what_measures_survives_the_trip(tmp_path):
    grid = Grid.of((3, 4, 5), (1, 2, 3), np.eye(3), (0, 0, 0))
    labels = [Image(np.full((1, 3, 4, 5), value, np.uint8), grid, name=f"labels {value}") for value in (1, 2)]
    points = np.array([[1.0, 2, 3], [4, 5, 6]])
    for number, reference in enumerate((Reference(*labels, points, points + 1), Reference(*labels), None)):
        folder = tmp_path / str(number)
        folder.mkdir()
        parcel.put_reference(folder, reference)
        back = parcel.get_reference(folder)
        assert (back is None) == (reference is None)
        if back is not None:
            np.testing.assert_array_equal(back.moving_labels.data, labels[1].data)
            assert back.fixed_labels.name == "labels 1"
            assert (back.fixed_landmarks is None) == (reference.fixed_landmarks is None)
            assert np.array_equal(back.moving_landmarks, reference.moving_landmarks)
