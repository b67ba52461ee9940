"""Weights come back as they were saved, and every other file is refused in one sentence."""

import json
import os
import pickle
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from RegistrationNetLib.core.errors import SettingsError, WeightsError
from RegistrationNetLib.networks import registry, weights
from RegistrationNetLib.networks.udrnet import UDRNetConfig

ABOUT: dict[str, Any] = {
    "spacing": (1.0, 1.5, 2.0),
    "intensity": "ct-lung",
    "training_data": "phantoms of seed 1 to 9",
    "licence": "Apache-2.0",
    "version": "1",
    "purpose": {"body": "lungs", "modality": "CT"},
}


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return registry.create("udrnet", schaf=False)


@pytest.fixture
def file(tmp_path: Path, network: nn.Module) -> Path:
    path = tmp_path / "lung.safetensors"
    weights.save(path, network, **ABOUT)
    return path


def refusal(path: Path, *words: str, name: str | None = None, **config: Any) -> None:
    with pytest.raises(WeightsError) as refused:
        weights.load(path, name, **config)
    sentence = str(refused.value)
    assert path.name in sentence
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence


def test_weights_come_back_as_they_were(file: Path, network: nn.Module):
    for loaded in (weights.load(file), weights.load(file, "udrnet", schaf=False)):
        assert loaded.config == network.config
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), network.parameters(), strict=True))


def test_the_card_says_what_they_are_for(file: Path):
    assert weights.read_card(file) == weights.Card(
        network="udrnet", config={"schaf": False, "attention": "none"}, **ABOUT
    )


def test_half_precision_weights_fill_a_float32_network(tmp_path: Path, network: nn.Module):
    halves = {key: value.half().float() for key, value in network.state_dict().items()}
    weights.save(tmp_path / "half.safetensors", network.half(), **ABOUT | {"spacing": None})
    loaded = weights.load(tmp_path / "half.safetensors").state_dict()
    assert all(torch.equal(loaded[key], halves[key]) for key in halves)
    assert weights.read_card(tmp_path / "half.safetensors").spacing is None


def test_saving_replaces_the_old_file_and_leaves_nothing_else(file: Path, network: nn.Module):
    weights.save(file, network, **ABOUT | {"version": "2"})
    assert weights.read_card(file).version == "2"
    assert os.listdir(file.parent) == [file.name]


def test_a_class_that_is_not_listed_is_not_saved(tmp_path: Path):
    linear = nn.Linear(1, 1)
    linear.config = UDRNetConfig()
    with pytest.raises(SettingsError):
        weights.save(tmp_path / "linear.safetensors", linear, **ABOUT)
    assert not list(tmp_path.iterdir())


def test_weights_of_another_network_are_refused(file: Path):
    refusal(file, "udrnet", "not of voxelmorph", name="voxelmorph")


def test_weights_of_another_configuration_are_refused(file: Path):
    refusal(file, "schaf=False", "schaf=True", name="udrnet")


def test_a_file_older_than_a_switch_fits_the_switchs_default(tmp_path: Path, network: nn.Module):
    path = tmp_path / "older.safetensors"
    network.config = make_dataclass("Older", ["schaf"])(False)
    weights.save(path, network, **ABOUT)
    assert weights.read_card(path).config == {"schaf": False}
    for loaded in (weights.load(path), weights.load(path, "udrnet", schaf=False)):
        assert loaded.config == UDRNetConfig(schaf=False)
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), network.parameters(), strict=True))
    refusal(path, "schaf=False", "not schaf=True", name="udrnet")
    refusal(path, "attention='none', not", "attention='maxca'", name="udrnet", schaf=False, attention="maxca")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"schaf": False, "sharpen": True}, "udrnet has no switch 'sharpen'; it has schaf, attention"),
        ({"schaf": "both"}, "udrnet cannot take schaf='both'"),
    ],
)
def test_a_card_with_an_unknown_switch_or_value_is_refused(
    tmp_path: Path, network: nn.Module, config: dict, words: str
):
    path = tmp_path / "newer.safetensors"
    network.config = make_dataclass("Newer", list(config))(*config.values())
    weights.save(path, network, **ABOUT)
    refusal(path, "does not fit the network udrnet", words)
    refusal(path, "does not fit the network udrnet", words, name="udrnet", schaf=False)


