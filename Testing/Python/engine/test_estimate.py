"""What a network is said to cost is what it costs; and the list of networks needs nothing heavy."""

import os
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import RegistrationNetLib
from RegistrationNetLib.core.errors import DeviceError, SettingsError
from RegistrationNetLib.engine import estimate as costs
from RegistrationNetLib.engine.estimate import Tally, count, estimate, smaller
from RegistrationNetLib.engine.models import Model, models
from RegistrationNetLib.networks import registry, weights

CPU = torch.device("cpu")
VOXELS = 10 * 11 * 12
IMAGES = 2 * 4 * VOXELS  # bytes


def counted(forward, *layers: nn.Module, shape: tuple[int, ...] = (10, 11, 12)) -> Tally:
    """The tally of a network whose forward is that function of the pair and the layers."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
            return forward(fixed, moving, *self.layers)

    return count(Net(), shape, CPU, "full")


def test_a_convolution_costs_its_weights_its_result_and_two_operations_a_product():
    tally = counted(lambda f, m, conv: [conv(f)], nn.Conv3d(1, 5, 3, padding=1))
    assert tally.peak_bytes == IMAGES + 4 * (5 * 27 + 5) + 4 * 5 * VOXELS
    assert tally.flops == 2 * 27 * 5 * VOXELS


def test_what_is_no_longer_held_makes_room_and_what_is_held_does_not():
    def freed(f: Tensor, m: Tensor) -> list[Tensor]:
        for _ in range(5):
            f = f + 1
        return [f]

    def held(f: Tensor, m: Tensor) -> list[Tensor]:
        steps = [f]
        for _ in range(5):
            steps.append(steps[-1] + 1)
        return steps

    assert counted(freed).peak_bytes == IMAGES + 2 * 4 * VOXELS  # a step and the one before
    assert counted(held).peak_bytes == IMAGES + 5 * 4 * VOXELS


@pytest.mark.parametrize(
    "free",
    [
        lambda f: f.add_(1),
        lambda f: F.relu(f, inplace=True),
        lambda f: f[:, :, 2:].transpose(2, 4),
        lambda f: f.flatten(2).view(1, 10, -1),
    ],
)
def test_working_in_place_and_looking_differently_cost_nothing(free):
    assert counted(lambda f, m: [free(f)]).peak_bytes == IMAGES


def test_half_precision_is_counted_as_half():
    def forward(f: Tensor, m: Tensor, conv: nn.Module) -> list[Tensor]:
        with torch.autocast(f.device.type, torch.bfloat16):
            return [conv(f)]

    weights_bytes, halves = 4 * (5 * 27 + 5), 2 * (5 * 27 + 5)
    tally = counted(forward, nn.Conv3d(1, 5, 3, padding=1))
    assert tally.peak_bytes == IMAGES + weights_bytes + 2 * VOXELS + halves + 2 * 5 * VOXELS


def test_sizes_are_counted_that_no_machine_could_compute():
    started = time.process_time()
    tally = count(registry.create("voxelmorph"), (4096, 4096, 4096), CPU)
    assert tally.peak_bytes > 10 * 4096**3
    assert time.process_time() - started < 20


def test_a_question_about_values_is_answered_and_other_tensors_may_take_part():
    table = torch.arange(12.0)

    def forward(f: Tensor, m: Tensor) -> list[Tensor]:
        beyond = torch.zeros(12, dtype=torch.bool, device=f.device)
        return [f + table] if beyond.any() else [f]

    assert counted(forward).peak_bytes > IMAGES + 4 * VOXELS


def test_counting_leaves_the_network_as_it_was():
    network = registry.create("udrnet")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    count(network, (32, 32, 32), CPU)
    after = network.state_dict()
    assert all(type(after[key]) is Tensor and torch.equal(after[key], value) for key, value in before.items())


REALITY = """
import sys, psutil, torch
from RegistrationNetLib.engine.estimate import count
from RegistrationNetLib.engine.memory import peak_memory_mib
from RegistrationNetLib.engine.predict import arithmetic
from RegistrationNetLib.networks import registry
torch.set_num_threads(1)
network = registry.create(sys.argv[1]).eval()
cpu, precision = torch.device("cpu"), sys.argv[2]
with torch.inference_mode(), arithmetic(cpu, precision):
    network(*torch.rand(2, 1, 1, 32, 32, 32))
    before = psutil.Process().memory_info().rss / 2**20
    network(*torch.rand(2, 1, 1, 112, 96, 48))
print(peak_memory_mib() - before, count(network, (112, 96, 48), cpu, precision).peak_bytes / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere the memory of a process says less about its arrays.")
@pytest.mark.parametrize("precision", ["full", "auto"])
@pytest.mark.parametrize("name", ["voxelmorph", "udrnet"])
def test_counted_memory_is_what_a_process_takes_within_a_tenth(name: str, precision: str):
    # At this size PyTorch takes the convolutions that it takes at all larger ones; the setting gives every array back
    # at once, so that the process holds what the network holds.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        [sys.executable, "-c", REALITY, name, precision], env=environment, capture_output=True, text=True, check=True
    ).stdout
    taken, peak = map(float, said.split())
    assert taken > 100
    assert peak / 1.1 < taken < peak * 1.1


