"""Voxel-unit field maths against cases that are known on paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.ndimage import map_coordinates

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import field_on, to_displacement
from Testing.Python.strategies import grids, linear_fields, numbers, sampled, wave_fields

SHAPE = (7, 9, 11)
CENTER = (np.array(SHAPE) - 1) / 2


def linear(matrix: np.ndarray, shift: np.ndarray | tuple[float, ...] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    """u(x) = A (x - c) + b in voxels, (1, 3, D, H, W) float64."""
    lattice = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in SHAPE), indexing="ij"))
    centered = lattice - CENTER[:, None, None, None]
    return torch.as_tensor(np.einsum("ij,jdhw->idhw", matrix, centered) + np.reshape(shift, (3, 1, 1, 1)))[None]


def inner(field: torch.Tensor, margin: int = 2) -> torch.Tensor:
    return field[..., margin:-margin, margin:-margin, margin:-margin]


def in_voxels(field: Callable[[np.ndarray], np.ndarray], grid: Grid) -> torch.Tensor:
    """A field in closed form, at a grid's voxels and in its voxel units, by hand."""
    points = grid.points()
    voxels = grid.to_voxel(points + field(points)) - grid.to_voxel(points)
    return torch.as_tensor(np.moveaxis(voxels, -1, 0))[None]


slopes = numbers(-0.15, 0.15, 9).map(lambda values: values.reshape(3, 3))


@given(st.integers(0, 99))
def test_sampling_at_voxels_gives_the_voxels_and_between_them_what_scipy_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=SHAPE)
    positions = rng.uniform(-3, np.array(SHAPE) + 2, (40, 3)).T
    positions[:, :10] = rng.integers(0, SHAPE, (10, 3)).T
    got = spatial.sample(torch.as_tensor(volume)[None, None], torch.as_tensor(positions)[None, :, :, None, None])
    expected = map_coordinates(volume, positions, order=1, mode="nearest")
    np.testing.assert_allclose(got.numpy().ravel(), expected, atol=1e-9)


def test_padding_with_zeros_fades_within_one_voxel_and_a_single_slice_is_no_trouble() -> None:
    volume = torch.ones(1, 1, 1, 4, 5)
    at = torch.tensor([[0.0, 0, 0], [0.0, -0.5, 2], [0.0, -1.5, 2], [0.0, 3.25, 4]]).T[None, :, :, None, None]
    got = spatial.sample(volume, at, padding="zeros").ravel()
    np.testing.assert_allclose(got, [1, 0.5, 0, 0.75], atol=1e-6)


def test_warping_pulls_from_where_the_field_points() -> None:
    volume = torch.zeros(1, 1, *SHAPE)
    volume[0, 0, 4, 5, 6] = 1
    field = torch.zeros(1, 3, *SHAPE)
    field[:, 0], field[:, 1], field[:, 2] = 1, -2, 3
    assert spatial.warp(volume, field)[0, 0, 3, 7, 3] == 1


@given(slopes, slopes, numbers(-0.5, 0.5), numbers(-0.5, 0.5))
def test_composition_applies_the_first_field_first(a: np.ndarray, b: np.ndarray, s: np.ndarray, t: np.ndarray) -> None:
    # (I + B)((I + A) x + s) + t - x
    expected = linear(a + b + b @ a, s + t + b @ s)
    got = spatial.compose(linear(a, s), linear(b, t))
    np.testing.assert_allclose(inner(got), inner(expected), atol=1e-9)


@given(slopes, numbers(-0.5, 0.5))
def test_integrating_a_linear_velocity_is_the_matrix_exponential(a: np.ndarray, s: np.ndarray) -> None:
    generator = np.zeros((4, 4))
    generator[:3, :3], generator[:3, 3] = a, s
    flow = expm(generator) - np.eye(4)
    steps = 12
    got = spatial.integrate(linear(a, s), steps)
    # 2^steps Euler steps: (1 + x/n)^n falls short of e^x by x^2 / 2n of it.
    np.testing.assert_allclose(inner(got, 3), inner(linear(flow[:3, :3], flow[:3, 3]), 3), atol=5e-3)


@given(numbers(-0.9, 0.9, 9))
def test_the_determinant_of_a_linear_field_is_exact_in_every_voxel(values: np.ndarray) -> None:
    a = values.reshape(3, 3)
    got = spatial.jacobian_determinant(linear(a))
    assert got.shape == (1, 1, *SHAPE)
    np.testing.assert_allclose(got, np.linalg.det(np.eye(3) + a), atol=1e-9)


def test_along_an_axis_of_one_voxel_nothing_changes() -> None:
    ramp = 2 * torch.arange(5.0).view(1, 1, 1, 1, 5).expand(1, 1, 1, 4, 5)
    slopes_here = spatial.gradient(ramp)[0, 0]
    assert [float(value) for value in slopes_here.flatten(1).amax(1)] == [0, 0, 2]
    assert (spatial.jacobian_determinant(torch.zeros(1, 3, 1, 4, 5)) == 1).all()


