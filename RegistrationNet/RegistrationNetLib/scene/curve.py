"""How the similarity rose during a registration, as a plot in the scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from RegistrationNetLib.scene.runtime import slicer
from RegistrationNetLib.scene.tables import table_node

X, Y, SIZE = "Iteration", "Similarity, 0 to 1", "Voxel size, mm"
_COLOUR = (0.12, 0.47, 0.71)


def add(scene: Any, values: Sequence[tuple[float, float]], name: str) -> dict[str, Any]:
    """Nodes of a table, a series and a chart, by what they are.

    values: voxel size (mm) and similarity of each iteration, from coarse to fine; where voxels become smaller there is
    a step.
    """
    sizes, similarities = zip(*values, strict=True)
    columns = {X: range(len(values)), SIZE: sizes, Y: similarities}
    table = scene.AddNode(table_node(f"{name} similarity values", columns))
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
