"""Loading a module file as Slicer's factory does, and the panel's frame."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property

from slicer_standin.mrml_widgets import qMRMLWidget
from slicer_standin.pythonqt import stand_in, stored


@stand_in
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The frame that the module's `...Widget` fills; `self()` is that Python object, as in Slicer."""

    moduleName = Property(str, lambda self: self._name)
    isEntered = Property(bool, lambda self: self._entered)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._entered = False
        self._python: Any = None
        self.setLayout(QtWidgets.QVBoxLayout())

    def reload(self) -> None:
        """Make the Python object anew from the module as it is loaded now, and set it up."""
        name = f"{self.moduleName}Widget"
        self._python = getattr(sys.modules[self.moduleName], name)(self)
        setattr(slicer.modules, name, self._python)
        self._python.setup()

    def self(self) -> Any:
        return self._python

    def enter(self) -> None:
        """The user opened the module."""
        self._entered = True
        getattr(self._python, "enter", lambda: None)()

    def exit(self) -> None:
        """The user went to another module."""
        self._entered = False
        getattr(self._python, "exit", lambda: None)()


@stand_in
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """What a module's Python object gets as `parent`, and what `slicer.modules.<name>` is."""

    name = Property(str, lambda self: self._path.stem)
    path = Property(str, lambda self: str(self._path))
    title = stored(str, "title", "")
    helpText = stored(str, "helpText", "")
    acknowledgementText = stored(str, "acknowledgementText", "")
    categories = stored("QStringList", "categories", ())
    dependencies = stored("QStringList", "dependencies", ())
    contributors = stored("QStringList", "contributors", ())
    icon = stored(QtGui.QIcon, "icon", None)
    hidden = stored(bool, "hidden", False)
    index = stored(int, "index", -1)

    def __init__(self, path: Path, parent: Any) -> None:
        super().__init__(parent)
        self._path = path
        self._widget: Any = None

    def widgetRepresentation(self) -> Any:
        """The panel, made when it is first asked for."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> Any:
        widget = qSlicerScriptedLoadableModuleWidget(self.name)
        widget.reload()
        widget.setMRMLScene(slicer.mrmlScene)
        return widget


def load_module(path: Path) -> qSlicerScriptedLoadableModule:
    """Import an unmodified module file under its own name, and register it in `slicer.modules`."""
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    python = importlib.util.module_from_spec(spec)
    sys.modules[name] = python
    spec.loader.exec_module(python)
    module = qSlicerScriptedLoadableModule(path, slicer.app.moduleManager())
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, f"{name}Instance", getattr(python, name)(module))
    slicer.app.moduleManager().moduleLoaded.emit(name)
    return module


def unload_modules() -> None:
    """As at the end of the application: panels clean up, then everything is deleted."""
    for module in [
        entry for entry in vars(slicer.modules).values() if isinstance(entry, qSlicerScriptedLoadableModule)
    ]:
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(module.name)
        if module._widget is not None:
            module._widget.hide()
            module._widget.deleteLater()
        del sys.modules[module.name]
