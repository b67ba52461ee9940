"""Voxels (D, H, W) of the kinds of volumes that are easily taken for something else."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from RegistrationNetLib.core.grid import Grid


def spots(grid: Grid) -> np.ndarray:
    """Single voxels of 10 to 70."""
    values = np.zeros(grid.shape, np.uint8)
    for number, voxel in enumerate(np.random.default_rng(1).integers(8, 26, (7, 3)), 1):
        values[tuple(voxel)] = 10 * number
    return values


def regions(grid: Grid) -> np.ndarray:
    """A head of 148 regions, numbered as an atlas does, with gaps."""
    rng = np.random.default_rng(2)
    offset = (np.indices(grid.shape) - np.array(grid.shape)[:, None, None, None] / 2).transpose(1, 2, 3, 0)
    inside = (offset**2 / (np.array(grid.shape) / 2.2) ** 2).sum(-1) < 1
    seeds = offset[inside][rng.choice(np.count_nonzero(inside), 148, replace=False)]
    numbers = rng.permutation(np.arange(1, 208))[:148].astype(np.uint8)
    values = np.zeros(grid.shape, np.uint8)
    values[inside] = numbers[cKDTree(seeds).query(offset[inside])[1]]
    return values


def mask(grid: Grid) -> np.ndarray:
    return (np.linalg.norm(grid.points() - grid.center, axis=-1) < 15).astype(np.uint8)


def lesions(grid: Grid) -> np.ndarray:
    """Single voxels of 1 among a few larger spots."""
    values = np.zeros(grid.shape, np.float32)
    values[tuple(np.random.default_rng(3).integers(8, 30, (20, 3)).T)] = 1
    values[20:22, 15:17, 18:20] = 1
    return values


def padded_ct(grid: Grid) -> np.ndarray:
    """Padding in over half of it, air cut off at -1000 in half of the rest, then tissue."""
    values = np.full(grid.shape, -1024, np.int16)
    values[8:36, 4:30, 6:34] = -1000
    tissue = values[14:34, 6:28, 8:32]
    tissue[:] = np.random.default_rng(4).normal(40, 60, tissue.shape)
    return values


def t1(grid: Grid) -> np.ndarray:
    """8 bit: dark surroundings, noisy tissues, saturated fat."""
    rng = np.random.default_rng(5)
    values = mask(grid) * (np.digitize(regions(grid), [70, 140]) * 90 + 60 + rng.normal(0, 12, grid.shape))
    return np.clip(values, 0, 255).astype(np.uint8)
