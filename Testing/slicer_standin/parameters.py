"""`slicer.parameterNodeWrapper`: typed attributes kept in a parameter node and bound to widgets.

After Base/Python/slicer/parameterNodeWrapper/{wrapper,serializers,validators}.py: what is written in the node is
written as there, so a scene saved here is one that Slicer restores. Offered are str, int, float, bool, pathlib.Path,
enums, nodes and lists of the simple ones, with the annotations below; parameter packs, unions, tuples, dictionaries
and caching are not.
"""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable, Iterable, MutableSequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import slicer
import vtk

from slicer_standin import connectors
from slicer_standin.connectors import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange

RETURNS_TAG = False
"""Whether `connectGui` returns the tag that `disconnectGui` needs. Slicer's does not (its issue 7547; pull request
8667 would mend it), so that there a panel goes on writing into parameters it has left; tests may try both."""


@dataclass(frozen=True)
class Default:
    value: Any


@dataclass(frozen=True)
class _Parameter:
    name: str
    kind: Any
    """Type without annotations."""
    annotations: tuple[Any, ...]
    default: Any

    @property
    def is_node(self) -> bool:
        return isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)

    @property
    def element(self) -> Any:
        """Type of a list's elements; None for what is no list."""
        return typing.get_args(self.kind)[0] if typing.get_origin(self.kind) is list else None

    def __get__(self, wrapper: Any, owner: type | None = None) -> Any:
        if wrapper is None:
            return self
        if not self.stored_in(wrapper.parameterNode):
            self.write(wrapper.parameterNode, self.default)
        return self.read(wrapper.parameterNode)

    def __set__(self, wrapper: Any, value: Any) -> None:
        self.write(wrapper.parameterNode, value)

    def stored_in(self, node: Any) -> bool:
        return bool(node.HasParameter(f"{self.name}_len" if self.element else self.name))

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        if self.element:
            length = int(node.GetParameter(f"{self.name}_len"))
            return _List(
                self, node, [_value(self.element, node.GetParameter(f"{self.name}_{i}")) for i in range(length)]
            )
        return _value(self.kind, node.GetParameter(self.name))

    def write(self, node: Any, value: Any) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            if self.is_node:
                node.SetParameter(self.name, "")
                node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            elif self.element:
                self._write_list(node, list(value))
            else:
                node.SetParameter(self.name, _text(value))

    def _write_list(self, node: Any, values: list[Any]) -> None:
        before = int(node.GetParameter(f"{self.name}_len") or 0)
        for i, value in enumerate(values):
            node.SetParameter(f"{self.name}_{i}", _text(value))
        for i in range(len(values), before):
            node.UnsetParameter(f"{self.name}_{i}")
        node.SetParameter(f"{self.name}_len", str(len(values)))

    def check(self, value: Any) -> None:
        for single in value if self.element else [value]:
            accepted = (int, float) if self.kind is float else self.element or self.kind
            if not isinstance(single, accepted) and not (self.is_node and single is None):
                raise TypeError(f"{self.name} takes {accepted}, not {single!r}")
        for annotation in self.annotations:
            if hasattr(annotation, "validate"):
                annotation.validate(value)


def _text(value: Any) -> str:
    return value.name if isinstance(value, enum.Enum) else str(value)


def _value(kind: Any, text: str) -> Any:
    if kind is bool:
        return text == "True"
    return kind[text] if issubclass(kind, enum.Enum) else kind(text)


class _List(MutableSequence[Any]):
    """A list that writes itself into the node whenever it changes."""

    def __init__(self, parameter: _Parameter, node: Any, values: list[Any]) -> None:
        self._parameter, self._node, self._values = parameter, node, values

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._values[index] = value
        self._parameter.write(self._node, self._values)

    def __delitem__(self, index: Any) -> None:
        del self._values[index]
        self._parameter.write(self._node, self._values)

    def insert(self, index: int, value: Any) -> None:
        self._values.insert(index, value)
        self._parameter.write(self._node, self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, _List) else other)


