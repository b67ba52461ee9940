"""Overlapping blocks: cut and fused, a volume comes back; where blocks disagree, no seam shows."""

import weakref
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from RegistrationNetLib.networks.blocks.partition import fuse, places, starts, weights

FUSIONS = ("cosine", "mean", "crop")
every_fusion = pytest.mark.parametrize("fusion", FUSIONS)
blocks_and_overlaps = st.integers(1, 12).flatmap(
    lambda overlap: st.tuples(st.integers(overlap + 1, 30), st.just(overlap))
)
quick = settings(max_examples=40, deadline=None)


def cut(volume: Tensor, block: int, overlap: int) -> list[Tensor]:
    return [volume[:, :, *place].clone() for place in places(volume.shape[2:], block, overlap)]


def spread(size: int, block: int, overlap: int, fusion: str) -> Tensor:
    """Each block's weights at their places along the axis, zero elsewhere: (blocks, size)."""
    rows = torch.zeros(len(starts(size, block, overlap)), size)
    for row, start, weight in zip(
        rows, starts(size, block, overlap), weights(size, block, overlap, fusion), strict=True
    ):
        row[start : start + len(weight)] = weight
    return rows


@quick
@given(st.integers(1, 200), blocks_and_overlaps)
def test_blocks_cover_the_axis_and_overlap_and_the_last_ends_with_it(size: int, block_overlap: tuple[int, int]):
    block, overlap = block_overlap
    first = starts(size, block, overlap)
    assert first[0] == 0
    assert first[-1] + min(block, size) == size
    assert all(0 < b - a <= block - overlap for a, b in pairwise(first))
    assert all(b - a == block - overlap for a, b in pairwise(first[:-1]))  # only the last is shifted


@every_fusion
def test_an_axis_no_longer_than_a_block_is_one_whatever_the_overlap(fusion: str):
    assert [starts(size, 16, 16) for size in (1, 15, 16)] == [[0]] * 3
    assert torch.equal(weights(16, 16, 16, fusion), torch.ones(1, 16))


def test_the_blocks_of_a_head_scan_are_as_few_as_can_be():
    assert [starts(size, 64, 16) for size in (160, 192, 224)] == [[0, 48, 96], [0, 48, 96, 128], [0, 48, 96, 144, 160]]
    assert len(places((160, 192, 224), 64, 16)) == 3 * 4 * 5
    assert places((64, 16, 7), 64, 16) == [(slice(0, 64), slice(0, 16), slice(0, 7))]


@quick
@given(st.integers(1, 200), blocks_and_overlaps, st.sampled_from(FUSIONS))
def test_weights_sum_to_one_at_every_voxel(size: int, block_overlap: tuple[int, int], fusion: str):
    rows = spread(size, *block_overlap, fusion)
    torch.testing.assert_close(rows.sum(dim=0), torch.ones(size), atol=1e-6, rtol=0)
    assert (rows >= 0).all()


@quick
@given(st.tuples(*[st.integers(1, 45)] * 3), blocks_and_overlaps, st.sampled_from(FUSIONS), st.integers(0, 99))
def test_any_field_cut_and_fused_comes_back(
    shape: tuple[int, int, int], block_overlap: tuple[int, int], fusion: str, seed: int
):
    field = 40 * torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(seed)) - 20
    block, overlap = max(block_overlap[0], 9), min(block_overlap[1], 6)  # else thousands of blocks
    back = fuse(cut(field, block, overlap), shape, block, overlap, fusion)
    torch.testing.assert_close(back, field, atol=1e-5, rtol=0)


def test_a_field_of_a_size_met_in_practice_comes_back():
    field = 40 * torch.rand(1, 3, 113, 64, 145) - 20
    torch.testing.assert_close(fuse(cut(field, 64, 16), field.shape[2:], 64, 16), field, atol=1e-5, rtol=0)