def test_time_grows_with_the_counted_operations(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def measured(network: nn.Module, pairs: int, shape: tuple[int, ...], device: torch.device) -> float:
        asked.append((pairs, shape))
        return 1.0

    monkeypatch.setattr(costs, "_measured", measured)
    full, tiny = estimate("voxelmorph", (160, 192, 224), "cpu"), estimate("voxelmorph", (16, 20, 24), "cpu")
    small = smaller((160, 192, 224), costs.SMALL["cpu"])
    assert asked == [(costs.PAIRS, small), (1, (16, 20, 24))]
    ratio = (160 * 192 * 224) / torch.Size(small).numel()
    # a convolution in slabs, of which there are more, computes the planes between them twice
    assert full.seconds == pytest.approx(costs.SLOWER["cpu"] * ratio / costs.PAIRS, rel=0.1)
    assert tiny.seconds == 1.0
    assert full.parameters == tiny.parameters == 327_331


@pytest.mark.parametrize("shape", [(160, 192, 224), (512, 512, 40), (700, 30, 30), (20, 30, 10), (1, 400, 400)])
def test_the_small_images_are_small_and_fit_inside(shape: tuple[int, int, int]):
    small = smaller(shape, 40**3)
    assert all(a <= b and (a % 16 == 0 or a == b) for a, b in zip(small, shape, strict=True))
    assert torch.Size(small).numel() <= 3 * 40**3


def test_a_network_for_one_size_is_taken_as_made_for_the_asked_one(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("monai", reason="MONAI is not installed here.")
    monkeypatch.setattr(costs, "_measured", lambda *rest: 1.0)
    large, small = (estimate("unetr", shape, "cpu") for shape in ((200, 200, 200), (64, 64, 64)))
    assert large.parameters - small.parameters == (13**3 - 4**3) * 768  # the positions of its tokens
    assert large.peak_bytes > 10 * small.peak_bytes / 2


# --- the list


def test_the_list_tells_of_each_network_what_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    about = {"intensity": "percentiles", "training_data": "phantoms", "licence": "CC0", "version": "1"}
    for name in ("voxelmorph-any", "voxelmorph"):
        weights.save(tmp_path / f"{name}.safetensors", registry.create("voxelmorph"), spacing=None, **about)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    steps = []
    listed = models(["voxelmorph", "udrnet"], size=(20, 24, 28), on_progress=lambda *step: steps.append(step))
    assert [model.name for model in listed] == ["voxelmorph", "udrnet"]
    assert [trained.name for trained in listed[0].weights] == ["voxelmorph", "voxelmorph-any"]
    first = listed[0].weights[0]
    assert first.file == str(tmp_path / "voxelmorph.safetensors")
    assert (first.licence, first.training_data) == ("CC0", "phantoms")
    assert listed[1].weights == ()
    for model in listed:
        assert model.paper == registry.entry(model.name).paper
        assert min(model.parameters, model.flops, model.peak_bytes, model.seconds) > 0
        assert model.note == ""
    assert steps == [("voxelmorph", 0.0, "Estimating voxelmorph"), ("udrnet", 0.5, "Estimating udrnet")]


def test_the_face_of_the_package_has_the_list():
    assert RegistrationNetLib.models is models
    assert RegistrationNetLib.Model is Model


def test_all_are_listed_where_none_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(costs, "estimate", lambda name, size, device: costs.Estimate(1, 2, 3, 4.0))
    listed = models()
    assert [model.name for model in listed] == list(registry.names())
    assert all((m.parameters, m.flops, m.peak_bytes, m.seconds) == (1, 2, 3, 4.0) for m in listed)


def test_a_missing_library_leaves_the_costs_out_and_names_the_cure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    monkeypatch.setitem(sys.modules, "einops", None)
    (model,) = models(["unetr"])
    assert model.seconds is model.peak_bytes is model.parameters is None
    assert 'pip install "registrationnet[comparison]"' in model.note


@pytest.mark.parametrize("size", [(1, 2), (10, 10, 0), (10, 10, -3), (10.0, 10, 10), ()])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(SettingsError, match="give three numbers of voxels"):
        models(size=size)


def test_unknown_networks_and_devices_are_refused():
    with pytest.raises(SettingsError, match="no network 'unet'"):
        models(["unet"])
    with pytest.raises(DeviceError, match="no device 'abacus'"):
        models(["voxelmorph"], device="abacus")


def test_without_PyTorch_the_list_still_says_what_each_is_for():
    code = (
        "import sys; sys.modules['torch'] = None; from RegistrationNetLib import models; "
        "listed = models(); assert len(listed) >= 10; "
        "assert all(m.purpose and m.paper and m.seconds is None and 'PyTorch' in m.note for m in listed)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_Estimate_is_the_part_of_a_Model_that_is_estimated():
    assert {field.name for field in fields(costs.Estimate)} <= {field.name for field in fields(Model)}


@pytest.mark.parametrize("name", registry.names())
def test_a_brain_at_a_millimetre_fits_into_ten_gib_and_twice_the_volume_costs_at_most_twice(name: str):
    if registry.entry(name).group == "comparison":
        pytest.importorskip("monai", reason="MONAI is not installed here.")

    def cost(depth: int) -> Tally:
        shape = (depth, 192, 224)
        return count(costs.made_for(name, shape)[0], shape, CPU)

    half, whole = cost(80), cost(160)
    assert whole.peak_bytes < 9 * 2**30  # and PyTorch itself takes half a GiB
    if name != "unetr":  # whose attention is quadratic in the patches, and whose weights are larger than the images
        assert whole.peak_bytes < 2.1 * half.peak_bytes
        assert whole.flops < 2.1 * half.flops


def test_bytes_moved_are_what_each_layer_reads_and_writes_and_views_move_nothing():
    tally = counted(lambda f, m: [torch.relu(f.transpose(2, 3)[:, :, 1:]) + 1])
    assert tally.moved_bytes == 2 * 2 * 4 * (10 * 10 * 12)
