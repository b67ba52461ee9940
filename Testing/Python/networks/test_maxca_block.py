"""The MAXCA block computes its three steps, near and far, at a cost linear in the voxels."""

import re
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from RegistrationNetLib.networks.blocks.maxca import XCA, MAXCABlock, Same, most_heads
from RegistrationNetLib.networks.blocks.xca import covariance_attention

C, HEADS, REGION = 8, 2, 4
WHOLE = (1, 1)  # a slab that is the volume has no neighbours on either side
AXES = ("regional", "dilated", "global")
each_axis = pytest.mark.parametrize("axis", AXES)


@pytest.fixture(autouse=True)
def thin_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small volumes, too, are worked through in several slabs at inference."""
    monkeypatch.setattr("RegistrationNetLib.networks.blocks.slabs.SLAB", 0)


def volume(*shape: int, seed: int = 1, batch: int = 2) -> Tensor:
    return torch.randn(batch, C, *shape, generator=torch.Generator().manual_seed(seed))


def layer(axis: str, pointwise: bool = False) -> XCA:
    """A layer whose parameters are all away from their fresh values."""
    torch.manual_seed(0)
    made = XCA(C, HEADS, REGION, axis)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
        if pointwise:
            kernel = torch.zeros(3, 3, 3)
            kernel[1, 1, 1] = 1
            made.qkv.weight.mul_(kernel)
    return made


def attentions(layer: XCA, x: Tensor) -> Tensor:
    """A of each group, (N, groups, heads, C / heads, C / heads)."""
    (attention,) = layer.attention([layer.sums(x.movedim(1, -1), WHOLE)])
    return attention


def output(layer: XCA, x: Tensor) -> Tensor:
    part = x.movedim(1, -1)
    (mixing,) = layer.mixing([layer.sums(part, WHOLE)])
    return layer.attend(part, WHOLE, mixing).movedim(-1, 1)


def group_of(axis: str, voxel: tuple[int, ...]) -> tuple[int, ...]:
    if axis == "global":
        return ()
    return tuple(i // REGION if axis == "regional" else i % REGION for i in voxel)


def written_out(layer: XCA, x: Tensor, filler: float = 0.0) -> Tensor:
    """The layer as the paper's authors write it, filled up first, with every group's tokens gathered one by one."""
    shape = x.shape[2:]
    depth, height, width = (-size % REGION for size in shape)
    filled = F.pad(x, (0, width, 0, height, 0, depth), value=filler)
    real = F.pad(torch.ones(1, 1, *shape), (0, width, 0, height, 0, depth))
    normed = F.layer_norm(filled.movedim(1, -1), (C,), layer.norm.weight, layer.norm.bias).movedim(-1, 1) * real
    q, k, v = (F.conv3d(normed, layer.qkv.weight, layer.qkv.bias, padding=1) * real).chunk(3, dim=1)
    members: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for voxel in product(*(range(size) for size in filled.shape[2:])):
        members.setdefault(group_of(layer.axis, voxel), []).append(voxel)
    attended = torch.zeros_like(filled)
    for voxels in members.values():
        d, h, w = torch.tensor(voxels).T
        heads = [t[:, :, d, h, w].unflatten(1, (HEADS, -1)) for t in (q, k, v)]
        attention = covariance_attention(*heads[:2], layer.temperature)
        attended[:, :, d, h, w] = (attention @ heads[2]).flatten(1, 2)
    out = F.linear(attended.movedim(1, -1), layer.project.weight, layer.project.bias).movedim(-1, 1) + filled
    return out[:, :, : shape[0], : shape[1], : shape[2]]


def step_by_step(block: MAXCABlock, x: Tensor) -> Tensor:
    """The block from its description, with each layer written out."""

    def norm(layer: nn.LayerNorm, feature: Tensor) -> Tensor:
        return F.layer_norm(feature.movedim(1, -1), (C,), layer.weight, layer.bias)

    a, b = F.gelu(block.spread(norm(block.norm, x))).movedim(-1, 1).chunk(2, dim=1)
    branches = [
        written_out(branch, half) if isinstance(branch, XCA) else half
        for branch, half in ((block.dilated, a), (block.regional, b))
    ]
    y = x + block.merge(torch.cat(branches, dim=1).movedim(1, -1)).movedim(-1, 1)
    ln, first, _, second = block.refine
    u = F.conv3d(norm(ln, y).movedim(-1, 1), first.weight, first.bias, padding=1)
    u = F.conv3d(F.leaky_relu(u, 0.2), second.weight, second.bias, padding=1)
    narrow, _, wide, _ = block.gate
    gate = torch.sigmoid(wide(F.relu(narrow(u.mean(dim=(2, 3, 4))))))
    return y + u * gate[:, :, None, None, None] + x


def made(**switches: object) -> MAXCABlock:
    block = MAXCABlock(C, HEADS, REGION, **switches)
    for name in AXES[:2]:
        if isinstance(getattr(block, name), XCA):
            getattr(block, name).load_state_dict(layer("dilated").state_dict())
    return block


@each_axis
def test_attention_is_square_in_the_channels_of_a_head_one_for_each_group(axis: str):
    attention = attentions(layer(axis), volume(8, 4, 12))
    groups = {"regional": 2 * 1 * 3, "dilated": REGION**3, "global": 1}[axis]
    assert attention.shape == (2, groups, HEADS, C // HEADS, C // HEADS)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(attention.shape[:-1]))


@each_axis
@pytest.mark.parametrize("filler", [0.0, 7.0])
@torch.no_grad()
def test_what_fills_up_the_regions_changes_nothing(axis: str, filler: float):
    x = volume(5, 9, 6)
    torch.testing.assert_close(output(layer(axis), x), written_out(layer(axis), x, filler), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_last_regions_attention_is_that_of_its_voxels_alone():
    shape, x = (5, 4, 4), volume(5, 4, 4)
    near = layer("regional", pointwise=True)
    alone = attentions(near, x[:, :, REGION:])
    torch.testing.assert_close(attentions(near, x)[:, 1:], alone)
    fuller = attentions(
        near, F.pad(x, (0, 0, 0, 0, 0, 2 * REGION - shape[0]))
    )  # voxels of zero are voxels all the same
    assert not torch.allclose(fuller[:, 1:], alone, atol=1e-3)


@each_axis
@pytest.mark.parametrize("voxel", [(0, 0, 0), (5, 2, 6), (7, 7, 3)])
@torch.no_grad()
def test_an_impulse_in_one_channel_reaches_its_group_and_nothing_else(axis: str, voxel: tuple[int, int, int]):
    x = volume(8, 8, 8, batch=1)
    near = layer(axis, pointwise=True)
    moved = x.clone()
    moved[0, 2, *voxel] += 3  # all channels alike, and LayerNorm would hide it
    reached = (output(near, moved) - output(near, x)).abs().amax(dim=(0, 1)) > 1e-6
    own = torch.tensor([group_of(axis, v) == group_of(axis, voxel) for v in product(range(8), repeat=3)])
    assert torch.equal(reached, own.view(8, 8, 8))
    assert own.sum() == {"regional": 64, "dilated": 8, "global": 512}[axis]


@torch.no_grad()
def test_permuting_the_tokens_of_a_region_leaves_its_attention_unchanged():
    x, near = volume(8, 8, 8), layer("regional", pointwise=True)
    order = torch.randperm(REGION**3, generator=torch.Generator().manual_seed(4))
    permuted = x.clone()
    region = x[:, :, :REGION, REGION:, :REGION]
    permuted[:, :, :REGION, REGION:, :REGION] = region.flatten(2)[:, :, order].unflatten(2, (REGION,) * 3)
    torch.testing.assert_close(attentions(near, permuted), attentions(near, x))
    far = layer("dilated", pointwise=True)
    assert not torch.allclose(attentions(far, permuted), attentions(far, x), atol=1e-2)


@each_axis
@torch.no_grad()
def test_rescaling_q_or_k_changes_nothing_and_rescaling_v_does(axis: str):
    x, before = volume(6, 5, 8), output(layer(axis), volume(6, 5, 8))
    for part, same in ((slice(0, C), True), (slice(C, 2 * C), True), (slice(2 * C, 3 * C), False)):
        scaled = layer(axis)
        scaled.qkv.weight[part] *= 5
        scaled.qkv.bias[part] *= 5
        assert torch.allclose(output(scaled, x), before, atol=1e-5) == same


@pytest.mark.parametrize(
    "switches",
    [{}, {"regional": False}, {"dilated": False}, {"attention": "global"}, {"regional": False, "dilated": False}],
    ids=str,
)
@pytest.mark.parametrize("shape", [(8, 8, 4), (37, 5, 6), (1, 3, 9)], ids=str)
def test_slabs_and_the_whole_compute_what_is_written_out_step_by_step(switches: dict, shape: tuple[int, int, int]):
    block, x = made(**switches), volume(*shape)
    expected = step_by_step(block, x).detach()
    training = block(x).detach()
    with torch.inference_mode():
        inference = block(x)
    torch.testing.assert_close(training, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(inference, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(inference, training, atol=2e-6, rtol=2e-6)


def test_training_has_the_gradients_of_the_steps_written_out():
    block, x = made().double(), volume(9, 4, 5).double().requires_grad_()
    inputs = [x, *block.parameters()]
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    found = torch.autograd.grad((block(x) * weight).sum(), inputs)
    expected = torch.autograd.grad((step_by_step(block, x) * weight).sum(), inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.abs().max() > 0


@pytest.mark.parametrize("name", ["regional", "dilated"])
def test_a_branch_that_is_off_gives_back_what_it_gets_and_has_no_parameters(name: str):
    block = made(**{name: False})
    branch = getattr(block, name)
    assert isinstance(branch, Same)
    assert not list(branch.parameters())
    part = volume(6, 4, 5).movedim(1, -1)
    (mixing,) = branch.mixing([branch.sums(part, WHOLE)])
    assert torch.equal(branch.attend(part, WHOLE, mixing), part)
    full = {key for key, _ in made().named_parameters()}
    assert {key for key, _ in block.named_parameters()} == {key for key in full if not key.startswith(f"{name}.")}


def test_the_global_variant_has_the_same_parameters():
    counts = {
        attention: [p.shape for p in made(attention=attention).parameters()] for attention in ("global", "multi-axis")
    }
    assert counts["global"] == counts["multi-axis"]


class Watch(TorchDispatchMode):
    """Counts the elements of every tensor that is made, all together and of the largest."""

    total, largest = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.total += result.numel()
            self.largest = max(self.largest, result.numel())
        return result


def cost(block: MAXCABlock, x: Tensor) -> tuple[int, int]:
    """Floating-point operations, and elements of all tensors made."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter, Watch() as watch:
        block(x)
    return counter.get_total_flops(), watch.total


