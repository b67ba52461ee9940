"""Cascaded block registration: what each stage sees, how the fields are put together, and what each switch does."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.objective import Objective, Term
from RegistrationNetLib.core.spatial import warp
from RegistrationNetLib.networks import cascaded_blocks
from RegistrationNetLib.networks.blocks import windows as cutting
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.layers import InstanceNorm
from RegistrationNetLib.networks.blocks.maxca import MAXCABlock
from RegistrationNetLib.networks.blocks.partition import places
from RegistrationNetLib.networks.cascaded_blocks import (
    Attention,
    CascadedBlocks,
    CascadedBlocksConfig,
    MultiSpatial,
    Restore,
    Stage,
    coordinates,
    offsets,
)

LONG = (16, 16, 112)  # two blocks, at 0 and 48


def made(**config) -> CascadedBlocks:
    """A seeded network whose fields are of the order of a voxel."""
    torch.manual_seed(0)
    network = CascadedBlocks(CascadedBlocksConfig(**config))
    with torch.no_grad():
        for head in network.modules():
            if isinstance(head, FlowHead):
                head.weight.mul_(2e3)
    return network


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 1, *shape, generator=generator), torch.rand(1, 1, *shape, generator=generator)


def watch(module: nn.Module) -> list[Tensor]:
    """What the module is given from now on."""
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    return seen


def constant(field: list[float], shape: tuple[int, ...]) -> Tensor:
    return torch.tensor(field)[None, :, None, None, None].expand(1, 3, *shape)


# The stages and their order


@torch.no_grad()
def test_stage_A_sees_the_whole_pair_at_half_resolution_and_its_field_is_in_voxels_of_the_full_one():
    network = made(restore=False)
    seen = watch(network.whole)
    nn.init.zeros_(network.whole.head.weight)
    network.whole.head.bias.copy_(torch.tensor([1.0, -2.0, 0.5]))
    fixed, moving = pair(32, 16, 48)
    after_a = network(fixed, moving)[0]
    torch.testing.assert_close(seen[0], F.avg_pool3d(torch.cat([moving, fixed], 1), 2))
    torch.testing.assert_close(after_a, constant([2.0, -4.0, 1.0], (32, 16, 48)))


def known_fields(monkeypatch: pytest.MonkeyPatch, network: CascadedBlocks, old: Tensor, new: Tensor) -> list[Tensor]:
    """Let stage A find `old` and B `new`; returned are the moving images that B is given."""
    given: list[Tensor] = []
    monkeypatch.setattr(network, "coarse", lambda fixed, moving: old)
    monkeypatch.setattr(network, "fine", lambda fixed, warped: given.append(warped) or new)
    return given


def slanted(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """old_d(x) = h / 10 and new_h = 2: new(x) + old(x + new(x)) is (h + 2) / 10, 2, 0."""
    old, new = torch.zeros(1, 3, *shape), torch.zeros(1, 3, *shape)
    old[:, 0] = torch.arange(shape[1])[:, None] / 10
    new[:, 1] = 2
    return old, new


@torch.no_grad()
def test_what_B_finds_is_composed_with_what_A_found_in_the_stated_order(monkeypatch: pytest.MonkeyPatch):
    network, (old, new) = made(restore=False), slanted((16, 16, 16))
    known_fields(monkeypatch, network, old, new)
    first, total = network(*pair(16, 16, 16))
    assert torch.equal(first, old)
    expected = new.clone()
    expected[:, 0] = (torch.arange(16)[:, None] + 2) / 10
    inner = (..., slice(0, 14), slice(None))  # beyond the border the edge's vector holds
    torch.testing.assert_close(total[inner], expected[inner])
    assert not torch.allclose(total[inner], (old + new)[inner], atol=0.1)  # a sum
    assert not torch.allclose(total[inner], (old + warp(new, old))[inner], atol=0.1)  # the other order


@torch.no_grad()
def test_every_pass_looks_at_what_all_before_it_have_left(monkeypatch: pytest.MonkeyPatch):
    network = made(restore=False, passes=3)
    shift = constant([0.0, 1.0, 0.0], (16, 16, 16))
    given = known_fields(monkeypatch, network, 2 * shift, shift)
    fixed, moving = pair(16, 16, 16)
    totals = network(fixed, moving)
    for total, expected in zip(totals, (2, 3, 4, 5), strict=True):
        torch.testing.assert_close(total, expected * shift)
    for warped, total in zip(given, totals, strict=False):
        torch.testing.assert_close(warped, warp(moving, total))


@torch.no_grad()
def test_restoring_is_composed_too_and_sees_the_field_and_what_it_leaves(monkeypatch: pytest.MonkeyPatch):
    network, (old, new) = made(), slanted((16, 16, 16))
    known_fields(monkeypatch, network, old, torch.zeros_like(old))
    given: list[Tensor] = []
    monkeypatch.setattr(network.restore, "forward", lambda *parts: given.extend(parts) or new)
    fixed, moving = pair(16, 16, 16)
    *_, before, after = network(fixed, moving)
    torch.testing.assert_close(given[0], before)
    torch.testing.assert_close(given[1], fixed - warp(moving, before))
    torch.testing.assert_close(after, new + warp(before, new))
    assert not torch.allclose(after, before + new, atol=0.1)


@torch.no_grad()
def test_the_smoother_is_three_convolutions_whatever_the_slabs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("RegistrationNetLib.networks.blocks.slabs.SLAB", 0)  # the thinnest ones
    torch.manual_seed(0)
    restore = Restore()
    field, difference = torch.randn(1, 3, 40, 8, 9), torch.randn(1, 1, 40, 8, 9)
    convs = [m for m in restore.modules() if isinstance(m, nn.Conv3d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [(4, 16), (16, 16), (16, 3)]
    expected = convs[2](F.leaky_relu(convs[1](F.leaky_relu(convs[0](torch.cat([field, difference], 1)), 0.2)), 0.2))
    torch.testing.assert_close(restore(field, difference), expected, atol=1e-9, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("attention", [True, False])
def test_the_stages_are_u_nets_whose_decoders_see_the_level_below_and_the_skip_of_their_own(attention: bool):
    """Written out: two convs a level, the first of stride 2; up: 1x1x1, doubled, the skip beside it, two convs."""
    torch.manual_seed(0)
    stage = Stage(5, attention, maxca=0)
    stage.head.weight.mul_(2e3)
    outside = [m for n, m in stage.named_modules() if "attention" not in n and "gate" not in n]
    convs = [m for m in outside if isinstance(m, nn.Conv3d)]
    assert [(c.in_channels, c.out_channels, *c.kernel_size[:1], *c.stride[:1]) for c in convs] == [
        *((5, 16, 3, 1), (16, 16, 3, 1), (16, 32, 3, 2), (32, 32, 3, 1)),
        *((32, 64, 3, 2), (64, 64, 3, 1), (64, 128, 3, 2), (128, 128, 3, 1)),
        *((128, 64, 1, 1), (128, 64, 3, 1), (64, 64, 3, 1)),
        *((64, 32, 1, 1), (64, 32, 3, 1), (32, 32, 3, 1)),
        *((32, 16, 1, 1), (32, 16, 3, 1), (16, 16, 3, 1)),
        (16, 3, 3, 1),
    ]
    conv = iter(convs)

    def step(x: Tensor) -> Tensor:
        layer = next(conv)
        x = F.conv3d(x, layer.weight, layer.bias, layer.stride, padding=1)
        return F.leaky_relu(F.instance_norm(x), 0.2)

    x = images = torch.randn(2, 5, 16, 24, 32)
    skips: list[Tensor] = []
    for level, weighed in enumerate((False, False, attention, attention)):
        x = step(x)
        near = step(x)
        if weighed:
            far = stage.encoder[level].attention(x)
            s = stage.encoder[level].gate(torch.cat([near, far], 1))
            x = s * near + (1 - s) * far
        else:
            x = near
        skips.append(x)
    x = skips.pop()
    while skips:
        narrow = next(conv)
        x = F.conv3d(x, narrow.weight, narrow.bias)
        x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        x = step(step(torch.cat([x, skips.pop()], 1)))
    head = next(conv)
    expected = F.conv3d(x, head.weight, head.bias, padding=1)
    torch.testing.assert_close(stage(images), expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.01


# Blocks


class Told(nn.Module):
    """In place of B's network: a field made of the coordinate channels and of how many blocks there were before."""

    def __init__(self, field: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.field, self.calls = field, 0

    def forward(self, x: Tensor) -> Tensor:
        fields = []
        for one in x.split(1):
            fields.append(self.field(one[:, 2:], self.calls))
            self.calls += 1
        return torch.cat(fields)


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["cosine", "mean", "crop"])
@pytest.mark.parametrize("blocks", [True, False])
def test_a_smooth_field_seen_by_blocks_is_that_field_without_a_seam(fusion: str, blocks: bool):
    network = made(fusion=fusion, blocks=blocks)
    network.block = Told(lambda position, _: 5 * torch.sin(3 * position))
    shape = (16, 80, 112)
    position = coordinates((slice(0, 16), slice(0, 80), slice(0, 112)), torch.zeros(1, 1, *shape))
    found = network.fine(*pair(*shape))
    torch.testing.assert_close(found, 5 * torch.sin(3 * position), atol=1e-5, rtol=0)
    assert network.block.calls == (4 if blocks else 1)


