"""A pair of head scans whose true mapping is known: what `demo` registers and what accuracy is measured on.

Both scans are drawn from one analytic anatomy (`anatomy.py`), the fixed one through the true mapping, so that neither
is a resampled copy of the other. The deformation is made of swirls and swellings, which are invertible in closed form
and belong to no family that a registration of displacement grids works with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from RegistrationNetLib.anatomy import LANDMARKS, Head, Tissue
from RegistrationNetLib.core.grid import Grid, Points, transform_points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping


@dataclass(frozen=True)
class Swirl:
    """Every sphere round `center` turns about `axis`, by `angle` radians in the middle, fading over `reach` mm.

    A rotation on each sphere: volume is kept (determinant 1) and the opposite angle undoes it.
    """

    center: tuple[float, float, float]
    axis: tuple[float, float, float]
    angle: float
    reach: float

    def __call__(self, points: Points) -> Points:
        return self._turn(points, self.angle)

    def undo(self, points: Points) -> Points:
        return self._turn(points, -self.angle)

    def _turn(self, points: Points, angle: float) -> Points:
        offset = points - self.center
        theta = angle * _fading(offset, self.reach)
        k = np.array(self.axis) / np.linalg.norm(self.axis)
        along = (offset @ k)[..., None] * k
        across = offset - along
        return self.center + along + np.cos(theta) * across + np.sin(theta) * np.cross(k, offset)


@dataclass(frozen=True)
class Swelling:
    """Distances r from `center` become r (1 + amount / (1 + (r / reach)^2)^2); amounts from -0.9 to 3 never fold."""

    center: tuple[float, float, float]
    amount: float
    reach: float

    def __call__(self, points: Points) -> Points:
        offset = points - self.center
        return self.center + offset * (1 + self.amount * _fading(offset, self.reach))

    def undo(self, points: Points) -> Points:
        """Newton's method on the distance alone; to 1e-9 mm."""
        offset = points - self.center
        target = np.linalg.norm(offset, axis=-1, keepdims=True)
        r = target / (1 + max(self.amount, 0))
        for _ in range(60):
            t = (r / self.reach) ** 2
            value = r * (1 + self.amount / (1 + t) ** 2) - target
            slope = 1 + self.amount * (1 - 3 * t) / (1 + t) ** 3
            step = value / slope
            r = r - step
            if np.abs(step).max(initial=0) < 1e-9:
                break
        return self.center + offset * np.where(target > 0, r / np.where(target > 0, target, 1), 1)


@dataclass(frozen=True)
class Truth:
    """The true mapping, fixed world -> moving world, LPS mm: deformations in order, then the affine; exact anywhere."""

    deformations: tuple[Swirl | Swelling, ...]
    matrix: NDArray[np.float64]

    def __call__(self, points: ArrayLike) -> Points:
        world = np.asarray(points, np.float64)
        for deformation in self.deformations:
            world = deformation(world)
        return transform_points(self.matrix, world)

    def undo(self, points: ArrayLike) -> Points:
        """Moving world -> fixed world."""
        world = Affine(self.matrix).inverse()(points)
        for deformation in reversed(self.deformations):
            world = deformation.undo(world)
        return world


@dataclass(frozen=True)
class PhantomPair:
    """Two scans of one head, their tissues (`anatomy.Tissue`), points on the same structures (N, 3), LPS mm."""

    fixed: Image
    moving: Image
    truth: Truth
    fixed_labels: Image
    moving_labels: Image
    fixed_landmarks: Points
    moving_landmarks: Points
    landmark_names: tuple[str, ...] = tuple(LANDMARKS)


def phantom_pair(seed: int = 0, noise: float = 2.5, voxel_mm: float = 1.75) -> PhantomPair:
    """A fixed and a moving T1-like head scan on oblique, anisotropic grids of different size, spacing and handedness.

    seed: decides the folds of the cortex, the noise and the bias fields; the same seed gives the same pair.
    noise: standard deviation, of about 140 for white matter. voxel_mm: mean voxel edge; 1.75 gives 90 to 130 a side.
    """
    truth = _truth()
    pose = _rigid(rotation_degrees=(6, -4, 5), translation=(14, -9, 21))
    head = Head(seed)
    fixed_grid, moving_grid = _fixed_grid(truth, pose, voxel_mm), _moving_grid(pose, voxel_mm)
    to_head = Affine(pose).inverse()
    rng = np.random.default_rng(seed)
    fixed = head.draw(to_head(truth(fixed_grid.points())))
    moving = head.draw(to_head(moving_grid.points()))
    moving_landmarks = transform_points(pose, list(LANDMARKS.values()))
    return PhantomPair(
        fixed=_scanned(fixed[0], fixed_grid, gain=4.0, noise=noise, rng=rng, name="phantom fixed"),
        moving=_scanned(moving[0], moving_grid, gain=2.7, noise=noise, rng=rng, name="phantom moving"),
        truth=truth,
        fixed_labels=Image(fixed[1][None], fixed_grid, name="phantom fixed labels"),
        moving_labels=Image(moving[1][None], moving_grid, name="phantom moving labels"),
        fixed_landmarks=truth.undo(moving_landmarks),
        moving_landmarks=moving_landmarks,
    )


