"""Qt through PythonQt's eyes."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from slicer_standin import pythonqt


@pytest.fixture
def qt(app: Any) -> Any:
    return sys.modules["qt"]


def test_property_is_an_attribute_and_no_method(qt: Any) -> None:
    edit = qt.QLineEdit("before")
    edit.text = "after"
    assert edit.text == "after"
    with pytest.raises(TypeError):
        edit.text()


def test_methods_beside_properties_stay(qt: Any) -> None:
    button = qt.QPushButton("Go")
    button.setText("Stop")
    button.setEnabled(False)
    assert (button.text, button.enabled, button.isEnabled()) == ("Stop", False, False)


def test_name_is_the_object_name(qt: Any) -> None:
    label = qt.QLabel()
    label.name = "status"
    assert (label.objectName, label.name) == ("status", "status")


def test_dynamic_property_is_an_attribute(qt: Any) -> None:
    edit = qt.QLineEdit()
    edit.setProperty("SlicerParameterName", "steps")
    assert edit.SlicerParameterName == "steps"
    edit.SlicerParameterName = "threshold"
    assert edit.property("SlicerParameterName") == "threshold"


def test_named_child_is_an_attribute(qt: Any) -> None:
    parent = qt.QWidget()
    child = qt.QLabel(parent)
    child.name = "status"
    assert parent.status is child


@pytest.mark.parametrize("name", ["invented", "setText", "textChanged"])
def test_nothing_else_can_be_put_on_a_qt_object(qt: Any, name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        setattr(qt.QLineEdit(), name, 1)


def test_nothing_can_be_put_on_a_stand_in_either(app: Any) -> None:
    import slicer

    with pytest.raises(AttributeError, match="placeholder"):
        slicer.qMRMLNodeComboBox().placeholder = 1


def test_classes_made_in_python_take_attributes(qt: Any) -> None:
    class Panel(qt.QWidget):
        pass

    panel = Panel()
    panel.state = "idle"
    assert panel.state == "idle"


def test_unknown_attribute_is_an_error(qt: Any) -> None:
    with pytest.raises(AttributeError, match="caption"):
        _ = qt.QLabel().caption


def test_wrong_type_is_refused(qt: Any) -> None:
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QSpinBox().maximum = "many"


def test_lists_come_back_as_tuples(app: Any) -> None:
    import slicer

    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLModelNode", "vtkMRMLTextNode"]
    assert box.nodeTypes == ("vtkMRMLModelNode", "vtkMRMLTextNode")


def none(got: list[Any]) -> Callable[..., None]:
    return lambda: got.append(())


def one(got: list[Any]) -> Callable[..., None]:
    return lambda text: got.append((text,))


def every(got: list[Any]) -> Callable[..., None]:
    return lambda *values: got.append(values)


@pytest.mark.parametrize(("slot", "expected"), [(none, ()), (one, ("a",)), (every, ("a",))])
def test_arguments_that_the_slot_does_not_take_are_dropped(qt: Any, slot: Any, expected: tuple[Any, ...]) -> None:
    got: list[Any] = []
    edit = qt.QLineEdit()
    edit.connect("textChanged(const QString&)", slot(got))
    edit.text = "a"
    assert got == [expected]


def test_methods_are_counted_without_self(qt: Any) -> None:
    class Listener:
        got = 0

        def hear(self) -> None:
            self.got += 1

    listener, button = Listener(), qt.QPushButton()
    button.connect("clicked(bool)", listener.hear)
    button.click()
    assert listener.got == 1


def test_connection_keeps_its_listener_alive(qt: Any) -> None:
    got: list[str] = []

    class Listener:
        def hear(self) -> None:
            got.append("heard")

    button = qt.QPushButton()
    button.connect("clicked()", Listener().hear)
    button.click()
    assert got == ["heard"]


def test_disconnect_takes_one_connection_back(qt: Any) -> None:
    got: list[str] = []
    edit, first, second = qt.QLineEdit(), one(got), one(got)
    edit.connect("textChanged(QString)", first)
    edit.connect("textChanged(QString)", second)
    assert edit.disconnect("textChanged(QString)", first)
    assert not edit.disconnect("textChanged(QString)", first)
    edit.text = "a"
    assert got == [("a",)]


def test_signal_can_be_connected_to_a_named_slot(qt: Any) -> None:
    edit, label = qt.QLineEdit(), qt.QLabel()
    edit.connect("textChanged(QString)", label, "setText(QString)")
    edit.text = "copied"
    assert label.text == "copied"


def test_signal_can_be_connected_as_an_attribute(qt: Any) -> None:
    got: list[Any] = []
    button = qt.QPushButton()
    button.clicked.connect(none(got))
    button.click()
    assert got == [()]


def test_unknown_signal_is_an_error(qt: Any) -> None:
    with pytest.raises(RuntimeError, match=r"'pushed\(\)' does not exist on QPushButton"):
        qt.QPushButton().connect("pushed()", print)


def test_children_are_found_by_the_name_of_their_class(qt: Any) -> None:
    parent = qt.QWidget()
    label, button = qt.QLabel(parent), qt.QPushButton(parent)
    assert parent.findChildren("QLabel") == [label]
    assert parent.findChild("QAbstractButton") is button
    assert (label.className(), button.inherits("QWidget")) == ("QLabel", True)


def test_error_in_a_slot_is_recorded(qt: Any) -> None:
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert [type(error) for error in pythonqt.errors] == [ZeroDivisionError]
    pythonqt.errors.clear()


def test_error_in_an_observer_is_recorded(app: Any) -> None:
    node = app.mrmlScene().AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda caller, event: 1 / 0)
    node.SetText("changed")
    assert [type(error) for error in pythonqt.errors] == [ZeroDivisionError]
    pythonqt.errors.clear()


def test_single_shot_is_the_static_function(qt: Any, app: Any) -> None:
    got: list[Any] = []
    qt.QTimer.singleShot(0, none(got))
    app.processEvents()
    assert got == [()]
