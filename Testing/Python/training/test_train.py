"""Training: it learns, goes on after a stop as if there had been none, and keeps what is best."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks.truth import smooth_field
from RegistrationNetLib.cli import main
from RegistrationNetLib.core.errors import Cancelled, DeviceError, SettingsError
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine import devices
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.networks import registry, weights
from RegistrationNetLib.phantom import phantom_pair
from RegistrationNetLib.training.settings import Change, Course, Data, Loss, Train
from RegistrationNetLib.training.train import losses, train
from RegistrationNetLib.training.tune import tuned
from RegistrationNetLib.training.validation import dice
from Testing.Python.training.test_cases import scans_data
from Testing.Python.training.test_pairs import SHAPES

SHORT = replace(SHAPES, course=Course(steps=6, rate=1e-3, check_every=3, pairs=2), device="cpu", loss=Loss(labels=1.0))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "state.pt", weights_only=True)["network"]


def close(one: Path, other: Path, tolerance: float) -> bool:
    first, second = tensors(one), tensors(other)
    return all(torch.allclose(first[key], second[key], atol=tolerance, rtol=0) for key in first)


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory) -> Path:
    """One head and the same one deformed, each twice: to learn from, and to be judged on."""
    folder = tmp_path_factory.mktemp("heads")
    phantom = phantom_pair(voxel_mm=4.0)
    bent = Mapping((smooth_field(phantom.fixed.grid, seed=2, peak_mm=18, sigma_mm=30),))
    for name, image, how in (("images", phantom.fixed, "linear"), ("labels", phantom.fixed_labels, "nearest")):
        (folder / name).mkdir()
        deformed = warp(image, bent, image.grid, how)
        for number, one in enumerate((image, image, deformed, deformed)):  # every second one is held back
            write_image(one, folder / name / f"{number}.nii.gz")
    return folder


QUICK = """
from dataclasses import dataclass

import torch
from torch import nn

from RegistrationNetLib.core.objective import Objective
from RegistrationNetLib.networks.blocks.layers import ConvNorm


@dataclass(frozen=True)
class QuickConfig:
    width: int = 12


class Quick(nn.Module):
    objective = Objective()

    def __init__(self, config=QuickConfig()):
        super().__init__()
        self.config = config
        self.body = nn.Sequential(ConvNorm(2, config.width, stride=2), ConvNorm(config.width, config.width))
        self.head = nn.Conv3d(config.width, 3, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)

    def forward(self, fixed, moving):
        return [self.head(self.body(torch.cat([fixed, moving], dim=1)))]
"""


def test_it_learns_to_register(two_heads, tmp_path):
    """A small network of one's own, which sees only two heads; without a word on which voxels belong together."""
    own = tmp_path / "quick.py"
    own.write_text(QUICK)
    settings = Train(
        network=f"{own}:Quick",
        name="quick",
        data=replace(scans_data(two_heads, labels=""), spacing_mm=6.0),
        change=Change(turn_degrees=0, scale=0, shift_mm=0, contrast=0),
        loss=Loss(smoothness=0.3),
        course=Course(steps=120, rate=5e-3, check_every=40),
        device="cpu",
    )
    done = train(settings, tmp_path / "run")
    assert done.steps == 120
    assert 1 - done.score < 0.5 * (1 - done.before)  # the loss begins at -1
    card = weights.read_card(tmp_path / "run" / "quick.safetensors")
    assert card.metrics["loss"] == pytest.approx(-done.score, abs=1e-4)
    assert card.metrics["folded_percent"] < 1
    assert card.spacing == (6.0, 6.0, 6.0)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation" in line] == [0, 40, 80, 120]


def test_dice_is_a_mean_over_labels_that_are_there():
    one = torch.tensor([0, 1, 1, 1, 2, 2])
    other = torch.tensor([0, 1, 1, 2, 2, 0])
    assert dice(one, other) == pytest.approx((4 / 5 + 2 / 4) / 2)
    assert dice(one, one) == 1


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    train(SHORT, tmp_path / "whole")
    steps = iter(range(100))
    with pytest.raises(Cancelled):
        train(SHORT, tmp_path / "parts", cancelled=lambda: next(steps) == 4)
    assert not close(tmp_path / "whole", tmp_path / "parts", 1e-7)
    done = train(SHORT, tmp_path / "parts")
    assert done.steps == 6
    assert close(tmp_path / "whole", tmp_path / "parts", 0)
    again = train(SHORT, tmp_path / "parts")  # nothing is left to do
    assert again == done


