"""Windows hold what they say, whatever the size, and what only fills them is known."""

from itertools import product

import pytest
import torch
from torch import Tensor

from RegistrationNetLib.networks.blocks.windows import cut, fill, inside, rows, together, windows

SHAPES = [(4, 8, 4), (5, 7, 3), (1, 2, 9)]
CUTS = [(2, 0), (2, 2), (4, 0), (4, 2), (3, 1)]
every_cut = pytest.mark.parametrize(("size", "margin"), CUTS)
every_shape = pytest.mark.parametrize("shape", SHAPES)


def volume(*shape: int) -> Tensor:
    """Two pairs, three channels, no value 0."""
    return 1 + torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(1))


def by_hand(image: Tensor, size: int, margin: int) -> tuple[Tensor, Tensor]:
    """Token by token: windows and inside."""
    shape = image.shape[2:]
    cubes = list(product(*(range(0, extent, size) for extent in shape)))
    offsets = list(product(range(-margin, size + margin), repeat=3))
    tokens = torch.zeros(len(image), len(cubes), len(offsets), image.shape[1])
    known = torch.zeros(len(cubes), len(offsets), dtype=torch.bool)
    for (g, cube), (t, offset) in product(enumerate(cubes), enumerate(offsets)):
        place = [c + o for c, o in zip(cube, offset, strict=True)]
        if all(0 <= p < extent for p, extent in zip(place, shape, strict=True)):
            tokens[:, g, t] = image[:, :, *place]
            known[g, t] = True
    return tokens, known


@every_shape
@every_cut
def test_windows_hold_the_voxels_around_each_cube_and_zeros_beyond_the_volume(
    shape: tuple[int, int, int], size: int, margin: int
):
    tokens, known = by_hand(volume(*shape), size, margin)
    assert torch.equal(windows(volume(*shape), size, margin), tokens)
    assert torch.equal(inside(volume(*shape), size, margin), known)


@every_shape
@pytest.mark.parametrize("size", [2, 3, 4])
def test_windows_without_a_margin_come_together_again(shape: tuple[int, int, int], size: int):
    assert torch.equal(together(windows(volume(*shape), size), shape, size), volume(*shape))


@every_shape
@every_cut
def test_rows_are_the_windows_in_order_and_copy_nothing(shape: tuple[int, int, int], size: int, margin: int):
    filled = fill(volume(*shape), size, margin)
    parts = list(rows(filled, size, margin))
    assert len(parts) == -(-shape[0] // size)
    assert all(part.untyped_storage().data_ptr() == filled.untyped_storage().data_ptr() for part in parts)
    whole = torch.cat([cut(part, size, margin) for part in parts], dim=1)
    assert torch.equal(whole, windows(volume(*shape), size, margin))


def test_a_volume_that_fits_is_not_copied_to_be_filled():
    fits = volume(4, 8, 4)
    assert fill(fits, 4) is fits
    assert fill(fits, 3) is not fits


@every_shape
@every_cut
def test_every_window_has_a_voxel_so_that_no_softmax_is_empty(shape: tuple[int, int, int], size: int, margin: int):
    assert inside(volume(*shape), size, margin).any(dim=1).all()


def test_layouts_of_memory_make_no_difference():
    image = volume(5, 6, 7)
    last = image.contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(windows(last, 4, 2), windows(image, 4, 2))
    assert together(windows(last, 4), (5, 6, 7), 4).movedim(1, -1)[0, 0, 0].is_contiguous()  # channels last again
