"""MSR-Dilformer-SRF computes what its page says: shared streams, three blocks, fields composed from level to level."""

import re
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from RegistrationNetLib.core.objective import diffusion, lncc
from RegistrationNetLib.core.spatial import lattice, warp
from RegistrationNetLib.networks import registry
from RegistrationNetLib.networks.blocks.correlation import corr27
from RegistrationNetLib.networks.blocks.layers import InstanceNorm
from RegistrationNetLib.networks.blocks.maxca import MAXCABlock
from RegistrationNetLib.networks.dilformer import (
    MSR,
    SRF,
    WIDTHS,
    Dilated,
    Dilformer,
    DilformerBlock,
    DilformerConfig,
    GlobalAttention,
)

RATES = (1, 2, 3, 5)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def image(seed: int, *shape: int) -> Tensor:
    return torch.rand(1, 1, *(shape or (32, 16, 16)), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def normed(x: Tensor) -> Tensor:
    """InstanceNorm, written out."""
    mean = x.mean((2, 3, 4), keepdim=True)
    return (x - mean) / ((x - mean).square().mean((2, 3, 4), keepdim=True) + 1e-5).sqrt()


class Made(TorchDispatchMode):
    """What each operation makes anew, views aside: its name and the shape."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[tuple[str, torch.Size]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        given = {place(argument) for argument in args}
        for tensor in made if isinstance(made, tuple) else (made,):
            if isinstance(tensor, Tensor) and place(tensor) not in given:
                self.tensors.append((func.__name__, tensor.shape))
        return made


def place(value: object) -> int | None:
    """Where a tensor's numbers lie."""
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) else None


# --- streams