def test_a_folder_of_another_training_is_refused(tmp_path):
    train(replace(SHORT, course=replace(SHORT.course, steps=1)), tmp_path)
    with pytest.raises(SettingsError, match=r"holds a training with other settings \(loss, seed\)"):
        train(replace(SHORT, seed=3, loss=Loss()), tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun's CPU backend is for Linux and macOS")
def test_two_processes_learn_what_one_does(tmp_path):
    config = tmp_path / "short.toml"
    config.write_text(
        'network = "voxelmorph"\ndevice = "cpu"\n[data]\nkind = "shapes"\nsize = 24\nheld_back = 2\n'
        "[loss]\nlabels = 1.0\n[course]\nsteps = 6\nrate = 1e-3\ncheck_every = 3\npairs = 2\n"
    )
    train(Train.read(config), tmp_path / "one")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29611"]
    done = subprocess.run(
        [*command, "-m", "RegistrationNetLib.cli", "train", str(config), "-o", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert close(tmp_path / "one", tmp_path / "two", 1e-4)
    assert not close(tmp_path / "one", fresh(tmp_path), 1e-4)
    assert "6 steps" in done.stdout


def fresh(folder: Path) -> Path:
    """The state of a network that has learnt nothing."""
    torch.manual_seed(SHORT.seed)
    other = folder / "fresh"
    other.mkdir()
    torch.save({"network": registry.create("voxelmorph").state_dict()}, other / "state.pt")
    return other


def test_a_time_limit_ends_it_and_the_rate_has_fallen_by_then(tmp_path):
    done = train(replace(SHORT, course=Course(steps=100_000, minutes=0.03, check_every=100_000)), tmp_path)
    assert 0 < done.steps < 1000


def test_patience_ends_it(tmp_path):
    """With a rate at which nothing changes, no look is ever better."""
    course = Course(steps=1000, rate=1e-7, check_every=1, patience=2)
    done = train(replace(SHORT, course=course, loss=Loss(image=0, smoothness=0, labels=1e-6)), tmp_path)
    assert done.steps < 10


def test_a_loss_that_is_no_number_stops_it(tmp_path, monkeypatch):
    from RegistrationNetLib.training import train as module

    broken = lambda *args: {"images": (args[0].head.weight * float("nan")).sum()}  # noqa: E731
    monkeypatch.setattr(module, "losses", broken)
    with pytest.raises(SettingsError, match=r"no number any more after 0 steps; lower course\.rate"):
        train(SHORT, tmp_path)


@pytest.mark.parametrize("similarity", ["own", "lncc", "ncc", "mse", "mind"])
@pytest.mark.parametrize("network", ["voxelmorph", "dilformer"])
def test_every_loss_reaches_every_weight(network, similarity, tmp_path):
    from RegistrationNetLib.training.pairs import source
    from RegistrationNetLib.training.train import _objective

    asked = Loss(similarity=similarity, regularity="bending", labels=1, folding=1, inverse=1)
    made = registry.create(network)
    pair = source(SHAPES, tmp_path, torch.device("cpu")).pair(0)
    terms = losses(made, pair, _objective(made, asked), asked, step=0)
    assert set(terms) == {"images", "labels", "folding", "inverse"}
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
    assert all(bool(parameter.grad.isfinite().all()) for parameter in made.parameters())


def test_going_on_with_weights_keeps_them_unless_it_finds_better_ones(scans, tmp_path):
    torch.manual_seed(0)
    old = tmp_path / "old.safetensors"
    weights.save(
        old,
        registry.create("voxelmorph"),
        spacing=(6.0, 6.0, 6.0),
        intensity="prepared",
        training_data="shapes",
        licence="Apache-2.0",
        version="1",
    )
    settings = tuned(None, start=old, images=scans / "images", labels=scans / "labels", device="cpu")
    assert (settings.network, settings.data.spacing_mm, settings.loss.labels) == ("voxelmorph", 6.0, 1.0)
    settings = replace(settings, data=replace(settings.data, held_back=2))
    harmful = replace(settings, course=Course(steps=3, rate=0.05, check_every=1))
    done = train(harmful, tmp_path / "harmful")
    assert done.weights is None
    assert done.score == done.before


def test_the_command_says_what_is_missing(scans, tmp_path):
    def said(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["train", *arguments, "-o", str(tmp_path / "out")])
        assert result.exit_code == 2
        return result.output

    assert "Name a configuration file, or both --from WEIGHTS and --images FOLDER" in said()
    wrong = tmp_path / "wrong.toml"
    for text, words in {
        "network = 3": "must be of type str",
        "": "Say which network is to be trained",
        'network = "voxelmorph"\nspeed = 3': "Unknown setting speed in 'training'",
        'network = "voxelmorph"\n[data]\nkind = "images"': "name a folder in data.images",
        'network = "voxelmorph"\n[course]\nrate = 7.0': r"course.rate is 7.0; it must lie between",
        "network = ": "cannot be read as a configuration",
        'network = "resnet"\n[course]\nsteps = 1': "There is no network 'resnet'",
    }.items():
        wrong.write_text(text)
        assert words in said(str(wrong)), text


def test_half_precision_is_refused_where_it_would_be_slower(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "has_half", lambda device: False)
    with pytest.raises(DeviceError, match=r"cpu.*full precision"):
        train(replace(SHORT, course=replace(SHORT.course, precision="mixed")), tmp_path)


def test_what_a_configuration_says_about_folders_is_taken_from_where_it_lies(scans, monkeypatch):
    config = scans / "config.toml"
    monkeypatch.setenv("SCANS", str(scans))
    config.write_text('network = "voxelmorph"\n[data]\nkind = "images"\nimages = "images"\nlabels = "$SCANS/labels"\n')
    read = Train.read(config)
    assert read.data == Data(kind="images", images=str(scans / "images"), labels=str(scans / "labels"))
    assert scans_data(scans).images == read.data.images


def test_the_configuration_in_the_docs_is_one():
    page = Path(__file__).parents[3] / "docs" / "training.md"
    (text,) = re.findall(r"^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    settings = Train.from_dict(tomllib.loads(text))
    assert settings.network in registry.names()
    assert settings.data.kind == "shapes"