@torch.no_grad()
def test_where_blocks_disagree_only_the_cosine_shows_no_seam():
    steepest = {}
    for fusion in ("cosine", "mean", "crop"):
        network = made(fusion=fusion)
        network.block = Told(lambda position, call: torch.full_like(position, call))
        found = network.fine(*pair(*LONG))
        assert {found.min().item(), found.max().item()} == {0, 1}
        steepest[fusion] = found.diff(dim=-1).abs().max().item()
    assert steepest == {"cosine": pytest.approx(0.098, abs=0.002), "mean": 0.5, "crop": 1}


@torch.no_grad()
def test_coordinates_tell_each_block_its_place_in_the_volume():
    fixed, warped = pair(16, 32, 112)
    network = made()
    seen = watch(network.block)
    network.fine(fixed, warped)
    given = torch.cat(seen)
    for x, start in zip(given, (0, 48), strict=True):
        assert torch.equal(x[:2], torch.cat([warped, fixed], 1)[0, ..., start : start + 64])
        voxel = torch.arange(start, start + 64) + 0.5
        torch.testing.assert_close(x[4], (2 * voxel / 112 - 1).expand(16, 32, -1))
        torch.testing.assert_close(x[3, 0, :, 0], (2 * torch.arange(32) + 1) / 32 - 1)
        torch.testing.assert_close(x[2, :, 0, 0], (2 * torch.arange(16) + 1) / 16 - 1)
    alike = [given[:1].clone(), given[:1].clone()]
    alike[1][:, 2:] = given[1:, 2:]  # the same images elsewhere
    assert not torch.allclose(network.block(alike[0]), network.block(alike[1]), atol=1e-3)