def true_error(mapping: Mapping, pair: PhantomPair) -> dict[str, dict[str, float]]:
    """How far the mapped points of the fixed head lie from where they truly belong, mm.

    "before": trusting the two images' headers alone; "after": through `mapping`. Each has mean, median, p95 and max
    over every voxel inside the head.
    """
    points = pair.fixed.grid.points()[pair.fixed_labels.scalar != Tissue.OUTSIDE]
    true = pair.truth(points)
    return {"before": _distances(points, true), "after": _distances(mapping(points), true)}


def _distances(points: Points, true: Points) -> dict[str, float]:
    mm = np.linalg.norm(points - true, axis=-1)
    return {
        "mean": float(mm.mean()),
        "median": float(np.median(mm)),
        "p95": float(np.percentile(mm, 95)),
        "max": float(mm.max()),
    }


def _truth() -> Truth:
    """About 12 mm and 8 degrees between the heads, and swirls and swellings that move the brain by up to 7 mm."""
    scale = np.diag([1.03, 0.97, 1.02, 1.0])
    deformations = (
        Swelling((-6.0, -2.0, -7.0), 0.22, 38.0),
        Swirl((-52.0, 10.0, -12.0), (0.2, 1.0, 0.3), 0.30, 34.0),
        Swirl((34.0, -30.0, 2.0), (0.1, 0.3, 1.0), -0.32, 36.0),
        Swelling((28.0, 38.0, 8.0), -0.24, 36.0),
        Swirl((0.0, 38.0, -46.0), (1.0, 0.1, 0.0), 0.28, 32.0),
    )
    return Truth(deformations, _rigid((5, -4, 5), (8, -7, 6)) @ scale)


def _fixed_grid(truth: Truth, pose: NDArray[np.float64], voxel_mm: float) -> Grid:
    """An axial scan, tilted, rows running to the left: a left-handed lattice."""
    directions = _rigid((-9, 6, 11), (0, 0, 0))[:3, :3] @ np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], float)
    middle = truth.undo(transform_points(pose, (0.0, -4.0, -6.0)))
    return _around(middle, (182, 226, 184), voxel_mm * np.array((1.12, 1.0, 0.97)), directions)


def _moving_grid(pose: NDArray[np.float64], voxel_mm: float) -> Grid:
    """A sagittal scan, tilted the other way, slices from left to right."""
    directions = _rigid((7, -10, -6), (0, 0, 0))[:3, :3] @ np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
    middle = transform_points(pose, (2.0, -2.0, -2.0))
    return _around(middle, (186, 194, 232), voxel_mm * np.array((1.05, 0.92, 1.02)), directions)


def _around(middle: Points, extent_mm: ArrayLike, spacing: NDArray[np.float64], directions: Points) -> Grid:
    shape = np.rint(np.asarray(extent_mm) / spacing).astype(int)
    origin = middle - directions @ (spacing * (shape - 1) / 2)
    return Grid.of(shape, spacing, directions, origin)


def _scanned(
    clean: NDArray[np.float32], grid: Grid, gain: float, noise: float, rng: np.random.Generator, name: str
) -> Image:
    """What a scanner makes of the head: a smooth coil sensitivity, Rician noise, a gain, 16-bit integers."""
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in grid.shape]
    d, h, w = np.meshgrid(*axes, indexing="ij", sparse=True)
    a = rng.uniform(-0.12, 0.12, size=5).astype(np.float32)
    bias = np.exp(a[0] * d + a[1] * h + a[2] * w + a[3] * d * h + a[4] * w * w)
    real, imaginary = (noise * rng.standard_normal(grid.shape, np.float32) for _ in range(2))
    signal = gain * np.hypot(clean * bias + real, imaginary)
    return Image(np.rint(signal).astype(np.int16)[None], grid, name=name)


def _rigid(rotation_degrees: ArrayLike, translation: ArrayLike) -> NDArray[np.float64]:
    """(4, 4): turns about x, then y, then z, then the translation in mm."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(np.asarray(rotation_degrees, float))):
        turn = np.eye(4)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[j, i], turn[i, j] = np.sin(angle), -np.sin(angle)
        matrix = turn @ matrix
    matrix[:3, 3] = translation
    return matrix


def _fading(offset: Points, reach: float) -> Points:
    return (1 + (offset**2).sum(-1, keepdims=True) / reach**2) ** -2
