"""Blocks around places that have changed: nothing that has to be looked at again is missing."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from RegistrationNetLib.core.blocks import each_block

PLACES = st.lists(st.tuples(*[st.integers(0, 10**6)] * 3), min_size=1, max_size=5)


@given(st.tuples(*[st.integers(1, 30)] * 3), PLACES, st.integers(0, 9), st.tuples(*[st.integers(0, 3)] * 2))
def test_blocks_hold_all_within_reach_with_what_lies_around_it(shape, places, reach, around):
    places = [[at % size for at, size in zip(place, shape, strict=True)] for place in places]
    flat = torch.arange(shape[0] * shape[1] * shape[2])
    volume = flat.view(1, 1, *shape)
    asked = torch.tensor([int(volume[(0, 0, *place)]) for place in places])
    parts = each_block(volume, asked, reach, around, lambda starts, blocks: list(zip(starts, blocks, strict=True)))
    held = torch.zeros(shape, dtype=torch.bool)
    for start, block in [one for part in parts for one in part]:
        size = block.shape[1:]
        whole = tuple(slice(int(at), int(at) + length) for at, length in zip(start, size, strict=True))
        assert torch.equal(block[0], volume[0, 0][whole])
        # A voxel is served where what lies around it is in the block, or not in the volume.
        served = [
            slice(at + (around[0] if at else 0), at + length - (around[1] if at + length < n else 0))
            for at, length, n in zip(start.tolist(), size, shape, strict=True)
        ]
        held[tuple(served)] = True
    for place in places:
        near = tuple(slice(max(at - reach, 0), at + reach + 1) for at in place)
        assert bool(held[near].all())


def test_a_few_places_of_a_large_volume_take_a_few_blocks():
    volume = torch.zeros((1, 3, 100, 100, 100))
    places = torch.tensor([50 * 10100, 50 * 10100 + 1])
    looked_at = each_block(volume, places, 3, (0, 3), lambda starts, blocks: blocks[:, 0].numel())
    assert sum(looked_at) < 0.03 * 100**3
