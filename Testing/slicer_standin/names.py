"""Which names of Slicer, CTK and Qt 5.15 exist, as `names.json` records them, and which a module file uses.

The record says in which source file each class is declared; a name gets in by looking it up there. Of a class in
Slicer or CTK only what PythonQt shows counts: properties, signals, slots, Q_INVOKABLE methods, and enum values.
"""

from __future__ import annotations

import ast
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECORD: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))

_RETURNS = {
    "layoutManager": "qMRMLLayoutManager",
    "moduleManager": "qSlicerModuleManager",
    "settings": "QSettings",
    "sliceView": "qMRMLSliceView",
    "sliceWidget": "qMRMLSliceWidget",
    "userSettings": "QSettings",
}
"""Method -> class of what it returns."""


def own_members(cls: str) -> set[str]:
    """Names that the class itself declares."""
    entry = RECORD[cls]
    signals = {signal.split("(")[0] for signal in entry.get("signals", ())}
    return {*entry.get("properties", "").split(), *entry.get("methods", "").split(), *signals}


def exists(cls: str, member: str) -> bool:
    """Whether a class, or one that it inherits, is recorded with this name; an empty name asks for the class."""
    if cls not in RECORD:
        return False
    return not member or member in own_members(cls) or exists(RECORD[cls]["inherits"], member)


def used(module: Path, ui: Path | None = None) -> set[tuple[str, str]]:
    """(class, member) of what a module file and its .ui file use, as far as the classes can be told from the text."""
    widgets = dict(_widgets(ui)) if ui else {}
    tree = ast.parse(module.read_text(encoding="utf-8"))
    kinds = {f"self.ui.{name}": cls for name, cls in widgets.items()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (cls := _kind(node.value, kinds)):
            kinds |= {ast.unparse(target): cls for target in node.targets}
    found = {entry for node in ast.walk(tree) for entry in _uses(node, kinds)}
    return found | (set(_in_form(ui, widgets)) if ui else set())


def _kind(node: ast.AST, kinds: dict[str, str]) -> str | None:
    """Class of an expression; of `self.x` too, whichever method assigned it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _class(node.func) or _RETURNS.get(node.func.attr)
    text = ast.unparse(node)
    return "qSlicerApplication" if text == "slicer.app" else kinds.get(text)


def _class(node: ast.AST) -> str | None:
    """`qt.QLabel`, `ctk.ctkComboBox`, `slicer.qMRMLWidget`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        of_slicer = node.value.id == "slicer" and node.attr[0] == "q"
        return node.attr if of_slicer or node.value.id in ("qt", "ctk") else None
    return None


def _uses(node: ast.AST, kinds: dict[str, str]) -> Iterator[tuple[str, str]]:
    if cls := _class(node):
        yield cls, ""
    if isinstance(node, ast.Attribute) and (cls := _class(node.value) or _kind(node.value, kinds)):
        yield cls, node.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect":
        cls, signal = _kind(node.func.value, kinds), node.args[0]
        if cls and isinstance(signal, ast.Constant):
            yield cls, str(signal.value).split("(")[0]


def _widgets(ui: Path) -> Iterator[tuple[str, str]]:
    for widget in ElementTree.parse(ui).getroot().iter("widget"):
        yield widget.get("name", ""), widget.get("class", "")


def _in_form(ui: Path, widgets: dict[str, str]) -> Iterator[tuple[str, str]]:
    root = ElementTree.parse(ui).getroot()
    for element in (*root.iter("widget"), *root.iter("layout")):
        cls = element.get("class", "")
        yield cls, ""
        for entry in element.findall("property"):
            if entry.get("stdset") != "0" and entry.get("name") not in ("geometry", "leftMargin", "topMargin"):
                yield cls, entry.get("name", "")
    for connection in root.iter("connection"):
        for end, member in (("sender", "signal"), ("receiver", "slot")):
            yield widgets[connection.findtext(end, "")], connection.findtext(member, "").split("(")[0]
