"""Quality figures checked against shapes whose overlap and distance are known on paper."""

import numpy as np
import pytest

from RegistrationNetLib.core import metrics


def cube(start: int, size: int, label: int = 1, shape: int = 24) -> np.ndarray:
    labels = np.zeros((shape,) * 3, np.int16)
    labels[start : start + size, start : start + size, start : start + size] = label
    return labels


def test_dice_of_half_overlapping_boxes_is_one_half():
    first, second = np.zeros((8, 8, 8), int), np.zeros((8, 8, 8), int)
    first[0:4], second[2:6] = 3, 3
    assert metrics.dice(first, second, [3]) == {3: 0.5}  # 2 * 2 slices / (4 + 4)


def test_a_label_missing_on_one_side_has_no_overlap_and_no_distance():
    first, second = cube(4, 8, label=2), np.zeros((24, 24, 24), np.int16)
    assert metrics.dice(first, second, [2]) == {2: 0.0}
    assert np.isnan(metrics.hd95(first, second, [2], (1, 1, 1))[2])


def test_hd95_of_a_shifted_box_is_the_shift_in_mm_along_the_axis_it_was_shifted():
    first = cube(6, 10)
    for axis, spacing in enumerate((1.0, 0.5, 3.0)):
        shifted = np.roll(first, 2, axis)
        assert metrics.hd95(first, shifted, [1], (1.0, 0.5, 3.0))[1] == pytest.approx(2 * spacing)


def test_hd95_agrees_with_a_brute_force_computation():
    rng = np.random.default_rng(0)
    first, second = (rng.random((9, 10, 11)) > 0.6 for _ in range(2))

    def surface(mask):
        padded = np.pad(mask, 1)
        core = padded.copy()
        for axis in range(3):
            core &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        return np.argwhere(padded & ~core) - 1

    a, b = surface(first) * [1, 2, 3], surface(second) * [1, 2, 3]
    distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
    expected = np.percentile(np.concatenate([distance.min(1), distance.min(0)]), 95)
    result = metrics.hd95(first.astype(int), second.astype(int), [1], (1, 2, 3))
    assert result[1] == pytest.approx(expected)


def test_labels_below_the_minimum_are_left_out():
    first = cube(2, 5) + cube(12, 2, label=7)
    assert metrics.common_labels(first, first) == [1]  # 125 voxels stay, 8 do not


def test_tre_is_the_distance_of_each_landmark():
    assert metrics.tre([[0, 0, 0], [1, 1, 1]], [[3, 4, 0], [1, 1, 1]]).tolist() == [5, 0]


def test_jacobian_statistics_count_folds_inside_the_body_only():
    determinant = np.array([[[1.0, -0.5, 0.0, 2.0, -9.0]]])
    body = np.array([[[True, True, True, True, False]]])
    result = metrics.jacobian_statistics(determinant, body)
    assert result["folded_voxels"] == 2
    assert result["folded_percent"] == 50
    assert (result["min"], result["max"]) == (-0.5, 2)


def ring() -> np.ndarray:
    labels = cube(4, 7)
    labels[6:9, 6:9, :] = 0  # a tunnel through it
    return labels


def shell() -> np.ndarray:
    labels = cube(4, 7)
    labels[6:9, 6:9, 6:9] = 0  # a cavity in it
    return labels


def two() -> np.ndarray:
    return cube(2, 4) + cube(12, 4)


def touching() -> np.ndarray:
    return cube(2, 4) + cube(6, 4)  # at one corner: one piece


@pytest.mark.parametrize(
    ("after", "change"),
    [(cube(9, 9), 0), (ring(), 1), (shell(), 1), (two(), 2), (touching(), 0), (np.zeros((24,) * 3, np.int16), 2)],
    ids=["another cube", "ring", "shell", "two", "touching", "nothing"],
)
def test_topology_changes_by_pieces_tunnels_and_cavities(after, change):
    assert metrics.topology_change(cube(4, 7), after, [1]) == change
    assert metrics.topology_change(after, cube(4, 7), [1]) == change
    assert metrics.topology_change(5 * cube(4, 7), 5 * after, [1, 5]) == change


def test_images_that_are_the_same_are_wholly_alike_and_a_difference_counts_by_its_square():
    image = np.random.default_rng(0).random((4, 5, 6), np.float32)
    assert metrics.one_minus_mse(image, image) == 1
    half = image.copy()
    half[:2] += 0.1
    assert metrics.one_minus_mse(image, half) == pytest.approx(1 - 0.01 / 2, abs=1e-7)
    assert metrics.one_minus_mse(np.zeros(4, np.uint8), np.ones(4, np.uint8)) == 0  # not 255 squared


def test_global_correlation_is_numpys_and_blind_to_brightness_and_contrast():
    rng = np.random.default_rng(0)
    one, other = rng.random((4, 5, 6)), rng.random((4, 5, 6))
    assert metrics.ncc(one, other) == pytest.approx(np.corrcoef(one.ravel(), other.ravel())[0, 1])
    assert metrics.ncc(one, 3 * one + 7) == pytest.approx(1)
    assert metrics.ncc(one, -one) == pytest.approx(-1)
    assert metrics.ncc(one, np.ones_like(one)) == 0
