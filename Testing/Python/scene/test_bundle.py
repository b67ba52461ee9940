import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import RegistrationError
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.files.colours import jacobian_colours
from RegistrationNetLib.scene import heatmap, transforms, views, volumes, write_scene
from RegistrationNetLib.scene.runtime import Runtime, slicer
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID, image_on, known_mapping, known_registration

FIXED = image_on(FIXED_GRID, "fixed.nii.gz", np.int16)
MOVING = image_on(MOVING_GRID, "moving.nii.gz", np.int16)
REGISTRATION = known_registration(FIXED, MOVING, known_mapping())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.mrb"
    write_scene(path, FIXED, MOVING, REGISTRATION)
    return path


@pytest.fixture(scope="module")
def opened(bundle: Path) -> Iterator[Any]:
    """The scene as another session reads it."""
    runtime = Runtime()
    runtime.scene.Clear(0)
    messages = slicer.vtkMRMLMessageCollection()
    assert runtime.scene.ReadFromMRB(str(bundle), True, messages)
    assert messages.GetNumberOfMessages() == 0
    yield runtime.scene
    runtime.close()


def volume(scene: Any, name: str) -> Any:
    return scene.GetFirstNode(name, "vtkMRMLScalarVolumeNode")


def the_one(scene: Any, kind: str) -> Any:
    assert scene.GetNumberOfNodesByClass(kind) == 1
    return scene.GetNthNodeByClass(0, kind)


def test_images_come_back_with_every_voxel_in_its_place(opened: Any) -> None:
    expected = {
        "fixed": FIXED,
        "moving": MOVING,
        "moving to fixed warped": REGISTRATION.warped,
        "moving to fixed Jacobian": REGISTRATION.jacobian,
    }
    for name, image in expected.items():
        # Slicer turns left-handed lattices right-handed when it reads them; the world is the same.
        back = warp(volumes.local_image(volume(opened, name)), Mapping(), image.grid, "nearest")
        assert back.data.dtype == image.data.dtype
        np.testing.assert_allclose(back.data, image.data, atol=2e-4 if name.endswith("Jacobian") else 0)


def test_the_moving_volume_lies_under_the_transform_which_maps_as_before(opened: Any) -> None:
    node = volume(opened, "moving").GetParentTransformNode()
    assert node.GetName() == "moving to fixed (deformable)"
    points = FIXED_GRID.points()[2:-2:3, 2:-2:3, 2:-2:3]
    live = transforms.move(transforms.to_vtk(known_mapping()), points)
    np.testing.assert_allclose(transforms.move(node.GetTransformFromParent(), points), live, atol=2e-4)
    np.testing.assert_allclose(live, known_mapping()(points), atol=0.2)
    assert node.GetNodeReference(node.GetFixedNodeReferenceRole()) is volume(opened, "fixed")


def test_the_jacobian_lies_over_the_fixed_volume_in_every_slice(opened: Any) -> None:
    assert opened.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode") == 3
    for index in range(3):
        composite = opened.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
        assert composite.GetBackgroundVolumeID() == volume(opened, "fixed").GetID()
        assert composite.GetForegroundVolumeID() == volume(opened, "moving to fixed Jacobian").GetID()
        assert 0.2 <= composite.GetForegroundOpacity() <= 0.8


def test_slices_are_fitted_on_the_image(opened: Any) -> None:
    found = {}
    for index in range(3):
        node = opened.GetNthNodeByClass(index, "vtkMRMLSliceNode")
        found[node.GetName()] = node.GetOrientation()
        matrix = node.GetSliceToRAS()
        middle = np.array([-matrix.GetElement(0, 3), -matrix.GetElement(1, 3), matrix.GetElement(2, 3)])
        assert np.linalg.norm(middle - FIXED_GRID.center) < 5
        assert 25 < max(node.GetFieldOfView()[:2]) < 70  # the image is 20 to 40 mm wide
    assert found == {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


def test_layout_and_active_volume_are_set(opened: Any) -> None:
    layout = the_one(opened, "vtkMRMLLayoutNode")
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    assert the_one(opened, "vtkMRMLSelectionNode").GetActiveVolumeID() == volume(opened, "fixed").GetID()


def test_legend_colours_and_window_survive(opened: Any) -> None:
    jacobian = volume(opened, "moving to fixed Jacobian")
    legend = the_one(opened, "vtkMRMLColorLegendDisplayNode")
    assert legend.GetTitleText() == heatmap.LEGEND_TITLE
    assert legend.GetPrimaryDisplayNode() is jacobian.GetDisplayNode()
    display = jacobian.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 2)
    table, colour = display.GetColorNode(), [0.0] * 4
    for entry, expected in enumerate(jacobian_colours(np.linspace(0, 2, 256))):
        table.GetColor(entry, colour)
        np.testing.assert_allclose(colour[:3], expected, atol=1 / 250)


def test_the_table_survives_with_its_words(opened: Any) -> None:
    table = the_one(opened, "vtkMRMLTableNode")
    assert table.GetColumnName(0) == "Figure"
    assert [table.GetCellText(1, column) for column in (3, 4)] == ["bad", "Smooth more."]