def disagreeing(size: int, block: int, overlap: int, fusion: str) -> Tensor:
    """Along an axis, the fusion of blocks that say 0, 1, 0, 1, ... everywhere."""
    parts = [torch.full_like(p, i % 2) for i, p in enumerate(cut(torch.zeros(1, 1, 1, 1, size), block, overlap))]
    return fuse(parts, (1, 1, size), block, overlap, fusion).flatten()


@pytest.mark.parametrize("size", [112, 160, 224, 193, 131, 113])
def test_where_blocks_disagree_the_cosine_passes_smoothly_from_one_to_the_next(size: int):
    line = disagreeing(size, 64, 16, "cosine")
    assert line.max() > 0.4  # both had their say
    assert line.min() == 0
    assert line.diff().abs().max() < 0.11  # the steepest of half a cosine over 16 voxels is pi / 32
    assert line.diff().diff().abs().max() < 0.035  # no kink either: that of straight lines would be 1 / 16


def test_the_other_fusions_leave_a_step_there():
    assert disagreeing(160, 64, 16, "mean").diff().abs().max() == 0.5
    assert disagreeing(160, 64, 16, "crop").diff().abs().max() == 1


def test_what_is_wrong_at_the_rims_of_blocks_hardly_counts():
    def rims(fusion: str) -> Tensor:
        parts = cut(torch.zeros(1, 1, 160, 64, 112), 64, 16)
        for part in parts:
            part[:, :, [0, -1]] = part[..., [0, -1]] = 1  # as zeros beyond the border disturb a convolution
        return fuse(parts, (160, 64, 112), 64, 16, fusion)[:, :, 1:-1, :, 1:-1]

    assert rims("cosine").max() < 0.005
    assert rims("mean").max() >= 0.5


def test_nothing_fades_towards_the_border_of_the_volume():
    first, last = spread(65, 64, 16, "cosine")  # almost the same block twice: only the borders tell them apart
    assert first[:1] == 1
    assert first[1] > 0.99
    assert last[-2] > 0.99
    torch.testing.assert_close(first, last.flip(0))


def test_mean_weighs_all_blocks_at_a_voxel_alike():
    rows = spread(113, 64, 16, "mean")  # blocks at 0, 48 and 49
    assert rows[:, 10].tolist() == [1, 0, 0]
    assert rows[:, 48].tolist() == [0.5, 0.5, 0]
    torch.testing.assert_close(rows[:, 55], torch.full((3,), 1 / 3))


@pytest.mark.parametrize("size", [112, 113, 131, 193])
def test_crop_takes_the_block_in_which_a_voxel_lies_deepest(size: int):
    rows, first = spread(size, 64, 16, "crop"), starts(size, 64, 16)
    for voxel in range(size):
        depths = []
        for start in first:
            near = voxel - start if start else size
            far = start + 63 - voxel if start + 64 < size else size
            depths.append(min(near, far))
        assert rows[:, voxel].tolist() == [float(i == depths.index(max(depths))) for i in range(len(first))]


@every_fusion
def test_a_block_learns_as_much_as_it_counts(fusion: str):
    shape, block, overlap = (9, 5, 14), 8, 3
    parts = [part.requires_grad_() for part in cut(torch.randn(1, 2, *shape), block, overlap)]
    into = torch.randn(1, 2, *shape)
    (fuse(parts, shape, block, overlap, fusion) * into).sum().backward()
    learned = torch.zeros(1, 2, *shape)
    for part, place in zip(parts, places(shape, block, overlap), strict=True):
        learned[:, :, *place] += part.grad
    torch.testing.assert_close(learned, into)


def test_parts_are_taken_one_by_one_and_not_kept():
    alive: list[weakref.ref[Tensor]] = []

    def parts() -> Iterator[Tensor]:
        for place in places((4, 4, 80), 16, 8):
            assert sum(part() is not None for part in alive) <= 1
            part = torch.ones(1, 1, *(along.stop - along.start for along in place))
            alive.append(weakref.ref(part))
            yield part
            del part

    torch.testing.assert_close(fuse(parts(), (4, 4, 80), 16, 8), torch.ones(1, 1, 4, 4, 80))
    assert len(alive) == 9
