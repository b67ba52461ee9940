"""Networks by name, listed without PyTorch."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from RegistrationNetLib.core.errors import InputError, SettingsError, WeightsError
from RegistrationNetLib.networks import registry, weights
from RegistrationNetLib.networks.udrnet import UDRNet, UDRNetConfig


def made(name: str) -> nn.Module:
    if registry.entry(name).group == "comparison":
        pytest.importorskip("monai", reason="MONAI is not installed here.")
    return registry.create(name)


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
    network = made(name)
    assert registry.name_of(network) == entry.name == name
    assert all(dataclasses.astuple(entry))
    assert entry.source.startswith("RegistrationNetLib.networks.")


@pytest.mark.parametrize("name", registry.names())
def test_a_configuration_is_a_frozen_record_that_the_network_carries(name: str):
    config = registry.configure(name)
    assert made(name).config == config
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
    ("fixed", "moving"),
    [
        ((1, 1, 8, 9, 10), (1, 1, 8, 9, 11)),
        ((2, 1, 8, 8, 8), (1, 1, 8, 8, 8)),
        ((1, 2, 8, 8, 8), (1, 2, 8, 8, 8)),
        ((1, 8, 8, 8), (1, 8, 8, 8)),
        ((8, 8, 8), (8, 8, 8)),
    ],
)
def test_what_is_no_pair_of_images_is_refused_in_a_sentence(fixed: tuple[int, ...], moving: tuple[int, ...]):
    with pytest.raises(InputError) as refused:
        registry.create("voxelmorph")(torch.rand(fixed), torch.rand(moving))
    assert f"one shape (N, 1, D, H, W), not {fixed} and {moving}" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("unet", {}, ["'unet'", "udrnet, caml", "my_network.py:MyNet"]),
        ("udrnet", {"scaf": True}, ["udrnet", "'scaf'", "schaf"]),
        ("udrnet", {"schaf": "both"}, ["schaf='both'", "True, False, 'channel', 'spatial'"]),
        ("udrnet", {"schaf": 0}, ["schaf=0", "False"]),
        ("caml", {"caml": "no"}, ["caml='no'", "True", "False"]),
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


OWN = """
from dataclasses import dataclass
from typing import Literal

from torch import nn

@dataclass(frozen=True)
class ShiftConfig:
    axis: Literal[0, 1, 2] = 0

class Shift(nn.Module):
    def __init__(self, config=ShiftConfig()):
        super().__init__()
        self.config = config
        self.head = nn.Conv3d(2, 3, 1)

open(__file__ + ".log", "a").write("run ")
"""
ABOUT: dict[str, Any] = {
    "spacing": None,
    "intensity": "percentiles",
    "training_data": "none",
    "licence": "Apache-2.0",
    "version": "1",
}


KINDS = """
from dataclasses import dataclass
from typing import Literal, Optional

from torch import nn

@dataclass(frozen=True)
class KindsConfig:
    flag: bool = True
    count: int = 1
    share: float = 0.5
    word: str = "a"
    three: tuple[int, int, int] = (1, 2, 3)
    any: tuple[float, ...] = ()
    maybe: Optional[int] = None
    either: Literal["a", 2] | bool = "a"

