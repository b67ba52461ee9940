"""Points are the same world points in every format, and what else a file says stays in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Python.files.strategies import grids, numbers
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.files.points import read_points, write_points

SUFFIXES = [".csv", ".mrk.json", ".fcsv", ".txt", ".pts"]
LPS = np.array([[1.5, -2.25, 3.125], [10, 20, -30], [0, 0, 0.5]])
CSV = "# by hand\nx,y,z,label,remark\n1.5,-2.25,3.125,tip,sharp\n\n10,20,-30,top,blunt\n0,0,0.5,end,\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def shifted(points: np.ndarray) -> np.ndarray:
    return points + np.array([1, 2, 3])


@settings(max_examples=20, deadline=None)
@given(st.lists(numbers(-500, 500), min_size=1, max_size=6), st.sampled_from(SUFFIXES), st.sampled_from(SUFFIXES))
def test_points_survive_any_format_and_conversion(tmp_path_factory, rows, first, second):
    folder = tmp_path_factory.mktemp("points")
    source = written(folder / "source.csv", "".join(f"{x!r},{y!r},{z!r}\n" for x, y, z in np.array(rows).tolist()))
    write_points(read_points(source), folder / f"first{first}")
    write_points(read_points(folder / f"first{first}"), folder / f"second{second}")
    np.testing.assert_allclose(read_points(folder / f"second{second}").points, rows, atol=1e-5)


def test_csv_keeps_header_comments_labels_and_further_columns(tmp_path):
    points = read_points(written(tmp_path / "a.csv", CSV))
    np.testing.assert_array_equal(points.points, LPS)
    assert points.labels == ("tip", "top", "end")
    write_points(points.moved(shifted), tmp_path / "b.csv")
    lines = (tmp_path / "b.csv").read_text().splitlines()
    assert lines[:3] == ["# by hand", "x,y,z,label,remark", "2.500000,-0.250000,6.125000,tip,sharp"]


def test_csv_columns_are_found_by_name_and_separator(tmp_path):
    points = read_points(written(tmp_path / "a.csv", "name;Z;Y;X\ntip;3.125;-2.25;1.5\n"))
    np.testing.assert_array_equal(points.points, LPS[:1])
    assert points.labels == ("tip",)
    write_points(points.moved(shifted), tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text() == "name;Z;Y;X\ntip;6.125000;-0.250000;2.500000\n"


def test_csv_in_ras_is_flipped_on_the_way_in_and_out(tmp_path):
    points = read_points(written(tmp_path / "a.csv", "1.5,-2.25,3.125\n"), points_in="ras")
    np.testing.assert_array_equal(points.points, LPS[:1] * [-1, -1, 1])
    write_points(points, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text() == "1.500000,-2.250000,3.125000\n"


@given(grids(), st.integers(0, 1), st.integers(0, 1), st.integers(0, 1))
@settings(max_examples=20, deadline=None)
def test_voxel_indices_count_as_viewers_do(tmp_path_factory, grid, i, j, k):
    """(i, j, k): i along the last tensor axis; what is written is in LPS mm."""
    path = written(tmp_path_factory.mktemp("points") / "a.csv", f"{i},{j},{k}\n")
    points = read_points(path, points_in="voxel", grid=grid)
    np.testing.assert_allclose(points.points[0], grid.to_world([k, j, i]))
    write_points(points, path)
    np.testing.assert_allclose(read_points(path).points[0], grid.to_world([k, j, i]), atol=1e-5)


def test_voxel_indices_need_an_image(tmp_path):
    with pytest.raises(InputError, match=r"a\.csv.*image"):
        read_points(written(tmp_path / "a.csv", "1,2,3\n"), points_in="voxel")


def test_elastix_points_and_indices(tmp_path):
    grid = Grid.of((9, 9, 9), (3, 2, 1), np.eye(3)[:, ::-1], (100, 200, 300))
    world = read_points(written(tmp_path / "p.txt", "point\n2\n1 2 3\n4.5 5 6\n")).points
    np.testing.assert_array_equal(world, [[1, 2, 3], [4.5, 5, 6]])
    voxels = read_points(written(tmp_path / "i.txt", "index\n1\n1 2 3\n"), grid=grid)
    np.testing.assert_array_equal(voxels.points, [[101, 204, 309]])
    write_points(voxels, tmp_path / "o.txt")
    assert (tmp_path / "o.txt").read_text() == "point\n1\n101.000000 204.000000 309.000000\n"


def test_what_transformix_prints_is_read(tmp_path):
    line = "Point\t0\t; InputIndex = [ 1 2 3 ]\t; OutputPoint = [ 7.5 -8 9 ]\t; Deformation = [ 0 0 0 ]\n"
    np.testing.assert_array_equal(read_points(written(tmp_path / "outputpoints.txt", line)).points, [[7.5, -8, 9]])


def markups(**changes: object) -> dict:
    points = [
        {"id": "1", "label": "tip", "position": [-1.5, 2.25, 3.125], "positionStatus": "defined", "locked": True},
        {"id": "2", "label": "later", "position": [0, 0, 0], "positionStatus": "undefined"},
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "RAS", "controlPoints": points, "display": {"color": [1, 0, 0]}}
    return {"@schema": "any", "markups": [markup | changes]}


def test_markups_keep_their_coordinate_system_and_every_other_field(tmp_path):
    points = read_points(written(tmp_path / "a.mrk.json", json.dumps(markups())))
    np.testing.assert_array_equal(points.points, LPS[:1])
    assert points.labels == ("tip",)
    write_points(points.moved(shifted), tmp_path / "b.mrk.json")
    expected = markups()
    expected["markups"][0]["controlPoints"][0]["position"] = [-2.5, 0.25, 6.125]
    assert json.loads((tmp_path / "b.mrk.json").read_text()) == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "Plane"}, "Plane"),
        ({"coordinateUnits": "um"}, "units"),
        ({"coordinateSystem": "XYZ"}, "XYZ"),
        ({"controlPoints": [{"label": "a"}]}, "Control point 1"),
        ({"controlPoints": []}, "no points"),
    ],
)
def test_markups_that_are_no_points_in_mm_are_refused(tmp_path, changes, words):
    path = written(tmp_path / "a.mrk.json", json.dumps(markups(**changes)))
    with pytest.raises(InputError, match=rf"(?s)(?=.*a\.mrk\.json)(?=.*{words})"):
        read_points(path)


@pytest.mark.parametrize(("system", "signs"), [("LPS", 1), ("1", 1), ("RAS", -1), ("0", -1)])
def test_fcsv_says_its_coordinate_system_and_keeps_it(tmp_path, system, signs):
    head = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {system}\n# columns = id,x,y,z,...\n"
    row = 'n1,{},0,0,0,1,1,1,0,"left, upper",said,vtk1\n'
    path = written(tmp_path / "a.fcsv", head + row.format("1.5,-2.25,3.125"))
    points = read_points(path)
    np.testing.assert_array_equal(points.points, LPS[:1] * [signs, signs, 1])
    assert points.labels == ("left, upper",)
    write_points(points.moved(lambda p: p + np.array([signs, signs, 1])), tmp_path / "b.fcsv")
    assert (tmp_path / "b.fcsv").read_text() == head + row.format("2.500000,-1.250000,4.125000")


def test_an_fcsv_without_a_coordinate_system_is_ras(tmp_path):
    path = written(tmp_path / "a.fcsv", "# columns = id,x,y,z\nn1,-1.5,2.25,3.125\n")
    np.testing.assert_array_equal(read_points(path).points, LPS[:1])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "1,2,3\n\n4,five,6\n", "line 3: 'five'"),
        ("a.csv", "x,y,z\n1,2\n", "line 2, has 2 columns"),
        ("a.csv", "x,y,z\n", "no points"),
        ("a.csv", "1,2,nan\n", "not finite"),
        ("a.csv", "", "empty"),
        ("a.txt", "1 2 3\n", "first line must be"),
        ("a.txt", "point\n3\n1 2 3\n", "says 3 points and holds 1"),
        ("a.txt", "point\n1\n1 2\n", "line 3, has 2 numbers"),
        ("a.mrk.json", "{}", "no markups"),
        ("a.mrk.json", "[1", "no markups"),
        ("a.fcsv", "# CoordinateSystem = ABC\nn1,1,2,3\n", "ABC"),
        ("a.doc", "1,2,3\n", "no point file"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, name, text, words):
    with pytest.raises(InputError) as caught:
        read_points(written(tmp_path / name, text))
    assert name in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_binary_and_missing_files_are_named(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=r"a\.csv.*not a text file"):
        read_points(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"missing\.csv.*does not exist"):
        read_points(tmp_path / "missing.csv")


@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv"])
def test_slicer_reads_the_points_we_write(tmp_path, suffix):
    slicer = pytest.importorskip("slicer", reason="needs Slicer's MRML runtime (slicer-core)")
    path = tmp_path / f"ours{suffix}"
    write_points(read_points(written(tmp_path / "a.csv", CSV)), path)
    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLMarkupsFiducialNode()
    storage = (
        slicer.vtkMRMLMarkupsFiducialStorageNode() if suffix == ".fcsv" else slicer.vtkMRMLMarkupsJsonStorageNode()
    )
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    ras = np.array([node.GetNthControlPointPosition(n) for n in range(node.GetNumberOfControlPoints())])
    np.testing.assert_allclose(ras * [-1, -1, 1], LPS, atol=1e-5)
    assert [node.GetNthControlPointLabel(n) for n in range(3)] == ["tip", "top", "end"]


@pytest.mark.skipif("REGISTRATIONNET_DATA" not in os.environ, reason="REGISTRATIONNET_DATA names no folder of images")
def test_the_lung_landmarks_lie_in_their_lungs():
    from RegistrationNetLib.files.images import read_mask

    folder = Path(os.environ["REGISTRATIONNET_DATA"]) / "lung_ct"
    for visit in ("baseline", "followup"):
        mask = read_mask(folder / f"{visit}_mask.mha")
        voxels = mask.grid.to_voxel(read_points(folder / f"{visit}.txt", grid=mask.grid).points)
        d, h, w = np.rint(voxels).astype(int).T
        assert mask.scalar[d, h, w].mean() >= 0.9
