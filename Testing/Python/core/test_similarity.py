"""Local correlation: exact derivatives, and what it holds to be alike."""

import pytest
import torch

from RegistrationNetLib.core.filters import box_sum, fill, smooth
from RegistrationNetLib.core.similarity import LocalCorrelation


def texture(shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    noise = torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed))
    return smooth(noise, 1.0)


def by_definition(fixed: torch.Tensor, moving: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The weighted sum over windows, written out with pooling (which leaves out what lies beyond the border)."""

    def mean(volume: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool3d(volume, 5, stride=1, padding=2, count_include_pad=False)

    covariance = mean(fixed * moving) - mean(fixed) * mean(moving) + epsilon
    variances = [mean(image * image) - mean(image) ** 2 + epsilon for image in (fixed, moving)]
    return (weight * covariance**2 / (variances[0] * variances[1])).sum()


def test_value_and_derivative_are_those_of_the_definition() -> None:
    fixed, moving = texture((9, 11, 8), 1).double(), texture((9, 11, 8), 2).double().requires_grad_()
    weight = (texture((9, 11, 8), 3) > 0).double()
    total = by_definition(fixed, moving, weight, 1e-3)
    expected = torch.autograd.grad(total, moving)[0]
    value, gradient = LocalCorrelation.of(fixed, epsilon=1e-3)(moving.detach(), weight)
    torch.testing.assert_close(value, total.detach() / weight.sum())
    torch.testing.assert_close(gradient, expected)


def masked_by_definition(fixed: torch.Tensor, moving: torch.Tensor, mask: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The sum over the windows centred in the mask, each made of the mask's voxels alone."""

    def mean(volume: torch.Tensor) -> torch.Tensor:
        pooled = [
            torch.nn.functional.avg_pool3d(part, 5, stride=1, padding=2, divisor_override=1)
            for part in (volume * mask, mask)
        ]
        return pooled[0] / pooled[1].clamp(min=1)

    covariance = mean(fixed * moving) - mean(fixed) * mean(moving) + epsilon
    variances = [mean(image * image) - mean(image) ** 2 + epsilon for image in (fixed, moving)]
    return (mask * covariance**2 / (variances[0] * variances[1])).sum()


def test_windows_over_a_masks_border_are_made_of_what_is_inside() -> None:
    fixed, moving = texture((9, 11, 8), 1).double(), texture((9, 11, 8), 2).double().requires_grad_()
    mask = (texture((9, 11, 8), 3) > 0).double()
    total = masked_by_definition(fixed, moving, mask, 1e-3)
    expected = torch.autograd.grad(total, moving)[0]
    for similarity in (LocalCorrelation.of(fixed, mask=mask), LocalCorrelation.of(fixed).within(mask)):
        value, gradient = similarity(moving.detach())
        torch.testing.assert_close(value, total.detach() / mask.sum())
        torch.testing.assert_close(gradient, expected)


def test_what_a_mask_hides_changes_not_a_bit() -> None:
    fixed, moving = texture((14, 14, 14), 7), texture((14, 14, 14), 8)
    mask = torch.zeros_like(fixed)
    mask[..., :7] = 1
    garbage = [torch.where(mask > 0, image, 5 * torch.rand_like(image)) for image in (fixed, moving)]
    first = LocalCorrelation.of(fixed, mask=mask)(moving)
    second = LocalCorrelation.of(garbage[0], mask=mask)(garbage[1])
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert float(first[1][..., 7:].abs().max()) == 0


def test_identical_images_are_a_maximum_with_no_force() -> None:
    image = texture((12, 12, 12), 4)
    value, gradient = LocalCorrelation.of(image)(image)
    assert float(value) == pytest.approx(1, abs=1e-5)
    assert float(gradient.abs().max()) < 1e-4


def test_contrast_may_differ_or_be_inverted() -> None:
    image = texture((12, 12, 12), 5)
    alike, inverted, other = (
        float(LocalCorrelation.of(image, epsilon=1e-6)(moving)[0])
        for moving in (0.5 * image + 0.2, -image, texture((12, 12, 12), 6))
    )
    assert alike > 0.99
    assert inverted > 0.99
    assert other < 0.5


def test_windows_without_weight_say_nothing() -> None:
    fixed, moving = texture((14, 14, 14), 7), texture((14, 14, 14), 8)
    weight = torch.zeros_like(fixed)
    weight[..., :7] = 1
    changed = moving.clone()
    changed[..., 9:] = 5  # beyond the reach of the weighted windows
    similarity = LocalCorrelation.of(fixed)
    first, second = similarity(moving, weight), similarity(changed, weight)
    torch.testing.assert_close(first[0], second[0])
    torch.testing.assert_close(first[1], second[1])


def test_box_sum_counts_the_voxels_of_each_window() -> None:
    counts = box_sum(torch.ones((1, 1, 7, 7, 7)), 2)
    assert float(counts[0, 0, 3, 3, 3]) == 125
    assert float(counts[0, 0, 0, 0, 0]) == 27


@pytest.mark.parametrize("sigma", [0.5, 1.3, [0.0, 2.0, 0.7]])
def test_smoothing_keeps_a_constant_up_to_the_border(sigma: float | list[float]) -> None:
    constant = torch.full((1, 3, 5, 9, 12), 2.5)
    torch.testing.assert_close(smooth(constant, sigma), constant)


def test_invalid_voxels_are_continued_from_their_surroundings() -> None:
    ramp = torch.arange(16.0).expand(1, 1, 16, 16, 16).clone()
    valid = torch.ones_like(ramp)
    valid[..., 4:8, 4:8, 4:8] = 0
    broken = torch.where(valid > 0, ramp, torch.nan)
    filled = fill(broken, valid)
    torch.testing.assert_close(filled[valid > 0], ramp[valid > 0])
    assert float((filled - ramp).abs().max()) < 2.5


@pytest.mark.parametrize("shape", [(9, 17, 3), (2, 2, 1), (1, 1, 5)])
def test_a_single_valid_voxel_continues_everywhere_whatever_the_proportions(shape: tuple[int, int, int]) -> None:
    valid = torch.zeros((1, 1, *shape))
    valid[0, 0, 0, 0, 0] = 1
    filled = fill(torch.where(valid > 0, 3.0, torch.nan), valid)
    torch.testing.assert_close(filled, torch.full_like(filled, 3.0))
