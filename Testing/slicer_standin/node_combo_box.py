"""Choosing nodes of the real scene: qMRMLNodeComboBox and its checkable kind.

Behaviour after Libs/MRML/Widgets/qMRMLNodeComboBox.cxx: the entries are "None" if it is enabled, then the nodes in
the scene's order, then the actions; which entry is current after one goes is left to Qt, as there.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakMethod

import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicer_standin.ctk_widgets import ctkComboBox
from slicer_standin.pythonqt import stand_in, stored

_NONE, _NODE, _ACTION = "none:", "node:", "action:"
"""How the data of an entry begin; what follows is the node's ID or the action's node type."""


class ObservesScene:
    """What widgets with `setMRMLScene` share: they follow the scene by `_sceneChanged`, as long as they live."""

    _EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndBatchProcessEvent", "EndCloseEvent", "EndImportEvent")

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_scene")

    def setMRMLScene(self: Any, scene: Any) -> None:
        before = self.mrmlScene()
        if scene is before:
            return
        for tag in self.__dict__.get("_sceneTags", ()):
            before.RemoveObserver(tag)
        self._scene = scene
        events = [getattr(scene, name) for name in self._EVENTS] if scene else []
        self._sceneTags = [observe(self, scene, event, self._sceneEvent) for event in events]
        self._sceneSet()

    def _sceneEvent(self, scene: Any, event: str) -> None:
        self._sceneChanged()

    def _sceneSet(self) -> None:
        self._sceneChanged()

    def _sceneChanged(self) -> None:
        pass


def observe(widget: Any, subject: Any, event: Any, method: Any) -> int:
    """Call a method of the widget on an event, as long as the widget lives, which it does not for this."""
    weak = WeakMethod(method)

    def notify(caller: Any, name: str) -> None:
        found = weak()
        if found is not None:
            found(caller, name)

    tag = subject.AddObserver(event, notify)
    widget.destroyed.connect(lambda: subject.RemoveObserver(tag))
    return tag


@stand_in
class qMRMLNodeComboBox(ObservesScene, QtWidgets.QWidget):
    """Shows the nodes of some types and holds one of them, or none.

    As in Slicer it is disabled until it has a scene, remembers a node that was set before the scene, and chooses
    nothing by itself where it has actions. What the user chooses comes from the
    `ctkComboBox` in it: `findChild("ctkComboBox").activated.emit(row)`.
    Limits: adding and deleting are the only actions, no dialogs; nothing is sorted.
    """

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUserAction = Signal(object)

    nodeTypes = stored("QStringList", "nodeTypes", (), "_sceneChanged")
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", (), "_sceneChanged")
    showHidden = stored(bool, "showHidden", False, "_sceneChanged")
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, "_sceneChanged")
    noneEnabled = stored(bool, "noneEnabled", False, "_sceneChanged")
    noneDisplay = stored(str, "noneDisplay", "None", "_sceneChanged")
    addEnabled = stored(bool, "addEnabled", True, "_sceneChanged")
    removeEnabled = stored(bool, "removeEnabled", True, "_sceneChanged")
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    baseName = stored(str, "baseName", "")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._attributes: list[tuple[str, str, Any]] = []
        self._requested = ""
        self._switching = False
        self._nodeTags: dict[str, tuple[Any, int]] = {}
        self._box = ctkComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.currentTextChanged.connect(self._emitCurrentNodeChanged)
        self._box.activated.connect(self._activated)
        self.setEnabled(False)

    currentNodeID = Property(str, lambda self: self._id(), lambda self, node_id: self.setCurrentNodeID(node_id))

    def currentNode(self) -> Any:
        scene = self.mrmlScene()
        return scene.GetNodeByID(self._id()) if scene and self._id() else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        if self.mrmlScene() is None:
            self._requested = node_id
        row = self._box.findData(_NODE + node_id)
        self._box.setCurrentIndex(row if row >= 0 else 0 if self.noneEnabled else -1)

    def nodeCount(self) -> int:
        return len(self._ids())

    def nodeFromIndex(self, index: int) -> Any:
        ids = self._ids()
        return self.mrmlScene().GetNodeByID(ids[index]) if 0 <= index < len(ids) else None

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """Only nodes with this attribute are shown, of any value where none is given; new nodes get it."""
        self._attributes.append((node_type, name, value))
        self._sceneChanged()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes = [entry for entry in self._attributes if entry[:2] != (node_type, name)]
        self._sceneChanged()

    def addNode(self, node_type: str | None = None) -> Any:
        node_type = node_type or self.nodeTypes[0]
        if node_type not in self.nodeTypes:
            return None
        scene = self.mrmlScene()
        node = scene.CreateNodeByClass(node_type)
        node.UnRegister(None)
        node.SetName(scene.GetUniqueNameByString(self.baseName or node.GetNodeTagName()))
        for _, name, value in self._attributes:
            node.SetAttribute(name, value or "")
        scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        self.mrmlScene().RemoveNode(self.currentNode())

    def _id(self) -> str:
        entry = self._box.currentData or _NONE
        return entry.removeprefix(_NODE) if entry.startswith(_NODE) else ""

    def _ids(self) -> list[str]:
        entries = (self._box.itemData(row) for row in range(self._box.count))
        return [entry.removeprefix(_NODE) for entry in entries if entry.startswith(_NODE)]

    def _sceneSet(self) -> None:
        self._switching = True
        wanted = self._id() or self._requested
        self._sceneChanged()
        self._switching = False
        self.setCurrentNodeID(wanted)
        self._requested = ""
        self.setEnabled(self.mrmlScene() is not None)

    def _sceneChanged(self) -> None:
        """Bring the entries in line with the scene, one by one, so that Qt keeps the current one or moves on."""
        entries = self._entries()
        for row in reversed(range(self._box.count)):
            if self._box.itemData(row) not in entries:
                self._box.removeItem(row)
        for row, (entry, text) in enumerate(entries.items()):
            if row >= self._box.count or self._box.itemData(row) != entry:
                self._insert(row, entry, text)
            elif self._box.itemText(row) != text:
                self._box.setItemText(row, text)
        self._followNames()

    def _insert(self, row: int, entry: str, text: str) -> None:
        """Actions that come leave the choice as it is, so that nothing is chosen by itself where there are some."""
        current = self._box.currentIndex
        self._box.insertItem(row, text, entry)
        if entry.startswith(_ACTION):
            self._box.setCurrentIndex(current)
        if entry.startswith(_NODE):
            self.nodeAdded.emit(self.mrmlScene().GetNodeByID(entry.removeprefix(_NODE)))

    def _entries(self) -> dict[str, str]:
        scene = self.mrmlScene()
        if scene is None:
            return {}
        entries = {_NONE: self.noneDisplay} if self.noneEnabled else {}
        entries |= {_NODE + node.GetID(): node.GetName() for node in _nodes(scene) if self._shows(node)}
        for node_type in self.nodeTypes if self.addEnabled else ():
            entries[_ACTION + node_type] = f"Create new {scene.GetTypeDisplayNameByClassName(node_type)}"
        if self.removeEnabled:
            entries[_ACTION] = "Delete current"
        return entries

    def _shows(self, node: Any) -> bool:
        type_fits = node.IsA if self.showChildNodeTypes else node.GetClassName().__eq__
        return (
            any(type_fits(name) for name in self.nodeTypes)
            and not any(node.IsA(name) for name in self.hideChildNodeTypes)
            and (self.showHidden or not node.GetHideFromEditors())
            and all(_has(node, name, value) for kind, name, value in self._attributes if node.IsA(kind))
        )

    def _followNames(self) -> None:
        shown = set(self._ids())
        for node_id in set(self._nodeTags) - shown:
            node, tag = self._nodeTags.pop(node_id)
            node.RemoveObserver(tag)
        for node_id in shown - set(self._nodeTags):
            node = self.mrmlScene().GetNodeByID(node_id)
            self._nodeTags[node_id] = (node, observe(self, node, vtk.vtkCommand.ModifiedEvent, self._sceneEvent))

    def _emitCurrentNodeChanged(self) -> None:
        if self._switching:
            return
        on_action = (self._box.currentData or _NONE).startswith(_ACTION)
        if on_action and self.nodeCount():  # Qt moved on to an action, which is no choice: the last node is
            self.setCurrentNode(self.nodeFromIndex(self.nodeCount() - 1))
            return
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(self._id())

    def _activated(self, row: int) -> None:
        """The user chose an entry."""
        entry = self._box.itemData(row)
        if not entry.startswith(_ACTION):
            self._box.setCurrentIndex(row)
            self.nodeActivated.emit(self.currentNode())
        elif entry != _ACTION:
            node = self.addNode(entry.removeprefix(_ACTION))
            self.setCurrentNode(node)
            self.nodeAddedByUserAction.emit(node)
        else:
            self.removeCurrentNode()


@stand_in
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Several nodes, by check marks that only this widget knows. Limits: marks cannot be clicked."""

    checkedNodesChanged = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._checked: set[str] = set()

    def checkedNodes(self) -> tuple[Any, ...]:
        return tuple(node for node in self._shownNodes() if node.GetID() in self._checked)

    def uncheckedNodes(self) -> tuple[Any, ...]:
        return tuple(node for node in self._shownNodes() if node.GetID() not in self._checked)

    def allChecked(self) -> bool:
        return not self.uncheckedNodes()

    def noneChecked(self) -> bool:
        return not self.checkedNodes()

    def checkState(self, node: Any) -> Any:
        return Qt.Checked if node in self.checkedNodes() else Qt.Unchecked

    def setCheckState(self, node: Any, state: Any) -> None:
        if node in self._shownNodes() and state != self.checkState(node):
            self._checked ^= {node.GetID()}
            self.checkedNodesChanged.emit()

    def check(self, node: Any) -> None:
        self.setCheckState(node, Qt.Checked)

    def uncheck(self, node: Any) -> None:
        self.setCheckState(node, Qt.Unchecked)

    def _shownNodes(self) -> list[Any]:
        return [self.nodeFromIndex(index) for index in range(self.nodeCount())]


def _nodes(scene: Any) -> list[Any]:
    return [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]


def _has(node: Any, name: str, value: Any) -> bool:
    found = node.GetAttribute(name)
    return found is not None and value in (None, found)