@torch.no_grad()
def test_blocks_one_by_one_are_those_of_a_batch():
    network, images = made(), torch.cat(pair(16, 16, 160), dim=1)
    blocks = places((16, 16, 160), 64, 16)
    alone, two, all_three = (torch.cat(list(network.block_fields(images, blocks, n))) for n in (1, 2, 3))
    assert alone.shape == (3, 3, 16, 16, 64)
    torch.testing.assert_close(two, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(all_three, alone, atol=1e-5, rtol=1e-4)
    assert alone.abs().max() > 0.1


@torch.no_grad()
def test_all_blocks_and_passes_share_one_network_and_A_has_its_own():
    network = made(passes=2, restore=False)
    assert {name for name, _ in network.named_children()} == {"whole", "block"}
    assert not {id(p) for p in network.whole.parameters()} & {id(p) for p in network.block.parameters()}
    seen = watch(network.block)
    network(*pair(*LONG))
    assert sum(len(x) for x in seen) == 2 * 2  # blocks, passes


@torch.no_grad()
def test_small_crops_are_cut_into_small_blocks():
    network = made(block=24, restore=False)
    seen = watch(network.block)
    network(*pair(32, 32, 48))  # steps of 18: 2 x 2 x 3 blocks
    assert sum(len(x) for x in seen) == 2 * 2 * 3
    assert {tuple(x.shape[2:]) for x in seen} == {(24, 24, 24)}


def largest_seen(network: CascadedBlocks, shape: tuple[int, ...]) -> int:
    """Voxels times channels of the largest tensor that any layer of the block network takes or gives."""
    sizes: list[int] = []
    handles = [
        module.register_forward_hook(
            lambda _, inputs, output: sizes.extend(t.numel() for t in (*inputs, output) if isinstance(t, Tensor))
        )
        for module in network.block.modules()
    ]
    network.fine(*pair(*shape))
    for handle in handles:
        handle.remove()
    return max(sizes)


@torch.inference_mode()
def test_what_the_block_network_holds_does_not_grow_with_the_volume():
    network = made()
    small = largest_seen(network, (16, 16, 112))
    assert small == 2 * 16 * 16 * 16 * 64  # two blocks, 16 channels
    assert largest_seen(network, (16, 16, 304)) == small
    assert largest_seen(network, (16, 112, 112)) == 2 * 16 * 16 * 64 * 64
    assert largest_seen(made(blocks=False), (16, 16, 304)) == 16 * 16 * 16 * 304


def test_training_computes_a_block_again_rather_than_keep_what_it_built():
    network = made(restore=False)
    seen = watch(network.block.head)
    final = network(*pair(*LONG))[-1]
    assert len(seen) == 1  # two blocks in a batch
    final.sum().backward()
    assert len(seen) == 2


# Local and global information


def attention(channels: int = 32) -> Attention:
    torch.manual_seed(0)
    made = Attention(channels)
    nn.init.normal_(made.bias, std=0.3)
    return made


SIZES = [(16, 16, 16), (10, 7, 9), (4, 3, 1)]


@torch.no_grad()
@pytest.mark.parametrize("shape", SIZES)
def test_attention_is_that_of_its_formula(shape: tuple[int, int, int]):
    module = attention()
    x = torch.randn(2, 32, *shape)
    normed = F.layer_norm(x.movedim(1, -1), (32,))
    q, k, v = F.linear(normed, module.qkv.weight.flatten(1), module.qkv.bias).chunk(3, dim=-1)  # (N, D, H, W, C)
    pooled = F.adaptive_avg_pool3d(normed.movedim(-1, 1), [min(4, n) for n in shape]).flatten(2).mT
    _, far_k, far_v = F.linear(pooled, module.qkv.weight.flatten(1), module.qkv.bias).chunk(3, dim=-1)
    generator = torch.Generator().manual_seed(2)
    for _ in range(6):  # some voxels, as if nobody had thought of windows
        d, h, w = (int(torch.randint(n, (), generator=generator)) for n in shape)
        near = [
            (i, j, m)
            for i in range(d // 4 * 4, min(d // 4 * 4 + 4, shape[0]))
            for j in range(h // 4 * 4, min(h // 4 * 4 + 4, shape[1]))
            for m in range(w // 4 * 4, min(w // 4 * 4 + 4, shape[2]))
        ]
        at = tuple(torch.tensor(near).T)
        keys = torch.cat([k[:, *at], far_k], 1).unflatten(-1, (2, 16))
        values = torch.cat([v[:, *at], far_v], 1).unflatten(-1, (2, 16))
        index = [((d - i + 3) * 7 + h - j + 3) * 7 + w - m + 3 for i, j, m in near]
        bias = torch.cat([module.bias[:, index], module.bias[:, -1:].expand(-1, far_k.shape[1])], 1)
        scores = torch.einsum("nhc,nkhc->nhk", q[:, d, h, w].unflatten(-1, (2, 16)), keys) / 4 + bias
        expected = torch.einsum("nhk,nkhc->nhc", scores.softmax(-1), values).flatten(1)
        given = module.attend(module.qkv(module.norm(x)))[:, :, d, h, w]
        torch.testing.assert_close(given, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_far_tokens_count_through_averages_of_the_level_alone():
    module = attention()
    x = torch.randn(1, 32, 16, 16, 16)
    here = module(x)[..., :4, :4, :4]
    exchanged = x.clone()  # two tokens of one average
    exchanged[..., 12, 12, 12], exchanged[..., 15, 13, 14] = x[..., 15, 13, 14], x[..., 12, 12, 12]
    torch.testing.assert_close(module(exchanged)[..., :4, :4, :4], here, atol=1e-6, rtol=0)
    changed = x.clone()
    changed[..., 12:, 12:, 12:] = torch.randn(1, 32, 4, 4, 4)
    assert (module(changed)[..., :4, :4, :4] - here).abs().max() > 1e-3


@torch.no_grad()
def test_attention_turns_to_the_neighbour_that_its_bias_prefers():
    module, values = attention(), torch.randn(1, 32, 8, 8, 8)
    qkv = torch.cat([torch.zeros(1, 64, 8, 8, 8), values], dim=1)
    nn.init.zeros_(module.bias)
    one_ahead = offsets(values)[0, 1]  # key at w + 1
    module.bias[:, one_ahead] = 100
    seen = module.attend(qkv)
    torch.testing.assert_close(seen[..., [0, 1, 2, 4, 5, 6]], values[..., [1, 2, 3, 5, 6, 7]])
    module.bias[:, -1] = 200  # the averages before all
    everywhere = module.attend(qkv)
    torch.testing.assert_close(everywhere, values.mean((2, 3, 4), keepdim=True).expand_as(values), atol=1e-6, rtol=0)


@torch.no_grad()
def test_tokens_that_only_fill_a_window_change_nothing(monkeypatch: pytest.MonkeyPatch):
    module, x = attention(), torch.randn(1, 32, 6, 5, 9)
    expected = module(x)

    def soiled(volume: Tensor, size: int, margin: int = 0) -> Tensor:
        tokens = cutting.windows(volume, size, margin).clone()
        tokens[:, ~cutting.inside(volume, size, margin)] = 50
        return tokens

    monkeypatch.setattr(cascaded_blocks, "windows", soiled)
    assert torch.equal(module(x), expected)


@torch.no_grad()
def test_the_gate_lies_between_0_and_1_and_weighs_the_local_against_the_attended():
    torch.manual_seed(0)
    level = MultiSpatial(4, 32, stride=2, attention=True)
    level.gate[0].weight.mul_(5)
    parts: dict[str, Tensor] = {}
    for name in ("second", "attention", "gate"):
        getattr(level, name).register_forward_hook(lambda _, __, out, name=name: parts.update({name: out.clone()}))
    z = level(torch.randn(2, 4, 12, 8, 10))
    s = parts["gate"]
    assert s.shape == z.shape == (2, 32, 6, 4, 5)
    assert s.min() > 0
    assert s.max() < 1
    assert s.std() > 0.1
    torch.testing.assert_close(z, s * parts["second"] + (1 - s) * parts["attention"])
    both = torch.cat([parts["second"], parts["attention"]], 1)
    torch.testing.assert_close(s, torch.sigmoid(F.conv3d(both, level.gate[0].weight, level.gate[0].bias)))


def without_statistics(network: nn.Module) -> nn.Module:
    """Without InstanceNorm, through which everything hears of everything."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, InstanceNorm):
                setattr(module, name, nn.Identity())
    return network


@torch.no_grad()
@pytest.mark.parametrize("attention", [True, False])
def test_a_far_voxel_influences_A_by_attention(attention: bool):
    network = without_statistics(made(attention=attention))
    fixed, moving = pair(16, 16, 480)
    other = moving.clone()
    other[..., 440:] = torch.rand(1, 1, 16, 16, 40)
    change = (network.coarse(fixed, other) - network.coarse(fixed, moving)).abs().amax((0, 1, 2, 3))
    assert change[400:].max() > 0  # near it
    assert (change[:16].max() > 0) == attention


# Switches


def test_without_attention_two_convolutions_remain_of_every_level():
    network = made(attention=False)
    assert not any(isinstance(m, Attention) for m in network.modules())
    level = network.block.encoder[3]
    x = torch.randn(1, 64, 4, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(level(x), level.second(level.first(x)))


def test_attention_sits_at_the_two_coarsest_levels_of_both_stages():
    network = made()
    for stage in (network.whole, network.block):
        assert [level.attention is not None for level in stage.encoder] == [False, False, True, True]
        assert [level.gate is not None for level in stage.encoder] == [False, False, True, True]


@torch.no_grad()
def test_maxca_follows_the_decoders_blocks_at_half_and_full_resolution():
    network = made(attention="maxca")
    assert network.block.encoder[3].attention is not None
    seen = [watch(m) for m in network.modules() if isinstance(m, MAXCABlock)]
    network(*pair(32, 16, 16))
    half, full = (16, 8, 8), (32, 16, 16)
    shapes = {(x.shape[1], *x.shape[2:]) for (x,) in seen}
    assert shapes == {(16, *half), (32, *half), (16, *full)}
    assert len(seen) == 3


@torch.no_grad()
def test_without_blocks_B_takes_the_whole_volume_at_once():
    network = made(blocks=False)
    seen = watch(network.block)
    network(*pair(*LONG))
    assert [x.shape for x in seen] == [(1, 5, *LONG)]


HALF, NONE, FULL = Term(similarity=0.5), Term(similarity=0), Term()


@torch.no_grad()
@pytest.mark.parametrize(
    ("config", "terms"),
    [
        ({}, (HALF, NONE, FULL)),
        ({"restore": False}, (HALF, FULL)),
        ({"passes": 2}, (HALF, NONE, NONE, FULL)),
        ({"passes": 3, "restore": False}, (HALF, NONE, NONE, FULL)),
    ],
)
def test_it_gives_the_field_of_each_stage_and_judges_the_first_and_the_last_by_likeness(
    config: dict, terms: tuple[Term, ...]
):
    network = made(**config)
    assert network.objective == Objective(terms)
    fields = network(*pair(16, 16, 16))
    assert len(fields) == len(terms)
    assert all(not torch.equal(a, b) for a, b in pairwise(fields))
