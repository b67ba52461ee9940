"""One mapping, the same points: in our core, in SimpleITK and in Slicer's transform nodes reading our files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from scipy.ndimage import zoom

from Python.files.strategies import affines, displacements, grids, numbers, probes, smooth_displacement
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.files.geometry import to_itk
from RegistrationNetLib.files.transforms import (
    FIELD_STEP_MM,
    read_transform,
    write_affine,
    write_inverse,
    write_transform,
)

TOLERANCE_MM = 0.01
GRID = Grid.of((9, 10, 11), (3, 2, 2.5), np.eye(3)[:, [1, 0, 2]] * [1, -1, 1], (-10, 30, 5))
FIELD = smooth_displacement(GRID, np.array([0.3, 1, 2]), np.array([4.0, -3, 2]))
AFFINE = Affine([[1.1, 0.1, 0, 12], [-0.2, 0.9, 0.05, -7], [0, 0.1, 1.05, 30], [0, 0, 0, 1]])


def by_simpleitk(path: Path, points: np.ndarray) -> np.ndarray:
    transform = sitk.ReadTransform(str(path))
    return np.array([transform.TransformPoint(point.tolist()) for point in points])


def by_slicer(path: Path, points: np.ndarray) -> np.ndarray:
    """LPS points through the node that Slicer makes of the file, with linear interpolation of its fields."""
    slicer = pytest.importorskip("slicer", reason="needs Slicer's MRML runtime (slicer-core)")
    vtk = pytest.importorskip("vtk")
    node = slicer.vtkMRMLTransformNode()
    storage = slicer.vtkMRMLTransformStorageNode()
    scene = slicer.vtkMRMLScene()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    parts = vtk.vtkCollection()
    node.FlattenGeneralTransform(parts, node.GetTransformFromParent())
    for part in parts:
        if part.IsA("vtkGridTransform") or part.IsA("vtkOrientedGridTransform"):
            part.SetInterpolationModeToLinear()
    flip = np.array([-1.0, -1.0, 1.0])
    transform = node.GetTransformFromParent()
    return np.array([transform.TransformPoint((point * flip).tolist()) for point in points]) * flip


def test_a_mapping_moves_points_alike_in_core_simpleitk_and_slicer(tmp_path):
    mapping = Mapping((FIELD, AFFINE, Affine(np.diag([1.0, 0.9, 1, 1])), FIELD))
    write_transform(mapping, tmp_path / "transform.h5")
    points = np.concatenate([probes(GRID), probes(GRID) - 20])
    assert np.linalg.norm(mapping(points) - AFFINE(points), axis=1).max() > 1  # the fields do matter
    np.testing.assert_allclose(by_simpleitk(tmp_path / "transform.h5", points), mapping(points), atol=TOLERANCE_MM)
    np.testing.assert_allclose(by_slicer(tmp_path / "transform.h5", points), mapping(points), atol=TOLERANCE_MM)


@settings(max_examples=40, deadline=None)
@given(displacements(), affines(), affines())
def test_any_mapping_is_the_same_for_simpleitk(tmp_path_factory, displacement, affine, initial):
    path = tmp_path_factory.mktemp("mappings") / "transform.h5"
    mapping = Mapping((displacement, affine, initial))
    write_transform(mapping, path)
    points = probes(displacement.grid)
    np.testing.assert_allclose(by_simpleitk(path, points), mapping(points), atol=TOLERANCE_MM)


@settings(max_examples=15, deadline=None)
@given(displacements(), affines())
def test_any_mapping_is_the_same_for_slicer(tmp_path_factory, displacement, affine):
    path = tmp_path_factory.mktemp("mappings") / "transform.h5"
    mapping = Mapping((displacement, affine))
    write_transform(mapping, path)
    points = probes(displacement.grid, count=20)
    np.testing.assert_allclose(by_slicer(path, points), mapping(points), atol=TOLERANCE_MM)


@settings(max_examples=25, deadline=None)
@given(displacements(), affines())
def test_what_was_written_is_read_again(tmp_path_factory, displacement, affine):
    path = tmp_path_factory.mktemp("mappings") / "transform.h5"
    write_transform(Mapping((affine, displacement)), path)
    first, second = read_transform(path).steps
    np.testing.assert_allclose(first.matrix, affine.matrix, atol=1e-12)
    np.testing.assert_allclose(second.field, displacement.field, atol=FIELD_STEP_MM / 2 + 1e-6)
    assert second.grid.isclose(displacement.grid, atol_mm=1e-9)


@pytest.mark.parametrize("mapping", [Mapping(), Mapping((AFFINE,)), Mapping((FIELD,)), Mapping((AFFINE, AFFINE))])
def test_lone_steps_and_none_are_files_too(tmp_path, mapping):
    write_transform(mapping, tmp_path / "transform.h5")
    points = probes(GRID)
    for reader in (by_simpleitk, by_slicer):
        np.testing.assert_allclose(reader(tmp_path / "transform.h5", points), mapping(points), atol=TOLERANCE_MM)
    np.testing.assert_allclose(read_transform(tmp_path / "transform.h5")(points), mapping(points), atol=1e-3)


@pytest.mark.parametrize("suffix", [".tfm", ".txt"])
def test_the_affine_file_is_exact(tmp_path, suffix):
    path = tmp_path / f"affine{suffix}"
    write_affine(AFFINE, path)
    points = probes(GRID)
    for reader in (by_simpleitk, by_slicer):
        np.testing.assert_allclose(reader(path, points), AFFINE(points), atol=1e-9)
    np.testing.assert_allclose(read_transform(path).affine.matrix, AFFINE.matrix, atol=1e-12)


def test_the_field_is_small_compressed_single_precision(tmp_path):
    """6 bytes a fixed voxel at half resolution, 14 at full, with a margin of a tenth around the fixed image."""
    rng = np.random.default_rng(0)
    for resolution, most in ((2, 6), (1, 14)):
        shape = (120 // resolution,) * 3
        field = np.stack([zoom(rng.normal(scale=4, size=(9, 9, 9)), np.array(shape) / 9, order=3) for _ in range(3)])
        grid = Grid.of(shape, (resolution,) * 3, np.eye(3), (0, 0, 0))
        write_transform(Mapping((Displacement(field.astype(np.float32), grid), AFFINE)), tmp_path / "transform.h5")
        assert (tmp_path / "transform.h5").stat().st_size <= most * 100**3
        with h5py.File(tmp_path / "transform.h5") as file:
            field = file["TransformGroup/2/TransformParameters"]
            assert field.dtype == np.float32
            assert field.compression == "gzip"


def linear_transforms() -> list[sitk.Transform]:
    centre, shift = (10.0, -20.0, 30.0), (4.0, 5.0, -6.0)
    euler = sitk.Euler3DTransform(centre, 0.2, -0.1, 0.3, shift)
    versor = sitk.VersorRigid3DTransform((0.6, 0.0, 0.8), 0.4, shift, centre)
    similarity = sitk.Similarity3DTransform(1.2, (0.0, 1.0, 0.0), 0.3, shift, centre)
    affine = sitk.AffineTransform((1.1, 0.2, 0, 0, 0.9, 0.1, -0.1, 0, 1), shift, centre)
    composed = sitk.CompositeTransform([euler, affine, similarity])
    kinds = [sitk.Transform(), sitk.TranslationTransform(3, shift), euler, versor, similarity, affine]
    return [*kinds, sitk.ScaleTransform(3, (1.1, 0.9, 1.2)), sitk.VersorTransform((0.0, 0.6, 0.8), 0.5), composed]


KINDS = [
    pytest.param(transform, suffix, id=f"{transform.GetName()}{suffix}")
    for transform in linear_transforms()
    for suffix in (".tfm", ".txt", ".h5", ".mat")
    if (transform.GetName(), suffix) != ("CompositeTransform", ".mat")  # ITK writes no such file
]


@pytest.mark.parametrize(("transform", "suffix"), KINDS)
def test_every_linear_transform_of_itk_is_read(tmp_path, transform, suffix):
    path = tmp_path / f"theirs{suffix}"
    sitk.WriteTransform(transform, str(path))
    points = probes(GRID, count=10)
    expected = [transform.TransformPoint(point.tolist()) for point in points]
    np.testing.assert_allclose(read_transform(path)(points), expected, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(displacements())
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("pixel", [sitk.sitkVectorFloat32, sitk.sitkVectorFloat64])
def test_displacement_images_are_read(tmp_path_factory, suffix, pixel, displacement):
    path = tmp_path_factory.mktemp("fields") / f"field{suffix}"
    image = sitk.GetImageFromArray(np.moveaxis(displacement.field, 0, -1).astype(float), isVector=True)
    geometry = to_itk(displacement.grid)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(sitk.Cast(image, pixel), str(path))
    points = probes(displacement.grid, count=20)
    np.testing.assert_allclose(read_transform(path)(points), displacement(points), atol=1e-3)


def test_a_composite_of_theirs_with_a_field_in_double_precision_is_read(tmp_path):
    write_transform(Mapping((FIELD, AFFINE)), tmp_path / "ours.h5")
    sitk.WriteTransform(sitk.ReadTransform(str(tmp_path / "ours.h5")), str(tmp_path / "theirs.h5"))
    points = probes(GRID)
    np.testing.assert_allclose(
        read_transform(tmp_path / "theirs.h5")(points), Mapping((FIELD, AFFINE))(points), atol=1e-3
    )


@settings(max_examples=10, deadline=None)
@given(grids(low=8, high=16), numbers(-6, 6, 3 * 6**3))
def test_a_bspline_is_sampled_within_the_tolerance_it_states(tmp_path_factory, grid, coefficients):
    path = tmp_path_factory.mktemp("splines") / "spline.tfm"
    geometry = to_itk(grid)
    image = sitk.Image(geometry.size, sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetDirection(geometry.direction)
    image.SetOrigin(geometry.origin)
    spline = sitk.BSplineTransformInitializer(image, (3, 3, 3))
    limit = 0.2 * min(np.array(grid.shape) * grid.spacing) / 3
    spline.SetParameters((coefficients / 6 * limit).tolist())
    sitk.WriteTransform(spline, str(path))
    notes: list[str] = []
    mapping = read_transform(path, on_note=notes.append)
    points = grid.to_world(np.random.default_rng(0).uniform(0, np.array(grid.shape) - 1, (200, 3)))
    expected = by_simpleitk(path, points)
    np.testing.assert_allclose(mapping(points), expected, atol=0.02)
    assert "sampled" in notes[0]
    far = grid.to_world(np.array(grid.shape) * 3.0)
    np.testing.assert_allclose(mapping(far), far)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_transform(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_transform_is_named_with_the_cure(tmp_path):
    assert "does not exist" in refusal(tmp_path / "missing.h5")
    (tmp_path / "empty.tfm").touch()
    assert "empty" in refusal(tmp_path / "empty.tfm")
    for name in ("text.txt", "text.h5", "text.mat", "text.tfm"):
        (tmp_path / name).write_text("no transform")
        assert "no transform" in refusal(tmp_path / name)
    (tmp_path / "elastix.txt").write_text('(Transform "BSplineTransform")\n(NumberOfParameters 6)\n')
    assert "transformix -def all" in refusal(tmp_path / "elastix.txt")
    (tmp_path / "flat.nii.gz").write_text("no image")
    assert "not an image" in refusal(tmp_path / "flat.nii.gz")
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkFloat32), tmp_path / "grey.nii.gz")
    assert "1 channels" in refusal(tmp_path / "grey.nii.gz")
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "flat.tfm"))
    assert "2-D" in refusal(tmp_path / "flat.tfm")
    sitk.WriteTransform(sitk.ScaleTransform(3, (1.0, 0.0, 1.0)), str(tmp_path / "collapsing.tfm"))
    assert "cannot be inverted" in refusal(tmp_path / "collapsing.tfm")
    image = sitk.GetImageFromArray(np.full((3, 4, 5, 3), np.nan), isVector=True)
    sitk.WriteImage(image, tmp_path / "nan.nrrd")
    assert "not finite" in refusal(tmp_path / "nan.nrrd")


def test_a_truncated_transform_is_refused(tmp_path):
    write_transform(Mapping((FIELD, AFFINE)), tmp_path / "transform.h5")
    content = (tmp_path / "transform.h5").read_bytes()
    (tmp_path / "transform.h5").write_bytes(content[: len(content) // 2])
    assert "damaged" in refusal(tmp_path / "transform.h5")


def test_an_inverse_that_is_not_computed_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="dense_inverse"):
        write_transform(Mapping((FIELD,)).inverse(), tmp_path / "inverse.h5")
    with pytest.raises(InputError, match="cannot be written"):
        write_transform(Mapping((FIELD,)), tmp_path / "nowhere" / "transform.h5")


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_the_inverse_file_leads_simpleitk_back_as_well_as_it_says(tmp_path, strength):
    mapping = Mapping((Displacement(strength * FIELD.field, GRID), AFFINE))
    over = GRID.resampled([15, 16, 17])
    quality = write_inverse(mapping, over, tmp_path / "inverse.h5")
    points = over.points().reshape(-1, 3)
    back = by_simpleitk(tmp_path / "inverse.h5", mapping(points))
    error = np.linalg.norm(back - points, axis=1)
    assert error.max() == pytest.approx(quality["largest_error_mm"], abs=1e-3)
    assert error.mean() == pytest.approx(quality["mean_error_mm"], abs=1e-3)
    assert 100 * np.mean(error <= 0.05) == pytest.approx(quality["within_tolerance_percent"], abs=1)
    assert quality["within_tolerance_percent"] > 98


def test_a_text_file_of_the_base_class_of_linear_transforms_is_read(tmp_path):
    """As the transforms published with scans sometimes are; SimpleITK wraps them in composites without end."""
    file = tmp_path / "to_common_space.txt"
    file.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: MatrixOffsetTransformBase_double_3_3\n"
        "Parameters: 0 -1 0 1 0 0 0 0 1 10 20 30\nFixedParameters: 1 2 3\n"
    )
    np.testing.assert_allclose(read_transform(file)([[2.0, 2, 3], [1, 2, 4]]), [[11, 23, 33], [11, 22, 34]])