def streams(network: Dilformer, fixed: Tensor, moving: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The features of the fixed and of the moving image that the levels see."""
    seen: list[list[Tensor]] = []
    hook = network.encoder.register_forward_hook(lambda module, inputs, output: seen.append(list(output)))
    with torch.no_grad():
        network(fixed, moving)
    hook.remove()
    (features,) = seen
    return [f.chunk(2)[0] for f in features], [f.chunk(2)[1] for f in features]


def test_exchanging_the_images_exchanges_the_streams():
    network = Dilformer()
    there, back = streams(network, image(1), image(2)), streams(network, image(2), image(1))
    for ours, theirs in zip((*there[0], *there[1]), (*back[1], *back[0]), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(there[0][0], there[1][0], atol=0.1)


def test_a_stream_sees_its_own_image_alone():
    network = Dilformer()
    (one, _), (other, _) = (streams(network, image(1), moving) for moving in (image(2), image(3)))
    for ours, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_equal_images_have_equal_features_in_both_streams_and_at_each_level_half_the_size():
    fixed, moving = streams(Dilformer(), image(1), image(1))
    for level, (f, m) in enumerate(zip(fixed, moving, strict=True)):
        torch.testing.assert_close(f, m)
        assert f.shape == (1, WIDTHS[level], 32 >> level, 16 >> level, 16 >> level)


# --- MSR


def test_msr_is_three_kernel_sizes_side_by_side_mixed_beside_the_identity():
    msr, x = MSR(8), noise(2, 8, 6, 7, 5)
    w, b = msr.three.weight, msr.three.bias
    one = F.conv3d(x, msr.one.weight, msr.one.bias)
    three = F.conv3d(x, w[:4], b[:4], padding=1)
    five = F.conv3d(F.leaky_relu(F.conv3d(x, w[4:], b[4:], padding=1), 0.2), msr.five.weight, msr.five.bias, padding=1)
    mixed = F.conv3d(F.leaky_relu(torch.cat([one, three, five], 1), 0.2), msr.mix.weight)
    assert [part.shape[1] for part in (one, three, five)] == [4, 4, 4]
    torch.testing.assert_close(msr(x), F.leaky_relu(normed(mixed) + x, 0.2), atol=1e-5, rtol=1e-5)


# --- the Dilformer


@torch.no_grad()
@pytest.mark.parametrize(("name", "rates"), [("1-2-3-5", RATES), ("1-2-4-8", (1, 2, 4, 8)), ("1-1-1-1", (1, 1, 1, 1))])
def test_an_impulse_answers_at_its_groups_dilation_and_in_its_channel_alone(name: str, rates: tuple[int, ...]):
    blocks = [m for m in Dilformer(DilformerConfig(dilations=name)).modules() if isinstance(m, Dilated)]
    assert len(blocks) == 4  # twice at 1/16 and at 1/8
    for dilated in blocks:
        channels = dilated.mix.in_channels
        dilated.mix = nn.Identity()
        for conv in dilated.groups:
            conv.bias.zero_()
        for channel in (c for group in range(4) for c in (group * channels // 4, (group + 1) * channels // 4 - 1)):
            impulse = torch.zeros(1, channels, 17, 17, 17)
            impulse[0, channel, 8, 8, 8] = 1
            rate = rates[channel * 4 // channels]
            places = [[0, channel, *(8 + rate * o for o in offset)] for offset in product((-1, 0, 1), repeat=3)]
            assert dilated(impulse).nonzero().tolist() == places


def test_the_groups_are_mixed():
    dilated = Dilated(16, RATES)
    x = noise(1, 16, 5, 5, 5).requires_grad_()
    dilated(x)[0, 0, 2, 2, 2].backward()
    assert (x.grad.abs().sum((0, 2, 3, 4)) > 0).all()


@torch.no_grad()
def test_the_dilated_convolutions_gate_what_attention_gathers_and_an_mlp_follows():
    block, z = DilformerBlock(32, RATES), noise(2, 32, 4, 5, 6)
    y = block.norm(z)
    torch.testing.assert_close(y, F.layer_norm(z.movedim(1, -1), (32,)).movedim(-1, 1))
    t, g = block.dilated(y), block.attention(y)
    z = z + F.conv3d(t.sigmoid() * g + t, block.merge.weight, block.merge.bias)
    norm, widen, depthwise, gelu, narrow = block.mlp
    assert (widen.kernel_size, depthwise.kernel_size, narrow.kernel_size) == ((1, 1, 1), (3, 3, 3), (1, 1, 1))
    assert (widen.out_channels, depthwise.groups, type(gelu)) == (64, 64, nn.GELU)
    expected = z + narrow(F.gelu(depthwise(widen(norm(z)))))
    torch.testing.assert_close(block(noise(2, 32, 4, 5, 6)), expected)


@torch.no_grad()
def test_attention_is_cross_covariance_over_the_whole_level():
    attention, x = GlobalAttention(32), noise(2, 32, 4, 5, 6)
    attention.temperature.copy_(torch.tensor([0.5, 3.0])[:, None, None])
    q, k, v = attention.qkv(x).flatten(2).chunk(3, dim=1)
    heads = []
    for head, temperature in enumerate((0.5, 3.0)):
        a, b, c = (part[:, 16 * head : 16 * head + 16] for part in (q, k, v))
        a, b = a / a.norm(dim=2, keepdim=True), b / b.norm(dim=2, keepdim=True)  # along the voxels
        heads.append(torch.softmax(temperature * a @ b.mT, dim=2) @ c)
    gathered = torch.cat(heads, 1).unflatten(2, (4, 5, 6))
    torch.testing.assert_close(attention(x), attention.project(gathered))


@torch.no_grad()
def test_attention_matrices_are_channels_by_channels_whatever_the_size():
    attention = GlobalAttention(64)
    for shape in ((3, 4, 5), (8, 6, 4)):
        with Made() as made:
            attention(noise(1, 64, *shape))
        assert [shape for name, shape in made.tensors if "softmax" in name] == [(1, 4, 16, 16)]


@torch.no_grad()
def test_the_dilformers_cost_and_memory_grow_linearly_with_the_voxels():
    block = DilformerBlock(32, RATES)
    flops, elements = [], []
    for depth in (8, 16, 32):
        with FlopCounterMode(display=False) as counter, Made() as made:
            block(noise(1, 32, depth, 8, 8))
        flops.append(counter.get_total_flops())
        elements.append(sum(shape.numel() for _, shape in made.tensors))
    assert flops[2] - flops[1] == 2 * (flops[1] - flops[0])
    assert flops[2] / flops[1] == pytest.approx(2, rel=0.02)
    assert elements[2] - elements[1] == 2 * (elements[1] - elements[0])
    assert elements[2] / elements[1] == pytest.approx(2, rel=0.02)


@torch.no_grad()
def test_at_an_eighth_a_far_voxel_is_felt_through_attention_alone():
    block = Dilformer().fusion[1][0]
    assert isinstance(block, DilformerBlock)
    near = noise(1, 64, 20, 4, 4)
    far = near.clone()
    far[:, :, -1] += noise(1, 64, 4, 4, seed=2)
    here = slice(0, 8)  # dilation 5 and a conv3 reach 6 voxels
    assert (block(near) - block(far))[:, :, here].abs().max() > 1e-4
    nn.init.zeros_(block.attention.project.weight)
    torch.testing.assert_close(block(near)[:, :, here], block(far)[:, :, here])


# --- SRF


@torch.no_grad()
@pytest.mark.parametrize("order", ["sequence", "parallel"])
def test_with_one_channel_srf_is_an_outer_product_in_sequence_and_a_cross_in_parallel(order: str):
    srf = SRF(1, order)
    impulse = torch.zeros(1, 1, 5, 5, 5)
    impulse[..., 2, 2, 2] = 1
    d, h, w = (conv.weight.flatten().flip(0) for conv in srf.along)
    if order == "sequence":
        kernel = torch.einsum("d,h,w->dhw", d, h, w)
    else:
        kernel = torch.zeros(3, 3, 3)
        kernel[:, 1, 1] += d
        kernel[1, :, 1] += h
        kernel[1, 1, :] += w
    torch.testing.assert_close(srf.separable(impulse)[0, 0], F.pad(kernel, (1,) * 6))


@pytest.mark.parametrize("order", ["sequence", "parallel"])
def test_srf_adds_the_mix_of_its_normed_and_activated_convolutions(order: str):
    srf, z = SRF(8, order), noise(2, 8, 6, 7, 5)
    assert [tuple(conv.weight.shape[2:]) for conv in srf.along] == [(3, 1, 1), (1, 3, 1), (1, 1, 3)]
    y = F.leaky_relu(normed(srf.separable(z)), 0.2)
    torch.testing.assert_close(srf(z), z + F.conv3d(y, srf.mix.weight, srf.mix.bias), atol=1e-5, rtol=1e-5)


# --- the levels


@torch.no_grad()
def test_a_level_mixes_fixed_warped_moving_correlation_and_the_coarser_feature():
    network = Dilformer()
    match = network.match[2]  # 32 channels
    fixed, moving, coarser = noise(1, 32, 20, 4, 6), noise(1, 32, 20, 4, 6, seed=2), noise(1, 64, 10, 2, 3, seed=3)
    old = noise(1, 3, 20, 4, 6, seed=4)
    warped = warp(moving, old)
    doubled = F.interpolate(coarser, scale_factor=2, mode="trilinear")
    inputs = torch.cat([fixed, warped, corr27(fixed, warped), doubled], 1)
    weight = torch.cat([match.merge.weight, match.coarser.weight], 1)
    assert weight.shape == (32, 32 + 32 + 27 + 64, 1, 1, 1)
    expected = F.conv3d(inputs, weight, match.merge.bias + match.coarser.bias)
    torch.testing.assert_close(match(fixed, moving, old, coarser), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_fields_are_composed_from_level_to_level_in_the_stated_order():
    """Heads that give known fields: old(X) linear at 1/2, then new(x) linear at 1, nothing before."""
    network = Dilformer()
    across = torch.tensor([[0.05, 0.1, -0.1], [0.1, -0.05, 0.0], [0.0, 0.1, 0.05]])
    bend = torch.tensor([[-0.05, 0.0, 0.1], [0.0, 0.05, 0.1], [0.1, 0.0, -0.05]])

    def linear(matrix: Tensor, x: Tensor) -> Tensor:
        return torch.einsum("ij,njdhw->nidhw", matrix, x) + 0.5

    def old(x: Tensor) -> Tensor:  # of the half grid, in voxels of the full one
        return 2 * linear(across, (x + 0.5) / 2 - 0.5)

    def new(x: Tensor) -> Tensor:
        return linear(bend, x)

    fields = [torch.zeros(1, 3, size, size, size) for size in (2, 4, 8)]
    x, half = (lattice((size, size, size), torch.zeros(())) for size in (32, 16))
    for head, field in zip(network.heads, [*fields, linear(across, half), new(x)], strict=True):
        head.register_forward_hook(lambda module, inputs, output, field=field: field)
    *_, at_half, total = network(image(1, 32, 32, 32), image(2, 32, 32, 32))
    torch.testing.assert_close(at_half, linear(across, half))
    there = x + new(x)
    seen = ((there > 1) & (there < 30) & (x > 1) & (x < 30)).all(dim=1)[0]  # where no border is asked
    assert seen.sum() > 5000
    expected = new(x) + old(there)
    torch.testing.assert_close(total[:, :, seen], expected[:, :, seen], atol=1e-3, rtol=0)
    for wrong in (new(x) + old(x), old(x) + new(x + old(x))):
        assert (wrong - expected)[:, :, seen].abs().mean() > 0.05


@torch.no_grad()
def test_a_level_sees_the_moving_image_where_the_coarser_field_leads():
    network = Dilformer()
    for head in network.heads:
        head.weight.zero_()
    seen: list[Tensor] = []
    network.match[-1].merge.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    shift = torch.tensor([1.0, -2.0, 0.0])[:, None, None, None].expand(1, 3, 8, 8, 8)
    network.heads[-2].register_forward_hook(lambda module, inputs, output: shift)
    _, moving = streams(network, image(1, 16, 16, 16), image(2, 16, 16, 16))
    expected = moving[0].roll((-2, 4), dims=(2, 3))  # moving(x + u(x)), u twice that of the half grid
    inner = (..., slice(0, 14), slice(4, 16), slice(None))
    torch.testing.assert_close(seen[0][inner], expected[inner], atol=1e-3, rtol=1e-3)


# --- the loss


def test_the_loss_is_the_weighted_sum_over_five_resolutions_of_images_averaged_and_fields_as_predicted():
    network = Dilformer()
    pair = image(1), image(2)
    fields = [noise(1, 3, 32 >> level, 16 >> level, 16 >> level) for level in (4, 3, 2, 1, 0)]
    expected = 0.0
    for field, factor, radius in zip(fields, (16, 8, 4, 2, 1), (1, 1, 2, 3, 4), strict=True):
        f, m = (F.avg_pool3d(i, factor) for i in pair)
        expected += (diffusion(field) - lncc(f, warp(m, field), radius)) / factor
    torch.testing.assert_close(network.objective(*pair, fields), expected)


def test_each_resolutions_loss_moves_the_heads_up_to_its_own():
    network = Dilformer()
    pair = image(1), image(2)
    fields = network(*pair)
    for level, field in enumerate(fields):
        network.zero_grad()
        factor = 2 ** (4 - level)
        f, m = (F.avg_pool3d(i, factor) for i in pair)
        (diffusion(field) - lncc(f, warp(m, field), 1)).backward(retain_graph=True)
        moved = [head.weight.grad is not None and bool(head.weight.grad.any()) for head in network.heads]
        assert moved == [other <= level for other in range(5)]


def test_without_the_multi_resolution_loss_the_finest_field_alone_is_judged():
    pair = image(1), image(2)
    fields = [noise(1, 3, 32 >> level, 16 >> level, 16 >> level) for level in (4, 3, 2, 1, 0)]
    others = [*(2 * field for field in fields[:-1]), fields[-1]]
    alone = Dilformer(DilformerConfig(multi_resolution_loss=False)).objective
    torch.testing.assert_close(
        alone(*pair, fields), diffusion(fields[-1]) - lncc(pair[0], warp(pair[1], fields[-1]), 4)
    )
    assert torch.equal(alone(*pair, fields), alone(*pair, others))
    several = Dilformer().objective
    assert not torch.allclose(several(*pair, fields), several(*pair, others))


# --- the switches


def parts(network: Dilformer, kind: type) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, kind)]


@pytest.mark.parametrize(
    ("switch", "kind", "widths", "places"),
    [
        ("msr", MSR, WIDTHS, r"encoder\.blocks\.\d"),
        ("dilformer", DilformerBlock, (128, 64), r"fusion\.[01]\.0"),
        ("srf", SRF, (128, 64, 32, 16, 8), r"fusion\.([01]\.2|[234]\.0)"),
    ],
)
def test_a_part_switched_off_leaves_two_convs_of_equal_width_and_changes_nothing_else(
    switch: str, kind: type, widths: tuple[int, ...], places: str
):
    full, less = Dilformer(), Dilformer(DilformerConfig(**{switch: False}))
    assert len(parts(full, kind)) == len(widths) * (1 if switch == "msr" else 2)
    assert parts(less, kind) == []
    stages = [module for name, module in less.named_modules() if re.fullmatch(places, name)]
    assert len(stages) == len(widths)
    for stage, width in zip(stages, widths, strict=True):
        layers = [m for m in stage.modules() if not list(m.children())]
        assert [type(layer) for layer in layers] == 2 * [nn.Conv3d, InstanceNorm, nn.LeakyReLU]
        assert all(layer.negative_slope == 0.2 for layer in layers[2::3])
        for conv in layers[::3]:
            assert (conv.in_channels, conv.out_channels, conv.kernel_size) == (width, width, (3, 3, 3))

    def rest(network: Dilformer, *removed: type) -> list[torch.Size]:
        inside = {id(p) for module in network.modules() if isinstance(module, removed) for p in module.parameters()}
        inside |= {id(p) for stage in stages for p in stage.parameters()}
        return [p.shape for p in network.parameters() if id(p) not in inside]

    assert rest(full, kind) == rest(less)


def test_srf_order_reaches_every_level():
    orders = {srf.order for srf in parts(Dilformer(DilformerConfig(srf_order="parallel")), SRF)}
    assert orders == {"parallel"}


def test_maxca_follows_the_decoder_blocks_at_full_and_half_resolution():
    network = registry.create("dilformer", attention="maxca")
    last = [stages[-1] for stages in network.fusion]
    assert [isinstance(block, MAXCABlock) for block in last] == [False, False, False, True, True]
    assert len(parts(network, MAXCABlock)) == 2
    assert parts(Dilformer(), MAXCABlock) == []


# --- memory


@torch.no_grad()
def test_inference_makes_in_proportion_to_the_voxels_and_never_the_27_channels_whole(monkeypatch):
    monkeypatch.setattr("RegistrationNetLib.networks.blocks.slabs.SLAB", 0)  # as at full size
    network = registry.create("dilformer")
    elements = []
    for depth in (48, 96):
        pair = image(1, depth, 16, 16), image(2, depth, 16, 16)
        with Made() as made:
            network(*pair)
        elements.append(sum(shape.numel() for _, shape in made.tensors))
        largest = max(shape.numel() for _, shape in made.tensors)
        assert largest <= 2 * 8 * pair[0].numel()  # both streams' features at full resolution
    assert elements[1] / elements[0] == pytest.approx(2, rel=0.05)


def test_training_keeps_of_msr_and_srf_their_input_alone():
    for block in (MSR(8), SRF(8, "sequence")):
        x = noise(1, 8, 8, 8, 8).requires_grad_()
        kept: set[int] = set()
        weights = {p.untyped_storage().data_ptr() for p in block.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: kept.add(t.untyped_storage().data_ptr()) or t, lambda t: t
        ):
            block(x)
        assert kept - weights <= {x.untyped_storage().data_ptr()}
