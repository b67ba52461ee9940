"""How a Jacobian volume looks in a scene: in the colours of `files.colours`, magenta where the mapping folds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.files.colours import STOPS, jacobian_colours
from RegistrationNetLib.scene.runtime import slicer

LEGEND_TITLE = "Jacobian determinant\n(> 1: tissue is larger\nin the moving image)"

_COLOURS = 256


def colour_table() -> Any:
    """A new colour table node, in no scene yet; its first entry is the warning colour for folded voxels."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetName("Jacobian blue-white-red, folded magenta")
    node.SetTypeToUser()
    node.SetNumberOfColors(_COLOURS)
    node.GetLookupTable().SetTableRange(STOPS[0], STOPS[-1])
    values = np.linspace(STOPS[0], STOPS[-1], _COLOURS)
    for entry, (value, (red, green, blue)) in enumerate(zip(values, colours(), strict=True)):
        node.SetColor(entry, f"{value:.2f}" if entry else "folded", red, green, blue, 1.0)
    return node


def colours() -> NDArray[np.float64]:
    """(256, 3) red, green, blue 0..1 over the scale's determinants; the first entry is the folded one."""
    return jacobian_colours(np.linspace(STOPS[0], STOPS[-1], _COLOURS))


def show_as_heatmap(volume: Any, table: Any) -> Any:
    """Give a Jacobian volume (in a scene) its colours, window and legend; returns the legend's node."""
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(table.GetID())
    display.SetAutoWindowLevel(0)
    display.SetWindowLevelMinMax(STOPS[0], STOPS[-1])
    display.SetInterpolate(0)  # a blend of colours would hide single folded voxels
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetTitleText(LEGEND_TITLE)
    legend.SetNumberOfLabels(len(STOPS))
    legend.SetLabelFormat("%.1f")
    legend.SetSize(0.1, 0.3)  # also sets the size of the letters, so that the title fits into a slice view
    legend.SetPosition(0.95, 0.85)
    legend.SetVisibility(True)
    return legend
