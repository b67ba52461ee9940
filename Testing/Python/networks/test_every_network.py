"""What every network in the registry promises, whatever its switches."""

from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
from _pytest.mark import ParameterSet
from torch import Tensor

from RegistrationNetLib.core.objective import Objective, Term, coarser
from RegistrationNetLib.core.spatial import warp
from RegistrationNetLib.networks import registry
from RegistrationNetLib.networks.blocks.flow import FlowHead

PARAMETERS = {  # by hand: 27 weights per pair of channels in a conv3, and a bias per output channel
    ("voxelmorph", ()): 327_331,  # the figure of the public code
    ("voxelmorph", (("output", "displacement"),)): 327_331,
    ("voxelmorph", (("attention", "maxca"),)): 327_331 + 228_560 + 57_320,  # the block on 32 and on 16 channels
    ("udrnet", (("schaf", False),)): 638_739,
    ("udrnet", ()): 638_739 + 21_177 + 3 * 84_593,  # scHAF on 16 and, three times, on 32 channels
    ("udrnet", (("schaf", "channel"),)): 638_739 + 21_177 + 3 * 84_593 - 408 - 3 * 1_584,  # without the MLPs
    ("udrnet", (("schaf", "spatial"),)): 638_739 + 21_177 + 3 * 84_593 - 17 - 3 * 33,  # without the maps
    ("udrnet", (("attention", "maxca"),)): 638_739 + 21_177 + 3 * 84_593 + 228_560 + 57_320,
    # caml: encoder, RBSC, attention with 26 tables of 1331 distances, P, decoder, head, RB2
    ("caml", ()): 878_496 + 290_304 + 257_280 + 26 * 1_331 + 13_632 + 301_168 + 22_067 + 290_304,
    ("caml", (("caml", False),)): 2_087_857 - 13_632,
    ("caml", (("rbsc", False),)): 2_087_857 - 290_304,
    ("caml", (("carsc", False),)): 2_087_857 - 290_304 - 41_728 - 6 * 1_331,  # CAT2 on 32 and 64 channels, RB2
    ("caml", (("carsc", "plain"),)): 2_087_857 - 290_304 - 41_728 - 6 * 1_331,
    ("caml", (("cross_attention", False),)): 2_087_857 - 257_280 - 26 * 1_331 - 13_632,
    ("caml", (("window", 2),)): 2_087_857 - 26 * (11**3 - 7**3),
    ("caml", (("margin", 0),)): 2_087_857 - 26 * (11**3 - 7**3),
    ("caml", (("share_passes", False),)): 2 * 2_087_857 - 290_304 - 41_728 - 6 * 1_331,  # all but CARSC twice
    # two U-Nets (1_325_443 each without their first convs), those (2 and 5 channels), attention twice, the smoother
    ("cascaded-blocks", ()): 2 * 1_325_443 + 864 + 2_160 + 2 * 211_232 + 9_971,
    ("cascaded-blocks", (("attention", False),)): 2 * 1_325_443 + 864 + 2_160 + 9_971,
    ("cascaded-blocks", (("attention", "maxca"),)): 3_086_345 + 2 * 57_320 + 228_560,  # on 16, 16 and 32 channels
    ("cascaded-blocks", (("blocks", False),)): 3_086_345,
    ("cascaded-blocks", (("passes", 2),)): 3_086_345,  # the passes share their weights
    ("cascaded-blocks", (("passes", 3),)): 3_086_345,
    ("cascaded-blocks", (("restore", False),)): 3_086_345 - 9_971,
    ("cascaded-blocks", (("fusion", "mean"),)): 3_086_345,
    ("cascaded-blocks", (("fusion", "crop"),)): 3_086_345,
    # dilformer: stride-2 convs, MSR, 1x1x1 before each level, Dilformer blocks twice on 128 and 64, SRF twice, heads;
    # widths 8 to 128 add up to 248, their squares to 21_824
    ("dilformer", ()): 294_224 + 780_704 + 61_592 + 2 * (176_264 + 47_172) + 2 * 218_488 + 20_103,
    ("dilformer", (("msr", False),)): 2_040_471 - 780_704 + 54 * 21_824,  # two conv3 in their place
    ("dilformer", (("dilformer", False),)): 2_040_471 - 2 * 223_436 + 54 * (128**2 + 64**2),
    ("dilformer", (("srf", False),)): 2_040_471 - 2 * 218_488 + 54 * 21_824,
    ("dilformer", (("srf_order", "parallel"),)): 2_040_471,
    ("dilformer", (("multi_resolution_loss", False),)): 2_040_471,
    ("dilformer", (("dilations", "1-2-4-8"),)): 2_040_471,
    ("dilformer", (("dilations", "1-1-1-1"),)): 2_040_471,
    ("dilformer", (("attention", "maxca"),)): 2_040_471 + 57_320 + 14_420,  # the block on 16 and on 8 channels
    # maxca: encoder, matching convs, joining convs, transposed convs, heads, and the blocks, each 222.5 C^2 + 22.25 C
    # and a temperature for each head of its two branches: on 16, 32 and 64 channels twice, once on 96
    ("maxca", ()): 219_912 + 628_768 + 372_064 + 69_968 + 16_860 + 4_450_000 + 2 * 58,
    ("maxca", (("regional", False),)): 5_757_688 - 1_639_354,  # of each block 82 C^2 + 6 C and the temperatures
    ("maxca", (("dilated", False),)): 5_757_688 - 1_639_354,
    ("maxca", (("attention", "global"),)): 5_757_688,
    ("maxca", (("host", "voxelmorph"),)): 327_331 + 228_560 + 57_320,
    ("maxca", (("host", "udrnet"),)): 638_739 + 21_177 + 3 * 84_593 + 228_560 + 57_320,
    ("maxca", (("flow_update", "sum"),)): 5_757_688,
    # MONAI's, narrow. Attention: input, four levels down, gates with merging, head; residual: down, bottom, up, head
    ("attention-unet", (("width", 4),)): 664 + (162 * 1_360 + 8 * 60) + (109 * 1_360 + 282) + 327,
    ("residual-unet", (("width", 4),)): 870 + (216 * 336 + 62) + 168_002 + 60_491 + 327,
    # tokens of 16^3 voxels and 12 layers of attention on 48 channels; convs of the four skips; decoder; head
    ("unetr", (("shape", (64, 64, 48)), ("width", 4), ("hidden", 48))): 733_200 + 45_968 + 130_544 + 327,
    # patches, attention on 12 to 96 channels (2 * 45 heads with 13^3 distances), convs of the skips, decoder, head
    ("swin-unetr", (("width", 12),)): 204 + (497_160 + 90 * 13**3) + 2_158_512 + 1_224_864 + 975,
}


