"""The network's start: which weights are used, on which grid, in which precision, and when it is left out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from RegistrationNetLib.core.errors import DeviceError, WeightsError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.engine import devices
from RegistrationNetLib.engine.predict import Model, chosen, predict, require_precision
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.engine.upright import Turn
from RegistrationNetLib.networks import registry, weights

ABOUT: dict[str, Any] = {"intensity": "own", "training_data": "none", "licence": "Apache-2.0", "version": "1"}
FAST = Settings.preset("fast")
ALONE = FAST.with_values(refine__steps_coarse=0, refine__steps_half=0, refine__steps_full=0)
GRID = Grid((20, 24, 16), np.diag([2.0, 1.0, 3.0, 1.0])[[2, 1, 0, 3]])  # upright


def shifting(name: str = "voxelmorph") -> torch.nn.Module:
    """Moves everything by (1, -2, 3) voxels of the grid it sees."""
    torch.manual_seed(0)
    network = registry.create(name)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
    return network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shift.safetensors"
    weights.save(path, shifting(), spacing=None, **ABOUT)
    return path


def test_the_field_is_that_of_the_network_in_the_file(file: Path):
    model = chosen(Settings(model="voxelmorph", weights=str(file)))
    field = predict(model, *torch.rand(2, 1, 1, *GRID.shape), GRID)
    expected = torch.tensor([1.0, -2.0, 3.0])[None, :, None, None, None].expand(1, 3, *GRID.shape)
    torch.testing.assert_close(field, expected, atol=1e-4, rtol=0)


def test_a_file_alone_says_which_network_it_is_for(file: Path):
    model = chosen(Settings(weights=str(file)))
    assert model.name == "voxelmorph"
    assert "'shift'" in model.note


def test_images_come_at_the_spacing_that_was_trained_on_and_the_field_in_voxels_of_their_own_grid():
    seen = []
    network = shifting()
    network.register_forward_pre_hook(lambda _, pair: seen.extend(image.shape[2:] for image in pair))
    model = Model("voxelmorph", "", network, spacing=(4.0, 1.0, 1.5))
    field = predict(model, *torch.rand(2, 1, 1, *GRID.shape), GRID)
    assert seen == [(10, 24, 32)] * 2
    expected = torch.tensor([1.0 * 2, -2.0, 3.0 / 2])[None, :, None, None, None].expand(1, 3, *GRID.shape)
    torch.testing.assert_close(field, expected, atol=1e-4, rtol=0)


def test_mixed_precision_is_taken_where_asked_and_nearly_as_good():
    torch.manual_seed(1)
    network = registry.create("voxelmorph")
    with torch.no_grad():
        network.head.weight.mul_(1e5)
    model, pair = Model("voxelmorph", "", network), torch.rand(2, 1, 1, *GRID.shape)
    full, auto, mixed = (predict(model, *pair, GRID, precision) for precision in ("full", "auto", "mixed"))
    assert torch.equal(auto, mixed if devices.has_half(torch.device("cpu")) else full)
    assert 0 < (mixed - full).abs().max() < 0.05 * full.abs().max()
    assert mixed.dtype == torch.float32


def test_mixed_precision_is_refused_where_there_is_none():
    require_precision("mixed", torch.device("cpu"))
    require_precision("auto", torch.device("meta"))
    with pytest.raises(DeviceError, match="meta; choose full"):
        require_precision("mixed", torch.device("meta"))


@pytest.mark.parametrize(
    ("model", "name", "words"),
    [
        ("udrnet", "shift.safetensors", ["voxelmorph", "not of udrnet"]),
        ("none", "gone.safetensors", ["gone.safetensors", "cannot be read"]),
        ("voxelmorph", "gone.safetensors", ["gone.safetensors", "cannot be read"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_is_computed(file, coarse_phantom, model, name, words):
    stages: list[Any] = []
    settings = replace(FAST, model=model, weights=str(file.with_name(name)))
    with pytest.raises(WeightsError) as refused:
        register(coarse_phantom.fixed, coarse_phantom.moving, settings, on_progress=lambda *a: stages.append(a))
    assert all(word in str(refused.value) for word in words)
    assert not stages


def test_a_start_that_makes_it_worse_is_left_out_and_said_so(file: Path, coarse_phantom):
    with_it = register(coarse_phantom.fixed, coarse_phantom.moving, replace(ALONE, weights=str(file)))
    without = register(coarse_phantom.fixed, coarse_phantom.moving, ALONE)
    assert not with_it.report["model"]["used"]
    assert any("voxelmorph predicted made the images less alike" in note for note in with_it.report["notes"])
    assert with_it.report["similarity"] == without.report["similarity"]


def test_a_start_that_fits_is_used_in_the_right_direction_and_unit(file: Path, coarse_phantom, monkeypatch):
    monkeypatch.setattr("RegistrationNetLib.engine.register.align", lambda *_: Affine(np.eye(4)))  # it finds nothing
    fixed = coarse_phantom.fixed
    matrix = np.eye(4)
    upright = Turn.of(fixed.grid).grid(fixed.grid)
    matrix[:3, 3] = upright.voxel_to_world[:3, :3] @ [1.0, -2.0, 3.0]
    shift = Affine(matrix)
    moving = replace(fixed, grid=Grid(fixed.grid.shape, shift.matrix @ fixed.grid.voxel_to_world))
    result = register(fixed, moving, replace(ALONE, model="voxelmorph", weights=str(file)))
    assert result.report["model"]["used"]
    similarity = {stage["name"]: stage["similarity"] for stage in result.report["stages"]}
    assert similarity["align"] < 0.5
    assert similarity["predict"] > 0.95
    middle = fixed.grid.center
    np.testing.assert_allclose(result.mapping(middle), shift(middle), atol=0.05)


def test_images_are_smoothed_before_they_are_made_coarser():
    board = (torch.stack(torch.meshgrid(*map(torch.arange, GRID.shape), indexing="ij")).sum(dim=0) % 2).float()
    seen = []
    network = shifting()
    network.register_forward_pre_hook(lambda _, pair: seen.extend(pair))
    thinned = tuple(3 * spacing for spacing in GRID.spacing)  # by an odd number, which hits single voxels
    predict(Model("voxelmorph", "", network, thinned), board[None, None], board[None, None], GRID)
    assert seen[0][..., 1:-1, 1:-1, 1:-1].sub(0.5).abs().max() < 0.05


def test_what_is_too_large_for_half_precision_is_computed_in_full():
    network = shifting()
    network.register_forward_hook(lambda *_: overflow() if torch.is_autocast_enabled("cpu") else None)

    def overflow() -> list[torch.Tensor]:
        return [torch.full((1, 3, *GRID.shape), torch.nan)]

    field = predict(Model("voxelmorph", "", network), *torch.rand(2, 1, 1, *GRID.shape), GRID, "mixed")
    assert field.isfinite().all()


def test_a_gpu_that_lacks_an_operation_is_not_offered(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(devices, "_computes", lambda device: True)
    assert "mps" in devices.present()
    monkeypatch.undo()
    assert devices._computes(torch.device("cpu"))
    if not torch.backends.mps.is_available():
        assert not devices._computes(torch.device("mps"))
