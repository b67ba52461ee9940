"""The pictures show the right place, the right way round and to scale."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from scipy.spatial.transform import Rotation

from Python.reporting.studies import balls, events
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.lesions.follow import Tracking
from RegistrationNetLib.lesions.table import entries
from RegistrationNetLib.reporting.crops import PIXELS, Crop, _acquired, _frame, crops
from RegistrationNetLib.reporting.pictures import drawn

TOWARDS = {"R": (-1, 0, 0), "L": (1, 0, 0), "A": (0, -1, 0), "P": (0, 1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
CENTER, RADIUS = (4.0, -6.0, 9.0), 9.0


def lattice(
    spacing: tuple[float, float, float], turn: np.ndarray, order: tuple[int, ...], flips: tuple[int, ...]
) -> Grid:
    """About 90 mm around the ball's neighbourhood, its axes stored in any order and direction."""
    directions = (turn @ np.eye(3)[:, ::-1])[:, list(order)] * np.array(flips)
    steps = np.array(spacing)[list(order)]
    shape = np.rint(90 / steps).astype(int)
    middle = np.array((0.0, 0.0, 5.0))
    return Grid.of(shape, steps, directions, middle - directions @ (steps * (shape - 1) / 2))


LATTICES = st.builds(
    lattice,
    st.sampled_from([(3.0, 1.5, 1.5), (1.5, 1.5, 3.0), (1.5, 3.0, 1.5), (2.0, 2.0, 2.0)]),
    st.tuples(*[st.floats(-0.3, 0.3)] * 3).map(lambda turn: Rotation.from_rotvec(turn).as_matrix()),
    st.permutations(range(3)).map(tuple),
    st.tuples(*[st.sampled_from((-1, 1))] * 3),
)


def shown(grids: list[Grid]) -> tuple[Crop, ...]:
    tracking = balls(grids, CENTER, RADIUS).tracking
    return crops("1", tracking, entries(tracking))


@settings(max_examples=40)
@given(LATTICES)
def test_letters_say_what_lies_there_however_voxels_are_stored(grid: Grid):
    plane = _acquired(grid, np.array(CENTER))
    frame = _frame(plane, grid, np.array(CENTER), 40.0)
    left, right, top, bottom = (np.array(TOWARDS[letter]) for letter in plane.letters)
    assert min(frame.right @ right, frame.right @ -left, frame.down @ bottom, frame.down @ -top) > 0.8
    assert abs(frame.right @ frame.down) < 1e-9


@settings(max_examples=8)
@given(LATTICES, LATTICES)
def test_all_scans_are_cut_alike_and_the_lesion_has_its_size(first: Grid, second: Grid):
    pair = shown([first, second])
    assert len({(crop.mm_per_pixel, crop.window) for crop in pair}) == 1
    for crop, grid in zip(pair, (first, second), strict=True):
        inside = crop.inside > 0.5
        diameter = 2 * np.sqrt(inside.sum() / np.pi) * crop.mm_per_pixel
        assert diameter == pytest.approx(2 * RADIUS, abs=1.5 * grid.spacing.max())
        off = np.argwhere(inside).mean(axis=0) - (PIXELS - 1) / 2
        assert np.abs(off * crop.mm_per_pixel).max() < grid.spacing.max()
        assert crop.values[inside].mean() > 700 > crop.values[~inside].mean()
        assert crop.colours[inside].mean() > crop.colours[~inside & crop.known].mean() + 0.3


def test_the_line_is_the_longest_diameter_where_it_was_measured():
    grid = lattice((3.0, 1.5, 1.5), Rotation.from_rotvec((0.2, 0.1, -0.2)).as_matrix(), (0, 1, 2), (1, 1, 1))
    crop = shown([grid, grid])[0]
    assert crop.line is not None
    assert np.linalg.norm(crop.line[1] - crop.line[0]) == pytest.approx(2 * RADIUS, abs=2.0)
    assert np.abs(crop.line.mean(axis=0) - crop.side_mm / 2).max() < 1e-6


def test_the_scale_bar_is_as_long_as_it_says():
    crop = shown([lattice((2, 2, 2), np.eye(3), (0, 1, 2), (1, 1, 1))] * 2)[0]
    pixels = np.asarray(Pillow.open(BytesIO(drawn(crop).png)).convert("L"))
    row = pixels[int(0.94 * len(pixels))]
    bar = np.flatnonzero(row[: len(row) // 2] > 230)
    mm = (bar.max() - bar.min() + 1) * crop.side_mm / len(row)
    assert mm == pytest.approx(10, abs=0.6)


@pytest.fixture(scope="module")
def tracking() -> Tracking:
    return events().tracking


def test_where_nobody_outlined_the_carried_outline_is_shown_and_marked_as_such(tracking: Tracking):
    rows = [one for one in entries(tracking) if one.lesion == "1"]
    first, carried, last = crops("1", tracking, rows)
    assert [crop.carried for crop in (first, carried, last)] == [False, True, False]
    assert (carried.inside > 0.5).any()
    assert (carried.status, carried.line) == ("carried", None)


def test_what_is_new_is_looked_for_on_earlier_scans_too(tracking: Tracking):
    rows = [one for one in entries(tracking) if one.status == "new"]
    before, between, here = crops(rows[0].lesion, tracking, rows)
    assert [crop.inside.any() for crop in (before, between)] == [False, False]
    assert here.status == "new"
    middle = slice(PIXELS // 2 - 10, PIXELS // 2 + 10)
    assert here.values[middle, middle].mean() > 1.2 * before.values[middle, middle].mean()


def test_what_lies_outside_a_scan_is_grey_and_not_black():
    grid = lattice((2, 2, 2), np.eye(3), (0, 1, 2), (1, 1, 1))
    corner = balls([grid, grid], (-40.0, 0.0, 5.0), 6.0).tracking
    crop = crops("1", corner, entries(corner))[0]
    assert not crop.known.all()
    assert (crop.colours[~crop.known] == crop.colours[~crop.known][0]).all()
    assert crop.colours[~crop.known][0].min() > 0.3
