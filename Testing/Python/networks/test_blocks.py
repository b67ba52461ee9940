"""The shared blocks: any size, the head, slabs."""

import pytest
import torch
from torch import nn

from RegistrationNetLib.core.anysize import coarse_shape, crop_to, pad_to_multiple
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.slabs import ConcatConv3, in_slabs


def test_padding_repeats_the_far_edges_and_cropping_undoes_it():
    volume = torch.rand(2, 3, 5, 8, 1)
    padded = pad_to_multiple(volume, 4)
    assert padded.shape == (2, 3, 8, 8, 4)
    assert torch.equal(crop_to(padded, volume.shape[2:]), volume)
    assert torch.equal(padded[:, :, 5:, :, :1], volume[:, :, 4:].expand(-1, -1, 3, -1, -1))
    assert torch.equal(padded, padded[..., :1].expand(-1, -1, -1, -1, 4))


def test_a_volume_that_fits_is_not_copied():
    volume = torch.rand(1, 1, 16, 32, 16)
    assert pad_to_multiple(volume, 16) is volume


def test_a_coarser_level_has_a_voxel_for_every_one_of_the_image():
    assert coarse_shape((1, 16, 17), 0) == [1, 16, 17]
    assert coarse_shape((1, 16, 17), 3) == [1, 2, 3]


def test_a_FlowHead_starts_tiny_but_not_at_zero():
    torch.manual_seed(0)
    head = FlowHead(64)
    assert head.weight.std().item() == pytest.approx(1e-5, rel=0.05)
    assert torch.count_nonzero(head.bias) == 0


@pytest.mark.parametrize("depth", [7, 16, 17, 40])
def test_slabs_give_what_one_call_gives(depth: int, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, 3, padding=1))
    volume = torch.rand(2, 2, depth, 6, 5)
    whole = layers(volume).detach()
    monkeypatch.setattr("RegistrationNetLib.networks.blocks.slabs.SLAB", 0)
    with torch.no_grad():
        slabs = in_slabs(layers, volume, reach=2)
        too_short = in_slabs(layers, volume, reach=1)
    assert slabs.shape == whole.shape
    torch.testing.assert_close(slabs, whole, atol=1e-6, rtol=1e-5)
    assert depth <= 16 or not torch.allclose(too_short, whole, atol=1e-6, rtol=1e-5)


def test_slabs_never_show_the_function_more_than_they_must_at_inference():
    seen = []

    def watch(volume: torch.Tensor) -> torch.Tensor:
        seen.append(volume.shape[2])
        return volume

    volume = torch.rand(1, 1, 50, 192, 224)
    with torch.inference_mode():
        assert torch.equal(in_slabs(watch, volume, reach=1), volume)
    assert max(seen) == 18
    seen.clear()
    in_slabs(watch, volume, reach=1)  # with gradients the whole is needed anyway
    assert seen == [50]


def test_small_volumes_are_one_slab():
    seen = []
    with torch.inference_mode():
        in_slabs(lambda volume: seen.append(volume.shape[2]) or volume, torch.rand(1, 1, 64, 64, 64), reach=1)
    assert seen == [64]


def test_concat_conv_is_the_conv_of_the_concatenation(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    conv = ConcatConv3(5, 4)
    first, second = torch.rand(1, 2, 20, 6, 7), torch.rand(1, 3, 20, 6, 7)
    expected = torch.nn.functional.conv3d(torch.cat([first, second], 1), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(first, second), expected)
    monkeypatch.setattr("RegistrationNetLib.networks.blocks.slabs.SLAB", 0)
    with torch.no_grad():
        torch.testing.assert_close(conv(first, second), expected, atol=1e-6, rtol=1e-5)