def test_a_determinant_below_zero_marks_the_fold_and_only_the_fold() -> None:
    field = torch.zeros(1, 3, *SHAPE)
    field[:, 1, :, :, :] = torch.tensor([0.0, 0, 0, 0, -3, 0, 0, 0, 0])[None, :, None]
    folded = spatial.jacobian_determinant(field)[0, 0] <= 0
    assert folded[:, 3].all()  # (1 + (-3 - 0) / 2) < 0 just before the displaced row
    assert not folded[:, :3].any()
    assert not folded[:, 4:].any()


@settings(max_examples=40)
@given(grids(low=6, high=9), st.data())
def test_the_determinant_is_the_same_in_voxels_and_in_the_world(grid: Grid, data: st.DataObject) -> None:
    field = data.draw(linear_fields(grid))
    voxels = spatial.jacobian_determinant(in_voxels(field, grid))
    np.testing.assert_allclose(voxels, np.linalg.det(np.eye(3) + field.slope), atol=2e-3)


@given(grids(), st.data())
def test_a_field_in_voxels_and_in_millimetres_moves_the_same_points(grid: Grid, data: st.DataObject) -> None:
    field = data.draw(wave_fields(grid))
    there = to_displacement(in_voxels(field, grid), grid)
    np.testing.assert_allclose(there.field, sampled(field, grid).field, atol=1e-3)


@given(grids(low=4, high=6), st.data())
def test_a_resized_field_still_moves_the_same_points_of_the_world(grid: Grid, data: st.DataObject) -> None:
    field = data.draw(linear_fields(grid))
    shape = tuple(2 * n + 1 for n in grid.shape)
    finer = grid.resampled(shape)
    moved = to_displacement(spatial.resize_field(in_voxels(field, grid), shape), finer)
    between = grid.contains(finer.points(), margin_voxels=0)
    np.testing.assert_allclose(np.moveaxis(moved.field, 0, -1)[between], field(finer.points())[between], atol=1e-3)


def test_resizing_there_and_back_keeps_a_ramp() -> None:
    ramp = torch.arange(8.0)[None, None, :, None, None].expand(1, 1, 8, 8, 8)
    back = spatial.resize(spatial.resize(ramp, (16, 16, 16)), (8, 8, 8))
    np.testing.assert_allclose(back[:, :, 1:-1], ramp[:, :, 1:-1], atol=1e-6)


@given(grids(), st.data())
def test_a_mapping_on_its_own_grid_gives_the_voxel_field_back(grid: Grid, data: st.DataObject) -> None:
    field = data.draw(wave_fields(grid))
    got = field_on(Mapping((sampled(field, grid),)), grid)
    np.testing.assert_allclose(got, in_voxels(field, grid), atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_lattice_follows_the_type_it_is_given(dtype: torch.dtype) -> None:
    lattice = spatial.lattice((2, 3, 4), torch.empty(0, dtype=dtype))
    assert lattice.dtype == dtype
    assert lattice[0, :, 1, 2, 3].tolist() == [1, 2, 3]


@pytest.mark.parametrize("step", [(0.4, 0.0, 0.0), (0.0, -0.7, 0.0), (0.3, -0.2, 0.9)])
def test_advancing_by_the_same_step_everywhere_is_composing_with_it(step: tuple[float, float, float]) -> None:
    field = linear(np.array([[0.1, 0.2, -0.1], [0.0, -0.3, 0.2], [0.3, 0.1, 0.05]]), (1.0, -2.0, 0.5))
    everywhere = linear(np.zeros((3, 3)), step)
    torch.testing.assert_close(inner(spatial.advance(field, everywhere)), inner(spatial.compose(everywhere, field)))


def test_advancing_differs_from_composing_by_the_square_of_the_step() -> None:
    lattice = spatial.lattice((15, 14, 16), torch.empty(0, dtype=torch.float64))
    field = torch.cos(lattice.sum(1, keepdim=True) / 6 + lattice / 9)
    wave = 0.8 * torch.sin(lattice.sum(1, keepdim=True) / 5 - lattice / 7)

    def apart(size: float) -> float:
        difference = spatial.advance(field, size * wave) - spatial.compose(size * wave, field)
        return float(inner(difference).abs().max())

    assert 0 < apart(0.25) < apart(1.0) / 8


def test_a_pull_is_the_derivative_by_the_displacement() -> None:
    """Of a sum over a warped ramp, whose gradient is the same everywhere."""
    ramp = linear(np.array([[0.5, -1.0, 2.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))[:, :2]
    by_value = torch.rand((1, 2, *SHAPE), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    still = torch.zeros((1, 3, *SHAPE), dtype=torch.float64, requires_grad=True)
    (spatial.warp(ramp, still) * by_value).sum().backward()
    assert still.grad is not None
    torch.testing.assert_close(inner(spatial.pull(ramp, by_value), 1), inner(still.grad, 1))
