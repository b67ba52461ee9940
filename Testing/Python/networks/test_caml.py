"""CAML-RBSC-CARSC computes what its paper states: who attends to whom, at which levels, and what pass 2 receives."""

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from RegistrationNetLib.core.errors import SettingsError
from RegistrationNetLib.core.spatial import lattice, warp
from RegistrationNetLib.networks import caml
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.caml import (
    CAML,
    CAT,
    CAMLConfig,
    CrossAttention,
    Fusion,
    Pass,
    Refine,
    ResidualBlock,
    aligned,
    other,
)
from RegistrationNetLib.networks.registry import configure

SWITCHES = [dict(zip(("caml", "rbsc", "carsc"), on, strict=True)) for on in product((True, False), repeat=3)]


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    fixed, moving = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(2))
    return fixed, moving


def made(kind: Any, *arguments: Any) -> Any:
    """A seeded module; attention tables and heads enlarged, so that what they do shows."""
    torch.manual_seed(0)
    module = kind(*arguments)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, CrossAttention):
                part.bias.mul_(50)
            if isinstance(part, FlowHead):
                part.weight.mul_(2e4)
    return module


def seen(module: nn.Module) -> list[tuple[Any, Any]]:
    """(inputs, output) of every later call of a module."""
    calls: list[tuple[Any, Any]] = []
    module.register_forward_hook(lambda _, inputs, output: calls.append((inputs, output)))
    return calls


# Cross attention


def by_hand(attention: CrossAttention, base: Tensor, search: Tensor) -> Tensor:
    """softmax(q k / sqrt(16) + bias) v, voxel by voxel over the voxels of its search window that exist."""
    window, margin = attention.window, attention.margin
    shape = base.shape[2:]
    tables = attention.bias.unflatten(1, 3 * (2 * (window + margin) - 1,))
    key_weight, value_weight = attention.key_value.weight.chunk(2)
    out = torch.zeros_like(base)
    for place in product(*map(range, shape)):
        query = attention.query.weight @ base[0, :, *place]
        starts = [p - p % window for p in place]
        near = [
            range(max(start - margin, 0), min(start + window + margin, extent))
            for start, extent in zip(starts, shape, strict=True)
        ]
        found = list(product(*near))
        tokens = torch.stack([search[0, :, *there] for there in found])
        steps = [[t - p + window + margin - 1 for t, p in zip(there, place, strict=True)] for there in found]
        heads = []
        for head in range(attention.heads):
            part = slice(16 * head, 16 * head + 16)
            bias = torch.stack([tables[head, *step] for step in steps])
            match = tokens @ key_weight[part].T @ query[part] / 4 + bias
            heads.append(match.softmax(0) @ (tokens @ value_weight[part].T))
        out[0, :, *place] = attention.out(torch.cat(heads))
    return out


