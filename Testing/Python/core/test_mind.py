"""Descriptors of structure: blind to brightness, bound to directions, compared with an exact derivative."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.mind import PAIRS, REACH, Likeness, concordance, descriptors


def texture(shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    noise = torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return smooth(noise, 1.0)


def by_definition(volume: torch.Tensor, at: tuple[int, int, int]) -> torch.Tensor:
    """The twelve values at one voxel away from the border, patch by patch."""

    def patch(offset: tuple[int, int, int]) -> torch.Tensor:
        d, h, w = (a + o for a, o in zip(at, offset, strict=True))
        return volume[0, 0, d - 1 : d + 2, h - 1 : h + 2, w - 1 : w + 2]

    apart = torch.stack([((patch(a) - patch(b)) ** 2).mean() for a, b in PAIRS])
    apart = apart - apart.min()
    return torch.exp(-apart / (apart.mean() + 1e-4))


def test_there_are_twelve_pairs_of_neighbours_each_a_diagonal_apart() -> None:
    assert len({frozenset(pair) for pair in PAIRS}) == 12
    assert all(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) == 2 for a, b in PAIRS)


def test_each_channel_is_that_of_the_definition() -> None:
    volume = texture((9, 10, 11), 0)
    for at in ((4, 4, 4), (2, 6, 8)):
        torch.testing.assert_close(descriptors(volume)[(0, slice(None), *at)], by_definition(volume, at))


@pytest.mark.parametrize("gain", [-1.0, 0.5, 3.0])
def test_brightness_contrast_and_its_inversion_change_nothing(gain: float) -> None:
    volume = 10 * texture((10, 10, 10), 1)  # so strong that no difference passes for noise
    torch.testing.assert_close(descriptors(gain * volume + 0.3), descriptors(volume), atol=2e-3, rtol=0)


@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_turned_axes_turn_the_channels(order: list[int], flips: tuple[bool, bool, bool]) -> None:
    volume = texture((7, 8, 9), 2)
    flipped = [2 + axis for axis in range(3) if flips[axis]]
    turn = lambda values: values.flip(flipped).permute(0, 1, *(2 + axis for axis in order))  # noqa: E731
    there = descriptors(turn(volume))
    here = turn(descriptors(volume))
    moved = lambda o: tuple(-o[axis] if flips[axis] else o[axis] for axis in order)  # noqa: E731
    named = {frozenset(pair): channel for channel, pair in enumerate(PAIRS)}
    for channel, (a, b) in enumerate(PAIRS):
        torch.testing.assert_close(there[:, named[frozenset((moved(a), moved(b)))]], here[:, channel])


def test_what_lies_beyond_its_reach_does_not_matter() -> None:
    volume = texture((13, 13, 13), 3)
    for offset in itertools.product((-1, 0, 1), repeat=3):
        if any(offset):
            changed = volume.clone()
            changed[(0, 0, *(6 + (REACH + 1) * o for o in offset))] += 5
            assert torch.equal(descriptors(changed)[..., 6, 6, 6], descriptors(volume)[..., 6, 6, 6])
    near = volume.clone()
    near[0, 0, 6 + REACH, 6, 6] += 5
    assert not torch.equal(descriptors(near)[..., 6, 6, 6], descriptors(volume)[..., 6, 6, 6])


@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_derivative_of_likeness_are_those_of_the_definition(weighted: bool) -> None:
    fixed = torch.rand((1, 12, 5, 6, 7), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    moving = fixed.flip(1).clone().requires_grad_()
    mask, weight = ((texture((5, 6, 7), seed) > 0).double() for seed in (5, 6))
    counted = mask * weight if weighted else torch.ones_like(mask)
    total = (counted * (1 - ((fixed - moving) ** 2).mean(1, keepdim=True))).sum()
    expected = torch.autograd.grad(total, moving)[0]
    likeness = Likeness(fixed).within(mask) if weighted else Likeness(fixed)
    value, gradient = likeness(moving.detach(), weight if weighted else None)
    torch.testing.assert_close(value, total.detach() / counted.sum())
    torch.testing.assert_close(gradient, expected)


def test_concordance_is_one_for_equal_descriptors_and_nothing_for_unrelated_ones() -> None:
    one, other = (descriptors(texture((24, 24, 24), seed)) for seed in (7, 8))
    everywhere = torch.ones_like(one[:, :1])
    assert float(concordance(one, one, everywhere)) == pytest.approx(1)
    assert float(concordance(one, other, everywhere)) == pytest.approx(0, abs=0.03)
