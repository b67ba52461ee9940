"""What the tests of files draw beside the shared geometry: smooth fields and where to look them up."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from Python.strategies import affines, grids, number, numbers
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Displacement

__all__ = ["affines", "displacements", "grids", "number", "numbers", "probes", "smooth_displacement"]


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
