"""Which widget can show which parameter, and how.

After Base/Python/slicer/parameterNodeWrapper/{guiConnectors,validators}.py. As there the widget's class must be the
very one: a subclass is refused, and so is any pair that is not listed.
"""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLineEdit, QPushButton, QSlider, QSpinBox, QTextEdit

from slicer_standin.ctk_widgets import ctkPathLineEdit, ctkSliderWidget
from slicer_standin.node_combo_box import qMRMLNodeComboBox


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclass(frozen=True)
class Minimum:
    minimum: float

    def validate(self, value: float) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


@dataclass(frozen=True)
class Maximum:
    maximum: float

    def validate(self, value: float) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


@dataclass(frozen=True)
class Choice:
    choices: Sequence[Any]

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


@dataclass(frozen=True)
class Decimals:
    value: int


@dataclass(frozen=True)
class SingleStep:
    value: float


class Connector:
    """A widget that shows a value: by its signal, and by functions that read and write it."""

    def __init__(self, signal: Any, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self.read, self.write = read, write
        self._signal = signal
        self._callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        if self._callback is not None:
            self._signal.disconnect(self._changed)
        if callback is not None:
            self._signal.connect(self._changed)
        self._callback = callback

    def _changed(self) -> None:
        if self._callback is not None:
            self._callback()


def connector(widget: Any, parameter: Any) -> Connector:
    """Bind this widget to a parameter (`kind`, `annotations`), after setting its range or entries."""
    kind, notes = parameter.kind, parameter.annotations
    for widgets, fits, bind in _BINDINGS:
        if type(widget) in widgets and fits(kind):
            return bind(widget, kind, notes)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget type '{type(widget)}'")


def _by(signal: str, attribute: str) -> Callable[..., Connector]:
    def bind(widget: Any, kind: Any, notes: Sequence[Any]) -> Connector:
        return Connector(
            getattr(widget, signal), lambda: getattr(widget, attribute), lambda value: setattr(widget, attribute, value)
        )

    return bind


def _push_button(widget: Any, kind: Any, notes: Sequence[Any]) -> Connector:
    widget.checkable = True
    return _by("toggled", "checked")(widget, kind, notes)


def _number(widget: Any, kind: Any, notes: Sequence[Any]) -> Connector:
    ranges = [note for note in notes if isinstance(note, WithinRange | Minimum | Maximum)]
    unlimited = (-(2**31), 2**31 - 1) if kind is int else (float("-inf"), float("inf"))
    low = next((note.minimum for note in ranges if hasattr(note, "minimum")), unlimited[0])
    high = next((note.maximum for note in ranges if hasattr(note, "maximum")), unlimited[1])
    if isinstance(widget, QSlider | ctkSliderWidget) and (low == unlimited[0] or high == unlimited[1]):
        raise RuntimeError("A slider cannot show a number without a range.")
    for note in notes:
        if isinstance(note, Decimals):
            widget.decimals = note.value
        if isinstance(note, SingleStep):
            widget.singleStep = note.value
    widget.minimum, widget.maximum = low, high
    return _by("valueChanged", "value")(widget, kind, notes)


def _combo_box(widget: Any, kind: Any, notes: Sequence[Any]) -> Connector:
    choices = [choice for note in notes if isinstance(note, Choice) for choice in note.choices]
    labels = [str(choice) for choice in choices]
    if issubclass(kind, enum.Enum):
        choices = list(kind)
        labels = [choice.label() if hasattr(kind, "label") else choice.name for choice in choices]
    if not choices:
        raise RuntimeError("A combo box needs the Choice annotation or an enum.")
    widget.clear()
    widget.addItems(labels)

    def write(value: Any) -> None:
        widget.currentIndex = choices.index(value)

    return Connector(widget.currentIndexChanged, lambda: choices[widget.currentIndex], write)


def _text_edit(widget: Any, kind: Any, notes: Sequence[Any]) -> Connector:
    return Connector(widget.textChanged, widget.toPlainText, widget.setPlainText)


def _path(widget: Any, kind: Any, notes: Sequence[Any]) -> Connector:
    def write(path: pathlib.Path) -> None:
        widget.currentPath = str(path)

    return Connector(widget.currentPathChanged, lambda: pathlib.Path(widget.currentPath), write)


def _node(widget: Any, kind: Any, notes: Sequence[Any]) -> Connector:
    widget.nodeTypes = [kind.__name__]  # as Slicer does, whatever the .ui file says
    return Connector(widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)


def _one_of(*kinds: type) -> Callable[[Any], bool]:
    return lambda kind: kind in kinds


def _subclass_of(base: Callable[[], type]) -> Callable[[Any], bool]:
    return lambda kind: isinstance(kind, type) and issubclass(kind, base())


_BINDINGS: tuple[tuple[tuple[type, ...], Callable[[Any], bool], Callable[..., Connector]], ...] = (
    ((QCheckBox,), _one_of(bool), _by("stateChanged", "checked")),
    ((QPushButton,), _one_of(bool), _push_button),
    ((QSlider, QSpinBox), _one_of(int), _number),
    ((QDoubleSpinBox, ctkSliderWidget), _one_of(float), _number),
    ((QComboBox,), _one_of(int, float, str, bool), _combo_box),
    ((QComboBox,), _subclass_of(lambda: enum.Enum), _combo_box),
    ((QLineEdit,), _one_of(str), _by("textChanged", "text")),
    ((QTextEdit,), _one_of(str), _text_edit),
    ((ctkPathLineEdit,), _one_of(pathlib.Path), _path),
    ((qMRMLNodeComboBox,), _subclass_of(lambda: slicer.vtkMRMLNode), _node),
)