@torch.no_grad()
@pytest.mark.parametrize(("window", "margin"), [(4, 2), (2, 2), (4, 0)])
@pytest.mark.parametrize("shape", [(5, 3, 6), (4, 4, 8)])
def test_attention_is_the_formula_over_the_voxels_of_each_search_window(
    window: int, margin: int, shape: tuple[int, int, int]
):
    attention = made(CrossAttention, 32, window, margin)
    base, search = 3 * noise(1, 32, *shape), 3 * noise(1, 32, *shape, seed=2)
    torch.testing.assert_close(attention(base, search), by_hand(attention, base, search), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_tokens_that_only_fill_windows_change_nothing(monkeypatch: pytest.MonkeyPatch):
    attention = made(CrossAttention, 32, 4, 2)
    base, search = noise(1, 32, 5, 3, 6), noise(1, 32, 5, 3, 6, seed=2)
    zeros, filled = attention(base, search), []

    def loudly(volume: Tensor, size: int, margin: int = 0) -> Tensor:
        known = windows_fill(torch.ones_like(volume), size, margin) > 0
        filled.append((~known).sum().item())
        rest = torch.zeros if volume.shape[1] == 1 else torch.ones  # the one channel says which are voxels
        return torch.where(known, windows_fill(volume, size, margin), 100 * rest(()))

    windows_fill = caml.fill
    monkeypatch.setattr(caml, "fill", loudly)
    assert torch.equal(attention(base, search), zeros)
    assert min(filled) > 0


@torch.no_grad()
def test_queries_come_from_the_base_and_keys_and_values_from_the_search_feature():
    block = made(CAT, 32, CAMLConfig())
    queries, keys_values = seen(block.attention.query), seen(block.attention.key_value)
    base, search, changed = (noise(1, 32, 6, 5, 7, seed=seed) for seed in range(3))
    results = [block(base, search), block(base, changed), block(changed, search)]
    assert torch.equal(queries[0][1], queries[1][1])
    assert not torch.equal(queries[0][1], queries[2][1])
    assert torch.equal(keys_values[0][1], keys_values[2][1])
    assert not torch.equal(keys_values[0][1], keys_values[1][1])
    assert not any(torch.allclose(results[0], result, atol=1e-2) for result in results[1:])


@torch.no_grad()
def test_the_block_adds_attention_and_mlp_to_its_base():
    block = made(CAT, 32, CAMLConfig())
    base, search = noise(2, 32, 5, 6, 4), noise(2, 32, 5, 6, 4, seed=2)
    feature = base + block.attention(block.norm(base), block.norm(search))
    first, _, second = block.mlp
    tokens = F.layer_norm(feature.movedim(1, -1), (32,), block.mlp_norm.weight, block.mlp_norm.bias)
    expected = feature + second(F.gelu(first(tokens))).movedim(-1, 1)
    torch.testing.assert_close(block(base, search), expected)


def test_recomputing_for_the_gradient_changes_no_gradient(monkeypatch: pytest.MonkeyPatch):
    attention = made(CrossAttention, 32, 4, 2)
    base, search = noise(2, 32, 5, 4, 9), noise(2, 32, 5, 4, 9, seed=2)
    weight = noise(2, 32, 5, 4, 9, seed=3)

    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad((attention(base, search) * weight).sum(), list(attention.parameters())))

    checkpointed = gradients()
    monkeypatch.setattr("RegistrationNetLib.networks.caml.recomputed", lambda function, *inputs: function(*inputs))
    for gradient, plain in zip(checkpointed, gradients(), strict=True):
        torch.testing.assert_close(gradient, plain)


# Fusion: four calls, two levels (CAML)


@torch.no_grad()
def test_a_fusion_makes_its_four_calls_with_one_set_of_parameters():
    fusion = made(Fusion, 32, 16, CAMLConfig())
    calls = seen(fusion.cat)
    streams, shallower = noise(2, 32, 4, 6, 5), noise(2, 16, 8, 12, 10, seed=2)
    fixed, moving = streams
    result = fusion(streams, shallower)
    assert [key for key in fusion.state_dict() if key.endswith("query.weight")] == ["cat.attention.query.weight"]
    assert sum(len(inputs[0]) for inputs, _ in calls) == 4
    (same, first), (crossed, second) = calls
    assert torch.equal(same[0], streams)
    assert torch.equal(same[1], torch.stack([moving, fixed]))  # F <- M, M <- F
    assert torch.equal(crossed[0], first)
    pooled = F.conv3d(F.max_pool3d(shallower, 2), fusion.pool[1].weight, fusion.pool[1].bias)
    torch.testing.assert_close(crossed[1], pooled[[1, 0]])  # F <- P(M'), M <- P(F')
    assert torch.equal(result, second)


