"""Slicer's other widgets on a scene: the panel's frame, tables, the list of the subject hierarchy, an empty plot."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicer_standin.node_combo_box import ObservesScene, observe, qMRMLCheckableNodeComboBox, qMRMLNodeComboBox
from slicer_standin.pythonqt import stand_in, stored

_SEVERAL = QtWidgets.QAbstractItemView.ExtendedSelection


@stand_in
class qMRMLWidget(ObservesScene, QtWidgets.QWidget):
    """A widget with a scene; the root of a panel's .ui file, whose `mrmlSceneChanged` hands the scene on."""

    mrmlSceneChanged = Signal(object)

    def _sceneSet(self) -> None:
        self.mrmlSceneChanged.emit(self.mrmlScene())


@stand_in
class qMRMLTableView(QtWidgets.QTableView):
    """The values of a table node, followed when it is modified. Limits: read only, never transposed."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = self._node = self._tag = None
        self.setModel(QtGui.QStandardItemModel(self))

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlTableNode(self) -> Any:
        return self._node

    def setMRMLTableNode(self, node: Any) -> None:
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        self._tag = observe(self, node, vtk.vtkCommand.ModifiedEvent, self._fill) if node is not None else None
        self._fill()

    def _fill(self, *_: Any) -> None:
        self.model().clear()
        table = self._node.GetTable() if self._node is not None else None
        for column in range(table.GetNumberOfColumns() if table else 0):
            values = [table.GetValue(row, column).ToString() for row in range(table.GetNumberOfRows())]
            self.model().appendColumn([QtGui.QStandardItem(value) for value in values])
            self.model().setHeaderData(column, Qt.Horizontal, table.GetColumnName(column))


@stand_in
class qMRMLSubjectHierarchyTreeView(ObservesScene, QtWidgets.QTreeView):
    """The data nodes of the subject hierarchy. Limits: a list without branches, folders and menus."""

    currentItemChanged = Signal("qlonglong")
    currentItemsChanged = Signal(object)
    nodeTypes = stored("QStringList", "nodeTypes", (), "_sceneChanged")
    multiSelection = Property(
        bool, lambda self: self.selectionMode == _SEVERAL, lambda self, several: self.setMultiSelection(several)
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setModel(QtGui.QStandardItemModel(self))
        self.setMultiSelection(False)
        self.selectionModel().selectionChanged.connect(self._emitCurrentItem)

    def setMultiSelection(self, several: bool) -> None:
        self.setSelectionMode(_SEVERAL if several else QtWidgets.QAbstractItemView.SingleSelection)

    def subjectHierarchyNode(self) -> Any:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.mrmlScene())

    def displayedItemCount(self) -> int:
        return self.model().rowCount()

    def currentItem(self) -> int:
        """The first selected item; 0, which is no item, where none is."""
        return next(iter(self._selected()), 0)

    def currentItems(self, items: Any) -> None:
        """Fill a `vtkIdList`, as scripts must."""
        items.Reset()
        for item in self._selected():
            items.InsertNextId(item)

    def setCurrentItem(self, item: int) -> None:
        self.clearSelection()
        self._select(item)

    def setCurrentItems(self, items: Any) -> None:
        self.clearSelection()
        for i in range(items.GetNumberOfIds()):
            self._select(items.GetId(i))

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentItem(self.subjectHierarchyNode().GetItemByDataNode(node))

    def _select(self, item: int) -> None:
        selection = self.selectionModel()
        for row in range(self.model().rowCount()):
            if self.model().item(row).data() == item:
                selection.select(self.model().index(row, 0), selection.SelectionFlag.Select)

    def _selected(self) -> list[int]:
        return [self.model().itemFromIndex(index).data() for index in self.selectedIndexes()]

    def _emitCurrentItem(self, *_: Any) -> None:
        self.currentItemChanged.emit(self.currentItem())
        self.currentItemsChanged.emit(self._selected())

    def _sceneChanged(self) -> None:
        self.model().clear()
        scene = self.mrmlScene()
        if scene is None:
            return
        hierarchy, items = self.subjectHierarchyNode(), vtk.vtkIdList()
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
        for item in (items.GetId(i) for i in range(items.GetNumberOfIds())):
            node = hierarchy.GetItemDataNode(item)
            if node is not None and (not self.nodeTypes or any(node.IsA(name) for name in self.nodeTypes)):
                row = QtGui.QStandardItem(node.GetName())
                row.setData(item)
                self.model().appendRow(row)


@stand_in
class qMRMLPlotView(QtWidgets.QFrame):
    """An empty frame that knows its view node: plots are drawn by Qt code of Slicer that is not here."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = self._node = None
        self.setFrameShape(QtWidgets.QFrame.StyledPanel)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node

    def fitToContent(self) -> None:
        """Nothing is drawn."""


MRML = (
    qMRMLCheckableNodeComboBox,
    qMRMLNodeComboBox,
    qMRMLPlotView,
    qMRMLSubjectHierarchyTreeView,
    qMRMLTableView,
    qMRMLWidget,
)
