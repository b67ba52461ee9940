"""How the similarity rose during a registration, as a plot in the scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from RegistrationNetLib.scene.runtime import slicer, vtk

X, Y, SIZE = "Iteration", "Similarity, 0 to 1", "Voxel size, mm"
_COLOUR = (0.12, 0.47, 0.71)


def add(scene: Any, values: Sequence[tuple[float, float]], name: str) -> dict[str, Any]:
    """Nodes of a table, a series and a chart, by what they are.

    values: voxel size (mm) and similarity of each iteration, from coarse to fine; where voxels become smaller there is
    a step.
    """
    table = scene.AddNode(_table(values, f"{name} similarity values"))
    series = slicer.vtkMRMLPlotSeriesNode()
    series.SetName(f"{name} similarity")
    series = scene.AddNode(series)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(X)
    series.SetYColumnName(Y)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetColor(*_COLOUR)
    chart = slicer.vtkMRMLPlotChartNode()
    chart.SetName(f"{name} similarity plot")
    chart = scene.AddNode(chart)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("Similarity from coarse to fine")
    chart.SetXAxisTitle(X)
    chart.SetYAxisTitle(Y)
    chart.SetLegendVisibility(False)
    return {"similarity values": table, "similarity": series, "similarity plot": chart}


def _table(values: Sequence[tuple[float, float]], name: str) -> Any:
    columns = {X: range(len(values)), SIZE: [size for size, _ in values], Y: [value for _, value in values]}
    table = vtk.vtkTable()
    for title, entries in columns.items():
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        for entry in entries:
            column.InsertNextValue(float(entry))
        table.AddColumn(column)
    node = slicer.vtkMRMLTableNode()
    node.SetName(name)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node
