"""Box sums and Gaussians are what they are called, whole or slab by slab."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from RegistrationNetLib.core import filters, spatial
from RegistrationNetLib.core import slabs as cuts
from RegistrationNetLib.core.filters import box_sum, smooth
from RegistrationNetLib.core.similarity import LocalCorrelation
from RegistrationNetLib.core.slabs import slabs

SHAPE = (13, 9, 11)


def texture(channels: int = 1, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    return torch.randn((1, channels, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of two slices."""
    monkeypatch.setattr(cuts, "_SLAB_VALUES", 2 * SHAPE[1] * SHAPE[2])


def test_slabs_cover_every_slice_once(thin: None) -> None:
    assert [index for rows in slabs(texture()) for index in range(rows.start, rows.stop)] == list(range(SHAPE[0]))
    assert len(slabs(texture())) == 7


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_a_box_sum_is_the_sum_over_the_window_inside_the_volume(radius: int, thin: None) -> None:
    volume = texture(2)
    expected = ndimage.uniform_filter(volume.numpy(), (1, 1, *[2 * radius + 1] * 3), mode="constant")
    np.testing.assert_allclose(box_sum(volume, radius), expected * (2 * radius + 1) ** 3, atol=1e-9)
    np.testing.assert_allclose(box_sum(volume, radius, slice(3, 8)), box_sum(volume, radius)[:, :, 3:8], atol=1e-12)


def test_a_gaussian_spreads_a_point_by_its_sigmas_and_little_else(thin: None) -> None:
    point = torch.zeros((1, 1, 31, 27, 29), dtype=torch.float64)
    point[0, 0, 15, 13, 14] = 1
    sigmas = (0.6, 1.3, 2.0)
    spread = smooth(point, sigmas)
    expected = ndimage.gaussian_filter(point[0, 0].numpy(), sigmas, truncate=5)
    assert np.abs(spread[0, 0].numpy() - expected).max() < 0.02 * expected.max()
    for axis, sigma in enumerate(sigmas):
        profile = spread[0, 0].sum([other for other in range(3) if other != axis])
        at = torch.arange(len(profile)) - (15, 13, 14)[axis]
        assert float((profile * at**2).sum()) ** 0.5 == pytest.approx(sigma, rel=0.06)


def test_a_constant_stays_one_up_to_the_border(thin: None) -> None:
    constant = torch.full((1, 1, *SHAPE), 3.0)
    torch.testing.assert_close(smooth(constant, [0.4, 1.3, 9.0]), constant)


def test_slabs_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all that is worked on slab by slab."""
    volume, field, step = texture(2), texture(3, 1), texture(3, 2).clamp(-0.9, 0.9)
    mask = (texture(1, 3) > -1).double()

    def everything() -> list[torch.Tensor]:
        similarity = LocalCorrelation.of(volume, mask=mask)
        value, gradient = similarity(texture(2, 4), mask)
        return [smooth(field, 1.3), spatial.advance(field, step), spatial.pull(volume, field[:, :2]), value, gradient]

    whole = everything()
    monkeypatch.setattr(cuts, "_SLAB_VALUES", 1)
    for thin, thick in zip(everything(), whole, strict=True):
        torch.testing.assert_close(thin, thick)


@pytest.mark.parametrize("shape", [SHAPE, (1, 9, 4), (3, 2, 31)])
def test_a_gpu_filters_by_matrices_to_the_same_result(shape: tuple[int, int, int], monkeypatch) -> None:
    volume = texture(2, shape=shape)

    def everything() -> list[torch.Tensor]:
        wide = [smooth(volume, sigmas) for sigmas in (1.3, (0.0, 0.6, 9.0))]
        return [*wide, box_sum(volume, 2), box_sum(volume, 5, slice(0, 1))]

    by_shifts = everything()
    monkeypatch.setattr(filters, "cached", lambda volume: False)
    for matrix, shift in zip(everything(), by_shifts, strict=True):
        torch.testing.assert_close(matrix, shift)


def test_what_prediction_filters_with_serves_training(monkeypatch) -> None:
    monkeypatch.setattr(filters, "cached", lambda volume: False)
    volume = texture(shape=(5, 6, 8)).requires_grad_()
    with torch.inference_mode():
        smooth(volume.detach(), 0.7)
    smooth(volume, 0.7).sum().backward()
    assert volume.grad is not None
