"""Table nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from RegistrationNetLib.scene.runtime import slicer, vtk


def table_node(name: str, columns: Mapping[str, Sequence[str] | Sequence[float]]) -> Any:
    """Columns of words or of numbers, by their titles; in no scene yet, not to be edited."""
    table = vtk.vtkTable()
    for title, entries in columns.items():
        words = any(isinstance(entry, str) for entry in entries)
        column = vtk.vtkStringArray() if words else vtk.vtkDoubleArray()
        column.SetName(title)
        for entry in entries:
            column.InsertNextValue(entry)
        table.AddColumn(column)
    node = slicer.vtkMRMLTableNode()
    node.SetName(name)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node
