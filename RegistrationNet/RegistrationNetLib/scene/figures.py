"""The quality table and the similarity plot of a result beside the slice views."""

from __future__ import annotations

from typing import Any

from RegistrationNetLib.scene import runs
from RegistrationNetLib.scene.runtime import slicer

LAYOUT = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotTableView


def choose(application: Any, transform: Any) -> None:
    """Let table and plot views show those of a result, as far as it has them. application: the application's logic."""
    selection = application.GetSelectionNode()
    table, plot = (runs.member(transform, what) for what in ("table", "similarity plot"))
    selection.SetActiveTableID(None if table is None else table.GetID())
    selection.SetActivePlotChartID(None if plot is None else plot.GetID())
    application.PropagateTableSelection()
    application.PropagatePlotChartSelection()
