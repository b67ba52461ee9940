"""Networks by name, listed without PyTorch."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from RegistrationNetLib.core.errors import SettingsError
from RegistrationNetLib.networks import registry
from RegistrationNetLib.networks.udrnet import UDRNet, UDRNetConfig


def test_listing_the_networks_and_their_weights_imports_no_pytorch():
    code = (
        "import sys; from RegistrationNetLib.networks import registry, weights; "
        "print([(registry.entry(n), weights.available(n)) for n in registry.names()]); "
        "sys.exit(bool({'torch', 'safetensors', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", registry.names())
def test_every_entry_leads_to_a_network_and_back(name: str):
    entry = registry.entry(name)
    network = registry.create(name)
    assert registry.name_of(network) == entry.name == name
    assert all(dataclasses.astuple(entry))
    assert entry.source.startswith("RegistrationNetLib.networks.")


@pytest.mark.parametrize("name", registry.names())
def test_a_configuration_is_a_frozen_record_that_the_network_carries(name: str):
    config = registry.configure(name)
    assert registry.create(name).config == config
    switch = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, switch, None)


def test_switches_reach_the_network():
    network = registry.create("udrnet", schaf="channel")
    assert isinstance(network, UDRNet)
    assert network.config == UDRNetConfig(schaf="channel")


def test_convolutions_are_laid_out_channels_last():
    weight = registry.create("udrnet").get_parameter("encoder.1.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("unet", {}, ["'unet'", "udrnet, voxelmorph"]),
        ("udrnet", {"scaf": True}, ["udrnet", "'scaf'", "schaf"]),
        ("udrnet", {"schaf": "both"}, ["schaf='both'", "True, False, 'channel', 'spatial'"]),
        ("udrnet", {"schaf": 0}, ["schaf=0", "False"]),
        ("voxelmorph", {"output": "flow"}, ["output='flow'", "'velocity', 'displacement'"]),
    ],
)
def test_an_unknown_name_switch_or_value_is_refused_with_what_there_is(name: str, config: dict, words: list[str]):
    with pytest.raises(SettingsError) as refused:
        registry.create(name, **config)
    assert all(word in str(refused.value) for word in words)


def test_a_class_that_is_not_listed_has_no_name():
    with pytest.raises(SettingsError, match="'Linear' is not a listed network"):
        registry.name_of(torch.nn.Linear(1, 1))