def test_a_switch_that_is_asked_for_and_unknown_is_not_blamed_on_the_file(file: Path):
    with pytest.raises(SettingsError, match="no switch 'sharpen'"):
        weights.load(file, "udrnet", schaf=False, sharpen=True)


def test_tensors_that_do_not_fit_the_card_are_refused(tmp_path: Path):
    attended = registry.create("udrnet")
    attended.config = UDRNetConfig(schaf=False)
    weights.save(tmp_path / "wrong.safetensors", attended, **ABOUT)
    refusal(tmp_path / "wrong.safetensors", "does not fit the network udrnet")


def test_a_missing_file_is_named(tmp_path: Path):
    refusal(tmp_path / "none.safetensors", "No such file")


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_truncated_file_is_refused(file: Path, kept: int):
    file.write_bytes(file.read_bytes()[:kept])
    refusal(file, "damaged", "download")


@pytest.mark.parametrize("place", [-1, -100_000])
def test_a_single_changed_byte_is_noticed(file: Path, place: int):
    blob = bytearray(file.read_bytes())
    blob[place] ^= 1
    file.write_bytes(blob)
    refusal(file, "checksum")


def test_a_card_changed_afterwards_is_noticed(file: Path):
    blob = file.read_bytes()
    assert b"Apache-2.0" in blob
    file.write_bytes(blob.replace(b"Apache-2.0", b"Apache-9.0"))
    refusal(file, "checksum")


def test_a_tensor_file_without_a_card_is_refused(tmp_path: Path, network: nn.Module):
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    for name, metadata in {"bare": None, "strange": {"card": json.dumps([1]), "sha256": "0"}}.items():
        path = tmp_path / f"{name}.safetensors"
        safetensors.torch.save_file(state, path, metadata)
        refusal(path, "no model card")


def test_loading_runs_no_code(tmp_path: Path):
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "trap.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    refusal(path, "damaged")
    torch.save({"weight": Trap()}, path)
    refusal(path, "damaged")
    assert not (tmp_path / "sprung").exists()


def test_only_shipped_weights_are_available(monkeypatch: pytest.MonkeyPatch, file: Path):
    monkeypatch.setattr(weights, "FOLDER", file.parent)
    assert weights.available("udrnet") is None
    shipped = file.rename(file.with_name("udrnet.safetensors"))
    assert weights.available("udrnet") == shipped
    assert weights.available("voxelmorph") is None
    with pytest.raises(SettingsError, match="no network 'unet'"):
        weights.available("unet")


def test_shipped_weights_are_named_and_others_are_paths(monkeypatch: pytest.MonkeyPatch, file: Path):
    monkeypatch.setattr(weights, "FOLDER", file.parent)
    assert weights.named(file.stem) == file
    assert weights.named("folder/mine.safetensors") == Path("folder/mine.safetensors")


def test_a_glance_sees_the_card_in_the_first_bytes(file: Path, tmp_path: Path):
    card = weights.read_card(file)
    file.write_bytes(file.read_bytes()[:-1])  # what comes after is not looked at
    assert weights.glance(file) == card
    for damaged in (b"", b"no header here", file.read_bytes()[:100]):
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match="damaged"):
            weights.glance(file)
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.glance(tmp_path / "none.safetensors")


def test_a_card_from_before_there_was_a_purpose_has_none(tmp_path: Path, network: nn.Module):
    path = tmp_path / "old.safetensors"
    weights.save(path, network, **{name: value for name, value in ABOUT.items() if name != "purpose"})
    assert weights.read_card(path).purpose == {}


def test_whatever_is_shipped_can_be_loaded_is_small_and_says_where_it_is_from():
    shipped = weights.shipped()
    for name, path in shipped.items():
        card = weights.read_card(path)
        assert f"{name}-".startswith(f"{card.network}-"), name
        weights.load(path)
        assert card.command, name
        assert card.hours > 0, name
        assert "not stated" not in (card.licence, card.training_data), name
        assert path.stat().st_size <= 12 * 2**20, name
    assert sum(path.stat().st_size for path in shipped.values()) <= 64 * 2**20
