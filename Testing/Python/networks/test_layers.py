"""The plain layers: what each computes, and that inference in place is training's value."""

import pytest
import torch
import torch.nn.functional as F

from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.layers import ChannelNorm, ConvNorm, InstanceNorm, double


def feature(*shape: int) -> torch.Tensor:
    return 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_instance_norm_is_pytorchs_and_the_same_in_place():
    volume = feature(2, 4, 5, 6, 7)
    expected = F.instance_norm(volume)
    torch.testing.assert_close(InstanceNorm()(volume), expected)
    with torch.no_grad():
        torch.testing.assert_close(InstanceNorm()(volume), expected)
        torch.testing.assert_close(F.instance_norm(volume), expected)  # which was left alone
        torch.testing.assert_close(InstanceNorm(inplace=True)(volume), expected)


def test_a_volume_of_one_voxel_is_normalised_to_zero():
    assert torch.equal(InstanceNorm()(feature(1, 4, 1, 1, 1)), torch.zeros(1, 4, 1, 1, 1))


def test_a_layer_without_gradients_leaves_its_input_alone():
    torch.manual_seed(0)
    layer, volume = ConvNorm(4, 8), feature(1, 4, 6, 6, 6)
    before = volume.clone()
    trained = layer(volume).detach()
    with torch.inference_mode():
        inferred = layer(volume)
    assert torch.equal(volume, before)
    torch.testing.assert_close(inferred, trained)


def test_channel_norm_looks_at_each_voxel_alone():
    torch.manual_seed(0)
    layer, volume = ChannelNorm(8), feature(2, 8, 3, 4, 5)
    out = layer(volume)
    torch.testing.assert_close(out.mean(dim=1), torch.zeros(2, 3, 4, 5), atol=1e-5, rtol=0)
    volume[:, :, 1, 2, 3] += torch.arange(8.0)
    assert {tuple(where) for where in (layer(volume) != out).nonzero()[:, 2:].tolist()} == {(1, 2, 3)}


def test_doubling_keeps_voxel_centres_where_they_are():
    ramp = torch.arange(6.0).expand(1, 1, 4, 4, 6)
    doubled = double(ramp)
    assert doubled.shape == (1, 1, 8, 8, 12)
    torch.testing.assert_close(doubled[0, 0, 3, 3, 1:-1], torch.arange(10) / 2 + 0.25)


def test_a_field_keeps_full_precision_where_the_rest_is_mixed():
    torch.manual_seed(0)
    head, volume = FlowHead(16), feature(1, 16, 20, 6, 6)
    exact = head(volume)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(head(volume), exact)
        halved = head(volume.bfloat16())
    assert halved.dtype == torch.float32
    torch.testing.assert_close(halved, exact, rtol=0.1, atol=0.02 * exact.abs().max().item())


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_layer_takes_the_smallest_volumes(size: int):
    torch.manual_seed(0)
    volume = feature(1, 4, size, size, size)
    assert ConvNorm(4, 6, stride=2)(volume).shape == (1, 6, *[-(-size // 2)] * 3)
