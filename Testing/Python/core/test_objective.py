"""What a network is trained for: each part as its definition says, with the right derivative, at every resolution."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from RegistrationNetLib.core import filters
from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.objective import Objective, Term, coarser, diffusion, lncc, pooled
from RegistrationNetLib.core.spatial import resize_field, warp


def texture(*shape: int, seed: int = 0, sigma: float = 1.0) -> torch.Tensor:
    noise = smooth(torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(seed)), sigma)
    return (noise - noise.min()) / (noise.max() - noise.min())


def constant(vector: tuple[float, ...], *shape: int) -> torch.Tensor:
    return torch.tensor(vector)[None, :, None, None, None].expand(1, 3, *shape).clone()


def by_definition(fixed: torch.Tensor, warped: torch.Tensor, radius: int) -> torch.Tensor:
    """covariance^2 / (variance_f variance_w + 1e-8) in each window, written out in double precision."""
    values = []
    shape = fixed.shape[2:]
    for d, h, w in np.ndindex(*shape):
        window = tuple(slice(max(i - radius, 0), i + radius + 1) for i in (d, h, w))
        f, m = (image[0, 0][window].double() for image in (fixed, warped))
        f, m = f - f.mean(), m - m.mean()
        values.append((f * m).mean() ** 2 / ((f * f).mean() * (m * m).mean() + 1e-8))
    return torch.stack(values).mean()


@pytest.mark.parametrize("contrast", [1.0, 0.1, 0.02])
def test_local_correlation_and_its_gradient_are_those_of_the_definition(contrast: float):
    fixed = 0.3 + contrast * (texture(7, 6, 8) - 0.5)
    warped = (0.6 + contrast * (texture(7, 6, 8, seed=1) - 0.5)).requires_grad_()
    value, expected = lncc(fixed, warped, radius=2), by_definition(fixed, warped, 2)
    assert value.item() == pytest.approx(expected.item(), rel=2e-3)
    (gradient,) = torch.autograd.grad(3 * value, warped)
    (truth,) = torch.autograd.grad(3 * expected, warped)
    torch.testing.assert_close(gradient, truth, rtol=0.01, atol=0.01 * truth.abs().max().item())


@pytest.mark.parametrize(("contrast", "value"), [(0.2, 1), (0.05, 1), (0.02, 0.94), (0.01, 0.5), (0.003, 0.01)])
def test_contrast_does_not_count_until_it_is_that_of_noise(contrast: float, value: float):
    pattern = torch.randn(1, 1, 14, 14, 14, generator=torch.Generator().manual_seed(3))
    fixed = 0.4 + contrast * pattern / pattern.std()
    assert lncc(fixed, 1 - fixed, 4).item() == pytest.approx(value, abs=0.02)


def test_what_is_flat_and_what_differs_is_not_alike():
    flat = torch.full((1, 1, 12, 12, 12), 0.4)
    assert lncc(flat, flat, 4).item() < 1e-3
    assert lncc(texture(12, 12, 12), texture(12, 12, 12, seed=1), 4).item() < 0.2


def test_a_batch_counts_as_the_mean_of_its_pairs():
    fixed, warped = (torch.cat([texture(9, 8, 10, seed=s) for s in seeds]) for seeds in ((1, 2), (3, 4)))
    alone = [lncc(fixed[i : i + 1], warped[i : i + 1], 2) for i in range(2)]
    torch.testing.assert_close(lncc(fixed, warped, 2), torch.stack(alone).mean())


def test_diffusion_is_the_mean_squared_step():
    field = torch.zeros(1, 3, 4, 5, 6)
    field[:, 1] = 2 * torch.arange(6.0)  # one of three components, along one of three axes, by 2 a voxel
    assert diffusion(field).item() == pytest.approx(4 / 9)
    assert diffusion(constant((1.0, 2.0, 3.0), 1, 5, 6)).item() == 0


@pytest.mark.parametrize(("level", "factor"), [((9, 8, 20), 1), ((5, 4, 10), 2), ((3, 2, 5), 4), ((1, 1, 2), 16)])
def test_a_level_is_known_by_its_shape_and_images_are_averaged_onto_it(level: tuple[int, int, int], factor: int):
    image = texture(9, 8, 20)
    assert coarser(image.shape[2:], level) == factor
    coarse = pooled(image, factor)
    assert coarse.shape[2:] == level
    filled = F.pad(image, [n for size in (20, 8, 9) for n in (0, -size % factor)], mode="replicate")
    cube = filled[0, 0, :factor, -factor:, factor : 2 * factor] if factor < 16 else filled[0, 0, :16, :16, 16:32]
    where = coarse[0, 0, 0, -1, 1]
    assert where.item() == pytest.approx(cube.double().mean().item(), rel=1e-4)


@pytest.mark.parametrize("similarity", ["lncc", "mse"])
@pytest.mark.parametrize("shape", [(32, 32, 32), (16, 16, 16), (8, 8, 8)])
def test_the_true_field_is_the_best_at_every_resolution(similarity: str, shape: tuple[int, int, int]):
    fixed = texture(32, 32, 32, sigma=3.0)
    true = constant((2.0, -1.0, 1.5), 32, 32, 32)
    moving = warp(fixed, -true)
    objective = Objective((Term(1, 0),), similarity)
    losses = [
        objective(fixed, moving, [resize_field(true * scale, shape)]).item() for scale in (0.0, 0.5, 1.0, 1.5, -1.0)
    ]
    assert losses.index(min(losses)) == 2


def test_terms_belong_to_the_fields_from_the_last_backwards():
    fixed, moving = texture(16, 16, 16), texture(16, 16, 16, seed=1)
    ramp = torch.linspace(0, 3, 8).expand(1, 3, 8, 8, 8)
    coarse, fine = ramp.clone(), resize_field(ramp, (16, 16, 16))
    both = Objective((Term(0.5, 2.0), Term(1.0, 3.0)))(fixed, moving, [coarse, fine])
    parts = [
        0.5 * Objective((Term(1, 0),))(fixed, moving, [coarse]),
        2.0 * diffusion(coarse),
        1.0 * Objective((Term(1, 0),))(fixed, moving, [fine]),
        3.0 * diffusion(fine),
    ]
    torch.testing.assert_close(both, torch.stack(parts).sum())
    torch.testing.assert_close(Objective()(fixed, moving, [coarse, fine]), Objective()(fixed, moving, [fine]))


def test_identical_images_without_a_field_are_the_best_there_is():
    image = texture(12, 12, 12)
    still = constant((0.0, 0.0, 0.0), 12, 12, 12)
    assert Objective()(image, image, [still]).item() == pytest.approx(-1, abs=1e-2)
    assert Objective(similarity="mse")(image, image, [still]).item() == pytest.approx(0, abs=1e-6)


def test_half_precision_around_it_loses_no_variance_on_a_gpu(monkeypatch):
    monkeypatch.setattr(filters, "cached", lambda volume: False)  # which filters by matrix products
    fixed, warped = (0.3 + 0.05 * texture(12, 12, 12, seed=seed) for seed in (0, 1))
    plain = lncc(fixed, warped, 2)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(lncc(fixed, warped, 2), plain)


@pytest.mark.parametrize(("factor", "radius"), [(1, 3), (2, 2), (8, 1)])
def test_windows_become_smaller_with_every_halving(factor: int, radius: int):
    torch.manual_seed(0)
    fixed, moving = torch.rand(2, 1, 1, 16, 24, 16)
    field = torch.zeros(1, 3, 16 // factor, 24 // factor, 16 // factor)
    value = Objective(radius=3)(fixed, moving, [field])
    torch.testing.assert_close(value, -lncc(pooled(fixed, factor), pooled(moving, factor), radius))
