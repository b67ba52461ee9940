"""The application, up and running for the length of a `with`: scene, `slicer.app`, `slicer.modules`, `qt`, `ctk`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import slicer
import vtk
from PySide6 import QtCore

from RegistrationNetLib.scene.runtime import Runtime, silence
from slicer_standin import factory, module, parameters, pythonqt, qapplication, ui, views
from slicer_standin.mrml_widgets import MRML

_FILED = ("vtkMRMLDisplayableNode", "vtkMRMLStorableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode")
"""Nodes that get an item in the subject hierarchy."""


class _CoreModule:
    """A module of the runtime. Limits: it has a logic and nothing else."""

    __slots__ = ("_logic",)

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


@contextmanager
def running() -> Iterator[Any]:
    """Yields `slicer.app`. What was there before is there again afterwards; modules loaded meanwhile are unloaded."""
    with ExitStack() as stack:
        stack.enter_context(pythonqt.rules())
        runtime = Runtime()
        stack.callback(runtime.close)
        app = qapplication.instance()
        app._setUp(runtime.application, stack.enter_context(tempfile.TemporaryDirectory(prefix="slicer-standin-")))
        stack.enter_context(_placed(sys.modules, _python_modules()))
        stack.enter_context(_placed(vars(slicer), _names(app, runtime)))
        stack.callback(_forget_views, runtime)
        stack.enter_context(_filing(runtime.scene))
        with silence():  # the layouts' icons are the application's
            app._layouts = views.qMRMLLayoutManager(runtime.scene, runtime.application, app.moduleManager())
        stack.callback(_close, app)
        yield app


def _python_modules() -> dict[str, ModuleType]:
    made = (ui.qt(), ui.ctk(), module.scripted_loadable_module(), module.i18n(), parameters.module())
    return {entry.__name__: entry for entry in made}


def _names(app: Any, runtime: Runtime) -> dict[str, Any]:
    modules = ModuleType("slicer.modules")
    vars(modules).update({name: _CoreModule(logic) for name, logic in runtime.logics.items()})
    classes = (
        *MRML,
        factory.qSlicerScriptedLoadableModule,
        factory.qSlicerScriptedLoadableModuleWidget,
        qapplication.qSlicerApplication,
    )
    return {
        "app": app,
        "mrmlScene": runtime.scene,
        "modules": modules,
        "selfTests": {},
        **{cls.__name__: cls for cls in classes},
    }


@contextmanager
def _placed(where: MutableMapping[str, Any], values: dict[str, Any]) -> Iterator[None]:
    before = {name: where[name] for name in values if name in where}
    where.update(values)
    try:
        yield
    finally:
        for name in values:
            where.pop(name, None)
        where.update(before)


@contextmanager
def _filing(scene: Any) -> Iterator[None]:
    """Items in the subject hierarchy for data nodes, which in Slicer plugins in Qt make and remove."""

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(scene: Any, event: str, node: Any) -> None:
        if not scene.IsImporting():  # the items come with the scene, in a node of their own
            _file(scene, node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def leaving(scene: Any, event: str, node: Any) -> None:
        if not scene.IsClosing():
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            hierarchy.RemoveItem(hierarchy.GetItemByDataNode(node), False, False)

    def imported(scene: Any, event: str) -> None:
        for node in [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]:
            _file(scene, node)

    observers = {"NodeAddedEvent": added, "NodeAboutToBeRemovedEvent": leaving, "EndImportEvent": imported}
    tags = [scene.AddObserver(getattr(scene, event), observer) for event, observer in observers.items()]
    try:
        yield
    finally:
        for tag in tags:
            scene.RemoveObserver(tag)


def _file(scene: Any, node: Any) -> None:
    if node.GetHideFromEditors() or node.IsA("vtkMRMLColorNode") or not any(node.IsA(kind) for kind in _FILED):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _close(app: Any) -> None:
    factory.unload_modules()
    app.moduleManager().deleteLater()
    app.disconnect("startupCompleted()")  # modules of this session hear of no other
    app.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    app.processEvents()


def _forget_views(runtime: Runtime) -> None:
    """The factory of displayable managers is one for the process, and must not hold on to this scene's logic."""
    slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(None)
    runtime.application.GetSliceLogics().RemoveAllItems()
