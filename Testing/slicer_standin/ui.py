"""The modules `qt` and `ctk`, and a QUiLoader that knows the stand-ins."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from slicer_standin import pythonqt
from slicer_standin.ctk_widgets import CTK
from slicer_standin.mrml_widgets import MRML

_KNOWN = {cls.__name__: cls for cls in CTK + MRML}
_ENDS = ("sender", "signal", "receiver", "slot")


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file as Slicer does by its Designer plugins.

    A custom widget without a stand-in is an error, where Qt would quietly make a plain QWidget. Qt cannot connect
    signals whose arguments are VTK objects, such as `mrmlSceneChanged(vtkMRMLScene*)`: those are made here.
    """

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        for cls in _KNOWN.values():
            self.registerCustomWidget(cls)

    def load(self, device: QtCore.QIODevice, parent: Any = None) -> Any:
        """The root widget of an open .ui file, which is closed."""
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        device.close()
        _refuse_unknown(root)
        connections = _take_connections(root)
        text = QtCore.QBuffer()
        text.setData(ElementTree.tostring(root))
        text.open(QtCore.QIODevice.ReadOnly)
        with pythonqt.filling_forms():
            widget = super().load(text, parent)
        if widget is None:
            raise RuntimeError(self.errorString())
        named = {child.objectName: child for child in (widget, *widget.findChildren(QtCore.QObject))}
        for sender, signal, receiver, slot in connections:
            named[sender].connect(signal, named[receiver], slot)
        return widget


def _refuse_unknown(root: ElementTree.Element) -> None:
    declared = {entry.findtext("class") for entry in root.iter("customwidget")}
    unknown = sorted({widget.get("class") for widget in root.iter("widget")} & declared - set(_KNOWN))
    if unknown:
        raise RuntimeError(f"No stand-in for the widgets {', '.join(unknown)}.")


def _take_connections(root: ElementTree.Element) -> list[list[str]]:
    """All connections, out of the document."""
    section = root.find("connections")
    if section is None:
        return []
    root.remove(section)
    return [[connection.findtext(end, "") for end in _ENDS] for connection in section]


def qt() -> ModuleType:
    """One flat module, as PythonQt has it, with Qt's classes and nothing of PySide6's own."""
    module = ModuleType("qt")
    for part in (QtNetwork, QtUiTools, QtCore, QtGui, QtWidgets):
        vars(module).update({name: getattr(part, name) for name in dir(part) if name[0] == "Q"})
    module.QUiLoader = QUiLoader
    return module


def ctk() -> ModuleType:
    module = ModuleType("ctk")
    vars(module).update({cls.__name__: cls for cls in CTK})
    return module
