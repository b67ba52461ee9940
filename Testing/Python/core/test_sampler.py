"""A sampler gives what sampling gives, anywhere, and knows what lies inside."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.sampler import Sampler

sizes = st.tuples(*[st.integers(1, 17)] * 3)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@given(size=sizes, channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_values_are_those_of_trilinear_sampling_inside_and_beyond(
    size: tuple[int, int, int], channels: int, seed: int
) -> None:
    volume = random(1, channels, *size, seed=seed)
    extent = torch.tensor(size).view(3, 1, 1, 1)
    positions = random(3, 4, 5, 6, seed=seed + 1) * (extent + 4) - 2
    expected = spatial.sample(volume, positions[None])
    as_on_a_gpu = Sampler(volume, None, 0)
    for sampler in (Sampler.of(volume), as_on_a_gpu):
        torch.testing.assert_close(sampler(positions.clone()), expected, atol=2e-5, rtol=0)


def test_a_large_volume_is_sampled_to_a_thousandth_of_a_voxel() -> None:
    """A ramp along each axis gives back where it was sampled."""
    size = (150, 220, 190)
    ramps = spatial.lattice(size, torch.empty(0))
    positions = random(3, 20, 30, 40) * (torch.tensor(size).view(3, 1, 1, 1) - 1)
    found = Sampler.of(ramps)(positions.clone())
    assert (found[0] - positions).abs().max() < 1e-3


def test_voxel_centres_give_the_voxels_themselves() -> None:
    volume = random(1, 2, 7, 8, 9)
    found = Sampler.of(volume)(spatial.lattice((7, 8, 9), torch.empty(0))[0])
    torch.testing.assert_close(found, volume, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("position", "inside"), [(0.0, True), (6.0, True), (-0.1, False), (6.1, False), (3.0, True)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_inside_is_between_the_outermost_voxels(axis: int, position: float, inside: bool) -> None:
    at = torch.full((3, 1, 1, 1), 2.0)
    at[axis] = position
    assert bool(Sampler.of(random(1, 1, 7, 7, 7)).contains(at).all()) is inside
