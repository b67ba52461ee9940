"""What is carried through a saved transform lands where the anatomy is, in both directions and in every file type."""

from pathlib import Path

import numpy as np
import pytest

from RegistrationNetLib import carry
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.files.images import read_volume, write_image
from RegistrationNetLib.files.points import read_points
from RegistrationNetLib.files.transforms import write_transform

AXES = np.array([[0.0, 0.28, 0.96], [0.0, -0.96, 0.28], [1.0, 0.0, 0.0]])
FIXED = Grid.of((30, 36, 32), (2.0, 1.5, 1.8), AXES, (-20.0, 40.0, -15.0))
MOVING = Grid.of((44, 34, 40), (1.6, 1.7, 1.5), np.eye(3), FIXED.center - np.array([32.0, 22.0, 25.0]))
BALLS = {7: (-8.0, 3.0, 6.0), 260: (9.0, -6.0, -5.0)}
RADIUS = 6.0


def truth() -> Mapping:
    """Fixed world -> moving world: a bulge of 4 mm, then a turn, a stretch and a shift."""
    grid = FIXED.padded((8, 8, 8), (8, 8, 8))
    offset = grid.points() - FIXED.center
    bulge = np.exp(-(offset**2).sum(-1) / (2 * 10.0**2)) * (np.abs(offset).max(-1) < 33)
    field = np.stack([4 * bulge, -3 * bulge, 2 * bulge]).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] = [[1.04, -0.1, 0.0], [0.1, 0.97, 0.05], [0.0, -0.05, 1.0]]
    matrix[:3, 3] = FIXED.center + np.array([3, -2, 1]) - matrix[:3, :3] @ FIXED.center
    return Mapping((Displacement(field, grid), Affine(matrix)))


def balls(grid: Grid, centers: dict[int, np.ndarray]) -> Image:
    labels = np.zeros((1, *grid.shape), np.int16)
    for label, center in centers.items():
        labels[0][np.linalg.norm(grid.points() - center, axis=-1) < RADIUS] = label
    return Image(labels, grid)


def center_of(image: Image, label: int) -> np.ndarray:
    return image.grid.to_world(np.argwhere(image.scalar == label)).mean(axis=0)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder as `register` leaves it, with one label map in each space that shows the same structures."""
    mapping = truth()
    fixed_centers = {label: FIXED.center + offset for label, offset in BALLS.items()}
    moving_centers = {label: mapping(center) for label, center in fixed_centers.items()}
    write_transform(mapping, tmp_path / "transform.h5")
    write_image(Image(np.zeros((1, *FIXED.shape), np.int16), FIXED), tmp_path / "warped.nii.gz")
    write_image(balls(FIXED, fixed_centers), tmp_path / "fixed_labels.nii.gz")
    write_image(balls(MOVING, moving_centers), tmp_path / "moving_labels.nii.gz")
    for space, centers in (("fixed", fixed_centers), ("moving", moving_centers)):
        rows = [",".join(f"{v:.6f}" for v in center) for center in centers.values()]
        (tmp_path / f"{space}_points.csv").write_text("\n".join(["x,y,z", *rows]) + "\n")
    return tmp_path


@pytest.mark.parametrize("inverse", [False, True])
def test_a_landmark_stays_on_the_structure_that_the_image_shows(study, inverse):
    here, there = ("fixed", "moving") if inverse else ("moving", "fixed")
    onto = study / f"{there}_labels.nii.gz"
    options = {"reference": onto, "inverse": inverse}
    said = carry.carry(study / "transform.h5", study / f"{here}_labels.nii.gz", study / "labels.nii.gz", **options)
    carry.carry(study / "transform.h5", study / f"{here}_points.csv", study / "points.csv", inverse=inverse)
    assert "label map" in said
    labels, points = read_volume(study / "labels.nii.gz"), read_points(study / "points.csv").points
    expected = read_points(study / f"{there}_points.csv").points
    np.testing.assert_allclose(points, expected, atol=0.005)  # csv digits and the stored field's rounding
    assert set(np.unique(labels.data)) == {0, *BALLS}
    for label, point in zip(BALLS, points, strict=True):
        assert labels.scalar[tuple(np.rint(labels.grid.to_voxel(point)).astype(int))] == label
        assert np.linalg.norm(center_of(labels, label) - point) < 0.8  # half a voxel; the ball is slightly bent


def test_the_fixed_grid_is_known_from_the_warped_image_beside_the_transform(study):
    carry.carry(study / "transform.h5", study / "moving_labels.nii.gz", study / "out.nii.gz")
    assert read_volume(study / "out.nii.gz").grid.isclose(FIXED)
    with pytest.raises(InputError, match="--reference"):
        carry.carry(study / "transform.h5", study / "fixed_labels.nii.gz", study / "back.nii.gz", inverse=True)
    assert not (study / "back.nii.gz").exists()


def test_a_grey_image_is_interpolated_and_labels_are_not(study):
    rng = np.random.default_rng(0)
    grey = Image(rng.integers(0, 4000, size=(1, *MOVING.shape)).astype(np.int16), MOVING)
    write_image(grey, study / "grey.nii.gz")
    said = carry.carry(study / "transform.h5", study / "grey.nii.gz", study / "out.nii.gz")
    assert "linear" in said
    carried = read_volume(study / "out.nii.gz")
    assert carried.data.dtype == np.int16
    assert 0 < carried.scalar[carried.scalar > 0].std() < 0.8 * grey.data.std()  # interpolation averages noise


def test_surface_points_move_like_landmarks(study):
    vtk = pytest.importorskip("vtk", reason="surfaces need VTK")
    pytest.importorskip("slicer", reason="surfaces are read by the scene layer, which needs slicer-core")
    centers = read_points(study / "moving_points.csv").points
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(*centers[0])
    sphere.SetRadius(RADIUS)
    sphere.SetThetaResolution(48)
    sphere.SetPhiResolution(48)
    writer = vtk.vtkSTLWriter()
    writer.SetFileName(str(study / "ball.stl"))
    writer.SetInputConnection(sphere.GetOutputPort())
    writer.Write()
    carry.carry(study / "transform.h5", study / "ball.stl", study / "out.stl")
    reader = vtk.vtkSTLReader()
    reader.SetFileName(str(study / "out.stl"))
    reader.Update()
    bounds = np.reshape(reader.GetOutput().GetBounds(), (3, 2))
    assert np.linalg.norm(bounds.mean(axis=1) - read_points(study / "fixed_points.csv").points[0]) < 0.8


@pytest.mark.parametrize("name", ["missing.nii.gz", "missing.csv", "missing.stl", "missing.seg.nrrd"])
def test_a_missing_input_is_one_sentence_and_writes_nothing(study, name):
    with pytest.raises(InputError, match="missing"):
        carry.carry(study / "transform.h5", study / name, study / f"out-{name}")
    assert not (study / f"out-{name}").exists()
