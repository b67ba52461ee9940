"""PythonQt's attribute rules on PySide6's classes, for the length of a `with`.

Slicer's scripts see Qt through PythonQt, whose rules differ from PySide6's (source: MeVisLab/pythonqt,
src/PythonQtInstanceWrapper.cpp, PythonQtClassInfo.cpp and PythonQtSignalReceiver.cpp):

* a Qt property is an attribute: `edit.text`, so `edit.text()` is a TypeError; `name` is `objectName`;
* dynamic properties and children with a name are attributes too;
* nothing else can be put on an object of a C++ class, nor can a slot or signal be overwritten;
* `sender.connect("signal(type)", callable)` holds the callable and drops arguments that it does not take;
* a list of a property comes back as a tuple.

Stricter than PythonQt in one way: a signal that does not exist is an error, where PythonQt prints and goes on.
Looser in one: `sender.signal.connect(method)` is PySide6's own and does not keep the method's object alive.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import MethodDescriptorType, MethodType
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

QObject = QtCore.QObject

errors: list[BaseException] = []
"""Raised in slots and observers, where Slicer prints them and goes on; tests assert that there were none."""

_NO_ATTRIBUTES = {"sizeHint", "minimumSizeHint", "duration", "singleShot"}
"""Properties that stay methods: three because overrides in Python would be hidden, the last as in PythonQt."""

_TYPES = {r"vtkIdType": "qlonglong", r"vtk\w+\*|QList<vtkIdType>|QVariant": "PyObject"}
"""Types of signals in Slicer -> in the stand-ins."""

_get, _set = QObject.property, QObject.setProperty
_connect, _disconnect, _find_children = QObject.connect, QObject.disconnect, QObject.findChildren

_connections: dict[int, list[tuple[str, Callable[..., Any], Callable[..., None]]]] = {}
"""C++ address of a sender -> signature, callable, and the slot that stands for it."""

_before: list[tuple[type, str, Any]] = []
_ABSENT = object()
_filling: list[bool] = []
"""Holds something while a form is loaded."""


@contextmanager
def filling_forms() -> Iterator[None]:
    """While PySide6 loads a form."""
    _filling.append(True)
    try:
        yield
    finally:
        _filling.pop()


@contextmanager
def rules() -> Iterator[None]:
    """PythonQt's rules for the whole process; errors of slots and observers go to `errors`."""
    if _before:
        raise RuntimeError("The rules of PythonQt hold already: there is one application in a process.")
    hook = sys.excepthook
    try:
        _impose()
        sys.excepthook = _record(hook)
        yield
    finally:
        sys.excepthook = hook
        _connections.clear()
        while _before:
            cls, name, value = _before.pop()
            if value is _ABSENT:
                delattr(cls, name)
            else:
                setattr(cls, name, value)


def stand_in(cls: type) -> type:
    """Decorator of a stand-in, which scripts see as a C++ class: they cannot put attributes on its objects."""
    cls._stand_in = True
    return cls


def stored(kind: Any, name: str, default: Any, changed: str = "", notify: str = "") -> QtCore.Property:
    """A Qt property kept in the Python object; a change calls the method `changed`, then emits `notify`."""

    def get(self: Any) -> Any:
        return self.__dict__.get(f"_{name}", default)

    def put(self: Any, value: Any) -> None:
        before = get(self)
        value = tuple(value) if isinstance(value, list) else value
        self.__dict__[f"_{name}"] = value
        if value != before and changed:
            getattr(self, changed)()
        if value != before and notify:
            getattr(self, notify).emit(value)

    return QtCore.Property(kind, get, put)


class _Property(property):
    """A Qt property as an attribute, by Qt's own methods where it has them."""

    def __init__(self, cls: type, name: str, writable: bool) -> None:
        native = isinstance(inspect.getattr_static(cls, name, None), MethodDescriptorType)
        read = getattr(cls, name) if native else lambda obj: _get(obj, name)
        write = getattr(cls, f"set{name[0].upper()}{name[1:]}", None) if native else None

        def get(obj: Any) -> Any:
            value = read(obj)
            return tuple(value) if isinstance(value, list) else value

        def put(obj: Any, value: Any) -> None:
            if not writable:
                raise AttributeError(f"Property '{name}' of {type(obj).__name__} object is not writable")
            try:
                accepted = write(obj, value) is None if write else _set(obj, name, _listed(value))
            except TypeError:
                accepted = False
            if not accepted:
                raise AttributeError(f"Property '{name}' of {type(obj).__name__} does not accept {value!r}")

        super().__init__(get, put)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _impose() -> None:
    for cls, properties in _classes().items():
        for name, writable in properties.items():
            _replace(cls, name, _Property(cls, name, writable))
        if "__setattr__" in cls.__dict__:
            _replace(cls, "__setattr__", _set_attribute)
        if "__getattribute__" in cls.__dict__:  # PySide6 answers `connect` in here, before any lookup
            _replace(cls, "__getattribute__", _with_our_connect(cls.__getattribute__))
    _replace(QObject, "name", property(lambda self: self.objectName, lambda self, name: self.setObjectName(name)))
    for name, method in {
        "__getattr__": _get_attribute,
        "className": lambda self: self.metaObject().className(),
        "connect": connect,
        "delete": lambda self: self.deleteLater(),
        "disconnect": disconnect,
        "findChild": lambda self, kind=QObject, name="": next(iter(find_children(self, kind, name)), None),
        "findChildren": find_children,
    }.items():
        _replace(QObject, name, method)


