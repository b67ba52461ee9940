"""The MRML runtime: the running application's, or one of slicer-core booted here without window and without Qt.

The rest of `scene/` takes `slicer` and `vtk` from here, so that a missing slicer-core is one clear sentence.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from RegistrationNetLib.core.errors import MissingPackage

if "vtk" not in sys.modules and sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
try:
    import slicer
    import vtk
except ImportError as error:
    raise MissingPackage(
        f"Slicer scenes need the package slicer-core, which cannot be loaded here ({error}). "
        "Install it with: pip install registrationnet[scene]"
    ) from error

_MODULES = {
    "colors": "vtkSlicerColorLogic",
    "units": "vtkSlicerUnitsLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "models": "vtkSlicerModelsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "tables": "vtkSlicerTablesLogic",
    "plots": "vtkSlicerPlotsLogic",
    "texts": "vtkSlicerTextsLogic",
    "sceneviews": "vtkSlicerSceneViewsModuleLogic",
    "viewcontrollers": "vtkSlicerViewControllersLogic",
}
"""Module -> logic class; a logic that gets a scene registers its node classes there."""


class Runtime:
    """A scene of its own with application logic and module logics, able to read and write .mrb files."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="registrationnet-scene-")
        with silence():
            self.scene = slicer.vtkMRMLScene()
            self.application = self._application()
            self._data_io = self._remote_io()
            self.logics = {name: self._logic(name, kind) for name, kind in _MODULES.items()}
            slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)

    def close(self) -> None:
        """Empty the scene and remove temporary files."""
        self.scene.Clear(1)
        self._folder.cleanup()

    def _application(self) -> Any:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        application = slicer.vtkSlicerApplicationLogic()
        application.SetMRMLScene(self.scene)
        application.SetTemporaryPath(self._folder.name)
        application.SetHomeDirectory(self._folder.name)
        application.SetSliceLogics(vtk.vtkCollection())
        application.SetViewLogics(vtk.vtkCollection())
        return application

    def _remote_io(self) -> tuple[Any, Any]:
        """Reading a .mrb unpacks it in the cache folder of these two, though nothing is remote."""
        remote = slicer.vtkMRMLRemoteIOLogic()
        remote.SetMRMLApplicationLogic(self.application)
        remote.GetCacheManager().SetRemoteCacheDirectory(str(Path(self._folder.name) / "cache"))
        remote.SetMRMLScene(self.scene)
        data = slicer.vtkDataIOManagerLogic()
        data.SetMRMLApplicationLogic(self.application)
        data.SetAndObserveDataIOManager(remote.GetDataIOManager())
        remote.AddDataIOToScene()
        return remote, data

    def _logic(self, name: str, kind: str) -> Any:
        logic = getattr(slicer, kind)()
        logic.SetMRMLApplicationLogic(self.application)
        self.application.SetModuleLogic(name.capitalize(), logic)
        logic.SetMRMLScene(self.scene)
        return logic


@contextmanager
def silence() -> Iterator[None]:
    """Without VTK's warnings: the wheel lacks share files of the application, and each logic complains of its own."""
    before = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(before)