@torch.no_grad()
def test_the_call_between_levels_reacts_to_the_shallower_level_of_the_other_stream():
    fusion = made(Fusion, 32, 16, CAMLConfig())
    streams, shallower = noise(2, 32, 4, 4, 4), noise(2, 16, 8, 8, 8, seed=2)
    changed = shallower.clone()
    changed[1] = noise(16, 8, 8, 8, seed=3)  # the moving images'
    before, after = fusion(streams, shallower), fusion(streams, changed)
    assert not torch.allclose(before[0], after[0], atol=1e-2)
    assert torch.equal(before[1], after[1])


@torch.no_grad()
def test_without_caml_the_same_level_is_searched_again_at_equal_cost(monkeypatch: pytest.MonkeyPatch):
    fusion = made(Fusion, 32, 16, CAMLConfig(caml=False))
    calls = seen(fusion.cat)
    streams, shallower = noise(2, 32, 4, 4, 4), noise(2, 16, 8, 8, 8, seed=2)
    pairs = matched(monkeypatch)
    result = fusion(streams, shallower)
    assert torch.equal(calls[1][0][1], other(calls[0][1]))
    assert torch.equal(result, fusion(streams, torch.zeros_like(shallower)))
    repeated = sum(pairs) / 2
    pairs.clear()
    made(Fusion, 32, 16, CAMLConfig())(streams, shallower)
    assert sum(pairs) == repeated


@torch.no_grad()
def test_the_shallower_level_is_the_encoders_feature_and_in_the_decoder_the_skip():
    network = made(Pass, CAMLConfig())
    encoder = [seen(module) for module in network.encoder]
    fused = [seen(module) for module in network.encoder_fusion]
    skips = [seen(module) for module in network.skip]
    unfused, decoder = [seen(module) for module in network.decoder], [seen(m) for m in network.decoder_fusion]
    features, _ = network(*pair(32, 16, 32))
    levels = [encoder[0][0][1], *(calls[0][1] for calls in fused)]  # what each level hands down
    for level in (1, 2, 3):
        inputs = fused[level - 1][0][0]
        assert torch.equal(inputs[0], encoder[level][0][1])
        assert torch.equal(inputs[1], levels[level - 1])
        assert torch.equal(skips[level - 1][0][0][0], levels[level - 1])  # skips start from fused features
    for step, level in enumerate((2, 1, 0)):
        assert torch.equal(unfused[step][0][0][1], skips[level][0][1])
        if level:
            assert torch.equal(decoder[step][0][0][1], skips[level - 1][0][1])
    assert [feature.shape[1] for feature in features] == [64, 32, 16]


# Streams


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [CAMLConfig(), CAMLConfig(caml=False, rbsc=False), CAMLConfig(cross_attention=False)],
    ids=["full", "no CAML, no RBSC", "no attention"],
)
def test_exchanging_the_images_exchanges_the_streams_in_both_passes(config: CAMLConfig):
    network = made(CAML, config)
    a, b = pair(32, 16, 16)
    one, two = network.passes[0], network.passes[-1]
    there, back = one(a, b)[0], one(b, a)[0]
    refined = [two(a, b, network.refine, there)[0], two(b, a, network.refine, [other(f) for f in there])[0]]
    for features, exchanged in ((there, back), refined):
        for feature, swapped in zip(features, exchanged, strict=True):
            torch.testing.assert_close(feature, swapped.flip(0), atol=1e-4, rtol=1e-4)
            assert not torch.allclose(feature, swapped, atol=1e-1)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(32, 16, 16)])
def test_both_streams_share_their_weights(shape: tuple[int, int, int]):
    image, _ = pair(*shape)
    for feature in made(Pass, CAMLConfig())(image, image)[0]:
        torch.testing.assert_close(feature[0], feature[1])


@torch.no_grad()
def test_without_cross_attention_the_streams_meet_only_before_the_head():
    fixed, moving = pair(32, 16, 16)
    for attends in (True, False):
        network = made(Pass, CAMLConfig(cross_attention=attends))
        (before, field), (after, changed) = network(fixed, moving), network(fixed, 1 - moving)
        alike = [torch.equal(b[0], a[0]) for b, a in zip(before, after, strict=True)]
        assert alike == [not attends] * 3
        assert not torch.allclose(field, changed, atol=1e-3)