@cache
def _classes() -> dict[type, dict[str, bool]]:
    """All classes of Qt objects, bases first, with their own properties and whether these can be written."""
    modules = (QtCore, QtGui, QtWidgets)
    named = (getattr(module, name) for module in modules for name in dir(module))  # PySide6 makes them when asked for
    found = {cls for cls in named if isinstance(cls, type) and issubclass(cls, QObject)}
    return {cls: _properties(cls.staticMetaObject) for cls in sorted(found, key=lambda cls: len(cls.__mro__))}


def _properties(meta: Any) -> dict[str, bool]:
    own = [meta.property(i) for i in range(meta.propertyOffset(), meta.propertyCount())]
    return {entry.name(): entry.isWritable() for entry in own if entry.name() not in _NO_ATTRIBUTES}


def _replace(cls: type, name: str, value: Any) -> None:
    _before.append((cls, name, cls.__dict__.get(name, _ABSENT)))
    setattr(cls, name, value)


def _record(hook: Callable[..., Any]) -> Callable[..., None]:
    def record(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        errors.append(error)
        hook(kind, error, trace)

    return record


def _set_attribute(self: Any, name: str, value: Any) -> None:
    cls = type(self)
    found = next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)
    native = cls.__module__.startswith("PySide6.")
    ours = "_stand_in" in cls.__dict__
    if hasattr(type(found), "__set__"):
        found.__set__(self, value)
    elif isinstance(value, QtCore.SignalInstance):
        self.__dict__[name] = value  # PySide6 itself, when a signal is first asked for
    elif isinstance(found, MethodDescriptorType | QtCore.Signal):
        raise AttributeError(f"'{name}' can not be overwritten on {cls.__name__} object")
    elif isinstance(found, QtCore.Property) or name in _dynamic(self):
        _set(self, name, _listed(value))
    elif _filling and isinstance(value, QObject) and not name.startswith("_"):
        pass  # PySide6 hangs the widgets of a form on its root, PythonQt does not
    elif native or (ours and not name.startswith("_")):
        raise AttributeError(
            f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
        )
    else:
        self.__dict__[name] = value


def _get_attribute(self: Any, name: str) -> Any:
    if not name.startswith("_"):
        if name in _dynamic(self):
            return _get(self, name)
        for child in self.children():
            if child.objectName == name:
                return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _dynamic(obj: Any) -> set[str]:
    return {bytes(name.data()).decode() for name in obj.dynamicPropertyNames()}


def _with_our_connect(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    ours = {"connect": connect, "disconnect": disconnect}
    return lambda self, name: MethodType(ours[name], self) if name in ours else original(self, name)


def connect(sender: Any, signal: Any, *target: Any) -> bool:
    """`sender.connect("signal(type)", callable)` or `(..., receiver, "slot(type)")`."""
    if not isinstance(signal, str):  # PySide6 itself: connect(sender, "2signal()", callable)
        return bool(_connect(signal, *target))
    known = _signature(sender, signal)
    if known is None:
        raise RuntimeError(f"Signal '{signal}' does not exist on {sender.metaObject().className()}")
    function = _callable(target)
    slot = _dropping_surplus(function)
    address = shiboken6.getCppPointer(sender)[0]
    if address not in _connections:
        _connections[address] = []
        _connect(sender, QtCore.SIGNAL("destroyed()"), lambda: _connections.pop(address, None))
    _connections[address].append((known, function, slot))
    return bool(_connect(sender, QtCore.SIGNAL(known), slot))


def disconnect(sender: Any, signal: Any = None, *target: Any) -> bool:
    """Undo one `connect` of this callable, or without one all of this signal; False where there was none."""
    if not isinstance(signal, str):
        return bool(_disconnect(signal, *target))
    known = _signature(sender, signal)
    all_here = _connections.get(shiboken6.getCppPointer(sender)[0], [])
    function = _callable(target) if target else None
    found = [entry for entry in all_here if entry[0] == known and function in (None, entry[1])]
    for entry in found[:1] if target else found:
        all_here.remove(entry)
        _disconnect(sender, QtCore.SIGNAL(entry[0]), entry[2])
    return bool(found)


def _signature(sender: Any, signal: str) -> str | None:
    """The signal as the sender's meta-object writes it."""
    meta = sender.metaObject()
    written = bytes(QtCore.QMetaObject.normalizedSignature(signal.lstrip("2")).data()).decode()
    translated = written
    for slicer_type, our_type in _TYPES.items():
        translated = re.sub(rf"(?<![\w<])(?:{slicer_type})", our_type, translated)
    return next((known for known in (written, translated) if meta.indexOfSignal(known) >= 0), None)


def _callable(target: tuple[Any, ...]) -> Callable[..., Any]:
    if callable(target[0]):
        return target[0]
    return getattr(target[0], target[1].lstrip("12").split("(")[0])


def _dropping_surplus(function: Callable[..., Any]) -> Callable[..., None]:
    """As PythonQt counts: plain functions and methods get no more than they take, other callables get all."""
    plain = getattr(function, "__func__", function)
    count = None
    if inspect.isfunction(plain) and not plain.__code__.co_flags & inspect.CO_VARARGS:
        count = plain.__code__.co_argcount - inspect.ismethod(function)
    return lambda *values: function(*values[:count]) and None


def find_children(self: Any, kind: Any = QObject, name: str = "") -> list[Any]:
    """The class may be given by its name, as a string."""
    wanted = QObject if isinstance(kind, str) else kind
    found = _find_children(self, wanted, name) if name else _find_children(self, wanted)
    return [child for child in found if child.inherits(kind)] if isinstance(kind, str) else found
