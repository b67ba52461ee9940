"""Every name that is offered, and every name that the panel uses, is recorded with its source."""

from pathlib import Path
from typing import Any

import pytest

from slicer_standin import ctk_widgets, factory, mrml_widgets, names, qapplication, views

REPOSITORY = Path(__file__).parents[3]
STAND_INS = (
    *ctk_widgets.CTK,
    *mrml_widgets.MRML,
    factory.qSlicerScriptedLoadableModule,
    factory.qSlicerScriptedLoadableModuleWidget,
    qapplication.qSlicerApplication,
    qapplication.qSlicerModuleManager,
    views.qMRMLLayoutManager,
    views.qMRMLSliceView,
    views.qMRMLSliceWidget,
)
EVENTS = {"event", "hitButton", "paintEvent", "sizeHint", "staticMetaObject", "shown", "answer"}
"""Qt's virtual methods, and what only a test uses."""


def offered(cls: type) -> set[str]:
    return {name for base in _ours(cls) for name in vars(base) if name[0] != "_"} - EVENTS


def _ours(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base.__module__.startswith("slicer_standin")]


@pytest.mark.parametrize("cls", STAND_INS, ids=lambda cls: cls.__name__)
def test_stand_in_offers_only_recorded_names(cls: type) -> None:
    assert {name for name in offered(cls) if not names.exists(cls.__name__, name)} == set()


@pytest.mark.parametrize("cls", STAND_INS, ids=lambda cls: cls.__name__)
def test_recorded_name_is_offered(cls: type) -> None:
    assert {name for name in names.own_members(cls.__name__) if not hasattr(cls, name)} == set()


def test_signals_are_recorded_with_their_arguments(application: Any) -> None:
    given = {"qSlicerApplication": application, "qMRMLLayoutManager": application.layoutManager()}
    widgets = {cls.__name__: cls() for cls in (*ctk_widgets.CTK, *mrml_widgets.MRML)}
    for name, sender in (given | widgets).items():
        for signal in names.RECORD[name].get("signals", ()):
            assert sender.connect(signal, lambda: None), signal


def test_each_class_is_recorded_with_a_source() -> None:
    assert [cls for cls, entry in names.RECORD.items() if not entry["source"].endswith(".h")] == []
    assert {entry["inherits"] for entry in names.RECORD.values()} - set(names.RECORD) == {""}


def test_names_of_qt_exist_in_qt_6_too(application: Any) -> None:
    import qt

    own = {"exec_", "delete", "className", "name"}  # PythonQt's
    of_qt = [cls for cls, entry in names.RECORD.items() if entry["source"].startswith("qt/")]
    missing = {
        (cls, name) for cls in of_qt for name in names.own_members(cls) - own if not hasattr(getattr(qt, cls), name)
    }
    assert missing == set()


@pytest.mark.parametrize("file", ["RegistrationNet/RegistrationNet.py", "Testing/Python/standin/example/Example.py"])
def test_module_uses_only_recorded_names(file: str) -> None:
    module = REPOSITORY / file
    form = module.parent / f"Resources/UI/{module.stem}.ui"
    used = names.used(module, form if form.exists() else None)
    assert len(used) > 10
    assert {entry for entry in used if not names.exists(*entry)} == set()


def test_names_that_do_not_exist_are_found(tmp_path: Path) -> None:
    module = tmp_path / "Wrong.py"
    module.write_text(
        "class Widget:\n"
        "    def setup(self):\n"
        "        self.button = qt.QPushButton('Go')\n"
        "        self.button.caption = 'Stop'\n"
        "        self.button.connect('pushed()', self.go)\n"
        "        slicer.app.layoutManager().flicker()\n"
        "        ctk.ctkWheel()\n",
        encoding="utf-8",
    )
    wrong = {entry for entry in names.used(module) if not names.exists(*entry)}
    assert wrong == {
        ("QPushButton", "caption"),
        ("QPushButton", "pushed"),
        ("qMRMLLayoutManager", "flicker"),
        ("ctkWheel", ""),
    }
