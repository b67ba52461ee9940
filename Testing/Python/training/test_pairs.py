"""Pairs to learn from: the same number gives the same pair, and what is held back stays as it is."""

from dataclasses import replace

import pytest
import torch

from RegistrationNetLib.training import synthesis
from RegistrationNetLib.training.pairs import Pair, source
from RegistrationNetLib.training.settings import Change, Train
from Testing.Python.training.test_cases import maps_data, scans_data

CPU = torch.device("cpu")
SHAPES = Train.from_dict({"network": "voxelmorph", "data": {"kind": "shapes", "size": 24, "held_back": 2}})


@pytest.fixture(params=["shapes", "images", "label-maps"])
def settings(request, scans) -> Train:
    if request.param == "shapes":
        return SHAPES
    return replace(SHAPES, data=(scans_data if request.param == "images" else maps_data)(scans))


def same(one: Pair, other: Pair) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("fixed", "moving", "fixed_labels", "moving_labels")
    )


def test_a_number_is_a_pair(settings, tmp_path):
    one, other = (source(settings, tmp_path, CPU) for _ in range(2))
    first = one.pair(3)
    assert first.fixed.shape == first.moving.shape == first.fixed_labels.shape
    assert 0 <= float(first.fixed.min()) < float(first.fixed.max()) <= 1
    assert first.count > 2
    assert int(first.fixed_labels.max()) < first.count
    assert not same(first, one.pair(4))
    assert same(first, other.pair(3))
    another = source(replace(settings, seed=1), tmp_path, CPU).pair(3)
    assert not same(first, another)


def test_labels_lie_where_the_scan_shows_them(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(synthesis, "cut", lambda image, generator: image)  # what is not shown has labels all the same
    pair = source(replace(settings, change=Change(contrast=0.0)), tmp_path, CPU).pair(0)
    for image, labels in ((pair.fixed, pair.fixed_labels), (pair.moving, pair.moving_labels)):
        parts = [image[labels == value] for value in labels.unique()]
        between = torch.cat([part * 0 + part.mean() for part in parts]).var()
        assert float(between) > 0.5 * float(image.var())


def test_what_is_held_back_is_the_same_each_time_and_not_learnt_from(settings, tmp_path):
    pairs = source(settings, tmp_path, CPU)
    held = pairs.held_back()
    assert len(held) == 2
    assert all(same(one, other) for one, other in zip(held, pairs.held_back(), strict=True))
    assert not any(same(pairs.pair(number), one) for number in range(5) for one in held)


def test_images_need_no_labels(scans, tmp_path):
    pair = source(replace(SHAPES, data=scans_data(scans, labels="")), tmp_path, CPU).pair(0)
    assert pair.fixed_labels is None
    assert pair.moving_labels is None


def test_what_lies_outside_the_organ_is_at_times_left_out(scans, tmp_path):
    values = {}
    for outside in (0, 3):
        pairs = source(replace(SHAPES, data=maps_data(scans, outside=outside)), tmp_path, CPU)
        values[outside] = [int(pairs.pair(number).fixed_labels.max()) for number in range(8)]
    assert len(set(values[0])) == 1
    assert len(set(values[3])) == 2


def test_both_scans_of_made_up_shapes_are_deformed_apart(tmp_path):
    change = Change(turn_degrees=0, scale=0, shift_mm=0, residual=0, deform_mm=12)
    pair = source(replace(SHAPES, change=change), tmp_path, CPU).pair(0)
    differ = (pair.fixed_labels != pair.moving_labels).float().mean()
    assert 0.1 < float(differ) < 0.9