class Kinds(nn.Module):
    def __init__(self, config=KindsConfig()):
        super().__init__()
        self.config = config
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a network, not yet named by anyone."""
    monkeypatch.setattr(registry, "_named", {})
    path = tmp_path / "my_shift.py"
    path.write_text(OWN)
    return path


def times_run(own: Path) -> int:
    log = own.with_name(own.name + ".log")
    return log.read_text().count("run") if log.exists() else 0


def test_a_network_of_ones_own_is_made_from_its_file_and_run_once(own: Path):
    entry = registry.entry(f"{own}:Shift")
    assert (entry.name, entry.group, times_run(own)) == ("my_shift:Shift", "own", 0)
    network = registry.create(f"{own}:Shift", axis=2)
    assert network.config.axis == 2
    assert registry.name_of(network) == "my_shift:Shift"
    assert type(registry.create("my_shift:Shift")) is type(network)
    assert times_run(own) == 1


def test_a_network_of_ones_own_is_named_from_where_one_is(own: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(own.parent)
    assert registry.name_of(registry.create("my_shift.py:Shift")) == "my_shift:Shift"


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("none.py:Shift", {}, "existing file"),
        ("my_shift.py:", {}, "existing file"),
        ("my_shift.py:Shifted", {}, "'my_shift.py' has no class 'Shifted'"),
        ("my_shift.py:Shift", {"axis": 3}, "axis=3"),
        ("my_shift:Shift", {}, "no network 'my_shift:Shift'"),
    ],
)
def test_what_is_no_network_of_ones_own_is_refused(own, monkeypatch, name: str, config: dict, words: str):
    monkeypatch.chdir(own.parent)
    with pytest.raises(SettingsError, match=words):
        registry.create(name, **config)


@pytest.mark.parametrize(
    ("switch", "good", "bad", "words"),
    [
        ("flag", [True, False], [1, "no", None], "True or False"),
        ("count", [2, -1], [True, 2.0, "2"], "a whole number"),
        ("share", [0.2, 1], [True, "1"], "a number"),
        ("word", ["b"], [2, None], "text"),
        ("three", [(4, 5, 6)], [(4, 5), (4, 5, 6.0), 4, "456"], "(a whole number, a whole number, a whole number)"),
        ("any", [(), (1.0,), (1, 2, 3)], [1.0, ("1",), None], "(a number, ...)"),
        ("maybe", [None, 3], ["3", False], "a whole number or None"),
        ("either", ["a", 2, True], ["b", 3, 2.0], "'a', 2 or True or False"),
    ],
)
def test_a_switch_takes_what_its_type_says_and_nothing_else(own: Path, switch: str, good: list, bad: list, words: str):
    own.write_text(KINDS)
    for value in good:
        assert getattr(registry.create(f"{own}:Kinds", **{switch: value}).config, switch) == value
    for value in bad:
        with pytest.raises(SettingsError) as refused:
            registry.create(f"{own}:Kinds", **{switch: value})
        assert f"cannot take {switch}={value!r}; it can be {words}." in str(refused.value)


def test_a_list_as_from_a_weights_file_becomes_the_tuple_it_was(own: Path):
    own.write_text(KINDS)
    assert registry.configure(f"{own}:Kinds", three=[4, 5, 6]).three == (4, 5, 6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ny = (2\n", "SyntaxError in line 2 ('(' was never closed)"),
        ("\n\nimport not_there.at_all\n", "ModuleNotFoundError in line 3 (No module named 'not_there')"),
        ("def f():\n    raise ValueError('two\\n lines')\n\n\nf()\n", "ValueError in line 2 (two lines)"),
        ("import json\njson.loads('{')\n", "JSONDecodeError in line 2 ("),
    ],
)
def test_a_file_that_fails_is_named_with_line_and_cause_and_leaves_nothing_behind(own: Path, text: str, words: str):
    own.write_text(text)
    for _ in range(2):
        with pytest.raises(SettingsError) as refused:
            registry.create(f"{own}:Shift")
        assert f"'my_shift.py' cannot be used: {words}" in str(refused.value)
        assert "\n" not in str(refused.value)
    assert str(own) not in sys.modules
    own.write_text(OWN)
    assert registry.create(f"{own}:Shift").config.axis == 0


def test_a_file_that_was_changed_is_read_again_however_quickly(own: Path):
    before = registry.create(f"{own}:Shift")
    times = own.stat()
    own.write_text(OWN.replace("= 0", "= 1"))
    os.utime(own, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = registry.create("my_shift:Shift")
    assert (before.config.axis, after.config.axis, times_run(own)) == (0, 1, 2)
    assert registry.name_of(before) == registry.name_of(after) == "my_shift:Shift"


def test_a_file_that_is_gone_is_missed_in_a_sentence(own: Path):
    registry.create(f"{own}:Shift")
    own.unlink()
    with pytest.raises(SettingsError, match=r"my_shift.py' cannot be read \(No such file"):
        registry.create("my_shift:Shift")


def test_two_files_of_one_name_are_not_mixed_up(own: Path):
    first = registry.create(f"{own}:Shift")
    other = own.parent / "other" / own.name
    other.parent.mkdir()
    other.write_text(OWN)
    with pytest.raises(SettingsError, match=r"weights know both as my_shift:Shift; rename the file"):
        registry.create(f"{other}:Shift")
    assert registry.name_of(first) == "my_shift:Shift"
    renamed = other.rename(other.with_name("my_other.py"))
    assert registry.name_of(registry.create(f"{renamed}:Shift")) == "my_other:Shift"


def test_weights_of_ones_own_network_need_its_file_to_be_named_by_the_user(own: Path, monkeypatch):
    file = own.with_suffix(".safetensors")
    network = registry.create(f"{own}:Shift", axis=1)
    assert weights.save(file, network, **ABOUT).network == "my_shift:Shift"
    assert torch.equal(weights.load(file, f"{own}:Shift", axis=1).head.weight, network.head.weight)
    assert weights.available(f"{own}:Shift") is None

    monkeypatch.setattr(registry, "_named", {})  # as in a new program
    monkeypatch.delitem(sys.modules, str(own))
    monkeypatch.chdir(own.parent)
    assert weights.read_card(file).network == "my_shift:Shift"
    with pytest.raises(WeightsError, match="name its file too"):
        weights.load(file)
    assert times_run(own) == 1  # by the first line only
    assert weights.read_card(file, f"{own}:Shift").config == {"axis": 1}
    assert torch.equal(weights.load(file).head.weight, network.head.weight)


@pytest.mark.parametrize("name", ["my_shift.py:Shift", "{folder}/my_shift.py:Shift", "os:system", "my_shift:Shift"])
def test_a_card_never_leads_to_code_that_the_user_did_not_name(own: Path, monkeypatch, name: str):
    network = registry.create("udrnet")
    monkeypatch.setattr(registry, "name_of", lambda network: name.format(folder=own.parent))
    file = own.with_suffix(".safetensors")
    weights.save(file, network, **ABOUT)
    monkeypatch.chdir(own.parent)
    assert weights.read_card(file).network == name.format(folder=own.parent)
    with pytest.raises(WeightsError, match="this version does not have"):
        weights.load(file)
    with pytest.raises(WeightsError):
        weights.load(file, "udrnet")
    assert times_run(own) == 0