def test_the_file_is_compressed(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        sizes = {
            Path(entry.filename).suffix: entry.file_size
            for entry in archive.infolist()
            if "affine" not in entry.filename
        }
    field = known_mapping().displacements[0].field
    assert sizes[".h5"] < 0.8 * field.nbytes + 20_000


def test_the_thumbnail_is_a_picture_of_the_result(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        assert archive.read("scene/scene.png")[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_scene_that_is_open_stays_as_it_is(scene: Any, tmp_path: Path) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", "mine")
    count = scene.GetNumberOfNodes()
    write_scene(tmp_path / "scene.mrb", FIXED, MOVING, REGISTRATION)
    assert scene.GetNumberOfNodes() == count
    assert node.GetScene() is scene


@pytest.mark.parametrize(
    ("fixed_name", "moving_name", "shown"),
    [
        ("orig.nii.gz", "orig.nii.gz", ("orig fixed", "orig moving")),
        (
            "sub-01_ses-01_T1w_brain.nii.gz",
            "sub-01_ses-02_T1w_brain.nii.gz",
            ("sub-01_ses-01_T1w_brain", "sub-01_ses-02_T1w_brain"),
        ),
        ("f" * 60 + ".nii.gz", "m" * 60 + ".nii.gz", ("f" * 60, "m" * 60)),
        ("s" * 60 + ".nrrd", "s" * 60 + ".nrrd", ("s" * 60 + " fixed", "s" * 60 + " moving")),
        ("Müller [1] 50%.nii.gz", "Müller [2] 100%20.nii.gz", ("Müller [1] 50%", "Müller [2] 100%20")),
        ("*?/<&>", "'q' \"p\": 脳", ("*?/<&>", "'q' \"p\": 脳")),
        ("transform", "affine", ("transform", "affine")),
    ],
    ids=["same", "usual", "long", "long and same", "brackets", "markup", "as files in it"],
)
def test_whatever_the_images_are_called_the_scene_is_whole(
    scene: Any, tmp_path: Path, fixed_name: str, moving_name: str, shown: tuple[str, str]
) -> None:
    fixed, moving = replace(FIXED, name=fixed_name), replace(MOVING, name=moving_name)
    write_scene(tmp_path / "scene.mrb", fixed, moving, REGISTRATION)
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, slicer.vtkMRMLMessageCollection())
    base = f"{shown[1]} to {shown[0]}"
    images = (FIXED, MOVING, REGISTRATION.warped, REGISTRATION.jacobian)
    for name, image in zip((*shown, f"{base} warped", f"{base} Jacobian"), images, strict=True):
        assert sorted(volume(scene, name).GetImageData().GetDimensions()) == sorted(image.grid.shape)
    node = volume(scene, shown[1]).GetParentTransformNode()
    assert node.GetName() == f"{base} (deformable)"
    points = FIXED_GRID.points()[::6, ::6, ::6]
    np.testing.assert_allclose(
        transforms.move(node.GetTransformFromParent(), points), known_mapping()(points), atol=0.2
    )


@pytest.mark.parametrize("error", [ValueError("not enough values"), KeyError("checks"), MemoryError()], ids=repr)
def test_any_failure_is_one_error_for_the_user_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*args: Any) -> None:
        raise error

    monkeypatch.setattr(views, "arrange", fails)
    with pytest.raises(RegistrationError, match=f"scene.mrb' cannot be written.*{type(error).__name__}") as caught:
        write_scene(tmp_path / "scene.mrb", FIXED, MOVING, REGISTRATION)
    assert caught.value.__cause__ is error
    assert list(tmp_path.iterdir()) == []


def test_an_inverse_step_is_written_too(tmp_path: Path) -> None:
    mapping = known_mapping().inverse()
    write_scene(tmp_path / "scene.mrb", FIXED, MOVING, known_registration(FIXED, MOVING, mapping))
    runtime = Runtime()
    assert runtime.scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, slicer.vtkMRMLMessageCollection())
    node = volume(runtime.scene, "moving").GetParentTransformNode()
    points = FIXED_GRID.points()[::6, ::6, ::6]
    np.testing.assert_allclose(transforms.move(node.GetTransformFromParent(), points), mapping(points), atol=0.2)
    runtime.close()


def test_a_linear_result_is_written_too(tmp_path: Path) -> None:
    mapping = Mapping((known_mapping().affine,))
    write_scene(tmp_path / "scene.mrb", FIXED, MOVING, known_registration(FIXED, MOVING, mapping))
    assert (tmp_path / "scene.mrb").exists()


def test_a_folder_that_is_not_there_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(RegistrationError, match="cannot be written"):
        write_scene(tmp_path / "no" / "scene.mrb", FIXED, MOVING, REGISTRATION)
    assert list(tmp_path.iterdir()) == []


def test_writing_a_scene_says_nothing_and_ends_well(tmp_path: Path) -> None:
    """In a process of its own: VTK complains on its own streams, and leaks show at exit."""
    code = "from Testing.Python.scene.test_bundle import *; write_scene('scene.mrb', FIXED, MOVING, REGISTRATION)"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "RegistrationNet")])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