def case(name: str, config: dict) -> ParameterSet:
    """A network to try; one of MONAI's is skipped where that is not installed."""
    foreign = registry.entry(name).group == "comparison"
    missing = pytest.mark.skipif(foreign and not find_spec("monai"), reason="MONAI is not installed here.")
    return pytest.param(name, config, id=f"{name} {config or ''}", marks=missing)


CASES = [case(name, dict(config)) for name, config in PARAMETERS]
every_network = pytest.mark.parametrize(("name", "config"), CASES)


def images(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(1, 1, *shape, generator=generator), torch.rand(1, 1, *shape, generator=generator)


def made(name: str, config: dict, awake: bool = False) -> torch.nn.Module:
    """A seeded network; `awake`: its heads enlarged, so that the field is of the order of a voxel."""
    torch.manual_seed(0)
    network = registry.create(name, **config)
    if awake:
        with torch.no_grad():
            fresh = network(*images(16, 16, 16))[-1].abs().max()  # so small that it grows with the heads in proportion
            for head in network.modules():
                if isinstance(head, FlowHead):
                    head.weight.div_(fresh)
    return network


def stride_of(name: str) -> int:
    """The multiple of voxels to which a network fills an axis up."""
    module, _, kind = registry.entry(name).source.partition(":")
    found = import_module(module)
    return getattr(getattr(found, kind), "STRIDE", None) or found.STRIDE


def test_every_network_is_tried_here():
    assert {name for name, _ in PARAMETERS} == set(registry.names())


@every_network
def test_it_has_the_parameters_counted_by_hand(name: str, config: dict):
    count = sum(parameter.numel() for parameter in made(name, config).parameters())
    assert count == PARAMETERS[name, tuple(config.items())]


@every_network
def test_a_fresh_one_is_the_identity_within_a_twentieth_of_a_voxel(name: str, config: dict):
    with torch.no_grad():
        fields = made(name, config)(*images(35, 51, 36))
    assert fields[-1].shape == (1, 3, 35, 51, 36)
    assert all(field.abs().max() < 0.05 for field in fields)
    assert fields[-1].abs().max() > 0  # not zero, or nothing behind the head would learn


@every_network
@pytest.mark.parametrize("shape", [(17, 5, 16), (1, 9, 20)])
def test_it_takes_any_size_as_if_the_far_edges_went_on(name: str, config: dict, shape: tuple[int, int, int]):
    network = made(name, config, awake=True)
    fixed, moving = images(*shape)
    more = [-size % stride_of(name) for size in shape]
    by_hand = [
        torch.nn.functional.pad(i, (0, more[2], 0, more[1], 0, more[0]), mode="replicate") for i in (fixed, moving)
    ]
    with torch.no_grad():
        field, padded = network(fixed, moving)[-1], network(*by_hand)[-1]
    assert field.shape == (1, 3, *shape)
    torch.testing.assert_close(field, padded[:, :, : shape[0], : shape[1], : shape[2]])


@every_network
def test_fields_come_coarse_to_fine_each_in_voxels_of_its_own_grid(name: str, config: dict):
    fixed, moving = images(35, 18, 33)
    with torch.no_grad():
        fields = made(name, config, awake=True)(fixed, moving)
    factors = [coarser(fixed.shape[2:], field.shape[2:]) for field in fields]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 1
    for field, factor in zip(fields, factors, strict=True):
        assert field.dtype == torch.float32
        assert field.shape == (1, 3, *(-(-size // factor) for size in fixed.shape[2:]))


@every_network
def test_its_objective_judges_its_fields_and_reaches_every_head(name: str, config: dict):
    network = made(name, config)
    pair = images(32, 18, 20)
    loss = network.objective(*pair, network(*pair))
    assert loss.shape == ()
    loss.backward()
    heads = {key: m for key, m in network.named_modules() if isinstance(m, FlowHead)}
    assert heads
    assert [key for key, head in heads.items() if not head.weight.grad.abs().sum() > 0] == []


ONE = Objective((Term(1, 1),), "lncc")
OBJECTIVES = {  # as docs/networks states them, for the default switches
    "caml": Objective((Term(0.5, 1), Term(1, 1)), "lncc"),
    "dilformer": Objective(tuple(Term(weight, weight) for weight in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)), "lncc"),
    "cascaded-blocks": Objective((Term(0.5, 1), Term(0, 1), Term(1, 1)), "lncc"),
}


@pytest.mark.parametrize(("name", "config"), [case(name, {}) for name in registry.names()])
def test_it_is_trained_for_what_its_page_says(name: str, config: dict):
    assert registry.create(name, **config).objective == OBJECTIVES.get(name, ONE)


@every_network
def test_mixed_precision_gives_nearly_the_same_field_in_full_precision(name: str, config: dict):
    network = made(name, config, awake=True)
    pair = images(36, 16, 18)  # a norm over one or two voxels would make much of rounding
    with torch.inference_mode():
        exact = network(*pair)[-1]
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(*pair)[-1]
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - exact).square().mean().sqrt() < 0.1 * exact.square().mean().sqrt()


@every_network
def test_every_parameter_gets_a_gradient(name: str, config: dict):
    network = made(name, config)
    long = max(18, stride_of(name) + 2)  # two voxels at the coarsest level: one alone is normalised to nothing
    for field in network(*images(16, 12, long)):
        weight = torch.randn(field.shape, generator=torch.Generator().manual_seed(5))
        (field * weight).sum().backward(retain_graph=True)
    without = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert all(p.grad.isfinite().all() for p in network.parameters())
    # a bias that the next norm takes away has only rounding for a gradient
    pairs = [
        (key, m.weight, m.bias)
        for key, m in network.named_modules()
        if getattr(m, "bias", None) is not None and getattr(m, "weight", None) is not None
    ]
    assert [key for key, weight, bias in pairs if not bias.grad.abs().max() > 1e-4 * weight.grad.abs().max()] == []


@every_network
def test_the_same_seed_gives_the_same_network_and_field(name: str, config: dict):
    pair = images(16, 12, 18)
    with torch.no_grad():
        fields = [made(name, config, awake=True)(*pair)[-1] for _ in range(2)]
    assert torch.equal(*fields)


@every_network
def test_inference_without_gradients_gives_the_field_of_training(name: str, config: dict, monkeypatch):
    monkeypatch.setattr("RegistrationNetLib.networks.blocks.slabs.SLAB", 0)  # the thinnest slabs
    network = made(name, config, awake=True)
    pair = images(49, 12, 9)  # several slabs deep
    training = network(*pair)[-1].detach()
    with torch.inference_mode():
        inference = network(*pair)[-1]
    torch.testing.assert_close(inference, training, atol=1e-4, rtol=1e-4)
    assert training.abs().max() > 0.1


@every_network
def test_nothing_is_kept_between_calls(name: str, config: dict):
    network = made(name, config)

    def held() -> set[tuple[str, str]]:
        return {(path, key) for path, module in network.named_modules() for key in vars(module)}

    # Swin UNETR keeps which distance two tokens of a window have, whatever the image
    before, buffers = held(), [key for key, _ in network.named_buffers() if "relative_position_index" not in key]
    network(*images(16, 12, 18))
    network(*images(9, 16, 31))
    assert held() == before
    assert buffers == []  # and so no image size is frozen in one


@every_network
def test_a_batch_is_its_pairs_one_by_one(name: str, config: dict):
    network = made(name, config, awake=True)
    fixed, moving = torch.rand(2, 1, 18, 16, 20), torch.rand(2, 1, 18, 16, 20)
    with torch.no_grad():
        together = network(fixed, moving)[-1]
        alone = torch.cat([network(fixed[i : i + 1], moving[i : i + 1])[-1] for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def blob(shape: tuple[int, ...], center: tuple[float, ...], radii: tuple[float, ...]) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    squared = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, center, radii, strict=True))
    return torch.sigmoid(4 * (1 - squared))[None, None]


# MONAI's two Transformers would take a minute; their gradients are checked above
LEARNING = [case(name, {}) for name in registry.names() if name not in ("unetr", "swin-unetr")]


@pytest.mark.parametrize(("name", "config"), LEARNING)
def test_it_learns_to_align_one_small_pair(name: str, config: dict):
    network = made(name, config)
    fixed = blob((16, 16, 16), (7, 8, 8), (4, 5, 4))
    moving = blob((16, 16, 16), (9, 7, 9), (5, 4, 5))
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-4)
    losses = []
    for _ in range(24):
        loss = network.objective(fixed, moving, network(fixed, moving))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    with torch.no_grad():
        warped = warp(moving, network(fixed, moving)[-1])

    def correlation(image: Tensor) -> float:
        return torch.corrcoef(torch.stack([image.flatten(), fixed.flatten()]))[0, 1].item()

    best = -sum(term.similarity for term in network.objective.terms)
    assert losses[0] - losses[-1] > (losses[0] - best) / 2
    assert correlation(moving) < 0.75
    assert correlation(warped) > 0.95
