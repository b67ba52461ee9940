"""A segmentation is carried with everything Slicer knows about it, overlapping segments in layers of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.files.planes import sampled
from RegistrationNetLib.files.segmentations import carry_segmentation, read_segmentation, write_segmentation

GRID = Grid.of((6, 7, 8), (3, 2, 1), np.eye(3)[:, [2, 1, 0]] * [1, -1, 1], (10, 20, 30))
ONTO = Grid.of((9, 8, 10), (2, 2, 1.5), np.array([[0.0, 0, 1], [0.6, 0.8, 0], [0.8, -0.6, 0]]), (8, 6, 30))
MAPPING = Mapping((Affine([[1, 0, 0, 1.5], [0, 1, 0, -2], [0, 0, 1, 1], [0, 0, 0, 1]]),))
BOXES = {
    "liver": (slice(1, 4), slice(2, 5), slice(2, 6)),
    "tumour": (slice(2, 5), slice(3, 6), slice(3, 7)),
    "bone": (slice(5, 6), slice(6, 7), slice(7, 8)),
}
COLOURS = {"liver": (0.5, 0.25, 0.75), "tumour": (0.0, 1.0, 0.0), "bone": (0.25, 0.0, 1.0)}


def nearest(image: Image, mapping: Mapping = MAPPING, onto: Grid = ONTO) -> Image:
    """Nearest-neighbour resampling in its simplest form."""
    voxels = np.floor(image.grid.to_voxel(mapping(onto.points())) + 0.5).astype(int)
    inside = ((voxels >= 0) & (voxels < image.grid.shape)).all(axis=-1)
    d, h, w = np.moveaxis(np.clip(voxels, 0, np.array(image.grid.shape) - 1), -1, 0)
    return replace(image, data=np.where(inside, image.scalar[d, h, w], 0).astype(image.data.dtype)[None], grid=onto)


class Slicer:
    """Segmentations written and read by Slicer's own storage node."""

    def __init__(self) -> None:
        self.slicer = pytest.importorskip("slicer", reason="needs Slicer's MRML runtime (slicer-core)")
        self.vtk = pytest.importorskip("vtk")
        self.scene = self.slicer.vtkMRMLScene()
        self.application = self.slicer.vtkSlicerApplicationLogic()
        self.application.SetMRMLScene(self.scene)
        self.logic = self.slicer.vtkSlicerSegmentationsModuleLogic()
        self.logic.SetMRMLApplicationLogic(self.application)
        self.logic.SetMRMLScene(self.scene)

    def write(self, path: Path, names: list[str], with_reference: bool = True) -> None:
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
        node.CreateDefaultDisplayNodes()
        for name in names:
            segment = self.slicer.vtkSegment()
            segment.SetName(name)
            segment.SetColor(*COLOURS[name])
            segment.SetTag("Station", f"{name} tag")
            segment.AddRepresentation("Binary labelmap", self._box(BOXES[name]))
            node.GetSegmentation().AddSegment(segment, name)
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        if with_reference:
            node.GetSegmentation().SetConversionParameter("Reference image geometry", self._geometry())
        self._storage(path, node).WriteData(node)

    def read(self, path: Path) -> dict[str, tuple[np.ndarray, tuple[float, ...], str]]:
        """Name -> set of world points LPS mm, colour, tag."""
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "read")
        assert self._storage(path, node).ReadData(node)
        segments = node.GetSegmentation()
        found = {}
        for number in range(segments.GetNumberOfSegments()):
            segment = segments.GetNthSegment(number)
            tag = self.vtk.mutable("")
            segment.GetTag("Station", tag)
            found[segment.GetName()] = (self._points(node, number), segment.GetColor(), str(tag))
        return found

    def reference_geometry(self, path: Path) -> tuple[np.ndarray, tuple[int, ...]]:
        """IJK to RAS and extent of the reference image as Slicer understands it."""
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "read")
        assert self._storage(path, node).ReadData(node)
        image = self.slicer.vtkOrientedImageData()
        text = node.GetSegmentation().GetConversionParameter("Reference image geometry")
        assert self.slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
        matrix = self.vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        rows = [[matrix.GetElement(r, c) for c in range(4)] for r in range(4)]
        return np.array(rows), tuple(image.GetExtent())

    def _storage(self, path: Path, node):
        storage = self.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        return storage

    def _box(self, box):
        from vtk.util.numpy_support import numpy_to_vtk

        mask = np.zeros(GRID.shape, np.uint8)
        mask[box] = 1
        image = self._oriented()
        image.GetPointData().SetScalars(numpy_to_vtk(mask.ravel(), deep=1, array_type=self.vtk.VTK_UNSIGNED_CHAR))
        return image

    def _oriented(self):
        image = self.slicer.vtkOrientedImageData()
        image.SetDimensions(*GRID.shape[::-1])
        matrix = self.vtk.vtkMatrix4x4()
        ras = np.diag([-1.0, -1, 1, 1]) @ GRID.voxel_to_world[:, [2, 1, 0, 3]]
        for row in range(4):
            for column in range(4):
                matrix.SetElement(row, column, ras[row, column])
        image.SetGeometryFromImageToWorldMatrix(matrix)
        return image

    def _geometry(self) -> str:
        return self.slicer.vtkSegmentationConverter.SerializeImageGeometry(self._oriented())

    def _points(self, node, number: int) -> np.ndarray:
        from vtk.util.numpy_support import vtk_to_numpy

        image = self.slicer.vtkOrientedImageData()
        identifier = node.GetSegmentation().GetNthSegmentID(number)
        assert node.GetBinaryLabelmapRepresentation(identifier, image)
        matrix = self.vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        ras = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
        i0, i1, j0, j1, k0, k1 = image.GetExtent()
        mask = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
        k, j, i = np.nonzero(mask)
        voxels = np.stack([i + i0, j + j0, k + k0, np.ones_like(i)])
        return (np.diag([-1, -1, 1, 1]) @ ras @ voxels)[:3].T


