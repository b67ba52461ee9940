"""What a scene shows when it is opened: three slices and a 3D view of the Jacobian over the fixed volume."""

from __future__ import annotations

from typing import Any

import numpy as np

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.scene.geometry import flip_points
from RegistrationNetLib.scene.runtime import Runtime, silence, slicer

HEATMAP_OPACITY = 0.4

_SLICES = {
    "Red": ("Axial", "R", (0.953, 0.290, 0.200)),
    "Yellow": ("Sagittal", "Y", (0.929, 0.835, 0.298)),
    "Green": ("Coronal", "G", (0.431, 0.690, 0.294)),
}
"""View -> orientation, label and colour, as the application has them."""

_VIEW_SIZE = 512


def arrange(runtime: Runtime, background: Any, foreground: Any, grid: Grid) -> None:
    """Four-up, the foreground over the background in all slices, fitted on `grid`, where the background lies."""
    layout = slicer.vtkMRMLLayoutNode()
    with silence():  # the layouts' descriptions are the application's
        layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    runtime.scene.AddNode(layout)
    selection = runtime.application.GetSelectionNode()
    selection.SetActiveVolumeID(background.GetID())
    selection.SetSecondaryVolumeID(foreground.GetID())
    for name in _SLICES:
        _show_slice(_slice_logic(runtime, name), background, foreground)
    _look_from_the_front(runtime, grid)


def _slice_logic(runtime: Runtime, name: str) -> Any:
    orientation, label, colour = _SLICES[name]
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(runtime.application)
    runtime.application.GetSliceLogics().AddItem(logic)
    logic.SetMRMLScene(runtime.scene)
    node = logic.AddSliceNode(name)
    node.SetOrientation(orientation)
    node.SetLayoutLabel(label)
    node.SetLayoutColor(*colour)
    return logic


def slice_views(scene: Any) -> list[Any]:
    """What each slice view of a scene shows: its composite nodes."""
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return [node for node in nodes if node.IsA("vtkMRMLSliceCompositeNode")]


def show_over(scene: Any, background: Any, foreground: Any, opacity: float) -> None:
    """One volume over another in all slice views of a scene."""
    for view in slice_views(scene):
        _lay_over(view, background, foreground, opacity)


def _lay_over(view: Any, background: Any, foreground: Any, opacity: float) -> None:
    view.SetBackgroundVolumeID(background.GetID())
    view.SetForegroundVolumeID(foreground.GetID())
    view.SetForegroundOpacity(opacity)


def _show_slice(logic: Any, background: Any, foreground: Any) -> None:
    composite = logic.GetSliceCompositeNode()
    _lay_over(composite, background, foreground, HEATMAP_OPACITY)
    composite.SetLinkedControl(1)
    logic.ResizeSliceNode(_VIEW_SIZE, _VIEW_SIZE)
    logic.FitSliceToBackground()
    logic.SnapSliceOffsetToIJK()
    logic.GetSliceNode().SetSliceVisible(1)


def _look_from_the_front(runtime: Runtime, grid: Grid) -> None:
    """A camera half to the right and above, far enough away to see all three slices."""
    logic = slicer.vtkMRMLViewLogic()
    logic.SetMRMLApplicationLogic(runtime.application)
    runtime.application.GetViewLogics().AddItem(logic)
    logic.SetMRMLScene(runtime.scene)
    view = logic.AddViewNode("1")
    center = flip_points(grid.center)
    radius = np.linalg.norm(grid.corners() - grid.center, axis=1).max()
    camera = slicer.vtkMRMLCameraNode()
    runtime.scene.AddNode(camera)
    camera.SetLayoutName(view.GetLayoutName())
    camera.SetFocalPoint(*center)
    camera.SetPosition(*(center + 3.2 * radius * np.array([0.45, 0.8, 0.4])))
    camera.SetViewUp(0, 0, 1)