# The backbone


@torch.no_grad()
def test_without_attention_and_rbsc_a_pass_is_a_u_net_for_each_image_and_one_head():
    """Written out: conv3 of stride 2 and another a level; up: 1x1x1, doubled, the skip beside it, conv3; both images'
    features, two convs without a norm, and the head."""
    network = made(Pass, CAMLConfig(cross_attention=False, rbsc=False))
    convs = [m for m in network.modules() if isinstance(m, nn.Conv3d)]
    assert [(c.in_channels, c.out_channels, *c.kernel_size[:1], *c.stride[:1]) for c in convs] == [
        *((1, 16, 3, 2), (16, 16, 3, 1), (16, 32, 3, 2), (32, 32, 3, 1)),
        *((32, 64, 3, 2), (64, 64, 3, 1), (64, 128, 3, 2), (128, 128, 3, 1)),
        *((128, 64, 1, 1), (128, 64, 3, 1), (64, 32, 1, 1), (64, 32, 3, 1), (32, 16, 1, 1), (32, 16, 3, 1)),
        *((32, 16, 3, 1), (16, 16, 3, 1), (16, 3, 3, 1)),
    ]
    encoder, decoder, end = convs[:8], convs[8:14], convs[14:]

    def conv(x: Tensor, layer: nn.Conv3d) -> Tensor:
        return F.conv3d(x, layer.weight, layer.bias, layer.stride, layer.padding)

    def activated(x: Tensor) -> Tensor:
        return F.leaky_relu(F.instance_norm(x), 0.2)

    def stream(x: Tensor) -> list[Tensor]:
        skips = []
        for down, level in zip(encoder[::2], encoder[1::2], strict=True):
            x = activated(conv(conv(x, down), level))
            skips.append(x)
        x, features = skips.pop(), []
        for narrow, merge in zip(decoder[::2], decoder[1::2], strict=True):
            x = F.interpolate(conv(x, narrow), scale_factor=2, mode="trilinear", align_corners=False)
            x = activated(conv(torch.cat([x, skips.pop()], 1), merge))
            features.append(x)
        return features

    images = pair(32, 48, 16)
    given, field = network(*images)
    expected = [torch.cat(both) for both in zip(*map(stream, images), strict=True)]
    for feature, stated in zip(given, expected, strict=True):
        torch.testing.assert_close(feature, stated, atol=1e-4, rtol=1e-4)
    x = torch.cat(expected[-1].split(1), dim=1)
    for layer in end[:2]:
        x = F.leaky_relu(conv(x, layer), 0.2)
    torch.testing.assert_close(field, conv(x, end[2]), atol=1e-4, rtol=1e-4)
    assert field.std() > 0.01


# RBSC