def same_points(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert len(ours) == len(theirs)
    ours, theirs = (points[np.lexsort(np.round(points, 3).T)] for points in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def expected_points(name: str) -> np.ndarray:
    mask = np.zeros((1, *GRID.shape), np.uint8)
    mask[0][BOXES[name]] = 1
    return ONTO.to_world(np.argwhere(nearest(Image(mask, GRID)).scalar))


@pytest.mark.parametrize(("names", "layers"), [(["liver", "bone"], 1), (["liver", "tumour", "bone"], 2)])
def test_slicer_finds_every_segment_where_it_was_carried_to(tmp_path, names, layers):
    runtime = Slicer()
    runtime.write(tmp_path / "moving.seg.nrrd", names)
    assert len(read_segmentation(tmp_path / "moving.seg.nrrd").layers.data) == layers
    assert carry_segmentation(tmp_path / "moving.seg.nrrd", tmp_path / "fixed.seg.nrrd", nearest) == names
    carried = runtime.read(tmp_path / "fixed.seg.nrrd")
    assert list(carried) == names
    for name, (points, colour, tag) in carried.items():
        same_points(points, expected_points(name))
        assert colour == pytest.approx(COLOURS[name])
        assert tag == f"{name} tag"
    matrix, extent = runtime.reference_geometry(tmp_path / "fixed.seg.nrrd")
    np.testing.assert_allclose(matrix, np.diag([-1, -1, 1, 1]) @ ONTO.voxel_to_world[:, [2, 1, 0, 3]], atol=1e-9)
    assert extent == (0, 9, 0, 7, 0, 8)


def test_slicer_and_we_place_a_cropped_segmentation_alike(tmp_path):
    runtime = Slicer()
    runtime.write(tmp_path / "a.seg.nrrd", ["liver", "tumour"], with_reference=False)
    segmentation = read_segmentation(tmp_path / "a.seg.nrrd")
    assert segmentation.layers.grid.voxels < GRID.voxels  # Slicer stores what is not empty
    for layer, (name, (points, _, _)) in zip(
        segmentation.layers.data, runtime.read(tmp_path / "a.seg.nrrd").items(), strict=True
    ):
        same_points(segmentation.layers.grid.to_world(np.argwhere(layer)), points)
        same_points(points, GRID.to_world(np.argwhere(_mask(name))))


def _mask(name: str) -> np.ndarray:
    mask = np.zeros(GRID.shape, np.uint8)
    mask[BOXES[name]] = 1
    return mask


HEADER = {
    "space": "right-anterior-superior",
    "space directions": np.diag([-1.0, -2.0, 3.0]),
    "space origin": np.array([-10.0, -20.0, 30.0]),
    "kinds": ["domain"] * 3,
    "Segment0_ID": "Segment_1",
    "Segment0_Name": "left kidney",
    "Segment0_Extent": "0 1 0 1 0 1",
    "Segment0_LabelValue": "7",
    "Segment0_Tags": "TerminologyEntry:a~b^c|",
}


def test_a_header_in_ras_lies_in_the_same_world(tmp_path):
    data = np.zeros((4, 5, 6), np.uint8)
    data[1, 2, 3] = 7
    nrrd.write(str(tmp_path / "a.seg.nrrd"), data, HEADER)
    segmentation = read_segmentation(tmp_path / "a.seg.nrrd")
    assert segmentation.names == ["left kidney"]
    values, _ = sampled(segmentation.layers, np.array([[11.0, 24, 39]]))
    assert values[0] == 7


def test_every_other_field_is_kept_and_the_extents_are_those_of_the_new_grid(tmp_path):
    nrrd.write(str(tmp_path / "a.seg.nrrd"), np.ones((4, 5, 6), np.uint8), HEADER)
    segmentation = read_segmentation(tmp_path / "a.seg.nrrd")
    write_segmentation(replace(segmentation, layers=nearest(segmentation.layers)), tmp_path / "b.seg.nrrd")
    written = read_segmentation(tmp_path / "b.seg.nrrd")
    assert written.fields == segmentation.fields | {"Segment0_Extent": "0 9 0 7 0 8"}
    assert written.layers.grid.isclose(ONTO, atol_mm=1e-9)


def test_layers_may_be_listed_last(tmp_path):
    header = HEADER | {
        "kinds": ["domain"] * 3 + ["list"],
        "space directions": np.vstack([np.diag([-1.0, -2, 3]), [np.nan] * 3]),
    }
    data = np.arange(4 * 5 * 6 * 2).reshape(4, 5, 6, 2).astype(np.uint8)
    nrrd.write(str(tmp_path / "a.seg.nrrd"), data, header)
    layers = read_segmentation(tmp_path / "a.seg.nrrd").layers.data
    np.testing.assert_array_equal(layers[1], data[..., 1].T)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Segment0_ID": None}, "no Slicer segmentation"),
        ({"space": None, "space directions": None, "space origin": None}, "where it lies"),
        ({"space directions": np.diag([1.0, 0.0, 1.0])}, "singular"),
    ],
)
def test_what_is_no_segmentation_is_named_with_the_cure(tmp_path, changes, words):
    header = {key: value for key, value in (HEADER | changes).items() if value is not None}
    nrrd.write(str(tmp_path / "a.seg.nrrd"), np.ones((4, 5, 6), np.uint8), header)
    with pytest.raises(InputError, match=rf"a\.seg\.nrrd.*{words}"):
        read_segmentation(tmp_path / "a.seg.nrrd")


def test_a_truncated_or_foreign_file_is_named(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    nrrd.write(str(path), np.random.default_rng(0).integers(0, 2, (20, 20, 20)).astype(np.uint8), HEADER)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"a\.seg\.nrrd.*damaged"):
        read_segmentation(path)
    path.write_text("no segmentation")
    with pytest.raises(InputError, match=r"a\.seg\.nrrd.*damaged"):
        read_segmentation(path)
