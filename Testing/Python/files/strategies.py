"""Random grids, affines and smooth fields, the inputs of the geometry tests of this folder."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine, Displacement


def number(low: float, high: float) -> st.SearchStrategy[float]:
    """Without subnormals, which compiled libraries may have switched off for the whole process."""
    return st.floats(low, high, allow_subnormal=False)


def numbers(low: float, high: float, count: int = 3) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, count, elements=number(low, high))


@st.composite
def grids(draw: st.DrawFn, low: int = 2, high: int = 9) -> Grid:
    """Oblique, anisotropic, flipped and permuted, of different sizes, up to 30 cm from the world's origin."""
    shape = tuple(draw(st.lists(st.integers(low, high), min_size=3, max_size=3)))
    rotation = Rotation.from_rotvec(draw(numbers(-1, 1))).as_matrix()
    order = draw(st.permutations(range(3)))
    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3))
    directions = rotation[:, list(order)] * np.array(signs)
    return Grid.of(shape, draw(numbers(0.5, 4)), directions, draw(numbers(-300, 300)))


@st.composite
def affines(draw: st.DrawFn) -> Affine:
    """Rotation, scaling, shear and up to 60 mm of shift."""
    matrix = np.eye(4)
    stretch = np.eye(3) + draw(numbers(-0.15, 0.15, 9)).reshape(3, 3)
    matrix[:3, :3] = Rotation.from_rotvec(draw(numbers(-0.8, 0.8))).as_matrix() @ stretch
    matrix[:3, 3] = draw(numbers(-60, 60))
    return Affine(matrix)


@st.composite
def displacements(draw: st.DrawFn) -> Displacement:
    """A smooth field of up to 5 mm that ends in two layers of zeros, as the engine makes them."""
    grid = draw(grids(low=7, high=11))
    phase, strength = draw(numbers(0, 6)), draw(numbers(-5, 5))
    return smooth_displacement(grid, phase, strength)


def smooth_displacement(grid: Grid, phase: np.ndarray, strength: np.ndarray) -> Displacement:
    place = np.moveaxis(np.stack(np.meshgrid(*(np.linspace(0, 1, n) for n in grid.shape), indexing="ij")), 0, -1)
    wave = np.sin(3 * place @ np.eye(3)[[1, 2, 0]] + phase) * strength
    taper = np.ones(grid.shape)
    for axis, n in enumerate(grid.shape):
        profile = np.clip((np.minimum(np.arange(n), n - 1 - np.arange(n)) - 1) / max((n - 1) / 2 - 1, 1), 0, 1)
        taper *= profile.reshape([-1 if a == axis else 1 for a in range(3)])
    return Displacement(np.moveaxis(wave * taper[..., None], -1, 0).astype(np.float32), grid)


def probes(grid: Grid, seed: int = 0, count: int = 60) -> np.ndarray:
    """World points inside, at and far beyond the border of a grid, (n, 3)."""
    rng = np.random.default_rng(seed)
    last = np.array(grid.shape) - 1
    inside = rng.uniform(0, last, (count, 3))
    around = rng.uniform(-3 * last - 3, 4 * last + 3, (count, 3))
    nodes = rng.integers(0, last + 1, (count, 3))
    return np.concatenate([grid.to_world(np.concatenate([inside, around, nodes])), grid.corners()])
