from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vtkmodules.util.numpy_support import vtk_to_numpy

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.scene import carry_surface, surfaces
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.scene.cases import FIXED_GRID, known_mapping

FORMATS = [".stl", ".vtk", ".vtp", ".ply"]


def points_of(mesh: Any) -> np.ndarray:
    return vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)


@pytest.fixture
def sphere(scene: Any) -> Any:
    """A model node, RAS, in the middle of the fixed grid."""
    source = vtk.vtkSphereSource()
    source.SetCenter(*(FIXED_GRID.center * (-1, -1, 1)))
    source.SetRadius(8)
    source.Update()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", "sphere")
    node.SetAndObservePolyData(source.GetOutput())
    return node


def save(node: Any, path: Path, space: str, compressed: bool = True) -> Path:
    """As Slicer does."""
    storage = slicer.vtkMRMLModelStorageNode()
    storage.SetFileName(str(path))
    storage.SetCoordinateSystem(storage.GetCoordinateSystemFromString(space))
    storage.SetUseCompression(compressed)
    assert storage.WriteData(node)
    return path


def load(scene: Any, path: Path) -> np.ndarray:
    """Points of a file as Slicer places them, in order, RAS."""
    storage = slicer.vtkMRMLModelStorageNode()
    storage.SetFileName(str(path))
    node = scene.AddNewNodeByClass("vtkMRMLModelNode")
    assert storage.ReadData(node)
    return points_of(node.GetPolyData())


def nearest_distance(points: np.ndarray, others: np.ndarray) -> float:
    return float(np.linalg.norm(points[:, None] - others[None], axis=2).min(axis=1).max())


@pytest.mark.parametrize("space", ["LPS", "RAS"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_slicer_sees_a_carried_surface_where_the_mapping_puts_it(
    scene: Any, sphere: Any, tmp_path: Path, suffix: str, space: str
) -> None:
    path = save(sphere, tmp_path / f"sphere{suffix}", space)
    out = tmp_path / f"carried{suffix}"
    carry_surface(path, known_mapping(), out)
    expected = known_mapping()(points_of(sphere.GetPolyData()) * (-1, -1, 1)) * (-1, -1, 1)
    carried = load(scene, out)
    assert len(carried) == len(expected)
    assert nearest_distance(carried, expected) < 1e-3
    assert surfaces.read_surface(out).is_ras == (space == "RAS")


@pytest.mark.parametrize("compressed", [True, False], ids=["binary", "text"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_header_and_encoding_are_kept(sphere: Any, tmp_path: Path, suffix: str, compressed: bool) -> None:
    path = save(sphere, tmp_path / f"sphere{suffix}", "LPS", compressed)
    out = tmp_path / f"carried{suffix}"
    carry_surface(path, known_mapping(), out)
    before, after = surfaces.read_surface(path), surfaces.read_surface(out)
    assert after.headers == before.headers
    assert "SPACE=LPS" in " ".join(after.headers)
    assert after.binary == before.binary


def test_a_surface_that_says_no_space_is_lps(tmp_path: Path) -> None:
    source = vtk.vtkSphereSource()
    writer = vtk.vtkSTLWriter()
    writer.SetFileName(str(tmp_path / "plain.stl"))
    writer.SetInputConnection(source.GetOutputPort())
    writer.Write()
    seen = []

    def move(points: np.ndarray) -> np.ndarray:
        seen.append(points)
        return points + 1

    carry_surface(tmp_path / "plain.stl", move, tmp_path / "out.stl")
    np.testing.assert_allclose(seen[0], points_of(surfaces.read_surface(tmp_path / "plain.stl").mesh), atol=1e-6)


def test_normals_follow_the_surface(sphere: Any, tmp_path: Path) -> None:
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    path = save(sphere, tmp_path / "sphere.vtk", "LPS")
    carry_surface(path, lambda points: points @ turn.T, tmp_path / "out.vtk")

    def normals(file: Path) -> np.ndarray:
        return vtk_to_numpy(surfaces.read_surface(file).mesh.GetPointData().GetNormals())

    np.testing.assert_allclose(normals(tmp_path / "out.vtk"), normals(path) @ turn.T, atol=0.08)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.stl", None, "does not exist"),
        ("empty.stl", b"", "empty"),
        ("torn.vtk", b"# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\nPOINTS 5 float\n1 2", "damaged"),
        ("picture.png", b"not a mesh", "no surface"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        carry_surface(tmp_path / name, known_mapping(), tmp_path / "out.stl")
    assert name in str(error.value)
    assert not (tmp_path / "out.stl").exists()
