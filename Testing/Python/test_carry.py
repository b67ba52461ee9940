"""What is carried through a saved transform lands where the anatomy is, in both directions and in every file type."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from Python.files.series import write_series
from Python.files.volumes import lesions, mask, padded_ct, regions, spots, t1
from RegistrationNetLib import carry
from RegistrationNetLib.cli import main
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.files import points as point_files
from RegistrationNetLib.files.images import read_volume, write_image
from RegistrationNetLib.files.points import read_points
from RegistrationNetLib.files.segmentations import Segmentation, read_segmentation, write_segmentation
from RegistrationNetLib.files.transforms import write_transform

AXES = np.array([[0.0, 0.28, 0.96], [0.0, -0.96, 0.28], [1.0, 0.0, 0.0]])
FIXED = Grid.of((30, 36, 32), (2.0, 1.5, 1.8), AXES, (-20.0, 40.0, -15.0))
MOVING = Grid.of((44, 34, 40), (1.6, 1.7, 1.5), np.eye(3), FIXED.center - np.array([32.0, 22.0, 25.0]))
BALLS = {7: (-8.0, 3.0, 6.0), 260: (9.0, -6.0, -5.0)}
RADIUS = 6.0


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


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


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("kind", ["STL", "PolyData"])
def test_surface_points_move_like_landmarks(study, kind, inverse):
    vtk = pytest.importorskip("vtk", reason="surfaces need VTK")
    pytest.importorskip("slicer", reason="surfaces are read by the scene layer, which needs slicer-core")
    here, there = ("fixed", "moving") if inverse else ("moving", "fixed")
    source, out = (study / f"{name}.{'stl' if kind == 'STL' else 'vtk'}" for name in ("ball", "out"))
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(*read_points(study / f"{here}_points.csv").points[0])
    sphere.SetRadius(RADIUS)
    sphere.SetThetaResolution(48)
    sphere.SetPhiResolution(48)
    writer = getattr(vtk, f"vtk{kind}Writer")()
    writer.SetFileName(str(source))
    writer.SetInputConnection(sphere.GetOutputPort())
    writer.Write()
    assert "carried" in carry.carry(study / "transform.h5", source, out, inverse=inverse)
    reader = getattr(vtk, f"vtk{kind}Reader")()
    reader.SetFileName(str(out))
    reader.Update()
    bounds = np.reshape(reader.GetOutput().GetBounds(), (3, 2))
    assert np.linalg.norm(bounds.mean(axis=1) - read_points(study / f"{there}_points.csv").points[0]) < 0.8


@pytest.mark.parametrize("name", ["missing.nii.gz", "missing.csv", "missing.stl", "missing.seg.nrrd"])
def test_a_missing_input_is_one_sentence_and_writes_nothing(study, name):
    with pytest.raises(InputError, match="missing"):
        carry.carry(study / "transform.h5", study / name, study / f"out-{name}")
    assert not (study / f"out-{name}").exists()


@pytest.mark.parametrize("made", [spots, regions, mask, lesions])
def test_label_maps_of_any_kind_gain_no_value(study, made):
    write_image(Image(made(MOVING)[None], MOVING), study / "labels.nii.gz")
    said = carry.carry(study / "transform.h5", study / "labels.nii.gz", study / "out.nii.gz")
    carried = np.unique(read_volume(study / "out.nii.gz").data)
    assert "label map" in said
    assert len(carried) > 1
    assert set(carried) <= set(np.unique(made(MOVING)))


@pytest.mark.parametrize("made", [padded_ct, t1])
def test_grey_values_are_interpolated_whatever_surrounds_them(study, made):
    write_image(Image(made(MOVING)[None], MOVING), study / "grey.nii.gz")
    said = carry.carry(study / "transform.h5", study / "grey.nii.gz", study / "out.nii.gz")
    assert "linear" in said
    grey = warp(read_volume(study / "grey.nii.gz"), truth(), FIXED, "linear").data.astype(float)
    assert np.abs(read_volume(study / "out.nii.gz").data - grey).mean() < 1  # the stored field is rounded


def test_in_doubt_the_user_is_asked(study):
    few = np.random.default_rng(6).integers(0, 8, (1, *MOVING.shape)).astype(np.uint8)
    write_image(Image(few, MOVING), study / "few.nii.gz")
    with pytest.raises(InputError, match="--interpolation nearest for labels or --interpolation linear"):
        carry.carry(study / "transform.h5", study / "few.nii.gz", study / "out.nii.gz")
    assert not (study / "out.nii.gz").exists()
    for how in ("nearest", "linear"):
        said = carry.carry(study / "transform.h5", study / "few.nii.gz", study / "out.nii.gz", interpolation=how)
        assert how in said


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("suffix", point_files.SUFFIXES)
def test_points_of_every_format_are_carried(study, suffix, inverse):
    here, there = ("fixed", "moving") if inverse else ("moving", "fixed")
    source = study / f"source{suffix}"
    point_files.write_points(read_points(study / f"{here}_points.csv"), source)
    carry.carry(study / "transform.h5", source, study / f"out{suffix}", inverse=inverse)
    expected = read_points(study / f"{there}_points.csv").points
    np.testing.assert_allclose(read_points(study / f"out{suffix}").points, expected, atol=0.005)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("points_in", ["ras", "voxel"])
def test_csv_points_in_ras_or_in_voxels_of_their_own_image(study, points_in, inverse):
    here, there = ("fixed", "moving") if inverse else ("moving", "fixed")
    world = read_points(study / f"{here}_points.csv").points
    grid = FIXED if inverse else MOVING
    numbers = grid.to_voxel(world)[:, ::-1] if points_in == "voxel" else world * [-1, -1, 1]
    np.savetxt(study / "source.csv", numbers, delimiter=",", fmt="%.6f")
    command = ["apply", study / "transform.h5", study / "source.csv", "-o", study / "out.csv", "--points-in", points_in]
    command += ["--inverse"] * inverse
    if points_in == "voxel":
        status, said = run(*command)
        assert status == 2
        assert "source.csv' holds voxel indices" in said
        assert "--reference" in said
        assert not (study / "out.csv").exists()
        command += ["--reference", study / f"{here}_labels.nii.gz"]
    assert run(*command)[0] == 0
    written = np.loadtxt(study / "out.csv", delimiter=",") * ([-1, -1, 1] if points_in == "ras" else [1, 1, 1])
    np.testing.assert_allclose(written, read_points(study / f"{there}_points.csv").points, atol=0.005)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_segmentation_arrives_with_its_names_and_colours(study, inverse):
    here, there = ("fixed", "moving") if inverse else ("moving", "fixed")
    labels = read_volume(study / f"{here}_labels.nii.gz")
    layers = np.concatenate([labels.data == label for label in BALLS]).astype(np.uint8)
    fields = {
        f"Segment{n}_{key}": value
        for n, name in enumerate(("tumour", "cyst"))
        for key, value in {
            "ID": f"S{n}",
            "Name": name,
            "Color": f"0.{n + 1} 0.5 1",
            "LabelValue": "1",
            "Layer": str(n),
        }.items()
    }
    write_segmentation(Segmentation(Image(layers, labels.grid), fields), study / "in.seg.nrrd")
    options = ["--reference", study / f"{there}_labels.nii.gz", *["--inverse"] * inverse]
    status, said = run("apply", study / "transform.h5", study / "in.seg.nrrd", "-o", study / "out.seg.nrrd", *options)
    assert status == 0, said
    assert "tumour, cyst" in said
    carried = read_segmentation(study / "out.seg.nrrd")
    assert {key: str(carried.fields[key]) for key in fields} == fields
    for layer, point in zip(carried.layers.data, read_points(study / f"{there}_points.csv").points, strict=True):
        center = carried.layers.grid.to_world(np.argwhere(layer)).mean(axis=0)
        assert np.linalg.norm(center - point) < 0.8  # half a voxel; the ball is slightly bent


WRONG_NAMES = [
    ("in.seg.nrrd", "out.nii.gz", ".seg.nrrd, .seg.nhdr"),
    ("in.seg.nrrd", "out.nrrd", ".seg.nrrd, .seg.nhdr"),
    ("moving_labels.nii.gz", "out.seg.nrrd", ".nii.gz"),
    ("moving_labels.nii.gz", "out.xyz", ".nii.gz"),
    ("moving_points.csv", "out.nii.gz", ".mrk.json"),
    ("ball.stl", "out.obj", ".stl, .vtk, .vtp, .ply"),
]


@pytest.mark.parametrize(("source", "output", "endings"), WRONG_NAMES)
def test_an_output_named_as_something_else_is_refused_before_anything_is_read(study, source, output, endings):
    status, said = run("apply", study / "no-such-transform.h5", study / source, "-o", study / "new" / output)
    assert status == 2
    assert f"{output}' is no file name for" in said
    assert endings in said
    assert ".unfinished" not in said
    assert not (study / "new").exists()


def test_a_surface_format_that_is_not_read_is_told_which_are(study):
    with pytest.raises(InputError, match=r"ball\.obj' is a surface .* save it as \.stl, \.vtk, \.vtp, \.ply"):
        carry.carry(study / "transform.h5", study / "ball.obj", study / "out.stl")


def test_an_empty_output_name_is_refused(study):
    status, said = run("apply", study / "transform.h5", study / "moving_points.csv", "-o", "")
    assert status == 2
    assert "it is empty" in said


def test_a_dicom_folder_of_several_series_is_input_and_reference(study):
    noise = np.random.default_rng(7).integers(0, 2000, MOVING.shape).astype(np.int16)
    for number, grid, values in (("1", FIXED, np.zeros(FIXED.shape, np.int16)), ("2", MOVING, noise)):
        write_series(study / "dicom", grid, values, uid=f"1.2.{number}", number=number)
    command = ["apply", study / "transform.h5", study / "dicom", "-o", study / "out.nii.gz"]
    status, said = run(*command)
    assert status == 2
    assert "--series" in said
    command += ["--series", "2", "--reference", study / "dicom"]
    assert "--reference-series" in run(*command)[1]
    status, said = run(*command, "--reference-series", "1")
    assert status == 0, said
    carried = read_volume(study / "out.nii.gz")
    onto = read_volume(study / "dicom", series=1).grid
    assert carried.grid.isclose(onto, atol_mm=1e-3)
    expected = warp(read_volume(study / "dicom", series=2), truth(), onto, "linear").data.astype(float)
    assert np.abs(carried.data - expected).mean() < 1  # the stored field and grid are rounded


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("moving_labels.nii.gz", ["--series", "1"], "moving_labels.nii.gz' is a single file"),
        ("moving_points.csv", ["--series", "1"], "leave --series out"),
        ("moving_labels.nii.gz", ["--reference-series", "1"], "name the folder with --reference"),
    ],
)
def test_a_series_where_there_is_none_to_choose_is_refused(study, source, options, words):
    status, said = run("apply", study / "transform.h5", study / source, "-o", study / f"out-{source}", *options)
    assert status == 2
    assert words in said
    assert not (study / f"out-{source}").exists()