@dataclass
class _Connections:
    """What a wrapper is bound to."""

    groups: dict[int, dict[str, connectors.Connector]] = field(default_factory=dict)
    updating: bool = False


class _Wrapper:
    """Methods that the decorator adds; `self` is an instance of the decorated class."""

    allParameters: dict[str, _Parameter]
    parameterNode: Any
    _connections: _Connections

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._connections = _Connections()
        for parameter in self.allParameters.values():
            if not parameter.stored_in(parameterNode):
                parameter.write(parameterNode, parameter.default)

    def default(self, name: str) -> Default:
        return Default(self._parameter(name).default)

    def getValue(self, name: str) -> Any:
        self._parameter(name)
        return getattr(self, name)

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name)
        setattr(self, name, value)

    def connectGui(self, gui: Any) -> int | None:
        """Bind every widget of `gui` (as of `childWidgetVariables`) that has a property SlicerParameterName."""
        named = {widget.property("SlicerParameterName"): widget for widget in vars(gui).values()}
        tag = self.connectParametersToGui({name: widget for name, widget in named.items() if name})
        return tag if RETURNS_TAG else None

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        group = {name: connectors.connector(widget, self._parameter(name)) for name, widget in mapping.items()}
        tag = max(self._connections.groups, default=-1) + 1
        self._connections.groups[tag] = group
        for name, connector in group.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._reader(name, connector))
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, self._updateGui)
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        for connector in self._connections.groups.pop(tag, {}).values():
            connector.onChanged(None)

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, was: Any) -> None:
        self.parameterNode.EndModify(was)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def AddObserver(self, event: Any, callback: Callable[..., Any], priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def _reader(self, name: str, connector: connectors.Connector) -> Callable[[], None]:
        def read() -> None:
            if not self._connections.updating:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return read

    def _updateGui(self, caller: Any, event: str) -> None:
        if self._connections.updating:
            return
        self._connections.updating = True
        try:
            for group in self._connections.groups.values():
                for name, connector in group.items():
                    connector.write(self.getValue(name))
        finally:
            self._connections.updating = False


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: each annotated name becomes a parameter, its value in the class the default."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _declared(cls, name, hint) for name, hint in hints.items()}
    for name, value in vars(_Wrapper).items():
        if name == "__init__" or not name.startswith("__"):
            if name != "__init__" and hasattr(cls, name):
                raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
            setattr(cls, name, value)
    for name, value in {"allParameters": parameters, **parameters}.items():
        setattr(cls, name, value)
    return cls


def _declared(cls: type, name: str, hint: Any) -> _Parameter:
    kind, *annotations = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
    scalar = typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind
    offered = (str, int, float, bool, pathlib.Path)
    if scalar not in offered and not _is(scalar, enum.Enum) and not _is(scalar, slicer.vtkMRMLNode):
        raise TypeError(f"The stand-in has no parameters of type {kind}: {name}")
    given = [note.value for note in annotations if isinstance(note, Default)]
    default = getattr(cls, name) if hasattr(cls, name) else next(iter(given), _usual(kind))
    return _Parameter(name, kind, tuple(note for note in annotations if not isinstance(note, Default)), default)


def _is(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _usual(kind: Any) -> Any:
    """What Slicer takes where no default is given; it may lie outside the range, which is an error there too."""
    if _is(kind, slicer.vtkMRMLNode):
        return None
    if _is(kind, enum.Enum):
        return next(iter(kind))
    return [] if typing.get_origin(kind) is list else 0 if kind is float else kind()


def module() -> ModuleType:
    made = ModuleType("slicer.parameterNodeWrapper")
    names: Iterable[Any] = (parameterNodeWrapper, Choice, Decimals, Default, Maximum, Minimum, SingleStep, WithinRange)
    vars(made).update({entry.__name__: entry for entry in names})
    return made
