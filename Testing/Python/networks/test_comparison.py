"""MONAI's networks between our padding and our head: what the wrapping changes, and what it must not."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.errors import InputError, MissingPackage, SettingsError
from RegistrationNetLib.networks import comparison, registry, weights
from RegistrationNetLib.networks.comparison import AffineNorm

SMALL = {
    "attention-unet": {"width": 4},
    "residual-unet": {"width": 4},
    "unetr": {"shape": (32, 40, 48), "width": 4, "hidden": 48},
    "swin-unetr": {"width": 12},
}
every_network = pytest.mark.parametrize("name", SMALL)


def made(name: str, **config: object) -> nn.Module:
    pytest.importorskip("monai", reason="MONAI is not installed here.")
    torch.manual_seed(0)
    network = registry.create(name, **SMALL[name] | config)
    with torch.no_grad():
        network.get_parameter(next(key for key, p in network.named_parameters() if p.shape[:1] == (3,))).mul_(1e4)
    return network


def test_all_and_only_these_are_for_comparison():
    assert {entry.name for entry in registry.ENTRIES if entry.group == "comparison"} == set(SMALL)
    assert all(entry.purpose.startswith("For comparison") == (entry.name in SMALL) for entry in registry.ENTRIES)


def test_MONAI_is_imported_only_when_one_is_made():
    code = (
        "import sys; from RegistrationNetLib.networks import registry; import RegistrationNetLib.networks.comparison; "
        f"[registry.configure(name) for name in {list(SMALL)}]; sys.exit('monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@every_network
@pytest.mark.parametrize("missing", ["monai", "einops"])
def test_without_the_library_the_cure_is_named(name: str, missing: str, monkeypatch: pytest.MonkeyPatch):
    if missing == "monai":
        pytest.importorskip("einops", reason="einops is not installed here.")
    for module in [missing, *(key for key in sys.modules if key.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackage) as refused:
        registry.create(name)
    assert f"{name} is MONAI's, and {missing}" in str(refused.value)
    assert 'pip install "registrationnet[comparison]"' in str(refused.value)


@every_network
def test_the_body_is_the_librarys_and_sees_moving_beside_fixed(name: str):
    network = made(name)
    seen = []
    network.body.register_forward_pre_hook(lambda body, inputs: seen.append(inputs[0]))
    fixed, moving = torch.rand(2, 1, 1, 20, 24, 28)
    with torch.no_grad():
        network(fixed, moving)
    assert torch.equal(seen[0][:, :, :20, :24, :28], torch.cat([moving, fixed], dim=1))
    body = network.body[0] if name == "residual-unet" else network.body
    assert type(body).__module__.startswith("monai.networks.nets.")


@every_network
def test_an_image_of_one_voxel_at_the_coarsest_level_is_taken(name: str):
    network = made(name)
    with torch.no_grad():
        field = network(*torch.rand(2, 1, 1, 9, 5, 7))[-1]
    assert field.shape == (1, 3, 9, 5, 7)
    assert field.isfinite().all()


@every_network
def test_training_and_evaluation_give_one_field(name: str):
    network = made(name)  # batch norms would keep running statistics, dropout would differ
    pair = torch.rand(2, 1, 1, 20, 24, 28)
    with torch.no_grad():
        training, evaluation = network.train()(*pair)[-1], network.eval()(*pair)[-1]
    assert torch.equal(training, evaluation)
    assert training.std() > 0.01


@every_network
def test_its_weights_come_back_from_a_file(name: str, tmp_path: Path):
    network = made(name)
    about = {"intensity": "percentiles", "training_data": "none", "licence": "Apache-2.0", "version": "1"}
    weights.save(tmp_path / "own.safetensors", network, spacing=None, **about)
    for loaded in (
        weights.load(tmp_path / "own.safetensors"),
        weights.load(tmp_path / "own.safetensors", name, **SMALL[name]),
    ):
        assert loaded.config == network.config
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), network.parameters(), strict=True))


def test_an_affine_norm_is_instance_norm_with_weights():
    norm = AffineNorm(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 3, -1]))
    feature = torch.randn(2, 3, 4, 5, 6)
    expected = F.instance_norm(feature, weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(norm(feature), expected)
    with torch.no_grad():
        torch.testing.assert_close(norm(feature.clone()), expected)
        assert torch.equal(norm(torch.rand(1, 3, 1, 1, 1)).flatten(), norm.bias)


@torch.no_grad()
def test_a_smaller_image_is_filled_up_to_the_size_UNETR_was_made_for():
    network = made("unetr")
    fixed, moving = torch.rand(2, 1, 1, 20, 33, 48)

    def filled(image: Tensor) -> Tensor:
        return F.pad(image, (0, 0, 0, 15, 0, 12), mode="replicate")  # to 32 x 48 x 48

    torch.testing.assert_close(network(fixed, moving)[0], network.body(torch.cat([*map(filled, (moving, fixed))], 1))[
        :, :, :20, :33
    ])  # fmt: skip


def test_a_larger_image_is_refused_with_the_cure():
    with pytest.raises(InputError) as refused:
        made("unetr")(*torch.rand(2, 1, 1, 32, 48, 49))
    assert all(word in str(refused.value) for word in ["32x40x48", "32x48x49", "shape=(32, 48, 49)", "another network"])


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 0), (32.0, 32, 32), 32, "32x32x32", (True, 32, 32)])
def test_a_shape_that_is_none_is_refused(shape: object):
    with pytest.raises(SettingsError, match="three numbers of voxels"):
        registry.configure("unetr", shape=shape)


@torch.no_grad()
def test_windows_attended_a_few_at_a_time_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch):
    network = made("swin-unetr")
    pair = torch.rand(2, 2, 1, 40, 32, 33)  # two pairs; 3 x 3 x 5 windows at the first level
    fields = []
    for part in (10_000, 7):
        monkeypatch.setattr(comparison, "PART", part)
        fields.append(network(*pair)[0])
    torch.testing.assert_close(fields[1], fields[0], atol=1e-4, rtol=1e-4)
    assert fields[0].std() > 0.01
