"""What must hold of a mapping known in advance, in our core, in files as SimpleITK reads them, and for what is carried.

Every check compares the product with `Case.truth`, which shares no line with it: places of voxels, interpolation and
the order of steps are written out here by hand. The proofs and the test of deliberate mistakes use the same checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy.interpolate import RegularGridInterpolator
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core import resample, spatial
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.files import geometry, images, transforms
from Testing.Python.strategies import Storage, WaveField, taper

MM = 0.01
"""How far two runtimes may map one point apart."""


BLOB_MM = 0.3
"""How far a blob's centre may stray from its landmark: the mapping bends it; half a voxel here is 0.65 mm or more."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Places of voxels, by hand: origin + d first + h second + w third, LPS mm."""

    shape: tuple[int, int, int]
    origin: np.ndarray
    steps: np.ndarray  # (3, 3), one row per tensor axis

    @classmethod
    def oblique(cls, shape: tuple[int, int, int], spacing: tuple, turn: tuple, origin: tuple) -> Lattice:
        return cls(
            shape, np.array(origin, float), Rotation.from_rotvec(turn).as_matrix().T * np.reshape(spacing, (3, 1))
        )

    @property
    def grid(self) -> Grid:
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.steps.T, self.origin
        return Grid(self.shape, matrix)

    @cached_property
    def nodes(self) -> np.ndarray:
        d, h, w = np.indices(self.shape)[..., None]
        return self.origin + d * self.steps[0] + h * self.steps[1] + w * self.steps[2]

    def voxels(self, world: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self.steps.T, (world - self.origin).reshape(-1, 3).T).T.reshape(world.shape)

    def interpolate(self, values: np.ndarray, world: np.ndarray, outside: float = 0.0) -> np.ndarray:
        """(D, H, W[, C]) at world points, linearly; `outside` beyond the outermost voxel centres."""
        axes = [np.arange(n) for n in self.shape]
        return RegularGridInterpolator(axes, values, bounds_error=False, fill_value=outside)(self.voxels(world))


