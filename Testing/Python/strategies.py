"""Random geometry that the tests share: grids of every storage order, affines, and fields known in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement


def number(low: float, high: float) -> st.SearchStrategy[float]:
    """Without subnormals, which compiled libraries may have switched off for the whole process."""
    return st.floats(low, high, allow_subnormal=False)


def numbers(low: float, high: float, count: int = 3) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, count, elements=number(low, high))


@st.composite
def grids(draw: st.DrawFn, low: int = 4, high: int = 9) -> Grid:
    """Oblique, anisotropic, flipped and permuted, three different sizes, up to 30 cm from the world's origin."""
    shape = draw(st.lists(st.integers(low, high), min_size=3, max_size=3, unique=True))
    rotation = Rotation.from_rotvec(draw(numbers(-1, 1))).as_matrix()
    order = draw(st.permutations(range(3)))
    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3))
    return Grid.of(shape, draw(numbers(0.5, 4)), rotation[:, list(order)] * signs, draw(numbers(-300, 300)))


@st.composite
def affines(draw: st.DrawFn) -> Affine:
    """Up to 45 degrees, 15 % of stretch and shear, 60 mm of shift."""
    matrix = np.eye(4)
    stretch = np.eye(3) + draw(numbers(-0.15, 0.15, 9)).reshape(3, 3)
    matrix[:3, :3] = Rotation.from_rotvec(draw(numbers(-0.45, 0.45))).as_matrix() @ stretch
    matrix[:3, 3] = draw(numbers(-60, 60))
    return Affine(matrix)


@dataclass(frozen=True)
class LinearField:
    """u(x) = slope (x - center) + shift, mm: what trilinear interpolation reproduces exactly, between nodes too."""

    slope: np.ndarray
    center: np.ndarray
    shift: np.ndarray

    def __call__(self, world: np.ndarray) -> np.ndarray:
        return (world - self.center) @ self.slope.T + self.shift


@dataclass(frozen=True)
class WaveField:
    """u(x) = size sin(k (x - center) + phase), mm, each component a wave along a direction of its own."""

    size: np.ndarray
    k: np.ndarray
    center: np.ndarray
    phase: np.ndarray

    def __call__(self, world: np.ndarray) -> np.ndarray:
        return self.size * np.sin((world - self.center) @ self.k.T + self.phase)


@st.composite
def linear_fields(draw: st.DrawFn, grid: Grid) -> LinearField:
    return LinearField(draw(numbers(-0.2, 0.2, 9)).reshape(3, 3), grid.center, draw(numbers(-5, 5)))


@st.composite
def wave_fields(draw: st.DrawFn, grid: Grid, slope: float = 0.15) -> WaveField:
    """One wave across the grid's longest side; no component changes by more than `slope` mm a mm."""
    extent = (grid.spacing * grid.shape).max()
    k = draw(numbers(-1, 1, 9)).reshape(3, 3)
    k = k / np.maximum(np.linalg.norm(k, axis=1, keepdims=True), 0.1)
    size = draw(numbers(-1, 1)) * slope * extent / (2 * np.pi)
    return WaveField(size, k * 2 * np.pi / extent, grid.center, draw(numbers(0, 6)))


def taper(grid: Grid, width: int = 3) -> np.ndarray:
    """(D, H, W): 1 inside, falling smoothly to 0; the outer two layers are exactly 0, as in the engine's fields."""
    window = np.ones(grid.shape)
    for axis, n in enumerate(grid.shape):
        depth = np.minimum(np.arange(n), n - 1 - np.arange(n)) - 1
        profile = np.sin(np.clip(depth / width, 0, 1) * np.pi / 2) ** 2
        window *= profile.reshape([-1 if a == axis else 1 for a in range(3)])
    return window


def sampled(field: LinearField | WaveField, grid: Grid, tapered: bool = False) -> Displacement:
    """A field known in closed form at the nodes of a grid."""
    values = field(grid.points())
    if tapered:
        values = values * taper(grid)[..., None]
    return Displacement(np.moveaxis(values, -1, 0).astype(np.float32), grid)


@st.composite
def displacements(draw: st.DrawFn) -> Displacement:
    """A smooth field without folds that ends in two layers of zeros, as the engine makes them."""
    grid = draw(grids(low=8, high=13))
    field = draw(wave_fields(grid))
    gentle = np.clip(field.size, -0.7 * grid.spacing.min(), 0.7 * grid.spacing.min())
    return sampled(replace(field, size=gentle), grid, tapered=True)


@dataclass(frozen=True)
class Storage:
    """Another way to lay the same voxels out in memory: axes taken in `order`, then reversed where `flips` says."""

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def data(self, values: np.ndarray) -> np.ndarray:
        """(C, D, H, W); a view with any strides, negative ones too."""
        turned = values.transpose(0, *(1 + a for a in self.order))
        return turned[(slice(None), *(slice(None, None, -1) if flip else slice(None) for flip in self.flips))]

    def grid(self, grid: Grid) -> Grid:
        matrix, shape = grid.voxel_to_world.copy(), np.array(grid.shape)
        matrix[:3, :3] = matrix[:3, list(self.order)]
        shape = shape[list(self.order)]
        far = np.where(self.flips, shape - 1, 0)
        matrix[:3, 3] += matrix[:3, :3] @ far
        matrix[:3, :3] *= np.where(self.flips, -1, 1)
        return Grid(tuple(shape), matrix)

    def image(self, image: Image) -> Image:
        return replace(image, data=self.data(image.data), grid=self.grid(image.grid))

    def displacement(self, step: Displacement) -> Displacement:
        """The components are along world axes and stay what they are."""
        return replace(step, field=self.data(step.field), grid=self.grid(step.grid))


@st.composite
def storages(draw: st.DrawFn) -> Storage:
    flips = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    return Storage(tuple(draw(st.permutations(range(3)))), flips)


def probes(grid: Grid, seed: int = 0, count: int = 60) -> np.ndarray:
    """World points at nodes, between them, just within and beyond the border, and far outside a grid, (n, 3)."""
    rng = np.random.default_rng(seed)
    last = np.array(grid.shape) - 1
    nodes = rng.integers(0, last + 1, (count, 3))
    inside = rng.uniform(0, last, (count, 3))
    rim = on_faces(rng, last, count) + rng.uniform(-0.9, 0.9, (count, 3))
    beyond = rng.uniform(-3 * last - 3, 4 * last + 3, (count, 3))
    return np.concatenate([grid.to_world(np.concatenate([nodes, inside, rim, beyond])), grid.corners()])


def on_faces(rng: np.random.Generator, last: np.ndarray, count: int) -> np.ndarray:
    """Voxel positions on the outermost layers of voxel centres, (count, 3)."""
    points = rng.uniform(0, last, (count, 3))
    rows, axes = np.arange(count), rng.integers(0, 3, count)
    points[rows, axes] = np.where(rng.integers(0, 2, count), last[axes], 0)
    return points


def blobs(grid: Grid, seed: int = 0, dtype: type = np.float32, background: float = 0.0) -> Image:
    """An image no symmetry of which could hide a mistake: smooth random values, each voxel its own."""
    rng = np.random.default_rng(seed)
    waves, phase = rng.normal(size=(5, 3)) * 2 / np.array(grid.shape), rng.uniform(0, 6, 5)
    voxels = grid.to_voxel(grid.points())
    values = 100 + 20 * np.sin(voxels @ waves.T + phase).sum(-1) + rng.uniform(-5, 5, grid.shape)
    return Image(values[None].astype(dtype), grid, background, "blobs")
