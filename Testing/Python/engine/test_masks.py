"""Masks: what lies under one is left out, without a trace and without an edge."""

from dataclasses import replace

import numpy as np
import pytest

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.result import Registration
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.phantom import true_error

FAST = Settings.preset("fast")
SIDES = ("fixed", "moving")


def hidden_ball(image: Image, offset: tuple[float, float, float] = (15.0, -10.0, 20.0), radius: float = 32.0) -> Image:
    """A mask that hides a ball inside the head."""
    distance = np.linalg.norm(image.grid.points() - (image.grid.center + offset), axis=-1)
    return Image((distance > radius).astype(np.uint8)[None], image.grid, name="mask")


def spoilt(image: Image, mask: Image, seed: int) -> Image:
    """The image with noise of its own range where the mask hides it."""
    noise = np.random.default_rng(seed).integers(0, image.data.max(), image.data.shape).astype(image.data.dtype)
    return replace(image, data=np.where(mask.data > 0, image.data, noise))


@pytest.fixture(scope="module")
def masks(coarse_phantom):
    return {f"{side}_mask": hidden_ball(getattr(coarse_phantom, side)) for side in SIDES}


def bits(registration: Registration) -> list[bytes]:
    steps = registration.mapping.steps
    return [(step.matrix if hasattr(step, "matrix") else step.field).tobytes() for step in steps]


@pytest.mark.parametrize("hidden", [SIDES, ("fixed",), ("moving",)], ids="-".join)
def test_what_lies_under_a_mask_changes_not_a_bit_of_the_result(coarse_phantom, masks, hidden):
    used = {f"{side}_mask": masks[f"{side}_mask"] for side in hidden}
    results = []
    for seed in (1, 2):
        images = [
            spoilt(getattr(coarse_phantom, side), masks[f"{side}_mask"], seed)
            if side in hidden
            else getattr(coarse_phantom, side)
            for side in SIDES
        ]
        results.append(register(*images, FAST, **used))
    assert bits(results[0]) == bits(results[1])
    assert results[0].report["similarity"] == results[1].report["similarity"]


@pytest.mark.parametrize("hidden", [("fixed",), ("moving",), SIDES], ids="-".join)
def test_a_mask_has_no_edge_images_alike_outside_of_it_stay_where_they_are(coarse_phantom, hidden):
    image = coarse_phantom.fixed
    mask = hidden_ball(image)
    images = [spoilt(image, mask, seed) if side in hidden else image for seed, side in enumerate(SIDES)]
    result = register(*images, FAST, **{f"{side}_mask": mask for side in hidden})
    points = image.grid.points()[::2, ::2, ::2]
    moved = np.linalg.norm(result.mapping(points) - points, axis=-1)
    # With a mask on one side only, the two are scaled by percentiles of different voxels.
    assert moved.max() < (1e-3 if hidden == SIDES else 1e-2) * image.grid.spacing.min()


def test_garbage_that_is_masked_costs_no_accuracy_elsewhere(coarse_phantom, masks):
    pair = coarse_phantom
    clean = register(pair.fixed, pair.moving, FAST, **masks)
    images = [spoilt(getattr(pair, side), masks[f"{side}_mask"], seed) for seed, side in enumerate(SIDES)]
    blind = register(*images, FAST)
    assert true_error(clean.mapping, pair)["after"]["median"] < 0.5 * 4.5
    assert true_error(clean.mapping, pair)["after"]["p95"] < true_error(blind.mapping, pair)["after"]["p95"]
