"""Made-up scans: what they show, and that the same number shows the same."""

import pytest
import torch

from RegistrationNetLib.core.spatial import jacobian_determinant, sample, warp
from RegistrationNetLib.training import synthesis

CPU = torch.device("cpu")
SHAPE = (28, 32, 24)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shapes_fill_the_volume_with_many_labels_in_connected_blobs():
    labels = synthesis.shapes((40, 40, 40), seeded(), CPU)
    assert labels.shape == (1, 1, 40, 40, 40)
    values, counts = labels.unique(return_counts=True)
    assert len(values) > 8
    assert counts.max() < 0.6 * labels.numel()
    alike = (labels.diff(dim=2) == 0).float().mean()  # neighbours mostly belong together
    assert alike > 0.8


@pytest.mark.parametrize("seed", range(5))
def test_deformations_are_large_and_fold_nowhere(seed):
    field = synthesis.deformation((48, 48, 48), 6.0, seeded(seed), CPU)
    assert float(jacobian_determinant(field).min()) > 0
    assert float(field.norm(dim=1).max()) < 9.0
    largest = max(float(synthesis.deformation((48, 48, 48), 6.0, seeded(k), CPU).norm(dim=1).max()) for k in range(10))
    assert largest > 3.0


def test_a_pose_of_nothing_is_the_identity_and_a_shift_looks_elsewhere():
    still = synthesis.pose(SHAPE, 0, 0, 0, seeded())
    volume = torch.rand(1, 1, *SHAPE)
    torch.testing.assert_close(sample(volume, synthesis.positions(SHAPE, still)), volume, atol=1e-5, rtol=0)
    shifted = still.clone()
    shifted[:, 3] = torch.tensor([1.0, -2.0, 3.0])
    field = torch.tensor([1.0, -2.0, 3.0]).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    torch.testing.assert_close(sample(volume, synthesis.positions(SHAPE, shifted)), warp(volume, field))


@pytest.mark.parametrize("seed", range(4))
def test_a_pose_is_as_large_as_was_asked_and_never_a_mirror(seed):
    matrix = synthesis.pose(SHAPE, 30, 0.2, 4, seeded(seed))
    assert 0.8**3 <= float(torch.linalg.det(matrix[:, :3])) <= 1.2**3
    middle = (torch.tensor(SHAPE) - 1) / 2
    moved = matrix[:, :3] @ middle + matrix[:, 3] - middle
    assert float(moved.abs().max()) <= 4
    assert float(moved.abs().max()) > 0


def test_a_deformation_comes_before_the_pose():
    pose = synthesis.pose(SHAPE, 20, 0.1, 3, seeded(1))
    field = torch.zeros(1, 3, *SHAPE)
    field[:, 0] = 2.0
    at = synthesis.positions(SHAPE, pose, field)
    expected = pose[:, :3] @ torch.tensor([5.0 + 2.0, 6.0, 7.0]) + pose[:, 3]
    torch.testing.assert_close(at[0, :, 5, 6, 7], expected)


def test_scans_of_one_map_differ_in_contrast_and_lie_between_0_and_1():
    labels = synthesis.shapes(SHAPE, seeded(), CPU)
    one, other = (synthesis.painted(labels, int(labels.max()) + 1, seeded(seed)) for seed in (1, 2))
    for image in (one, other):
        assert float(image.min()) == 0
        assert float(image.max()) == 1
    means = [[float(image[labels == value].mean()) for value in labels.unique()] for image in (one, other)]
    assert abs(float(torch.corrcoef(torch.tensor(means))[0, 1])) < 0.9
    within = torch.stack([one[labels == value].std() for value in labels.unique()]).mean()
    assert float(within) < 0.6 * float(one.std())  # a label looks alike throughout


def test_nothing_weathers_a_scan_by_an_amount_of_0_and_much_by_1():
    image = synthesis.scaled(synthesis.waves(SHAPE, 6.0, 1, seeded(), CPU))
    torch.testing.assert_close(synthesis.weathered(image, 0.0, seeded(1)), image, atol=0.02, rtol=0)
    assert float((synthesis.weathered(image, 1.0, seeded(1)) - image).abs().mean()) > 0.02


def test_the_same_seed_gives_the_same_scan():
    labels = synthesis.shapes(SHAPE, seeded(), CPU)
    assert torch.equal(synthesis.painted(labels, 26, seeded(3)), synthesis.painted(labels, 26, seeded(3)))
    assert torch.equal(labels, synthesis.shapes(SHAPE, seeded(), CPU))
    assert not torch.equal(labels, synthesis.shapes(SHAPE, seeded(9), CPU))


def test_a_field_of_view_ends_early_at_times_at_one_side_and_never_by_much():
    image = torch.ones((1, 1, 28, 32, 24))
    shown = [synthesis.cut(image, seeded(seed)) for seed in range(200)]
    hidden = [one == 0 for one in shown if bool((one == 0).any())]
    assert 0.1 < len(hidden) / len(shown) < 0.4
    sides = set()
    for one in hidden:
        slices = [one[0, 0].movedim(axis, 0).flatten(1).all(dim=1) for axis in range(3)]
        (axis,) = (axis for axis in range(3) if slices[axis].any())
        along = slices[axis]
        assert int(along.sum()) * (one.numel() // len(along)) == int(one.sum())  # whole slices, and nothing else
        assert int(along.sum()) <= 0.25 * len(along) + 1
        assert bool(along[0]) != bool(along[-1])
        sides.add((axis, bool(along[0])))
    assert len(sides) == 6
    assert float(image.min()) == 1
