"""The slice views of the application: Slicer's own layouts, logics and displayable managers, drawn off screen."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore
from PySide6.QtCore import Property, Signal
from vtk.util.numpy_support import vtk_to_numpy

from slicer_standin.pythonqt import stand_in

_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLLinearTransformsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
"""What draws in a slice view."""

SIZE = (480, 480)
"""Width and height of a view, pixels."""


@stand_in
class qMRMLSliceView(QtCore.QObject):
    """The picture of one slice. Limits: no mouse, no keys, no corner annotation.

    In Slicer a Qt widget of CTK draws the image itself, so that part is made here: the blended slice as it comes out
    of the slice logic, behind whatever the displayable managers draw.
    """

    def __init__(self, logic: Any, application: Any, parent: Any) -> None:
        super().__init__(parent)
        self._logic = logic
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*SIZE)
        self._window.SetNumberOfLayers(2)
        self._below, self._above = self._layer(0), self._layer(1)  # markups draw in the upper layer
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._managers = self._managed(application)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._below.AddViewProp(self._image)

    def renderWindow(self) -> Any:
        return self._window

    def scheduleRender(self) -> None:
        """Drawn when it is looked at."""

    def forceRender(self) -> None:
        connection = self._logic.GetImageDataConnection()
        self._image.SetVisibility(connection is not None)
        if connection is not None:
            self._mapper.SetInputConnection(connection)
        for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
            legend.Modified()  # its manager does not follow layers that are set from code
        self._window.Render()

    def _layer(self, number: int) -> Any:
        renderer = vtk.vtkRenderer()
        renderer.SetLayer(number)
        renderer.GetActiveCamera().ParallelProjectionOn()
        self._window.AddRenderer(renderer)
        return renderer

    def _managed(self, application: Any) -> Any:
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application)
        for name in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.Initialize(factory, self._below)
        group.SetMRMLDisplayableNode(self._logic.GetSliceNode())
        return group


@stand_in
class qMRMLSliceWidget(QtCore.QObject):
    """One slice view with its logic. Limits: no controller bar; no widget, so it cannot be put in a layout."""

    def __init__(self, node: Any, application: Any, parent: Any) -> None:
        super().__init__(parent)
        self._application = application
        self._view: Any = None
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(node.GetScene())
        self._logic.SetSliceNode(node)
        self._logic.ResizeSliceNode(*SIZE)

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> Any:
        if self._view is None:
            self._view = qMRMLSliceView(self._logic, self._application, self)
        return self._view

    def fitSliceToBackground(self) -> None:
        self._logic.ResizeSliceNode(*SIZE)
        self._logic.FitSliceToBackground()


@stand_in
class qMRMLLayoutManager(QtCore.QObject):
    """The views of the current layout, Slicer's or one added to the layout node by its description.

    Limits: no viewport; of the views only those of slices exist, so `threeDViewCount` and the like are 0.
    """

    layoutChanged = Signal(int)
    layout = Property(int, lambda self: self._node.GetViewArrangement(), lambda self, layout: self._arrange(layout))
    threeDViewCount = plotViewCount = tableViewCount = Property(int, lambda self: 0)

    def __init__(self, scene: Any, application: Any, parent: Any) -> None:
        super().__init__(parent)
        self._application = application
        self._widgets: dict[str, qMRMLSliceWidget] = {}
        self._layouts = slicer.vtkMRMLLayoutLogic()
        self._layouts.SetMRMLApplicationLogic(application)
        self._layouts.SetMRMLScene(scene)
        self._node = self._layouts.GetLayoutNode()
        self._arrange(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def setLayout(self, layout: int) -> None:
        self.layout = layout

    def layoutLogic(self) -> Any:
        return self._layouts

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> Any:
        return self._widgets.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._application.GetSliceLogics()

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.fitSliceToBackground()

    def _arrange(self, layout: int) -> None:
        self._node.SetViewArrangement(layout)
        shown = self._layouts.GetViewNodes()
        names = [shown.GetItemAsObject(i).GetLayoutName() for i in range(shown.GetNumberOfItems())]
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            node.SetMappedInLayout(int(node.GetLayoutName() in names))
            if node.GetLayoutName() not in self._widgets:
                self._widgets[node.GetLayoutName()] = qMRMLSliceWidget(node, self._application, self)
        self.layoutChanged.emit(layout)


def pixels(view: Any) -> np.ndarray:
    """What a slice view shows now, (height, width, 3) bytes, first row on top."""
    view.forceRender()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(view.renderWindow())
    grab.ReadFrontBufferOff()
    grab.Update()
    width, height, _ = grab.GetOutput().GetDimensions()
    return vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]
