"""corr27 against the sum written out, with and without gradients, whole and in slabs."""

import pytest
import torch
from torch import Tensor

from RegistrationNetLib.networks.blocks.correlation import corr27
from RegistrationNetLib.networks.blocks.slabs import in_slabs

SHAPE = (3, 4, 2)


def pair(channels: int = 3, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(2, 2, channels, *shape, generator=generator)
    return first, second


def by_brute_force(fixed: Tensor, moving: Tensor) -> Tensor:
    batch, channels, *shape = fixed.shape
    expected = torch.zeros(batch, 27, *shape)
    offsets = [(d, h, w) for d in (-1, 0, 1) for h in (-1, 0, 1) for w in (-1, 0, 1)]
    for index, offset in enumerate(offsets):
        for x in torch.cartesian_prod(*(torch.arange(size) for size in shape)).tolist():
            there = [a + b for a, b in zip(x, offset, strict=True)]
            if all(0 <= a < size for a, size in zip(there, shape, strict=True)):
                both = fixed[:, :, *x] * moving[:, :, *there]
                expected[:, index, *x] = both.sum(1) / channels
    return expected


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_it_is_the_channel_mean_of_products_over_the_27_neighbours(gradients: bool, layout: torch.memory_format):
    fixed, moving = (image.to(memory_format=layout) for image in pair())
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(corr27(fixed, moving), by_brute_force(fixed, moving))


def test_a_shift_is_found_at_its_own_place():
    """With moving(x + o) = fixed(x), the largest of the 27 is that of o: index 9 (d + 1) + 3 (h + 1) + w + 1."""
    fixed, _ = pair(channels=64, shape=(6, 7, 8))
    alike = corr27(fixed, fixed.roll((1, 0, -1), dims=(2, 3, 4)))
    inner = alike.argmax(dim=1)[:, 1:-1, 1:-1, 1:-1]
    assert inner.unique().tolist() == [9 * 2 + 3 * 1 + 0]


def test_in_slabs_it_is_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("RegistrationNetLib.networks.blocks.slabs.SLAB", 0)  # the thinnest slabs
    fixed, moving = pair(shape=(37, 3, 4))
    with torch.no_grad():
        torch.testing.assert_close(in_slabs(corr27, fixed, moving, reach=1), corr27(fixed, moving))


def test_both_features_get_the_gradient_of_the_sum_written_out():
    weight = torch.randn(2, 27, *SHAPE, generator=torch.Generator().manual_seed(4))
    ours, expected = ([image.requires_grad_() for image in pair()] for _ in range(2))
    (corr27(*ours) * weight).sum().backward()
    (by_brute_force(*expected) * weight).sum().backward()
    for mine, written in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine.grad, written.grad)


def test_in_mixed_precision_the_finer_type_is_kept_and_the_gradients_return():
    fixed, moving = pair()
    coarse = fixed.bfloat16().requires_grad_()
    moving.requires_grad_()
    alike = corr27(coarse, moving)
    assert alike.dtype == torch.float32
    torch.testing.assert_close(alike, by_brute_force(coarse.float(), moving))
    alike.square().sum().backward()
    assert coarse.grad.isfinite().all()
    assert moving.grad.any()
