"""`slicer.ScriptedLoadableModule` and `slicer.i18n`: the base classes of scripted modules, by Slicer's order of events.

After Base/Python/slicer/ScriptedLoadableModule.py. Left out: the developer's buttons, screenshots, and parameter
nodes of which a scene has several.
"""

from __future__ import annotations

import importlib
import logging
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from PySide6 import QtGui, QtWidgets


class ScriptedLoadableModule:
    """Slicer makes one at start-up and reads from `parent` what the module is called and where it belongs."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = parent.helpText = parent.acknowledgementText = ""
        parent.categories = parent.dependencies = parent.contributors = []
        icon = Path(parent.path).parent / f"Resources/Icons/{self.moduleName}.png"
        if icon.is_file():
            parent.icon = QtGui.QIcon(str(icon))
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Run the module's test class, which is found by its name."""
        tests = getattr(importlib.import_module(type(self).__module__), f"{self.moduleName}Test")()
        tests.messageDelay = msec
        tests.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The panel. Without a parent it makes one, sets itself up and shows itself, all before `__init__` returns."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        if not parent:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(QtWidgets.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if not parent:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Here Slicer adds the developer's buttons."""

    def cleanup(self) -> None:
        """Called before the module is unloaded or reloaded."""

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """What a module can do without its panel; its parameters are a singleton node, which outlives a closed scene."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        node.SetAttribute("ModuleName", self.moduleName)  # closing the scene takes it
        return node

    def createParameterNode(self) -> Any:
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of a module's own tests, which run in the application."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        slicer.util.delayDisplay(message, getattr(self, "messageDelay", msec or requestedDelay or 100))

    def runTest(self) -> None:
        logging.warning("No test is defined in %s", type(self).__name__)


_BASES = (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)


def scripted_loadable_module() -> ModuleType:
    module = ModuleType("slicer.ScriptedLoadableModule")
    vars(module).update({cls.__name__: cls for cls in _BASES}, __all__=[cls.__name__ for cls in _BASES])
    return module


def i18n() -> ModuleType:
    """Texts stay English."""
    module = ModuleType("slicer.i18n")
    vars(module).update(tr=lambda text: text, translate=lambda context, text: text)
    return module
