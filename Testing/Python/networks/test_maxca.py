"""MAXCA's network: correlations, blocks and composed fields from coarse to fine, in whichever host."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.objective import Term
from RegistrationNetLib.core.spatial import compose, resize_field, warp
from RegistrationNetLib.networks import registry
from RegistrationNetLib.networks.blocks.correlation import corr27
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.maxca import XCA, MAXCABlock, Same
from RegistrationNetLib.networks.maxca import CorrMLP, MAXCANet, MAXCANetConfig

LEVELS = range(4)  # at 1, 1/2, 1/4, 1/8


@pytest.fixture(autouse=True)
def thin_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small volumes, too, are worked through in several slabs at inference."""
    monkeypatch.setattr("RegistrationNetLib.networks.blocks.slabs.SLAB", 0)


def awake(**switches: str) -> nn.Module:
    """A network whose heads move by about a voxel."""
    torch.manual_seed(0)
    network = registry.create("maxca", **switches)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, FlowHead):
                part.weight.mul_(3e4)
    return network


def pair(*shape: int) -> Tensor:
    return torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(1))


class Seen:
    """What went into and came out of the parts of CorrMLP while a pair was registered."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        self.inputs: dict[str, list[tuple[Tensor, ...]]] = {}
        self.outputs: dict[str, list] = {}
        hooks = [
            part.register_forward_hook(lambda _, taken, given, name=name: self.note(name, taken, given))
            for name, part in network.host.named_modules()
        ]
        with torch.no_grad():
            self.fields = network(*images)
        for hook in hooks:
            hook.remove()

    def note(self, name: str, taken: tuple[Tensor, ...], given: object) -> None:
        self.inputs.setdefault(name, []).append(tuple(t.clone() for t in taken))
        self.outputs.setdefault(name, []).append(given.clone() if isinstance(given, Tensor) else list(given))

    def into(self, name: str) -> tuple[Tensor, ...]:
        (once,) = self.inputs[name]
        return once

    def out_of(self, name: str) -> Tensor:
        (once,) = self.outputs[name]
        return once


@pytest.mark.parametrize("flow_update", ["compose", "sum"])
def test_each_field_continues_the_coarser_one(flow_update: str):
    seen = Seen(awake(flow_update=flow_update), pair(16, 24, 16))
    assert seen.fields[0].abs().max() > 0.05
    torch.testing.assert_close(seen.fields[0], seen.out_of("levels.3.head"))
    for level, (coarse, fine) in zip((2, 1, 0), pairwise(seen.fields), strict=True):
        before, new = resize_field(coarse, fine.shape[2:]), seen.out_of(f"levels.{level}.head")
        totals = {"compose": new + warp(before, new), "sum": new + before}  # new(x) + old(x + new(x))
        torch.testing.assert_close(fine, totals[flow_update])
        assert not torch.allclose(*totals.values(), atol=1e-3)
        assert not torch.allclose(totals["compose"], compose(before, new), atol=1e-3)  # the other order


def test_known_fields_are_composed_so_that_the_new_one_acts_first():
    """old(x) = x and new(x) = 1 along each axis: new(x) + old(x + new(x)) = x + 2; the other order or a sum: x + 1."""
    axis = torch.arange(8.0)
    old = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))[None]
    new = torch.ones(1, 3, 8, 8, 8)
    inner = (..., slice(-1), slice(-1), slice(-1))
    assert torch.allclose(CorrMLP("compose", nn.Identity).updated(old, new)[inner], (old + 2)[inner], atol=1e-5)
    assert torch.equal(CorrMLP("sum", nn.Identity).updated(old, new), old + 1)


def test_every_level_sees_the_moving_feature_warped_by_the_field_so_far():
    seen = Seen(awake(), pair(16, 24, 16))
    fixed, moving = seen.outputs["encoder"]
    for level in LEVELS:
        f, m = seen.into(f"levels.{level}.match")
        expected = moving[level]
        if level < 3:
            expected = warp(expected, resize_field(seen.fields[2 - level], expected.shape[2:]))
            assert not torch.allclose(expected, moving[level], atol=1e-2)
        torch.testing.assert_close(f, fixed[level])
        torch.testing.assert_close(m, expected)


def test_features_pass_from_matching_to_joining_to_the_head():
    seen = Seen(awake(), pair(16, 24, 16))
    torch.testing.assert_close(seen.into("levels.3.head")[0], seen.out_of("levels.3.attend"))
    for level in (2, 1, 0):
        coarser = "attend" if level == 2 else "attend_joint"
        torch.testing.assert_close(seen.into(f"levels.{level}.attend")[0], seen.out_of(f"levels.{level}.match"))
        torch.testing.assert_close(seen.into(f"levels.{level}.up")[0], seen.out_of(f"levels.{level + 1}.{coarser}"))
        matched, upsampled = seen.into(f"levels.{level}.join")
        torch.testing.assert_close(matched, seen.out_of(f"levels.{level}.attend"))
        torch.testing.assert_close(upsampled, seen.out_of(f"levels.{level}.up"))
        torch.testing.assert_close(seen.into(f"levels.{level}.head")[0], seen.out_of(f"levels.{level}.attend_joint"))


@torch.no_grad()
def test_matching_and_joining_see_their_features_and_the_correlation_between_them():
    network = awake().host
    for level, part in ((0, "match"), (3, "match"), (0, "join"), (2, "join")):
        correlate = getattr(network.levels[level], part)
        channels = (correlate.conv.in_channels - 27) // 2
        a, b = torch.randn(2, 1, channels, 20, 5, 6)
        expected = correlate.conv(torch.cat([a, corr27(a, b), b], dim=1))
        torch.testing.assert_close(correlate(a, b), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_encoder_is_one_for_both_images_two_convs_a_level_halved_by_averaging():
    network = awake()
    seen = Seen(network, pair(16, 24, 16))
    for image, features in zip(pair(16, 24, 16), seen.outputs["encoder"], strict=True):
        x, convs = image, iter([m for m in network.host.encoder.modules() if isinstance(m, nn.Conv3d)])
        for level, (feature, width) in enumerate(zip(features, (8, 16, 32, 64), strict=True)):
            x = F.avg_pool3d(x, 2) if level else x
            for _ in range(2):
                conv = next(convs)
                x = F.instance_norm(F.leaky_relu(F.conv3d(x, conv.weight, conv.bias, padding=1), 0.2))
            assert x.shape[1] == width
            torch.testing.assert_close(feature, x, atol=1e-4, rtol=1e-4)


def test_blocks_have_the_heads_of_the_papers_code():
    def heads(part: str) -> list[tuple[int, int]]:
        blocks = [getattr(level, part) for level in awake().host.levels if hasattr(level, part)]
        return [(block.merge.out_features, len(block.dilated.temperature)) for block in blocks]

    assert heads("attend") == [(16, 2), (32, 4), (64, 8), (96, 16)]
    assert heads("attend_joint") == [(16, 4), (32, 8), (64, 16)]


@pytest.mark.parametrize("host", ["corrmlp", "voxelmorph", "udrnet"])
@pytest.mark.parametrize(
    ("switches", "dilated", "regional"),
    [
        ({}, "dilated", "regional"),
        ({"regional": False}, "dilated", None),
        ({"dilated": False}, None, "regional"),
        ({"attention": "global"}, "global", "global"),
        ({"region": 4}, "dilated", "regional"),
    ],
    ids=str,
)
def test_switches_reach_every_block_of_every_host(host: str, switches: dict, dilated: str | None, regional: str | None):
    blocks = [m for m in MAXCANet(MAXCANetConfig(host=host, **switches)).modules() if isinstance(m, MAXCABlock)]
    assert len(blocks) == (7 if host == "corrmlp" else 2)
    for block in blocks:
        for branch, axis in ((block.dilated, dilated), (block.regional, regional)):
            assert (branch.axis if isinstance(branch, XCA) else None) == axis
            assert isinstance(branch, XCA | Same)
            assert not isinstance(branch, XCA) or branch.region == switches.get("region", 8)


@pytest.mark.parametrize("host", ["voxelmorph", "udrnet"])
@torch.no_grad()
def test_another_host_is_that_network_with_the_block(host: str):
    ours, theirs = awake(host=host), registry.create(host, attention="maxca")
    theirs.load_state_dict(ours.host.state_dict())
    images = pair(17, 5, 20)
    (field,), (expected,) = ours(*images), theirs(*images)
    assert torch.equal(field, expected)
    assert field.abs().max() > 1e-3


def test_the_final_field_alone_is_judged_as_in_the_hosts_code():
    assert MAXCANet.objective.terms == (Term(similarity=1.0, smoothness=1.0),)
    assert MAXCANet.objective.similarity == "lncc"
