"""The correlation ratio: what it holds to be foretold, and what not."""

import pytest
import torch

from RegistrationNetLib.core.ratio import correlation_ratio, soft_classes

GENERATOR = torch.Generator().manual_seed(0)
VALUES = torch.rand(20_000, generator=GENERATOR)
EVERYWHERE = torch.ones_like(VALUES)


def test_each_value_belongs_to_the_two_levels_around_it_and_wholly_to_one_it_meets() -> None:
    classes = soft_classes(torch.tensor([0.0, 0.25, 0.6, 1.0]), 5)
    torch.testing.assert_close(classes.sum(0), torch.ones(4))
    torch.testing.assert_close(classes[:, 1], torch.tensor([0.0, 1, 0, 0, 0]))
    torch.testing.assert_close(classes[:, 2], torch.tensor([0.0, 0, 0.6, 0.4, 0]))


@pytest.mark.parametrize("relation", [lambda v: 3 * v + 2, lambda v: -v, lambda v: (v - 0.5) ** 2], ids="abc")
def test_any_contrast_of_the_same_anatomy_is_foretold(relation) -> None:
    assert float(correlation_ratio(soft_classes(VALUES, 16), relation(VALUES), EVERYWHERE)) > 0.9


def test_what_has_nothing_to_do_with_the_image_is_not_foretold() -> None:
    other = torch.rand(20_000, generator=GENERATOR)
    assert float(correlation_ratio(soft_classes(VALUES, 16), other, EVERYWHERE)) < 0.01


def test_voxels_without_weight_say_nothing() -> None:
    weight = EVERYWHERE.clone()
    weight[::3] = 0
    disturbed = torch.where(weight > 0, -VALUES, 7.0)
    classes = soft_classes(VALUES, 16)
    torch.testing.assert_close(
        correlation_ratio(classes, disturbed, weight),
        correlation_ratio(classes[:, weight > 0], -VALUES[weight > 0], EVERYWHERE[weight > 0]),
    )
