"""Known geometries, fields and intensities for the tests of the scene border."""

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.errors import Cancelled
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.engine.request import Request
from RegistrationNetLib.engine.result import Registration

FIXED_GRID = Grid.of((18, 26, 22), (2.1, 0.9, 1.3), Rotation.from_rotvec([0.3, -0.2, 0.4]).as_matrix(), (-20, 12, 35))
MOVING_GRID = Grid.of((24, 20, 28), (1.7, 1.5, 1.1), Rotation.from_rotvec([-0.2, 0.1, 0.3]).as_matrix(), (-29, -5, 48))


def smooth_field(grid: Grid, size_mm: float, seed: int = 0, sigma: float = 3.0) -> Displacement:
    """A random field as smooth as the engine's, tapering to zero, its outer two layers exactly zero."""
    rng = np.random.default_rng(seed)
    noise = np.stack([gaussian_filter(rng.normal(size=grid.shape), sigma) for _ in range(3)])
    window = np.ones(grid.shape)
    for axis, n in enumerate(grid.shape):
        ramp = np.clip((np.minimum(np.arange(n), n - 1 - np.arange(n)) - 1) / 5, 0, 1)
        window *= (np.sin(ramp * np.pi / 2) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
    field = noise * window
    return Displacement((field * size_mm / np.abs(field).max()).astype(np.float32), grid)


def known_affine() -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0.05, -0.08, 0.06]).as_matrix() @ np.diag([1.05, 0.96, 1.02])
    matrix[:3, 3] = (3.0, -2.0, 1.5)
    return Affine(matrix)


def rigid(rotation: tuple[float, float, float], shift: tuple[float, float, float]) -> Mapping:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotation).as_matrix()
    matrix[:3, 3] = shift
    return Mapping((Affine(matrix),))


def known_mapping(seed: int = 0) -> Mapping:
    """A field on a padded fixed-space grid, then an affine: what the engine returns."""
    grid = FIXED_GRID.resampled((12, 14, 12)).padded((5, 5, 5), (5, 5, 5))
    return Mapping((smooth_field(grid, 2.5, seed, sigma=2.5), known_affine()))


LINEAR = rigid((0.2, 0.1, -0.3), (5, -7, 9))
NONLINEAR = Mapping((smooth_field(FIXED_GRID.padded((4, 4, 4), (4, 4, 4)), 3, seed=7), known_affine()))
PARENTS = {"none": None, "linear": LINEAR, "nonlinear": NONLINEAR}


def pattern(points: np.ndarray) -> np.ndarray:
    """Smooth intensities 0..200 anywhere in the world, LPS mm."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 100 + 50 * np.sin(x / 6) * np.cos(y / 7) + 40 * np.cos(z / 8 + 1)


def image_on(grid: Grid, name: str, dtype: Any = np.float32) -> Image:
    return Image(pattern(grid.points()).astype(dtype)[None], grid, 0.0, name)


def snapshot(scene: Any) -> list[tuple[str, str | None]]:
    """Every node of a scene and the transform that it is under."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return [(n.GetID(), n.GetTransformNodeID() if n.IsA("vtkMRMLTransformableNode") else None) for n in nodes]


def world_points(count: int = 200) -> np.ndarray:
    """Points within the fixed volume where its parent leaves it alone, LPS mm."""
    rng = np.random.default_rng(3)
    return FIXED_GRID.to_world(rng.uniform(2, np.array(FIXED_GRID.shape) - 3, (count, 3)))


def points_node(scene: Any, points: np.ndarray, parent: Any) -> Any:
    """Control points at these places (LPS mm), under a transform where one is given."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for point in points * (-1, -1, 1):
        node.AddControlPoint(*point)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def known_report() -> dict[str, Any]:
    """As much of a report as the scene reads."""

    def check(name: str, value: str, verdict: str, sentence: str) -> dict[str, str]:
        words = {"name": name, "value": value, "verdict": verdict, "sentence": sentence}
        return words | {"unit": "mm", "threshold": "good up to 2 mm", "source": "TG-132"}

    checks = [
        check("Folded voxels inside the body", "3 (0.010 %)", "bad", "Smooth more."),
        check("Landmark error (mean TRE)", "9.10 before, 1.20 after", "good", "They meet."),
    ]
    return {
        "versions": {"registrationnet": "0.1.0"},
        "model": {"name": "voxelmorph", "used": False, "note": "untrained"},
        "settings": {"transform": "deformable"},
        "checks": checks,
        "overall": check("Overall", "1 of 2 good", "bad", "One check is beyond the limit."),
    }


def known_registration(fixed: Image, moving: Image, mapping: Mapping) -> Registration:
    """What a registration that found `mapping` returns."""
    from RegistrationNetLib.core.resample import warp  # PyTorch, which need not be there before

    jacobian = 1 + 0.4 * np.sin(fixed.grid.points()[..., 0] / 10)
    jacobian[2, 2, 2] = -0.1
    image = Image(jacobian.astype(np.float32)[None], fixed.grid, 1.0, "Jacobian")
    return Registration(mapping, warp(moving, mapping, fixed.grid), image, known_report())


class KnownJob:
    """A job that has already found `mapping`."""

    done = True

    def __init__(self, request: Request, mapping: Mapping) -> None:
        self.request, self.mapping = request, mapping
        self.cancelled = False

    def poll(self) -> bool:
        return True

    def wait(self) -> Registration:
        if self.cancelled:
            raise Cancelled
        return known_registration(self.request.fixed, self.request.moving, self.mapping)

    def cancel(self) -> None:
        self.cancelled = True


def finds(mapping: Mapping) -> Any:
    """Starts a job that finds `mapping`."""
    return lambda request, on_progress, watch: KnownJob(request, mapping)
