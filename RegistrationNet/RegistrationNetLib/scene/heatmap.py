"""How a Jacobian volume looks: blue below 1, white at 1, red above, magenta where the mapping folds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.scene.runtime import slicer

LEGEND_TITLE = "Jacobian determinant\n(> 1: tissue is larger in the moving image)"

_LOW, _HIGH = 0.0, 2.0
"""The display window: symmetric about 1, and its lower end is where folding begins."""

_COLOURS = 256
_SHRUNK, _SAME, _GROWN = (0.02, 0.15, 0.55), (1.0, 1.0, 1.0), (0.55, 0.02, 0.05)
_SHRUNK_HALF, _GROWN_HALF = (0.20, 0.50, 0.95), (0.95, 0.30, 0.20)
_FOLDED = (1.0, 0.0, 1.0)


def colour_table() -> Any:
    """A new colour table node, in no scene yet; its first entry is the warning colour for folded voxels."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetName("Jacobian blue-white-red, folded magenta")
    node.SetTypeToUser()
    node.SetNumberOfColors(_COLOURS)
    node.GetLookupTable().SetTableRange(_LOW, _HIGH)
    for entry, (red, green, blue) in enumerate(colours()):
        value = _LOW + (_HIGH - _LOW) * entry / (_COLOURS - 1)
        node.SetColor(entry, f"{value:.2f}" if entry else "folded", red, green, blue, 1.0)
    return node


def colours() -> NDArray[np.float64]:
    """(256, 3) red, green, blue 0..1 from a determinant of 0 (first entry: folded) to 2."""
    stops = [_LOW, 0.5, 1.0, 1.5, _HIGH]
    values = np.linspace(_LOW, _HIGH, _COLOURS)
    anchors = np.array([_SHRUNK, _SHRUNK_HALF, _SAME, _GROWN_HALF, _GROWN])
    table = np.stack([np.interp(values, stops, anchors[:, channel]) for channel in range(3)], axis=1)
    table[0] = _FOLDED
    return table


def colour_of(determinant: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(...,) determinants -> (..., 3) red, green, blue as the views show them."""
    entry = np.floor((determinant - _LOW) / (_HIGH - _LOW) * _COLOURS)
    return np.asarray(colours()[np.clip(entry, 0, _COLOURS - 1).astype(int)])


def show_as_heatmap(volume: Any, table: Any) -> Any:
    """Give a Jacobian volume (in a scene) its colours, window and legend; returns the legend's node."""
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(table.GetID())
    display.SetAutoWindowLevel(0)
    display.SetWindowLevelMinMax(_LOW, _HIGH)
    display.SetInterpolate(0)  # a blend of colours would hide single folded voxels
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetTitleText(LEGEND_TITLE)
    legend.SetNumberOfLabels(5)
    legend.SetLabelFormat("%.1f")
    legend.SetSize(0.1, 0.3)  # also sets the size of the letters, so that the title fits into a slice view
    legend.SetPosition(0.95, 0.85)
    legend.SetVisibility(True)
    return legend
