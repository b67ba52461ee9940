"""Half precision on a CPU spares the convolutions whose gradient it would spoil, and no others."""

import pytest
import torch
from torch import nn

from RegistrationNetLib.networks import registry
from RegistrationNetLib.training import halves


def gradient(part: nn.Module, volume: torch.Tensor) -> tuple[torch.dtype, torch.Tensor]:
    part.zero_grad()
    made = part(volume)
    made.float().square().sum().backward()
    return made.dtype, torch.cat([p.grad.flatten() for p in part.parameters()])


@pytest.mark.parametrize(
    ("kernel", "planes", "spared"), [(1, 2, False), (3, 3, False), (3, 2, True), (5, 4, True), (7, 12, True)]
)
def test_a_convolution_is_spared_where_its_gradient_would_be_wrong(kernel: int, planes: int, spared: bool):
    torch.manual_seed(0)
    part, volume = nn.Conv3d(4, 4, kernel, padding=kernel // 2), torch.randn(1, 4, planes, 5, 6)
    _, exact = gradient(part, volume)
    halves.spare(part)
    with torch.autocast("cpu", torch.bfloat16):
        dtype, mixed = gradient(part, volume)
    assert dtype == (torch.float32 if spared else torch.bfloat16)
    if spared:
        assert torch.equal(mixed, exact)
    else:
        torch.testing.assert_close(mixed, exact, rtol=0.05, atol=0.02 * exact.abs().max().item())


@pytest.mark.parametrize("name", ["voxelmorph", "dilformer"])
def test_a_network_learns_the_same_in_half_precision(name: str):
    torch.manual_seed(0)
    network = registry.create(name)
    pair = torch.rand(2, 1, 1, 20, 16, 16)
    losses = {}
    for mixed in (False, True):
        network.zero_grad()
        if mixed:
            halves.spare(network)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            fields = network(*pair)
        network.objective(*pair, [field.float() for field in fields]).backward()
        losses[mixed] = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    assert torch.cosine_similarity(losses[True], losses[False], 0) > 0.9