@torch.no_grad()
def test_the_skip_is_a_residual_block_of_he():
    block = made(ResidualBlock, 16)
    (first, _, _), second = block.body[0], block.body[1]
    x = noise(2, 16, 6, 5, 7)
    inner = F.conv3d(x, first.weight, first.bias, padding=1)
    inner = F.leaky_relu(F.instance_norm(inner), 0.2)
    inner = F.instance_norm(F.conv3d(inner, second.weight, second.bias, padding=1))
    torch.testing.assert_close(block(x), F.leaky_relu(inner + x, 0.2), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_without_rbsc_skips_are_plain_and_nothing_else_changes():
    full, plain = made(CAML, CAMLConfig()), made(CAML, CAMLConfig(rbsc=False))
    left = {key: value for key, value in full.state_dict().items() if ".skip." not in key}
    plain.load_state_dict(left)  # strict: the same names and shapes
    images = pair(16, 32, 16)
    attended = full(*images)[-1]
    full.passes[0].skip = nn.ModuleList(nn.Identity() for _ in range(3))
    torch.testing.assert_close(plain(*images)[-1], full(*images)[-1])
    assert not torch.allclose(attended, full(*images)[-1], atol=1e-2)


# CARSC


@torch.no_grad()
@pytest.mark.parametrize("attention", [True, False])
def test_refining_attends_to_the_earlier_feature_and_adds_its_residual_block(attention: bool):
    refine = made(Refine, 32, CAMLConfig(), attention)
    feature, earlier = noise(2, 32, 6, 5, 4), noise(2, 32, 6, 5, 4, seed=2)
    base = refine.cat(feature, earlier) if attention else feature
    torch.testing.assert_close(refine(feature, earlier), base + refine.residual(earlier))


def test_pass_2_attends_at_levels_2_and_1_and_has_a_residual_skip_at_0_too():
    assert [refine.cat is not None for refine in CAML().refine] == [True, True, False]
    assert len(CAML(CAMLConfig(carsc="plain")).refine) == len(CAML(CAMLConfig(carsc=False)).refine) == 0


@torch.no_grad()
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("stream", [0, 1])
def test_pass_2_changes_with_every_feature_of_pass_1(level: int, stream: int):
    network, plain = made(CAML, CAMLConfig()), made(CAML, CAMLConfig(carsc="plain"))
    fixed, moving = pair(32, 16, 16)
    features, half = network.passes[0](fixed, moving)
    changed = [feature.clone() for feature in features]
    changed[level][stream] += noise(*changed[level][stream].shape)
    fields = [
        [given.again(fixed, moving, list(handed), half) for handed in (features, changed)] for given in (network, plain)
    ]
    assert not torch.allclose(*fields[0], atol=1e-3)
    assert torch.equal(*fields[1])  # carsc="plain" hands nothing on but the field


@torch.no_grad()
def test_the_moving_images_features_are_warped_by_the_field_of_pass_1_and_the_fixed_ones_are_not():
    half = torch.zeros(1, 3, 16, 16, 16)
    half[:, 0] = 4  # voxels of level 0, so 2 of level 1 and 1 of level 2
    for size, shift in ((16, 4), (8, 2), (4, 1)):
        feature = noise(2, 5, size, size, size)
        fixed, moving = aligned(feature, half)
        assert torch.equal(fixed, feature[0])
        torch.testing.assert_close(moving[:, :-shift], feature[1][:, shift:], atol=1e-4, rtol=1e-4)


class Known(nn.Module):
    """A pass that gives a field known on paper."""

    def __init__(self, half: Tensor) -> None:
        super().__init__()
        self.half, self.moving = half, torch.empty(0)

    def forward(self, fixed: Tensor, moving: Tensor, *cascade: Any) -> tuple[list[Tensor], Tensor]:
        self.moving = moving
        return [], self.half


@torch.no_grad()
def test_the_total_field_is_new_then_old_not_the_other_order_nor_a_sum():
    # old = A x + a and new = B x + b in voxels of the full grid, so that the total is B x + b + A (x + B x + b) + a
    size = 32
    a_matrix = torch.tensor([[0.2, 0.0, 0.1], [0.0, -0.1, 0.0], [0.1, 0.0, 0.0]])
    b_matrix = torch.tensor([[-0.1, 0.1, 0.0], [0.0, 0.2, 0.1], [0.0, 0.0, -0.2]])
    a, b = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([-2.0, 0.5, 1.0])

    def affine(matrix: Tensor, shift: Tensor, x: Tensor) -> Tensor:
        centred = x - (size - 1) / 2
        return torch.einsum("ij,njdhw->nidhw", matrix, centred) + shift[:, None, None, None]

    x = lattice((size, size, size), torch.empty(0))
    at_half = 2 * lattice((size // 2, size // 2, size // 2), torch.empty(0)) + 0.5  # where its voxels' centres lie
    network = CAML(CAMLConfig(carsc="plain", share_passes=False))
    old, new = Known(affine(a_matrix, a, at_half) / 2), Known(affine(b_matrix, b, at_half) / 2)
    network.passes = nn.ModuleList([old, new])
    fixed, moving = pair(size, size, size)
    first, total = network(fixed, moving)
    inner = (..., *3 * (slice(8, 24),))  # no path leaves the volume or its outermost voxels
    expected_old, expected_new = affine(a_matrix, a, x), affine(b_matrix, b, x)
    torch.testing.assert_close(first[inner], expected_old[inner], atol=1e-4, rtol=0)
    stated = expected_new + affine(a_matrix, a, x + expected_new)
    torch.testing.assert_close(total[inner], stated[inner], atol=1e-3, rtol=0)
    reverse = expected_old + affine(b_matrix, b, x + expected_old)
    for wrong in (reverse, expected_old + expected_new):
        assert (total - wrong)[inner].abs().max() > 0.3
    assert torch.equal(old.moving, moving)
    torch.testing.assert_close(new.moving, warp(moving, first))


@torch.no_grad()
def test_passes_share_their_weights_unless_told_otherwise():
    for shared in (True, False):
        network = made(CAML, CAMLConfig(share_passes=shared))
        assert len(network.passes) == (1 if shared else 2)
        before = network(*pair(16, 16, 16))
        network.passes[-1].head.weight.mul_(2)
        after = network(*pair(16, 16, 16))
        assert torch.equal(before[0], after[0]) is not shared
        assert not torch.allclose(before[1], after[1], atol=1e-3)


# The whole


@torch.no_grad()
def test_all_eight_on_and_off_combinations_are_networks_of_their_own():
    full, fields = made(CAML, CAMLConfig()).state_dict(), []
    for switches in SWITCHES:
        network = made(CAML, CAMLConfig(**switches))
        network.load_state_dict({key: full[key] for key in network.state_dict()})  # so that only the switch differs
        given = network(*pair(24, 16, 18))
        assert [tuple(field.shape) for field in given] == [(1, 3, 24, 16, 18)] * (2 if switches["carsc"] else 1)
        assert len(network.objective.terms) == len(given)
        fields.append(given[-1])
    for i, j in product(range(8), repeat=2):
        assert i == j or not torch.allclose(fields[i], fields[j], atol=1e-3)


@pytest.mark.parametrize("switch", ["caml", "rbsc", "carsc", "cross_attention", "share_passes"])
def test_a_switch_is_on_or_off_and_nothing_else(switch: str):
    with pytest.raises(SettingsError, match=rf"{switch}=1; it can be True, False"):
        configure("caml", **{switch: 1})


def matched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries met keys in each later attention."""
    attention, pairs = F.scaled_dot_product_attention, []

    def counted(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        pairs.append(q[..., 0].numel() * k.shape[-2])
        return attention(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    return pairs


class Created(TorchDispatchMode):
    """Counts the elements of all that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.elements += sum(
            r.numel() for r in (result if isinstance(result, tuple) else (result,)) if hasattr(r, "numel")
        )
        return result


@torch.no_grad()
def test_memory_and_matches_grow_linearly_with_the_voxels(monkeypatch: pytest.MonkeyPatch):
    network, pairs = made(CAML, CAMLConfig()), matched(monkeypatch)
    costs = []
    for shape in ((64, 64, 32), (128, 64, 32)):
        pairs.clear()
        with Created() as created:
            network(*pair(*shape))
        costs.append((created.elements, sum(pairs), max(pairs)))
    assert costs[1][1] == 2 * costs[0][1]
    assert costs[1][2] == costs[0][2]  # row by row: what exists at once does not even depend on the depth
    assert 1.9 < costs[1][0] / costs[0][0] < 2.1