@pytest.mark.parametrize("attention", ["multi-axis", "global"])
def test_twice_the_voxels_cost_twice_the_time_and_memory(attention: str):
    block = made(attention=attention)
    one, two, four = (cost(block, volume(8, 8, 8 * times)) for times in (1, 2, 4))
    for once, twice, fourfold in zip(one, two, four, strict=True):
        assert fourfold - twice == 2 * (twice - once)  # beside what does not grow, as much again
        assert 1.5 * once < twice <= 2 * once


def test_inference_makes_nothing_wider_than_the_feature_for_the_whole_volume():
    x = volume(80, 12, 12, batch=1)
    with torch.no_grad(), Watch() as watch:
        made()(x)
    assert watch.largest == x.numel()


@pytest.mark.parametrize(("channels", "heads"), [(4, 1), (8, 1), (16, 2), (20, 2), (24, 3), (32, 4), (96, 12)])
def test_a_dropped_in_block_takes_the_most_heads_that_leave_eight_channels(channels: int, heads: int):
    assert most_heads(channels) == heads
    assert MAXCABlock(channels).regional.temperature.shape == (heads, 1, 1)


def test_temperatures_start_at_one_and_regions_at_eight_voxels():
    block = MAXCABlock(16)
    assert torch.equal(block.dilated.temperature, torch.ones(2, 1, 1))
    assert block.dilated.region == block.regional.region == 8


def test_region_rows_never_straddle_two_slabs():
    for region in (4, 6, 8, 20):
        with torch.no_grad():
            starts = [part.shape[1] for part, _ in MAXCABlock(C, region=region).slabs(volume(60, 2, 2))]
        planes = starts[0] - 1
        assert planes % region == 0
        assert planes >= region


def test_it_costs_about_eight_convolutions_of_its_width_as_its_page_says():
    x = torch.zeros(1, 16, 16, 24, 32)
    flops, _ = cost(MAXCABlock(16), x)
    assert flops / (2 * 27 * 16**2 * x[0, 0].numel()) == pytest.approx(8.5, abs=0.5)


def test_the_example_of_its_page_runs():
    page = (Path(__file__).parents[3] / "docs" / "networks" / "maxca.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["field"].shape == (1, 3, 21, 19, 30)
    assert (len(names["host"][2].dilated.temperature), names["host"][2].dilated.region) == (2, 8)
