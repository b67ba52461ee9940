"""A registration that asks a network: each of ours takes part, given nothing but its name and its weights file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.result import Registration
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.engine.upright import Turn
from RegistrationNetLib.networks import registry, weights
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.phantom import PhantomPair, phantom_pair

OURS = [name for name in registry.names() if registry.entry(name).group != "comparison"]
UNREFINED = Settings().with_values(refine__steps_coarse=0, refine__steps_half=0, refine__steps_full=0)
SHIFT = [0.6, -1.2, 0.9]
"""Voxels along the three axes of the upright grid, on which networks compute."""


@pytest.fixture(scope="module")
def phantom() -> PhantomPair:
    """So coarse that a network is asked within a second or two."""
    return phantom_pair(voxel_mm=7)


def fresh(name: str) -> tuple[nn.Module, list[FlowHead], tuple[torch.Tensor, torch.Tensor]]:
    """A seeded network, its heads, and a pair small enough that its field grows with the heads in proportion."""
    torch.manual_seed(0)
    network = registry.create(name)
    fixed, moving = torch.rand(2, 1, 1, 16, 16, 16)
    return network, [part for part in network.modules() if isinstance(part, FlowHead)], (fixed, moving)


@torch.no_grad()
def restless(name: str) -> nn.Module:
    """Its field is random, of the order of a voxel."""
    network, heads, pair = fresh(name)
    largest = network(*pair)[-1].abs().max()
    for head in heads:
        head.weight.div_(largest)
    return network


@torch.no_grad()
def shifting(name: str) -> nn.Module:
    """It moves everything by SHIFT, whatever it sees."""
    network, heads, pair = fresh(name)
    for head in heads:
        head.weight.zero_()
        head.get_parameter("bias").copy_(torch.tensor(SHIFT))
    times = network(*pair)[-1].mean() / torch.tensor(SHIFT).mean()  # as often as levels and passes add them up
    for head in heads:
        head.get_parameter("bias").div_(times)
    return network


def settings_for(name: str, network: nn.Module, folder: Path) -> Settings:
    path = folder / "mine.safetensors"
    about = {"intensity": "percentiles", "training_data": "none", "licence": "Apache-2.0", "version": "1"}
    weights.save(path, network, spacing=None, **about)
    return replace(UNREFINED, model=name, weights=str(path))


def require_asked_and_sound(result: Registration, name: str) -> None:
    assert result.report["model"]["name"] == name
    assert result.report["model"]["note"] == f"{name} predicted the start from its weights 'mine'."
    left_out = f"The start that {name} predicted made the images less alike; it was left out."
    assert (left_out in result.report["notes"]) != result.report["model"]["used"]
    for image in (result.warped, result.jacobian):
        assert np.isfinite(image.data).all()
    assert result.warped.data.std() > 0
    similarity = {stage["name"]: stage["similarity"] for stage in result.report["stages"]}
    assert similarity["align"] <= similarity["predict"] <= 1


@pytest.mark.parametrize("name", OURS)
def test_a_network_that_guesses_is_asked_and_does_no_harm(phantom: PhantomPair, tmp_path: Path, name: str):
    settings = settings_for(name, restless(name), tmp_path)
    result = register(phantom.fixed, phantom.moving, settings)
    require_asked_and_sound(result, name)


@pytest.mark.parametrize("name", OURS)
def test_a_network_that_is_right_is_used_in_the_right_direction(phantom, tmp_path, monkeypatch, name: str):
    monkeypatch.setattr("RegistrationNetLib.engine.register.align", lambda *_: Affine(np.eye(4)))  # it finds nothing
    fixed = phantom.fixed
    matrix = np.eye(4)
    upright = Turn.of(fixed.grid).grid(fixed.grid)
    matrix[:3, 3] = upright.voxel_to_world[:3, :3] @ SHIFT
    shift = Affine(matrix)
    moving = replace(fixed, grid=Grid(fixed.grid.shape, matrix @ fixed.grid.voxel_to_world))
    result = register(fixed, moving, settings_for(name, shifting(name), tmp_path))
    require_asked_and_sound(result, name)
    assert result.report["model"]["used"]
    np.testing.assert_allclose(result.mapping(fixed.grid.center), shift(fixed.grid.center), atol=0.05)
