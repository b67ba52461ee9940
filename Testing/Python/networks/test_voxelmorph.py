"""VoxelMorph is the body of its public code, and its integrated velocity behaves like a flow."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.spatial import compose, jacobian_determinant
from RegistrationNetLib.networks.blocks.maxca import MAXCABlock
from RegistrationNetLib.networks.voxelmorph import VoxelMorph, VoxelMorphConfig


@torch.no_grad()
def test_its_layers_are_those_of_the_public_code():
    torch.manual_seed(0)
    network = VoxelMorph(VoxelMorphConfig(output="displacement"))
    network.head.weight.mul_(1e5)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv3d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [
        *((2, 16), (16, 32), (32, 32), (32, 32)),
        *((32, 32), (64, 32), (64, 32), (64, 32)),
        *((48, 32), (32, 16), (16, 16), (16, 3)),
    ]
    conv = iter(convs)

    def leaky_conv(x: Tensor) -> Tensor:
        layer = next(conv)
        return F.leaky_relu(F.conv3d(x, layer.weight, layer.bias, padding=1), 0.2)

    fixed, moving = torch.rand(2, 1, 1, 32, 16, 16)
    x, skips = torch.cat([moving, fixed], 1), []
    for _ in range(4):
        skips.append(leaky_conv(x))
        x = F.max_pool3d(skips[-1], kernel_size=2)
    for _ in range(4):
        doubled = leaky_conv(x).repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
        x = torch.cat([doubled, skips.pop()], 1)
    x = leaky_conv(leaky_conv(leaky_conv(x)))
    x = F.conv3d(x, convs[-1].weight, convs[-1].bias, padding=1)
    torch.testing.assert_close(network(fixed, moving)[0], x, atol=1e-4, rtol=1e-4)
    assert x.std() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("output", ["velocity", "displacement"])
def test_a_constant_flow_stays_what_it_is_in_voxels_of_the_full_grid(output: str):
    network = VoxelMorph(VoxelMorphConfig(output=output))
    network.head.weight.zero_()
    network.head.bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
    field = network(*torch.rand(2, 1, 1, 17, 16, 20))[0]
    expected = torch.tensor([1.0, -2.0, 3.0])[None, :, None, None, None].expand_as(field)
    torch.testing.assert_close(field, expected, atol=1e-4, rtol=0)


LENGTH = 64


def wave(strength: float) -> Tensor:
    """v_d = strength sin(2 pi x / LENGTH), x in voxels from the near border; (1, 3, LENGTH, 16, 16)."""
    x = torch.arange(LENGTH) + 0.5
    flow = torch.zeros(1, 3, LENGTH, 16, 16)
    flow[:, 0] = (strength * torch.sin(2 * torch.pi * x / LENGTH))[:, None, None]
    return flow


@torch.no_grad()
@pytest.mark.parametrize("strength", [4.0, 8.0])
def test_a_velocity_is_integrated_to_the_flow_known_on_paper(strength: float):
    # dx/dt = a sin(2 pi x / L) has the solution tan(pi x(1) / L) = tan(pi x(0) / L) exp(2 pi a / L)
    field = VoxelMorph().displacement(wave(strength))
    x = torch.arange(LENGTH) + 0.5
    angle = torch.atan(torch.tan(torch.pi * x / LENGTH) * torch.e ** (2 * torch.pi * strength / LENGTH))
    moved = LENGTH / torch.pi * torch.where(angle < 0, angle + torch.pi, angle)
    expected = (moved - x)[:, None, None].expand(-1, 16, 16)
    inner = slice(2, -2)  # the half-resolution grid knows nothing of its outermost voxel's outer half
    torch.testing.assert_close(field[0, 0, inner], expected[inner], atol=0.15, rtol=0)
    assert field[:, 1:].abs().max() < 1e-4


@torch.no_grad()
def test_a_velocity_does_not_fold_where_a_displacement_does():
    raw = VoxelMorph(VoxelMorphConfig(output="displacement")).displacement(wave(12))
    assert (jacobian_determinant(raw) <= 0).any()  # 1 - 12 * 2 pi / 64 < 0
    assert (jacobian_determinant(VoxelMorph().displacement(wave(12))) > 0).all()


@torch.no_grad()
def test_the_reversed_velocity_leads_back():
    network = VoxelMorph()
    there, back = network.displacement(wave(6)), network.displacement(wave(-6))
    assert there.abs().max() > 5
    assert compose(there, back)[:, :, 2:-2].abs().max() < 0.1


@torch.no_grad()
def test_the_attention_switch_adds_a_block_behind_half_and_full_resolution_and_changes_nothing_else():
    torch.manual_seed(0)
    plain = VoxelMorph()
    torch.manual_seed(0)
    attended = VoxelMorph(VoxelMorphConfig(attention="maxca"))
    seen: list[tuple[int, ...]] = []
    for block in (attended.attend_half, attended.attend_full):
        assert isinstance(block, MAXCABlock)
        block.register_forward_hook(lambda _, inputs, output: seen.append(tuple(inputs[0].shape[1:])))
    extra = {key for key in attended.state_dict() if key.startswith("attend_")}
    assert set(attended.state_dict()) - extra == set(plain.state_dict())
    assert all(torch.equal(value, attended.state_dict()[key]) for key, value in plain.state_dict().items())
    pair = torch.rand(2, 1, 1, 32, 16, 16)
    full = attended(*pair)[0]
    assert seen == [(32, 16, 8, 8), (16, 32, 16, 16)]
    assert full.shape == (1, 3, 32, 16, 16)
    assert not torch.allclose(full, plain(*pair)[0], rtol=0.1)
    attended.attend_half = attended.attend_full = nn.Identity()
    assert torch.equal(attended(*pair)[0], plain(*pair)[0])
