"""Volumes turned upright: exactly, and fields with them."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.engine.predict import Model, predict
from RegistrationNetLib.engine.upright import Turn

UPRIGHT = np.eye(3)[:, ::-1]
"""d, h and w along z, y and x."""


@st.composite
def grids(draw) -> Grid:
    """Axes exchanged, flipped and a little oblique."""
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    tilt = Rotation.from_euler("xyz", draw(st.tuples(*[st.integers(-25, 25)] * 3)), degrees=True).as_matrix()
    return Grid.of((5, 6, 7), (1.0, 2.0, 3.0), (tilt @ np.eye(3)[:, order]) * signs, (10, -20, 30))


@given(grids())
def test_upright_voxels_lie_where_they_did_and_run_to_superior_posterior_and_left(grid):
    turn = Turn.of(grid)
    upright = turn.grid(grid)
    assert np.all(np.sum(upright.directions * UPRIGHT, axis=0) > 0.5)
    world = torch.from_numpy(np.moveaxis(grid.points(), -1, 0)[None])
    assert np.allclose(turn.there(world)[0].movedim(0, -1).numpy(), upright.points())


@given(grids())
def test_a_turned_field_leads_to_the_same_places_and_back_is_the_way_it_came(grid):
    turn = Turn.of(grid)
    field = torch.randn(1, 3, *grid.shape, generator=torch.Generator().manual_seed(1)).double()
    upright = turn.field_there(field)
    assert torch.equal(turn.field_back(upright), field)
    volume = torch.rand(1, 2, *grid.shape, generator=torch.Generator().manual_seed(2)).double()
    warped = spatial.warp(turn.there(volume), upright)
    torch.testing.assert_close(warped, turn.there(spatial.warp(volume, field)))


class Brightness(torch.nn.Module):
    """A network that must be told which way is up."""

    def forward(self, fixed, moving):
        zero = torch.zeros_like(fixed)
        return [torch.cat([fixed - moving, zero, 0.5 * fixed], dim=1)]


@given(grids())
def test_however_a_file_is_stored_the_network_sees_the_same(grid):
    turn, model = Turn.of(grid), Model("own", "", Brightness())
    stored = torch.rand(2, 1, 1, *grid.shape, generator=torch.Generator().manual_seed(3))
    upright = [turn.there(image) for image in stored]
    there = predict(model, *upright, turn.grid(grid))
    torch.testing.assert_close(turn.field_there(predict(model, *stored, grid)), there)
