"""The preview shows the right voxels, the right way up, in true proportions, and says what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.colors import Normalize
from matplotlib.image import imread

from Python.files.strategies import grids, smooth_displacement
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.files.colours import FOLDED, jacobian_colours
from RegistrationNetLib.files.planes import planes, sampled
from RegistrationNetLib.files.preview import _VOLUME, write_preview
from RegistrationNetLib.files.slices import _body

GRID = Grid.of((14, 18, 16), (3, 1, 1.5), np.eye(3)[:, [2, 1, 0]], (-10, -20, 30))


@settings(max_examples=40, deadline=None)
@given(grids(low=3))
def test_slices_are_turned_as_radiologists_look_at_them_whatever_the_storage(grid):
    toward = {"L": [1, 0, 0], "R": [-1, 0, 0], "P": [0, 1, 0], "A": [0, -1, 0], "S": [0, 0, 1], "I": [0, 0, -1]}
    for plane in planes(grid, grid.center):
        left, right, top, bottom = (np.array(toward[letter]) for letter in plane.letters)
        across = plane.points[0, -1] - plane.points[0, 0]
        down = plane.points[-1, 0] - plane.points[0, 0]
        assert across @ right > across @ left
        assert down @ bottom > down @ top
        assert abs(across @ right) >= abs(across @ bottom) or plane.tilt > 20  # a nearest axis of a very oblique grid


@settings(max_examples=40, deadline=None)
@given(grids(low=3))
def test_a_slice_shows_the_voxels_at_its_points(grid):
    world = grid.points()
    for plane in planes(grid, grid.center):
        for axis in range(3):
            np.testing.assert_allclose(plane.of(world[..., axis]), plane.points[..., axis], atol=1e-9)
        steps = [plane.points[1, 0] - plane.points[0, 0], plane.points[0, 1] - plane.points[0, 0]]
        np.testing.assert_allclose(plane.pixel_mm, np.linalg.norm(steps, axis=1))


def test_slices_go_through_the_point_asked_for():
    target = GRID.to_world([4, 11, 5])
    for plane in planes(GRID, target):
        assert np.linalg.norm(plane.points - target, axis=-1).min() < 1e-9
        assert plane.tilt == pytest.approx(0, abs=1e-5)


def test_values_are_sampled_where_the_image_has_any():
    image = Image((GRID.points() @ [1.0, 2, 3])[None], GRID, background=-7)
    points = GRID.to_world([[4.25, 3.5, 2.75], [40, 0, 0]])
    values, known = sampled(image, points)
    assert values[0] == pytest.approx(points[0] @ [1.0, 2, 3])
    assert values[1] == -7
    assert known.tolist() == [True, False]


@dataclass(frozen=True)
class Result:
    mapping: Mapping
    warped: Image
    jacobian: Image
    report: dict[str, Any] = field(default_factory=dict)


def blob(grid: Grid, name: str) -> Image:
    distance = np.linalg.norm(grid.points() - GRID.center, axis=-1)
    return Image((200 * np.exp(-((distance / 8) ** 2)))[None].astype(np.int16), grid, name=name)


MIDDLE = np.s_[5:9, 6:12, 5:11]
AIR = np.s_[:2]


def preview(path, determinant=1.0, checks=(), where=MIDDLE):
    """A result whose Jacobian is `determinant` in some voxels, 1 elsewhere."""
    jacobian = np.ones((1, *GRID.shape), np.float32)
    jacobian[0][where] = determinant
    mapping = Mapping((smooth_displacement(GRID, np.zeros(3), np.full(3, 2.0)), Affine(np.eye(4))))
    result = Result(mapping, blob(GRID, "warped"), Image(jacobian, GRID, 1.0), {"checks": list(checks)})
    write_preview(result, blob(GRID, "fixed.nii.gz"), blob(GRID.padded((0, 0, 0), (-3, 0, 0)), "moving.nii.gz"), path)
    return imread(path)[..., :3]


def count(picture: np.ndarray, colour: tuple[float, float, float]) -> int:
    return int((np.abs(picture - np.array(colour)) < 0.02).all(axis=-1).sum())


def test_folded_voxels_stand_out_in_the_warning_colour(tmp_path):
    magenta = (1.0, 0.0, 1.0)
    calm = count(preview(tmp_path / "calm.png"), magenta)
    folded = count(preview(tmp_path / "folded.png", determinant=-0.5), magenta)
    assert 0 < calm < 2000  # the legend's patches
    assert folded > calm + 1000
    assert count(preview(tmp_path / "air.png", determinant=-0.5, where=AIR), magenta) > calm + 1000


def test_growth_is_red_and_shrinkage_blue(tmp_path):
    calm, grown, shrunk = (preview(tmp_path / "a.png", determinant) for determinant in (1.0, 2.0, 0.5))

    def redness(picture: np.ndarray) -> float:
        return float((picture[..., 0] - picture[..., 2]).sum())

    assert redness(grown) > redness(calm) + 1000
    assert redness(shrunk) < redness(calm) - 1000


def test_what_the_mapping_does_in_the_air_is_not_shown(tmp_path):
    calm = preview(tmp_path / "calm.png")
    np.testing.assert_array_equal(preview(tmp_path / "air.png", determinant=1.8, where=AIR), calm)
    assert np.abs(preview(tmp_path / "body.png", determinant=1.8) - calm).max() > 0.3


def test_the_body_includes_the_air_it_encloses_and_no_specks_of_noise():
    brightness = np.zeros((150, 40, 30))
    brightness[30:120, 8:32, 5:25] = 0.7
    brightness[40:, 12:20, 10:20] = 0.05  # a lung, open where the scan ends
    brightness[:30][np.random.default_rng(0).uniform(size=(30, 40, 30)) > 0.98] = 0.6
    expected = np.zeros(brightness.shape, bool)
    expected[30:120, 8:32, 5:25] = True
    image = Image(brightness[None], Grid(brightness.shape, np.eye(4)))
    assert (_body(image, dark=0, bright=1) != expected).mean() < 0.01


def test_the_legend_has_the_colours_of_the_picture():
    values = np.linspace(0.01, 1.99, 50)
    legend = _VOLUME(Normalize(0, 2)(values))[:, :3]
    np.testing.assert_allclose(legend, jacobian_colours(values), atol=0.01)


def test_white_is_no_change_blue_shrinkage_red_growth_and_only_folding_magenta():
    assert jacobian_colours(np.array([1.0])).tolist() == [[1, 1, 1]]
    shrunk, grown = (jacobian_colours(np.array(values)) for values in ([0.75, 0.5, 0.25], [1.25, 1.5, 1.75]))
    assert (shrunk[:, 2] > shrunk[:, 0]).all()
    assert (grown[:, 0] > grown[:, 2]).all()
    assert (jacobian_colours(np.array([-3, -1e-6, 0])) == FOLDED).all()
    np.testing.assert_array_equal(jacobian_colours(np.array([2.0, 9.0]))[0], jacobian_colours(np.array([9.0]))[0])


def test_many_figures_are_wrapped_not_cut_off(tmp_path):
    checks = [
        {"name": f"Figure {n} (unit)", "value": "0.123 before, 0.456 after", "unit": "mm", "verdict": "bad"}
        for n in range(12)
    ]
    picture = preview(tmp_path / "a.png", checks=checks)
    assert count(picture[:, -8:], (1, 1, 1)) == picture.shape[0] * 8
    assert count(picture, (0xD1 / 255, 0x38 / 255, 0x2C / 255)) > 12 * 20  # one dot for each


def test_an_unwritable_path_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        preview(tmp_path / "nowhere" / "a.png")
