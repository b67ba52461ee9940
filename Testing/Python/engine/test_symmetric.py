"""What treats both images alike says the same of them whichever is fixed, and how far it is to be trusted."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.engine import symmetric
from RegistrationNetLib.engine.prepare import prepare
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.result import Watch
from RegistrationNetLib.engine.settings import Align, Prepare, Settings
from Testing.Python.engine.anatomy import grid, image, shifted

COARSE = Align(coarse_mm=14, fine_mm=6, starts=3)
SYMMETRIC = Settings(transform="affine", align=COARSE).with_values(refine__symmetric=True)


def turned(degrees, about) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = about - matrix[:3, :3] @ about
    return Affine(matrix)


def test_images_that_belong_together_are_trusted_and_others_doubted(coarse_phantom):
    noise = np.random.default_rng(0).random(coarse_phantom.moving.data.shape, np.float32)
    told = []
    for moving in (coarse_phantom.moving, replace(coarse_phantom.moving, data=noise)):
        report = register(coarse_phantom.fixed, moving, SYMMETRIC).report
        (check,) = [check for check in report["checks"] if check["name"] == "Affine alignment found"]
        told.append((report["alignment"]["confidence"], check["verdict"]))
    assert told == [("high", "good"), ("low", "look")]


def test_the_less_trusted_of_both_directions_counts(coarse_phantom, monkeypatch):
    prepared = symmetric.even(prepare(coarse_phantom.fixed, coarse_phantom.moving, Prepare()))
    trusts = []

    def kept(*args):
        found = align(*args)
        trusts.append(replace(found.trust, similarity=found.trust.similarity - 0.6 * len(trusts)))
        return replace(found, trust=trusts[-1])

    align = symmetric.align
    monkeypatch.setattr(symmetric, "align", kept)
    found = symmetric.align_both(prepared, COARSE, "rigid", None, lambda fraction: None)
    assert [trust.high for trust in trusts] == [True, False]
    assert found.trust is trusts[1]


def test_what_is_noted_is_noted_once_and_of_the_image_it_is_true_of(coarse_phantom):
    pair = coarse_phantom
    turn = turned((0, 0, 90), pair.moving.grid.center)
    grid = replace(pair.moving.grid, voxel_to_world=turn.matrix @ pair.moving.grid.voxel_to_world)
    prepared = symmetric.even(prepare(pair.fixed, replace(pair.moving, grid=grid), Prepare()))
    before = len(prepared.notes)
    symmetric.align_both(prepared, COARSE, "rigid", None, lambda fraction: None)
    (note,) = prepared.notes[before:]
    assert note.startswith(f"The headers say otherwise, but '{pair.moving.name}' fits best turned by")


def test_whether_the_headers_fit_best_is_decided_alike_from_both_sides(monkeypatch):
    """Two bodies, of which each image shows another one clearly; only one of these has moved."""
    where, move = grid(spacing=4, half=88), shifted((0, 0, 15))
    one, other, moved_one = (
        image(where, Mapping((shifted((x, 0, 0)), back))).data
        for x, back in ((45, shifted((0, 0, 0))), (-45, shifted((0, 0, 0))), (45, move.inverse()))
    )
    fixed, moving = Image(one + 0.2 * other, where), Image(0.2 * moved_one + other, where)
    monkeypatch.setattr(symmetric, "align_both", lambda *args: move)
    there = register(fixed, moving, SYMMETRIC)
    monkeypatch.setattr(symmetric, "align_both", lambda *args: move.inverse())
    back = register(moving, fixed, SYMMETRIC)
    np.testing.assert_allclose(there.mapping.affine.matrix @ back.mapping.affine.matrix, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (0, 0, 45), (40, 35, 30)])
def test_oblique_images_meet_on_no_more_voxels_than_are_allowed(degrees):
    most = 20_000
    turn = turned(degrees, np.zeros(3))
    oblique = replace(grid(), voxel_to_world=turn.matrix @ grid().voxel_to_world)
    prepared = symmetric.even(prepare(image(oblique), image(oblique), Prepare(max_voxels=most)))
    middle = symmetric.middle_grid(prepared, Affine(np.eye(4)), Affine(np.eye(4)))
    assert 0.7 * most < middle.voxels <= most
    assert min(np.array(middle.shape) * middle.spacing) > 119  # the whole field of view


def test_who_looks_on_sees_the_images_become_alike(coarse_phantom):
    seen: list[tuple[float, float]] = []
    settings = Settings.preset("fast").with_values(align=COARSE, refine__symmetric=True)
    register(coarse_phantom.fixed, coarse_phantom.moving, settings, watch=Watch(lambda *one: seen.append(one)))
    sizes = [size for size, _ in seen]
    assert len(set(sizes)) > 1
    assert sizes == sorted(sizes, reverse=True)
    coarsest = [value for size, value in seen if size == sizes[0]]
    assert 0 < coarsest[0] < coarsest[-1] < 1
