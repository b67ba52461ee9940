"""For a panel written in PySide6's manner: Qt as it is, and of Slicer only as much as that panel needs.

The application (`application.running`) is for panels in Slicer's own manner; this goes when there is no other.
"""

import sys
import unittest
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from slicer_standin import qapplication


class CollapsibleButton(QtWidgets.QGroupBox):
    def setText(self, text: str) -> None:
        self.setTitle(text)


class MRMLWidget(QtWidgets.QWidget):
    def setMRMLScene(self, scene: Any) -> None:
        self.scene = scene


class NodeComboBox(QtWidgets.QComboBox):
    """Holds one node of a scene; refuses nodes of other types and of other scenes."""

    nodeTypes = ()
    addEnabled = removeEnabled = True
    noneEnabled = False

    def __init__(self) -> None:
        super().__init__()
        self._node: Any = None
        self._listeners: list[Any] = []

    def setMRMLScene(self, scene: Any) -> None:
        self.scene = scene

    def connect(self, signal: str, listener: Any) -> None:
        if signal != "currentNodeChanged(vtkMRMLNode*)":
            raise RuntimeError(f"qMRMLNodeComboBox stand-in: no signal {signal}.")
        self._listeners.append(listener)

    def currentNode(self) -> Any:
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        if node is not None and not (node.GetScene() is self.scene and node.GetClassName() in self.nodeTypes):
            raise ValueError(f"qMRMLNodeComboBox stand-in: '{node.GetName()}' cannot be shown here.")
        self._node = node
        for listener in self._listeners:
            listener(node)


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.parent = parent or MRMLWidget()
        self.layout = self.parent.layout() or QtWidgets.QVBoxLayout(self.parent)

    def setup(self) -> None:
        pass


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        pass


class ScriptedLoadableModuleTest(unittest.TestCase):
    pass


def install(monkeypatch: Any) -> None:
    """Put the stand-ins where the module looks for them, with an empty scene, for the length of one test."""
    qt = _module("qt", {"__getattr__": _from_qt})
    ctk = _module("ctk", {"ctkCollapsibleButton": CollapsibleButton})
    base = _module(
        "slicer.ScriptedLoadableModule",
        {
            base.__name__: base
            for base in (
                ScriptedLoadableModule,
                ScriptedLoadableModuleWidget,
                ScriptedLoadableModuleLogic,
                ScriptedLoadableModuleTest,
            )
        },
    )
    i18n = _module("slicer.i18n", {"tr": lambda text: text, "translate": lambda context, text: text})
    for module in (qt, ctk, base, i18n):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    application = qapplication.instance()
    app = SimpleNamespace(
        testingEnabled=lambda: True,
        setOverrideCursor=application.setOverrideCursor,
        restoreOverrideCursor=application.restoreOverrideCursor,
    )
    for name, value in {
        "app": app,
        "mrmlScene": slicer.vtkMRMLScene(),
        "qMRMLWidget": MRMLWidget,
        "qMRMLNodeComboBox": NodeComboBox,
    }.items():
        monkeypatch.setattr(slicer, name, value, raising=False)


def _module(name: str, content: dict[str, Any]) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module


def _from_qt(name: str) -> Any:
    """PythonQt has one flat `qt` where PySide6 has three modules."""
    for part in (QtCore, QtGui, QtWidgets):
        if hasattr(part, name):
            return getattr(part, name)
    raise AttributeError(f"module 'qt' has no attribute {name!r}")
