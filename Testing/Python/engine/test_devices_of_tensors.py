"""The refinement on a device other than the computer: every tensor there, few words between the two, little memory.

PyTorch's meta device stands for a GPU: tensors on it have no values, and none of the computer's may be mixed with them.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.refinement import ELSEWHERE, Traffic, a_pair, count
from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.core.sampler import Sampler
from RegistrationNetLib.engine import features
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.refine import refine
from RegistrationNetLib.engine.settings import Refine

IDENTITY = Affine(np.eye(4))
FEW = Refine(steps_coarse=1, steps_half=1, steps_full=1, similarity="lncc")
SIZE = (48, 52, 56)


def pair(masked: bool = False) -> Prepared:
    """Images of the computer's."""
    image = torch.rand(1, 1, *SIZE)
    mask = (image > 0.01).float() if masked else None
    return replace(a_pair(SIZE), fixed=image, moving=image.flip(2), fixed_mask=mask, moving_mask=mask)


def traffic(prepared: Prepared, settings: Refine, start: torch.Tensor | None = None) -> Traffic:
    with Traffic() as watch:
        field, grid = refine(prepared, IDENTITY, start, settings, ELSEWHERE)
    assert field.device == torch.device("cpu")
    assert field.shape[2:] == grid.shape
    return watch


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("similarity", ["lncc", "mind"])
@pytest.mark.parametrize("field_grid", ["half", "full"])
def test_every_tensor_is_made_where_the_images_are_sent(similarity, field_grid, masked):
    watch = traffic(pair(masked), replace(FEW, similarity=similarity, field_grid=field_grid), torch.zeros(1, 3, *SIZE))
    assert sum(cost.kernels for cost in watch.costs.values()) > 100


def test_a_tensor_left_behind_is_noticed(monkeypatch):
    plain = spatial.pull
    monkeypatch.setattr(spatial, "pull", lambda *args: plain(*args) * torch.ones(3)[:, None, None, None])
    with pytest.raises(RuntimeError, match="of the device and of the computer"):
        traffic(pair(), FEW)


@pytest.mark.parametrize("similarity", ["lncc", "mind"])
def test_an_iteration_asks_the_device_once_and_sends_it_nothing(similarity):
    traffic(pair(), replace(FEW, similarity=similarity))  # matrices of filters are sent once
    short = traffic(pair(), replace(FEW, similarity=similarity))
    long = traffic(pair(), replace(FEW, similarity=similarity, steps_full=4))
    assert long.questions - short.questions == 3
    assert long.sent == short.sent


def test_the_images_are_sent_once_and_one_field_comes_back():
    prepared = pair()
    watch = traffic(prepared, FEW)
    volume = prepared.fixed.nbytes
    assert [size for size in watch.sent if size >= volume / 8] == [volume, volume]
    assert watch.fetched == [3 * volume]


def test_a_brain_at_a_millimetre_is_refined_within_a_gib():
    assert count(FEW, (160, 192, 224)).peak_bytes < 2**30


def test_positions_are_sampled_alike_on_every_device():
    volume, at = torch.rand(1, 2, 7, 8, 9), 10 * torch.rand(3, 5, 6, 7) - 1
    torch.testing.assert_close(Sampler(volume, None, 0)(at.clone()), Sampler.of(volume)(at.clone()), atol=2e-5, rtol=0)


def test_similarity_is_decided_before_anything_is_sent(monkeypatch):
    monkeypatch.setattr(features, "_ONE_KIND", 2.0)
    prepared = pair()
    traffic(prepared, replace(FEW, similarity="auto"))
    assert "different kinds" in prepared.notes[-1]
