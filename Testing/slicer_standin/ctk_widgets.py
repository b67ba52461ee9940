"""CTK's widgets that a panel needs, with CTK's names; `names.json` says in which header each is declared.

They are to be set, read and listened to as in Slicer; how they look is only near enough for a screenshot.
"""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicer_standin.pythonqt import stand_in, stored

_HEADER = 24  # pixels


class _Folds:
    """What both collapsible boxes do with their children: out of sight while unchecked, as they were when checked."""

    def _fold(self: Any) -> None:
        expanded = self.checked
        folded = self.__dict__.setdefault("_folded", [])
        for child in self.children():
            if child.isWidgetType() and not expanded and not child.isHidden():
                folded.append(child)
                child.hide()
        while expanded and folded:
            folded.pop().show()
        self.setMaximumHeight(16777215 if expanded else _HEADER)

    def event(self: Any, event: QtCore.QEvent) -> bool:
        done = super().event(event)
        if event.type() == QtCore.QEvent.LayoutRequest:  # a child came while collapsed
            self._fold()
        return done


@stand_in
class ctkCollapsibleButton(_Folds, QtWidgets.QAbstractButton):
    """A section of the panel; a button, so `text`, `checked` and `toggled` are Qt's. Unfolded at first.

    Limits: no frame around the contents (`contentsFrameShape` and the like).
    """

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.checkable = self.checked = True
        self.setContentsMargins(0, _HEADER, 0, 0)
        self.setMinimumHeight(_HEADER)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(self._toggled)

    collapsed = Property(bool, lambda self: not self.checked, lambda self, value: self.setChecked(not value))

    def _toggled(self, checked: bool) -> None:
        self._fold()
        self.contentsCollapsed.emit(not checked)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < _HEADER

    def sizeHint(self) -> QtCore.QSize:
        return self.layout().sizeHint() if self.layout() and self.checked else QtCore.QSize(200, _HEADER)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, _HEADER)
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        arrow = "▼" if self.checked else "▶"
        painter.drawText(option.rect.adjusted(8, 0, 0, 0), Qt.AlignVCenter, f"{arrow}  {self.text}")


@stand_in
class ctkCollapsibleGroupBox(_Folds, QtWidgets.QGroupBox):
    """A group box that folds when it is unchecked. Limits: Qt's check mark where CTK has an arrow."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.checkable = self.checked = True
        self.toggled.connect(self._fold)

    collapsed = Property(bool, lambda self: not self.checked, lambda self, value: self.setChecked(not value))


def _of_spin_box(kind: type, name: str) -> Property:
    return Property(kind, lambda self: getattr(self._spin, name), lambda self, value: setattr(self._spin, name, value))


@stand_in
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider beside a spin box of the same value, 0 to 99 with two decimals at first, as in CTK.

    Limits: the steps of the slider are a thousandth of the range; `tracking` is stored but dragging always tracks.
    """

    valueChanged = Signal(float)
    value = _of_spin_box(float, "value")
    minimum = _of_spin_box(float, "minimum")
    maximum = _of_spin_box(float, "maximum")
    singleStep = _of_spin_box(float, "singleStep")
    decimals = _of_spin_box(int, "decimals")
    prefix = _of_spin_box(str, "prefix")
    suffix = _of_spin_box(str, "suffix")
    pageStep = stored(float, "pageStep", 10.0)
    tracking = stored(bool, "tracking", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._spin, self._slider = QtWidgets.QDoubleSpinBox(), QtWidgets.QSlider(Qt.Horizontal)
        self._spin.setRange(0, 99)
        self._spin.setKeyboardTracking(False)
        self._slider.setRange(0, 1000)
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._slider)
        box.addWidget(self._spin)
        self._spin.valueChanged.connect(self._show)
        self._slider.sliderMoved.connect(self._dragged)

    def setValue(self, value: float) -> None:
        self.value = value

    def _show(self, value: float) -> None:
        extent = self.maximum - self.minimum
        self._slider.setValue(round(1000 * (value - self.minimum) / extent) if extent else 0)
        self.valueChanged.emit(value)

    def _dragged(self, step: int) -> None:
        self.value = self.minimum + step / 1000 * (self.maximum - self.minimum)


@stand_in
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path in a line edit. Limits: no dialog (`browse`), no history, no check that the path is valid."""

    Dirs, Files, Readable, Writable = 0x001, 0x002, 0x010, 0x020
    currentPathChanged = Signal(str)
    currentPath = Property(str, lambda self: self._edit.text, lambda self, path: self._edit.setText(path))
    filters = stored(int, "filters", Dirs | Files)
    nameFilters = stored("QStringList", "nameFilters", ())
    settingKey = stored(str, "settingKey", "")
    showBrowseButton = stored(bool, "showBrowseButton", True)
    showHistoryButton = stored(bool, "showHistoryButton", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit = QtWidgets.QLineEdit()
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._edit)
        box.addWidget(QtWidgets.QToolButton())
        self._edit.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path: str) -> None:
        self.currentPath = path

    def addCurrentPathToHistory(self) -> None:
        """Nothing is kept."""


@stand_in
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for when nothing is chosen."""

    defaultText = Property(str, lambda self: self.placeholderText, lambda self, text: self.setPlaceholderText(text))


@stand_in
class ctkMessageBox(QtWidgets.QMessageBox):
    """A dialog that does not wait: `exec_` notes its texts in `shown` and gives `answer`.

    `slicer.util` asks for one only while `slicer.app.testingEnabled()` is False.
    """

    shown: list[tuple[str, str]] = []  # noqa: RUF012  (shared by all boxes, on purpose)
    """Text and detailed text of each dialog."""
    answer = QtWidgets.QMessageBox.Ok
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")

    def exec_(self) -> Any:
        self.shown.append((self.text, self.detailedText))
        return self.answer


CTK = (
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkComboBox,
    ctkMessageBox,
    ctkPathLineEdit,
    ctkSliderWidget,
)
