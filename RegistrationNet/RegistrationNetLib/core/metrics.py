"""How good an alignment is: Dice, HD95, TRE, Jacobian statistics. Arrays in, plain numbers out; no torch needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion, find_objects
from scipy.ndimage import label as pieces_of
from scipy.spatial import cKDTree

MIN_LABEL_VOXELS = 50
"""Labels smaller than this in either image are left out of means: a voxel more or less would decide their Dice."""


def common_labels(
    first: NDArray[np.integer], second: NDArray[np.integer], minimum: int = MIN_LABEL_VOXELS
) -> list[int]:
    """Nonzero labels with at least `minimum` voxels in both maps (which may lie on different grids)."""
    kept = []
    for labels in (first, second):
        values, counts = np.unique(labels, return_counts=True)
        kept.append({int(v) for v, n in zip(values, counts, strict=True) if v != 0 and n >= minimum})
    return sorted(kept[0] & kept[1])


def dice(first: NDArray[np.integer], second: NDArray[np.integer], labels: list[int]) -> dict[int, float]:
    """2 |A and B| / (|A| + |B|) for each label; both maps (D, H, W) on one grid."""
    sizes_first, sizes_second, overlap = (_counts(x) for x in (first, second, np.where(first == second, first, 0)))
    return {
        label: 2 * overlap.get(label, 0) / max(1, sizes_first.get(label, 0) + sizes_second.get(label, 0))
        for label in labels
    }


def hd95(
    first: NDArray[np.integer], second: NDArray[np.integer], labels: list[int], spacing: ArrayLike
) -> dict[int, float]:
    """95th percentile of the distances between the two surfaces of each label, both directions pooled, mm.

    nan where a label is missing on either side.
    """
    scale = np.asarray(spacing, float)
    surfaces_first, surfaces_second = _surfaces(first, labels), _surfaces(second, labels)
    result = {}
    for label in labels:
        a, b = surfaces_first.get(label), surfaces_second.get(label)
        if a is None or b is None:
            result[label] = float("nan")
            continue
        there = cKDTree(b * scale).query(a * scale)[0]
        back = cKDTree(a * scale).query(b * scale)[0]
        result[label] = float(np.percentile(np.concatenate([there, back]), 95))
    return result


def tre(mapped_fixed: ArrayLike, moving: ArrayLike) -> NDArray[np.float64]:
    """Target registration error of each landmark: |mapping(fixed) - moving|, (N, 3) LPS mm -> (N,) mm."""
    return np.asarray(np.linalg.norm(np.asarray(mapped_fixed, float) - np.asarray(moving, float), axis=-1))


def jacobian_statistics(determinant: NDArray[np.floating], body: NDArray[np.bool_]) -> dict[str, float | int]:
    """Min, max, mean, folded voxels (det <= 0) and their share in %, SD of log det, inside the body."""
    inside = determinant[body].astype(np.float64)
    folded = int((inside <= 0).sum())
    statistics = {
        "min": float(inside.min()),
        "max": float(inside.max()),
        "mean": float(inside.mean()),
        "folded_voxels": folded,
        "folded_percent": 100 * folded / inside.size,
    }
    logarithm = np.log(np.maximum(inside, 1e-3, out=inside), out=inside)  # a whole body has no room for copies
    return {**statistics, "sd_log": float(logarithm.std())}


def one_minus_mse(first: NDArray[np.number], second: NDArray[np.number]) -> float:
    """1 less the mean squared difference of two images in [0, 1] on one grid: 1 where they are the same."""
    return 1 - float(np.square(np.subtract(first, second, dtype=np.float64)).mean())


def ncc(first: NDArray[np.number], second: NDArray[np.number]) -> float:
    """Global normalised cross-correlation of two images on one grid, -1 to 1: the covariance over the root of the
    product of the sums of squares; 0 where one of them is constant.

    The UDRNet paper prints no root, but gives the range.
    """
    one, other = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (first, second))
    size = np.sqrt((one * one).sum() * (other * other).sum())
    return float((one * other).sum() / size) if size > 0 else 0.0


def topology_change(before: NDArray[np.integer], after: NDArray[np.integer], labels: list[int]) -> int:
    """How many pieces, holes and cavities of these labels came or went: the sum of the changes of the number of pieces
    and of the Euler number (pieces less holes plus cavities), voxels that share a corner being one piece.

    "TC" of the cross-attention cascade's paper, which says no more than that it compares the topology of a
    segmentation before and after warping.
    """
    total = 0
    for label in labels:
        (pieces, euler), (pieces_after, euler_after) = (_topology(volume == label) for volume in (before, after))
        total += abs(pieces_after - pieces) + abs(euler_after - euler)
    return total


def _topology(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Number of pieces, and vertices less edges plus faces less voxels of all cubes together."""
    box = find_objects(mask.astype(np.int8))
    if not box:
        return 0, 0
    cubes = mask[box[0]]
    euler = 0
    for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        parts = cubes  # then the faces, edges or vertices that any cube has, by the axes across which they lie
        for axis in axes:
            around = [(0, 0)] * axis + [(1, 1)] + [(0, 0)] * (2 - axis)
            padded = np.pad(parts, around).swapaxes(0, axis)
            parts = (padded[1:] | padded[:-1]).swapaxes(0, axis)
        euler -= (-1) ** len(axes) * int(parts.sum())
    return int(pieces_of(cubes, np.ones((3, 3, 3)))[1]), euler


def _counts(labels: NDArray[np.integer]) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True)}


def _surfaces(labels: NDArray[np.integer], wanted: list[int]) -> dict[int, NDArray[np.float64]]:
    """Voxel coordinates of each label's outermost voxels, found inside its bounding box only."""
    index = np.zeros(labels.shape, np.int32)
    order = np.searchsorted(wanted, labels)
    known = np.isin(labels, wanted)
    index[known] = order[known] + 1
    result = {}
    for position, box in enumerate(find_objects(index, max_label=len(wanted))):
        if box is None:
            continue
        inside = np.pad(index[box] == position + 1, 1)
        shell = inside & ~binary_erosion(inside)
        result[wanted[position]] = np.argwhere(shell) - 1 + np.array([cut.start for cut in box])
    return result
