"""Every method's field means what ours means: a wrong sign, axis or world would libel whoever made it."""

from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from benchmarks.tools import TOOLS, Job, ants, elastix, measured
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Displacement
from RegistrationNetLib.files.geometry import grid_of, image_to_sitk

CENTER = np.array([5.0, -7.0, 11.0])
# Oblique, left-handed, every spacing and size its own.
DIRECTIONS = Rotation.from_euler("xyz", [20, -30, 15], degrees=True).as_matrix()[:, [2, 0, 1]] * [1, -1, 1]
SHAPE, SPACING = np.array([30, 40, 34]), np.array([2.2, 1.5, 1.8])
GRID = Grid.of(SHAPE, SPACING, DIRECTIONS, CENTER - DIRECTIONS @ (SPACING * (SHAPE - 1) / 2))
TURN, SHIFT = Rotation.from_rotvec([0.02, 0.06, -0.08]).as_matrix(), np.array([2.5, -1.5, 3.5])
QUICK = {
    "elastix": partial(elastix, {"MaximumNumberOfIterations": "100"}),
    "ants-cc": partial(ants, "CC", 2, (40, 20, 0)),
}


def true_place(points: np.ndarray) -> np.ndarray:
    """Where the moving image shows what the fixed one shows here, LPS mm: a turn and a shift."""
    return (points - CENTER) @ TURN.T + CENTER + SHIFT


def scene(points: np.ndarray) -> np.ndarray:
    """Blobs in a ball around CENTER, 0 outside."""
    rng = np.random.default_rng(0)
    centres, widths, heights = rng.uniform(-26, 26, (60, 3)), rng.uniform(3, 7, 60), rng.uniform(70, 330, 60)
    away = points - CENTER
    blobs = sum(
        height * np.exp(-((away - centre) ** 2).sum(-1) / 2 / width**2)
        for centre, width, height in zip(centres, widths, heights, strict=True)
    )
    return (blobs * np.exp(-((away / 22) ** 4).sum(-1))).astype(np.float32)


FIXED, MOVING = (image_to_sitk(Image(scene(at)[None], GRID)) for at in (true_place(GRID.points()), GRID.points()))


LIKE_OTHERS = {"greedy-wide-long", "ants-cc-long"}  # with more iterations


@pytest.mark.parametrize("name", [name for name in TOOLS if name not in {"affine", *LIKE_OTHERS}])
def test_the_field_of_every_method_leads_to_the_true_place(name: str, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip(TOOLS[name].module)
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    field, _ = measured(QUICK.get(name, TOOLS[name].job)(FIXED, MOVING, 1))
    assert grid_of(field).isclose(GRID)
    body = sitk.GetArrayFromImage(FIXED) > 100
    wanted = (true_place(GRID.points()) - GRID.points())[body]
    error = np.linalg.norm(sitk.GetArrayFromImage(field)[body] - wanted, axis=-1).mean()
    # Any other sign or order of the components is off by more than half of it.
    assert error < 0.3 * np.linalg.norm(wanted, axis=-1).mean()


def test_leading_our_field_to_zero_beyond_its_border_is_timed_too():
    found = TOOLS["fast"].job(FIXED, MOVING, 1).run()
    assert isinstance(found, Displacement)
    assert np.abs(found.field).max() > 1
    assert all(not np.take(found.field, edge, axis).any() for axis in (1, 2, 3) for edge in (0, 1, -2, -1))


def test_only_the_registration_itself_is_timed():
    job = Job(lambda: sum(range(3_000_000)), lambda found: sitk.Image([2, 2, found % 7 + 1], sitk.sitkVectorFloat32, 3))
    _, took = measured(job)
    assert 0.01 < took["cpu_seconds"] < 5
    assert took["seconds"] > 0
    assert took["mib"] > 10
