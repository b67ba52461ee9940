"""Surface files carried from one space to another: STL, VTK (.vtk, .vtp) and PLY.

Points are LPS mm unless the file says SPACE=RAS: so Slicer writes models since version 4.11, and so it reads those of
others. A file keeps its space, its header and whether it is text or binary.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.files.suffixes import SURFACES
from RegistrationNetLib.scene.geometry import flip_points
from RegistrationNetLib.scene.runtime import silence, vtk

PointFunction = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(N, 3) -> (N, 3), LPS mm; a `Mapping` is one."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh as its file has it, with the header lines that say more about it."""

    mesh: Any
    headers: tuple[str, ...]
    binary: bool

    @property
    def is_ras(self) -> bool:
        return any(re.search(r"SPACE\s*=\s*RAS", line) for line in self.headers)


def carry_surface(path: str | Path, move: PointFunction, out: str | Path) -> None:
    """Write the surface in `path` to `out` with every point moved. Raises InputError naming the file and the cure.

    Surfaces go from moving to fixed space through the inverse of a registration's mapping.
    """
    path, out = Path(path), Path(out)
    if out.suffix.lower() not in SURFACES:
        raise InputError(f"'{out}' is no surface file that can be written; name it {', '.join(SURFACES)}.")
    surface = read_surface(path)
    points = vtk_to_numpy(surface.mesh.GetPoints().GetData()).astype(np.float64)
    moved = flip_points(move(flip_points(points))) if surface.is_ras else move(points)
    write_surface(Surface(_with_points(surface.mesh, moved), surface.headers, surface.binary), out)


def read_surface(path: str | Path) -> Surface:
    """A surface file as it is, no sign changed. Raises InputError."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SURFACES:
        raise InputError(f"'{path}' is no surface file that can be read; give {', '.join(SURFACES)}.")
    if not path.is_file() or path.stat().st_size == 0:
        raise InputError(f"'{path}' does not exist or is empty; check the path.")
    reader = _READERS[suffix]()
    reader.SetFileName(str(path))
    errors: list[str] = []
    reader.AddObserver("ErrorEvent", lambda caller, event: errors.append(event))
    reader.Update()
    mesh = reader.GetOutput()
    if errors or mesh.GetNumberOfCells() == 0:
        raise InputError(f"'{path}' is damaged or holds no surface; export it again.")
    return Surface(mesh, _headers(reader, mesh, suffix), _is_binary(path))


def write_surface(surface: Surface, path: str | Path) -> None:
    """In the format the file's ending says. Raises InputError where it cannot be written."""
    path = Path(path)
    writer = _WRITERS[path.suffix.lower()]()
    writer.SetFileName(str(path))
    writer.SetInputData(_with_space(surface) if path.suffix.lower() == ".vtp" else surface.mesh)
    _set_header(writer, surface, path.suffix.lower())
    with silence():
        written = writer.Write()
    if not written or not path.exists():
        raise InputError(f"'{path}' cannot be written; check the folder.")


_READERS = {
    ".stl": vtk.vtkSTLReader,
    ".vtk": vtk.vtkPolyDataReader,
    ".vtp": vtk.vtkXMLPolyDataReader,
    ".ply": vtk.vtkPLYReader,
}
_WRITERS = {
    ".stl": vtk.vtkSTLWriter,
    ".vtk": vtk.vtkPolyDataWriter,
    ".vtp": vtk.vtkXMLPolyDataWriter,
    ".ply": vtk.vtkPLYWriter,
}
_TEXT_MARKS = {".stl": b"facet normal", ".vtk": b"ASCII", ".vtp": b'format="ascii"', ".ply": b"format ascii"}


def _is_binary(path: Path) -> bool:
    with path.open("rb") as file:
        return _TEXT_MARKS[path.suffix.lower()] not in file.read(2000)


def _headers(reader: Any, mesh: Any, suffix: str) -> tuple[str, ...]:
    if suffix == ".vtp":
        space = mesh.GetFieldData().GetAbstractArray("SPACE")
        return () if space is None or space.GetNumberOfValues() == 0 else (f"SPACE={space.GetValue(0)}",)
    if suffix == ".ply":
        comments = reader.GetComments()
        return tuple(comments.GetValue(index) for index in range(comments.GetNumberOfValues()))
    return tuple(line.strip() for line in (reader.GetHeader() or "").splitlines() if line.strip())


def _set_header(writer: Any, surface: Surface, suffix: str) -> None:
    line = " ".join(surface.headers)
    if suffix == ".vtp":
        writer.SetDataMode(writer.Appended if surface.binary else writer.Ascii)
        return
    if suffix == ".ply":
        for comment in surface.headers:
            if not comment.startswith("VTK generated"):  # the writer says so itself
                writer.AddComment(comment)
        _keep_colours(writer, surface.mesh)
    elif line:
        writer.SetHeader(line)
    if suffix == ".vtk":
        writer.SetFileVersion(42)  # what VTK before 9 and most other programs read
    writer.SetFileType(vtk.VTK_BINARY if surface.binary else vtk.VTK_ASCII)


def _keep_colours(writer: Any, mesh: Any) -> None:
    scalars = mesh.GetPointData().GetScalars()
    if scalars is not None and scalars.GetName() in ("RGB", "RGBA"):
        writer.SetArrayName(scalars.GetName())


def _with_points(mesh: Any, points: NDArray[np.float64]) -> Any:
    """A copy with other points in the same precision; normals, where there are any, are computed anew."""
    out = vtk.vtkPolyData()
    out.DeepCopy(mesh)
    same = vtk_to_numpy(mesh.GetPoints().GetData()).dtype
    out.GetPoints().SetData(numpy_to_vtk(np.ascontiguousarray(points, same), deep=True))
    of_points, of_cells = (data.GetNormals() is not None for data in (out.GetPointData(), out.GetCellData()))
    if not of_points and not of_cells:
        return out
    out.GetPointData().SetNormals(None)
    out.GetCellData().SetNormals(None)
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputData(out)
    normals.SplittingOff()
    normals.ConsistencyOff()
    normals.SetComputePointNormals(of_points)
    normals.SetComputeCellNormals(of_cells)
    normals.Update()
    return normals.GetOutput()


def _with_space(surface: Surface) -> Any:
    """A .vtp file says its space in its field data."""
    out = vtk.vtkPolyData()
    out.ShallowCopy(surface.mesh)
    field = vtk.vtkFieldData()
    field.ShallowCopy(surface.mesh.GetFieldData())
    field.RemoveArray("SPACE")
    space = vtk.vtkStringArray()
    space.SetName("SPACE")
    space.InsertNextValue("RAS" if surface.is_ras else "LPS")
    field.AddArray(space)
    out.SetFieldData(field)
    return out
