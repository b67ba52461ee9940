"""What every network in the registry promises, whatever its switches."""

from importlib import import_module

import pytest
import torch
from torch import Tensor

from RegistrationNetLib.core.objective import coarser
from RegistrationNetLib.core.spatial import warp
from RegistrationNetLib.networks import registry
from RegistrationNetLib.networks.blocks.flow import FlowHead

PARAMETERS = {  # by hand: 27 weights per pair of channels in a conv3, and a bias per output channel
    ("voxelmorph", ()): 327_331,  # the figure of the public code
    ("voxelmorph", (("output", "displacement"),)): 327_331,
    ("udrnet", (("schaf", False),)): 638_739,
    ("udrnet", ()): 638_739 + 21_177 + 3 * 84_593,  # scHAF on 16 and, three times, on 32 channels
    ("udrnet", (("schaf", "channel"),)): 638_739 + 21_177 + 3 * 84_593 - 408 - 3 * 1_584,  # without the MLPs
    ("udrnet", (("schaf", "spatial"),)): 638_739 + 21_177 + 3 * 84_593 - 17 - 3 * 33,  # without the maps
}
CASES = [pytest.param(name, dict(config), id=f"{name} {dict(config) or ''}") for name, config in PARAMETERS]
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
            for head in network.modules():
                if isinstance(head, FlowHead):
                    head.weight.mul_(3e5)
    return network


def stride_of(name: str) -> int:
    """The multiple of voxels to which a network fills an axis up."""
    return import_module(registry.entry(name).source.partition(":")[0]).STRIDE


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


@every_network
def test_mixed_precision_gives_nearly_the_same_field_in_full_precision(name: str, config: dict):
    network = made(name, config, awake=True)
    pair = images(20, 16, 18)
    exact = network(*pair)[-1]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(*pair)[-1]
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - exact).square().mean().sqrt() < 0.1 * exact.square().mean().sqrt()
    mixed.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@every_network
def test_every_parameter_gets_a_gradient(name: str, config: dict):
    network = made(name, config)
    for field in network(*images(16, 12, 18)):
        weight = torch.randn(field.shape, generator=torch.Generator().manual_seed(5))
        (field * weight).sum().backward(retain_graph=True)
    without = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert all(p.grad.isfinite().all() for p in network.parameters())


@every_network
def test_the_same_seed_gives_the_same_network_and_field(name: str, config: dict):
    pair = images(16, 12, 18)
    with torch.no_grad():
        fields = [made(name, config, awake=True)(*pair)[-1] for _ in range(2)]
    assert torch.equal(*fields)


@every_network
def test_inference_without_gradients_gives_the_field_of_training(name: str, config: dict):
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

    before, buffers = held(), list(network.buffers())
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


@pytest.mark.parametrize("name", registry.names())
def test_it_learns_to_align_one_small_pair(name: str):
    network = made(name, {})
    fixed = blob((16, 16, 16), (7, 8, 8), (4, 5, 4))
    moving = blob((16, 16, 16), (9, 7, 9), (5, 4, 5))
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-4)
    losses = []
    for _ in range(28):
        field = network(fixed, moving)[-1]
        loss = (warp(moving, field) - fixed).square().mean() + 0.02 * sum(
            field.diff(dim=axis).square().mean() for axis in (2, 3, 4)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    with torch.no_grad():
        warped = warp(moving, network(fixed, moving)[-1])

    def correlation(image: Tensor) -> float:
        return torch.corrcoef(torch.stack([image.flatten(), fixed.flatten()]))[0, 1].item()

    assert losses[-1] < losses[0] / 3
    assert correlation(moving) < 0.75
    assert correlation(warped) > 0.9