@dataclass(frozen=True, eq=False)
class Case:
    """x -> A (x + u(x)), LPS mm; u known at the nodes of its lattice, zero at its ends. The moving image lies apart."""

    lattice: Lattice
    vectors: np.ndarray  # (D, H, W, 3) mm along world x, y, z
    matrix: np.ndarray  # (4, 4)
    moving: Lattice

    def truth(self, world: np.ndarray) -> np.ndarray:
        return self.linear(self.bent(world))

    def bent(self, world: np.ndarray) -> np.ndarray:
        return world + self.lattice.interpolate(self.vectors, world)

    def linear(self, world: np.ndarray) -> np.ndarray:
        return world @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    @property
    def displacement(self) -> Displacement:
        return Displacement(np.moveaxis(self.vectors, -1, 0).astype(np.float32), self.lattice.grid)

    @property
    def mapping(self) -> Mapping:
        return Mapping((self.displacement, Affine(self.matrix)))

    @cached_property
    def probes(self) -> np.ndarray:
        """Nodes, points between them, near and on the border, and far outside, (N, 3)."""
        rng, last = np.random.default_rng(5), np.array(self.lattice.shape) - 1
        inside = rng.uniform(0, last, (80, 3))
        rim = np.where(rng.random((80, 3)) < 0.4, rng.choice((0.0, 1.0), (80, 3)) * last, inside)
        rim += rng.uniform(-0.7, 0.7, (80, 3))
        far = rng.uniform(-2 * last, 3 * last, (40, 3))
        between = self.lattice.origin + np.concatenate([inside, rim, far]) @ self.lattice.steps
        nodes = self.lattice.nodes.reshape(-1, 3)
        return np.concatenate([nodes[:: max(1, len(nodes) // 100)], between])

    @cached_property
    def moving_values(self) -> np.ndarray:
        """(D, H, W) grey values from 0 to 200, no two directions alike."""
        x, y, z = np.moveaxis(self.moving.nodes - self.moving.origin, -1, 0)
        return (100 + 60 * np.sin(x / 5 + 0.3) * np.cos(y / 7) + 40 * np.sin(z / 6 + x / 11)).astype(np.float32)

    @property
    def moving_image(self) -> Image:
        return Image(self.moving_values[None], self.moving.grid, name="moving")


def known_case() -> Case:
    """Everything oblique, anisotropic, of different sizes, far from the origin; nothing symmetric."""
    lattice = Lattice.oblique((15, 12, 18), (2.4, 1.7, 1.3), (0.4, -0.3, 0.5), (-40.0, 25.0, 60.0))
    center = lattice.nodes.reshape(-1, 3).mean(0)
    field = WaveField(
        np.array((1.5, -2.0, 1.0)),
        np.array([(0.10, 0.05, -0.02), (0.03, 0.12, 0.06), (-0.08, 0.02, 0.09)]),
        center,
        np.array((0.7, 1.9, 0.2)),
    )
    matrix = np.eye(4)
    stretch = np.array([(1.05, 0.04, 0), (0, 0.94, 0.03), (0, 0, 1.02)])
    matrix[:3, :3] = Rotation.from_rotvec((0.15, -0.2, 0.1)).as_matrix() @ stretch
    there = center + np.array((18, -11, 7))
    matrix[:3, 3] = there - matrix[:3, :3] @ center
    moving = Lattice.oblique((13, 17, 11), (2.2, 2.0, 3.1), (-0.2, 0.5, 0.3), (0.0, 0.0, 0.0))
    moving = Lattice(moving.shape, there - moving.nodes.reshape(-1, 3).mean(0), moving.steps)
    return case_of(lattice, field, matrix, moving)


def case_of(lattice: Lattice, field: WaveField, matrix: np.ndarray, moving: Lattice) -> Case:
    vectors = field(lattice.nodes) * taper(lattice.grid)[..., None]
    return Case(lattice, vectors.astype(np.float32).astype(float), matrix, moving)


def lattice_of(grid: Grid) -> Lattice:
    return Lattice(grid.shape, grid.voxel_to_world[:3, 3], grid.voxel_to_world[:3, :3].T)


def same_points(got: np.ndarray, expected: np.ndarray, what: str, within: float = MM) -> None:
    apart = np.linalg.norm(got - expected, axis=-1)
    assert np.isfinite(apart).all(), f"{what}: not finite"
    assert apart.max() <= within, f"{what}: {apart.max():.4f} mm apart"


# Core


def core_maps_points_as_known(case: Case, folder: Path) -> None:
    same_points(case.mapping(case.probes), case.truth(case.probes), "core")


def chaining_and_turning_round_keep_the_order(case: Case, folder: Path) -> None:
    bend, shift = Mapping((case.displacement,)), Mapping((Affine(case.matrix),))
    same_points(bend.then(shift)(case.probes), case.truth(case.probes), "then")
    same_points(bend.then(shift).inverse()(case.truth(case.probes)), case.probes, "inverse")
    step = np.eye(4)
    step[:3, 3] = (5, -3, 2)
    twice = case.linear(case.probes + step[:3, 3])
    same_points(Mapping((Affine(step), Affine(case.matrix))).affine(case.probes), twice, "affine part")


def dense_warp_is_the_moving_value_at_the_mapped_point(case: Case, folder: Path) -> None:
    world = case.truth(case.lattice.nodes)
    expected = case.moving.interpolate(case.moving_values, world, np.nan)
    got = resample.warp(case.moving_image, case.mapping, case.lattice.grid).scalar
    inside = np.isfinite(expected)
    assert inside.mean() > 0.3
    assert np.abs(got - expected)[inside].max() < 0.01, "warped grey values differ"


def voxel_units_and_millimetres_are_one_field(case: Case, folder: Path) -> None:
    got = resample.to_displacement(voxel_field(case), case.lattice.grid)
    same_points(np.moveaxis(got.field, 0, -1), case.vectors, "voxels to millimetres", 1e-3)
    back = resample.field_on(Mapping((case.displacement,)), case.lattice.grid)
    assert (back - voxel_field(case)).abs().max() < 1e-3, "millimetres to voxels"


def a_resized_field_moves_the_same_points(case: Case, folder: Path) -> None:
    shape = tuple(n * 2 for n in case.lattice.shape)
    finer = Lattice(shape, case.lattice.origin - case.lattice.steps.sum(0) / 4, case.lattice.steps / 2)
    assert np.allclose(case.lattice.grid.resampled(shape).points(), finer.nodes), "resampled grid"
    field = spatial.resize_field(voxel_field(case), shape)
    got = np.moveaxis(resample.to_displacement(field, finer.grid).field, 0, -1)
    same_points(got, case.lattice.interpolate(case.vectors, finer.nodes), "resized field", 1e-3)


def voxel_fields_compose_first_first(case: Case, folder: Path) -> None:
    first, then = voxel_field(case), torch.roll(voxel_field(case), (2, -1, 3), dims=(2, 3, 4))
    rolled = np.roll(case.vectors, (2, -1, 3), axis=(0, 1, 2))
    world = case.bent(case.lattice.nodes)
    expected = world + case.lattice.interpolate(rolled, world) - case.lattice.nodes
    got = np.moveaxis(resample.to_displacement(spatial.compose(first, then), case.lattice.grid).field, 0, -1)
    inner = np.s_[2:-2, 2:-2, 2:-2]
    same_points(got[inner], expected[inner], "composition", 1e-3)


def the_determinant_is_that_of_the_world(case: Case, folder: Path) -> None:
    slope = np.stack(np.gradient(case.vectors, axis=(0, 1, 2)), axis=-1) @ np.linalg.inv(case.lattice.steps.T)
    expected = np.linalg.det(np.eye(3) + slope)
    got = spatial.jacobian_determinant(voxel_field(case))[0, 0].numpy()
    assert np.abs(got - expected).max() < 1e-3, "Jacobian determinant"


def voxel_field(case: Case) -> torch.Tensor:
    """u in voxels of its own lattice, (1, 3, D, H, W), by hand."""
    moved = case.lattice.voxels(case.lattice.nodes + case.vectors) - case.lattice.voxels(case.lattice.nodes)
    return torch.as_tensor(np.moveaxis(moved, -1, 0)).float()[None]


def storage_order_changes_nothing(case: Case, folder: Path) -> None:
    for storage in (Storage((2, 0, 1), (True, False, True)), Storage((1, 0, 2), (False, True, False))):
        turned = Mapping((storage.displacement(case.displacement), Affine(case.matrix)))
        same_points(turned(case.probes), case.truth(case.probes), "field stored otherwise")
        plain = resample.warp(case.moving_image, case.mapping, case.lattice.grid).data
        warped = resample.warp(storage.image(case.moving_image), turned, storage.grid(case.lattice.grid)).data
        assert np.abs(warped - storage.data(plain)).max() < 0.01, "images stored otherwise"


# Carrying


def a_structure_and_its_landmark_stay_together_both_ways(case: Case, folder: Path) -> None:
    """Images go through the mapping, points through its inverse; and the other way round."""
    fixed = case.lattice.nodes[7, 6, 9]
    moving = case.truth(fixed)
    carried = resample.warp(blob(case.moving, moving), case.mapping, fine(case.lattice).grid)
    same_points(centroid(carried, fine(case.lattice)), fixed, "image carried to fixed space", BLOB_MM)
    same_points(case.mapping.inverse()(moving), fixed, "landmark carried to fixed space")
    back = resample.warp(blob(case.lattice, fixed), case.mapping.inverse(), fine(case.moving).grid)
    same_points(centroid(back, fine(case.moving)), moving, "image carried to moving space", BLOB_MM)


def labels_carried_there_keep_their_landmarks(case: Case, folder: Path) -> None:
    """Each voxel of the warped labels has the label of the voxel its centre is mapped to; no new ones appear."""
    labels = (np.arange(np.prod(case.moving.shape)) % 7).reshape(case.moving.shape).astype(np.uint8)
    got = resample.warp(Image(labels[None], case.moving.grid), case.mapping, case.lattice.grid, "nearest").scalar
    voxels = case.moving.voxels(case.truth(case.lattice.nodes))
    index = np.floor(voxels + 0.5).astype(int)
    sure = ((index >= 0) & (index < case.moving.shape)).all(-1) & (np.abs(voxels - index) < 0.49).all(-1)
    assert sure.mean() > 0.2
    assert (got[sure] == labels[tuple(index[sure].T)]).all(), "labels differ"


def blob(lattice: Lattice, center: np.ndarray, width: float = 3.0) -> Image:
    distance = ((lattice.nodes - center) ** 2).sum(-1)
    return Image((1000 * np.exp(-distance / (2 * width**2))).astype(np.float32)[None], lattice.grid)


def fine(lattice: Lattice) -> Lattice:
    return Lattice(tuple(2 * n - 1 for n in lattice.shape), lattice.origin, lattice.steps / 2)


def centroid(image: Image, lattice: Lattice) -> np.ndarray:
    """Of what is brighter than half; a small blob keeps its centre through a smooth mapping."""
    weight = np.maximum(image.scalar - 500, 0)[..., None]
    return (lattice.nodes * weight).sum((0, 1, 2)) / weight.sum()


# Files


def simpleitk_maps_points_as_known(case: Case, folder: Path) -> None:
    transforms.write_transform(case.mapping, folder / "transform.h5")
    same_points(
        by_simpleitk(folder / "transform.h5", case.probes), case.truth(case.probes), "transform.h5 in SimpleITK"
    )
    transforms.write_affine(Affine(case.matrix), folder / "affine.tfm")
    same_points(by_simpleitk(folder / "affine.tfm", case.probes), case.linear(case.probes), "affine.tfm in SimpleITK")


def by_simpleitk(path: Path, points: np.ndarray) -> np.ndarray:
    transform = sitk.ReadTransform(str(path))
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def a_file_read_back_maps_points_as_known(case: Case, folder: Path) -> None:
    transforms.write_transform(case.mapping, folder / "transform.h5")
    back = transforms.read_transform(folder / "transform.h5")
    same_points(back(case.probes), case.truth(case.probes), "transform.h5 read back")
    foreign = in_itk(case.vectors, case.lattice)
    sitk.WriteImage(foreign, str(folder / "field.nrrd"))
    back = transforms.read_transform(folder / "field.nrrd")
    same_points(back(case.probes), case.bent(case.probes), "a displacement image of another program")


def simpleitk_resamples_as_we_do(case: Case, folder: Path) -> None:
    transforms.write_transform(case.mapping, folder / "transform.h5")
    images.write_image(case.moving_image, folder / "moving.nrrd")
    fixed = in_itk(np.zeros(case.lattice.shape), case.lattice)
    moving, transform = sitk.ReadImage(str(folder / "moving.nrrd")), sitk.ReadTransform(str(folder / "transform.h5"))
    expected = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0))
    got = resample.warp(case.moving_image, case.mapping, case.lattice.grid).scalar
    voxels, shape = case.moving.voxels(case.truth(case.lattice.nodes)), np.array(case.moving.shape)
    from_the_rim = np.abs(np.abs(voxels - (shape - 1) / 2) - shape / 2).min(-1)
    assert np.abs(got - expected)[from_the_rim > 0.01].max() < 0.05, "SimpleITK resamples otherwise"


def image_files_keep_every_voxel_in_its_place(case: Case, folder: Path) -> None:
    images.write_image(case.moving_image, folder / "moving.nii.gz")
    there = sitk.ReadImage(str(folder / "moving.nii.gz"))
    last = np.array(case.moving.shape) - 1
    for voxel in ((0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 3), tuple(last.tolist())):
        place = case.moving.origin + np.array(voxel) @ case.moving.steps
        same_points(np.array(there.TransformIndexToPhysicalPoint(voxel[::-1])), place, "voxel in the file", 1e-3)
        assert there.GetPixel(voxel[::-1]) == case.moving_values[voxel]
    sitk.WriteImage(in_itk(case.moving_values, case.moving), str(folder / "foreign.nrrd"))
    read = images.read_image(folder / "foreign.nrrd")
    same_points(read.grid.points(), case.moving.nodes, "voxels of a file of another program", 1e-3)
    assert (read.scalar == case.moving_values).all()


def in_itk(values: np.ndarray, lattice: Lattice) -> sitk.Image:
    """An image as another program would make it."""
    image = sitk.GetImageFromArray(values, isVector=values.ndim == 4)
    spacing = np.linalg.norm(lattice.steps, axis=1)
    image.SetSpacing(spacing[::-1].tolist())
    image.SetOrigin(lattice.origin.tolist())
    image.SetDirection((lattice.steps / spacing[:, None])[::-1].T.ravel().tolist())
    return image


def geometry_of_simpleitk_is_understood(case: Case, folder: Path) -> None:
    grid = geometry.grid_of(in_itk(case.moving_values, case.moving))
    same_points(grid.points(), case.moving.nodes, "grid of a SimpleITK image", 1e-6)


CORE_AND_FILES = (
    core_maps_points_as_known,
    chaining_and_turning_round_keep_the_order,
    dense_warp_is_the_moving_value_at_the_mapped_point,
    voxel_units_and_millimetres_are_one_field,
    a_resized_field_moves_the_same_points,
    voxel_fields_compose_first_first,
    the_determinant_is_that_of_the_world,
    storage_order_changes_nothing,
    a_structure_and_its_landmark_stay_together_both_ways,
    labels_carried_there_keep_their_landmarks,
    simpleitk_maps_points_as_known,
    a_file_read_back_maps_points_as_known,
    simpleitk_resamples_as_we_do,
    image_files_keep_every_voxel_in_its_place,
    geometry_of_simpleitk_is_understood,
)
