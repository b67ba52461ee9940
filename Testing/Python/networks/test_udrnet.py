"""UDRNet computes what its paper's figures show: the body, the two gates, their fusion."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.networks.blocks.maxca import MAXCABlock
from RegistrationNetLib.networks.udrnet import ENCODER, ScHAF, UDRNet, UDRNetConfig

SHAPE = (6, 5, 7)


def feature(channels: int = 16) -> Tensor:
    return torch.randn(2, channels, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def schaf() -> ScHAF:
    torch.manual_seed(0)
    return ScHAF(16, True)


@torch.no_grad()
def test_both_gates_lie_strictly_between_zero_and_one(schaf: ScHAF):
    for gate in (schaf.channel(feature()), schaf.spatial(feature())):
        assert gate.min() > 0
        assert gate.max() < 1
        assert gate.std() > 1e-3


@torch.no_grad()
def test_the_first_gate_is_one_map_for_all_channels_and_reads_each_voxel_alone(schaf: ScHAF):
    gate = schaf.channel(feature())
    assert gate.shape == (2, 1, *SHAPE)
    changed = feature()
    changed[0, :, 1, 2, 3] += 1
    differs = schaf.channel(changed) != gate
    assert differs.nonzero().tolist() == [[0, 0, 1, 2, 3]]


@torch.no_grad()
def test_the_second_gate_is_one_weight_per_channel_for_all_voxels(schaf: ScHAF):
    assert schaf.spatial(feature()).shape == (2, 16, 1, 1, 1)


@torch.no_grad()
def test_permuting_the_voxels_leaves_the_second_gate_unchanged(schaf: ScHAF):
    voxels = feature().flatten(2)
    shuffled = voxels[:, :, torch.randperm(voxels.shape[2], generator=torch.Generator().manual_seed(2))]
    torch.testing.assert_close(schaf.spatial(shuffled.unflatten(2, SHAPE)), schaf.spatial(feature()))


@torch.no_grad()
def test_the_second_gate_sees_both_the_maximum_and_the_mean(schaf: ScHAF):
    original = schaf.spatial(feature())
    peak, shift = feature(), feature()
    peak[:, 3].flatten(1).scatter_add_(1, peak[:, 3].flatten(1).argmax(1, keepdim=True), torch.full((2, 1), 5.0))
    peak[:, 3] -= 5.0 / peak[0, 3].numel()  # the mean stays
    top = shift[:, 3].amax((1, 2, 3), keepdim=True)
    shift[:, 3] = torch.where(shift[:, 3] < top, shift[:, 3] - 1, top)  # the maximum stays
    assert not torch.allclose(schaf.spatial(peak), original, atol=1e-4)
    assert not torch.allclose(schaf.spatial(shift), original, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("gates", [True, "channel", "spatial"])
def test_fusion_sees_product_sum_and_maximum_of_the_gated_features_in_this_order(gates: bool | str):
    schaf = ScHAF(16, gates)
    seen: list[Tensor] = []
    schaf.fusion.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    f = feature()
    fused = schaf(f)
    c = f if gates == "spatial" else f * schaf.channel(f)  # both gates read F, neither the other's output
    s = f if gates == "channel" else f * schaf.spatial(f)
    assert fused.shape == f.shape
    assert seen[0].shape[1] == 3 * 16
    for part, expected in zip(seen[0].chunk(3, dim=1), (c * s, c + s, torch.maximum(c, s)), strict=True):
        torch.testing.assert_close(part, expected)


@pytest.mark.parametrize(("gates", "left"), [("channel", ["channel"]), ("spatial", ["spatial"])])
def test_a_gate_alone_leaves_the_other_one_out(gates: str, left: list[str]):
    network = UDRNet(UDRNetConfig(gates))
    owners = {key.split(".")[2] for key in network.state_dict() if key.startswith("schaf.")}
    assert owners == {"fusion", *left}


def test_without_schaf_nothing_else_changes():
    torch.manual_seed(0)
    full, plain = UDRNet(), UDRNet(UDRNetConfig(schaf=False))
    shared = {key: value for key, value in full.state_dict().items() if not key.startswith("schaf.")}
    plain.load_state_dict(shared)  # strict: the same names and shapes
    full.head.weight.data *= 1e5
    plain.head.weight.data *= 1e5
    pair = torch.rand(2, 1, 1, 16, 16, 16)
    with torch.no_grad():
        attended = full(*pair)[0]
        full.schaf = nn.ModuleList(nn.Identity() for _ in ENCODER)
        assert torch.equal(full(*pair)[0], plain(*pair)[0])
        assert not torch.allclose(attended, plain(*pair)[0])


@torch.no_grad()
def test_without_schaf_it_is_the_papers_voxelmorph():
    """Written out as in the paper: two convs a block, ReLU, max-pool; transposed conv; skips between equal levels."""
    torch.manual_seed(0)
    network = UDRNet(UDRNetConfig(schaf=False))
    network.head.weight.mul_(1e5)
    convs = [m for m in network.modules() if type(m) is not nn.ConvTranspose3d and isinstance(m, nn.Conv3d)]
    ups = [m for m in network.modules() if isinstance(m, nn.ConvTranspose3d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [
        *((2, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 32), (32, 32), (32, 32)),
        *((32, 32), (32, 32)),
        *((64, 32), (32, 32), (64, 32), (32, 32), (64, 32), (32, 32), (48, 32), (32, 16), (16, 16)),
        (16, 3),
    ]
    conv = iter(convs)

    def relu_conv(x: Tensor) -> Tensor:
        layer = next(conv)
        return F.relu(F.conv3d(x, layer.weight, layer.bias, padding=1))

    fixed, moving = torch.rand(2, 1, 1, 32, 16, 16)
    x, skips = torch.cat([moving, fixed], 1), []
    for _ in range(4):
        x = relu_conv(relu_conv(x))
        skips.append(x)  # taken before pooling
        x = F.max_pool3d(x, kernel_size=2)
    x = relu_conv(relu_conv(x))
    for up in ups:
        x = F.conv_transpose3d(x, up.weight, up.bias, stride=2)[:, :, 1:, 1:, 1:]  # 2n + 1, cropped to the skip
        x = relu_conv(relu_conv(torch.cat([x, skips.pop()], 1)))
    head = convs[-1]
    x = F.conv3d(relu_conv(x), head.weight, head.bias, padding=1)
    torch.testing.assert_close(network(fixed, moving)[0], x, atol=1e-4, rtol=1e-4)
    assert x.std() > 0.01


@torch.no_grad()
def test_the_attention_switch_adds_a_block_behind_half_and_full_resolution_and_changes_nothing_else():
    torch.manual_seed(0)
    plain = UDRNet()
    torch.manual_seed(0)
    attended = UDRNet(UDRNetConfig(attention="maxca"))
    seen: list[tuple[int, ...]] = []
    for block in attended.attend[2:]:
        assert isinstance(block, MAXCABlock)
        block.register_forward_hook(lambda _, inputs, output: seen.append(tuple(inputs[0].shape[1:])))
    extra = {key for key in attended.state_dict() if key.startswith("attend.")}
    assert set(attended.state_dict()) - extra == set(plain.state_dict())
    assert all(torch.equal(value, attended.state_dict()[key]) for key, value in plain.state_dict().items())
    pair = torch.rand(2, 1, 1, 32, 16, 16)
    full = attended(*pair)[0]
    assert seen == [(32, 16, 8, 8), (16, 32, 16, 16)]
    assert full.shape == (1, 3, 32, 16, 16)
    assert not torch.allclose(full, plain(*pair)[0], rtol=0.1)
    attended.attend = nn.ModuleList(nn.Identity() for _ in range(4))
    assert torch.equal(attended(*pair)[0], plain(*pair)[0])
