"""parameterNodeWrapper: what it writes in the node, and the binding to widgets both ways."""

import enum
import pathlib
import sys
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import slicer
from PySide6 import QtWidgets

from slicer_standin import parameters
from slicer_standin.parameters import Choice, Default, Minimum, WithinRange, parameterNodeWrapper


class Side(enum.Enum):
    LEFT = 1
    RIGHT = 2


@parameterNodeWrapper
class Everything:
    volume: slicer.vtkMRMLScalarVolumeNode
    strength: Annotated[float, WithinRange(0, 10)] = 2.5
    steps: Annotated[int, WithinRange(1, 500), Default(20)]
    method: Annotated[str, Choice(["fast", "exact"])] = "fast"
    side: Side = Side.RIGHT
    invert: bool = True
    comment: str
    folder: pathlib.Path
    names: list[str]


@pytest.fixture
def node(app: Any) -> Any:
    return app.mrmlScene().AddNewNodeByClass("vtkMRMLScriptedModuleNode")


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `connectGui` returned its tag."""
    monkeypatch.setattr(parameters, "RETURNS_TAG", True)


def test_node_gets_the_defaults_as_slicer_writes_them(node: Any) -> None:
    Everything(node)
    written = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    assert written == {
        "volume": "",
        "strength": "2.5",
        "steps": "20",
        "method": "fast",
        "side": "RIGHT",
        "invert": "True",
        "comment": "",
        "folder": ".",
        "names_len": "0",
    }


def test_values_in_the_node_are_kept(node: Any) -> None:
    node.SetParameter("steps", "7")
    assert Everything(node).steps == 7


def test_values_are_read_back_with_their_types(node: Any) -> None:
    volume = node.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    wrapper = Everything(node)
    wrapper.volume, wrapper.strength, wrapper.side, wrapper.invert = volume, 3, Side.LEFT, False
    wrapper.folder, wrapper.names = pathlib.Path("/weights"), ["a", "b, c"]
    again = Everything(node)
    assert again.volume is volume
    assert (again.strength, again.side, again.invert) == (3.0, Side.LEFT, False)
    assert (again.folder, again.names) == (pathlib.Path("/weights"), ["a", "b, c"])


def test_list_writes_itself_when_it_changes(node: Any) -> None:
    wrapper = Everything(node)
    wrapper.names = ["a", "b"]
    wrapper.names.append("c")
    del wrapper.names[0]
    assert Everything(node).names == ["b", "c"]
    assert not node.HasParameter("names_2")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("strength", 11.0, ValueError),
        ("strength", "2", TypeError),
        ("steps", 2.0, TypeError),
        ("method", "best", ValueError),
        ("side", "LEFT", TypeError),
        ("volume", "vtkMRMLScalarVolumeNode1", TypeError),
        ("names", [1], TypeError),
    ],
)
def test_wrong_values_are_refused_and_the_old_one_stays(node: Any, name: str, value: Any, error: type) -> None:
    wrapper = Everything(node)
    before = getattr(wrapper, name)
    with pytest.raises(error):
        setattr(wrapper, name, value)
    assert getattr(wrapper, name) == before


def test_default_outside_its_range_is_an_error_as_in_slicer(node: Any) -> None:
    @parameterNodeWrapper
    class Steps:
        steps: Annotated[int, Minimum(1)]

    with pytest.raises(ValueError, match="at least 1"):
        Steps(node)


def test_types_that_are_not_offered_are_named() -> None:
    with pytest.raises(TypeError, match="offset"):

        @parameterNodeWrapper
        class Offset:
            offset: tuple[float, float]


def form(**widgets: Any) -> SimpleNamespace:
    """What `childWidgetVariables` makes of a .ui file: one widget for each of these parameters."""
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
    return SimpleNamespace(**widgets)


@pytest.fixture
def gui(app: Any) -> SimpleNamespace:
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(app.mrmlScene())
    ctk = sys.modules["ctk"]

    return form(
        volume=selector,
        strength=ctk.ctkSliderWidget(),
        steps=QtWidgets.QSpinBox(),
        method=QtWidgets.QComboBox(),
        side=QtWidgets.QComboBox(),
        invert=QtWidgets.QCheckBox(),
        comment=QtWidgets.QLineEdit(),
        folder=ctk.ctkPathLineEdit(),
    )


def shown(gui: SimpleNamespace) -> dict[str, Any]:
    return {
        "volume": gui.volume.currentNode(),
        "strength": gui.strength.value,
        "steps": gui.steps.value,
        "method": gui.method.currentText,
        "side": gui.side.currentText,
        "invert": gui.invert.checked,
        "comment": gui.comment.text,
        "folder": gui.folder.currentPath,
    }


def test_widgets_show_the_parameters_and_get_their_limits(node: Any, gui: SimpleNamespace) -> None:
    Everything(node).connectGui(gui)
    assert shown(gui) == {
        "volume": None,
        "strength": 2.5,
        "steps": 20,
        "method": "fast",
        "side": "RIGHT",
        "invert": True,
        "comment": "",
        "folder": ".",
    }
    assert (gui.strength.maximum, gui.steps.minimum, gui.method.count) == (10, 1, 2)
    assert gui.volume.nodeTypes == ("vtkMRMLScalarVolumeNode",)


def test_parameters_follow_the_widgets(node: Any, gui: SimpleNamespace) -> None:
    wrapper = Everything(node)
    wrapper.connectGui(gui)
    volume = node.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    gui.volume.setCurrentNode(volume)
    gui.strength.value, gui.steps.value, gui.method.currentIndex, gui.side.currentIndex = 7.5, 3, 1, 0
    gui.invert.checked, gui.comment.text, gui.folder.currentPath = False, "thorax", "/weights"
    assert wrapper.volume is volume
    assert (wrapper.strength, wrapper.steps, wrapper.method, wrapper.side) == (7.5, 3, "exact", Side.LEFT)
    assert (wrapper.invert, wrapper.comment, wrapper.folder) == (False, "thorax", pathlib.Path("/weights"))


def test_widgets_follow_the_parameters(node: Any, gui: SimpleNamespace) -> None:
    wrapper = Everything(node)
    wrapper.connectGui(gui)
    volume = node.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    wrapper.volume, wrapper.strength, wrapper.steps, wrapper.method = volume, 7.5, 3, "exact"
    wrapper.side, wrapper.invert, wrapper.comment, wrapper.folder = Side.LEFT, False, "thorax", pathlib.Path("/weights")
    assert shown(gui) == {
        "volume": volume,
        "strength": 7.5,
        "steps": 3,
        "method": "exact",
        "side": "LEFT",
        "invert": False,
        "comment": "thorax",
        "folder": "/weights",
    }


def test_disconnected_widget_no_longer_writes(node: Any, gui: SimpleNamespace, tags: None) -> None:
    wrapper = Everything(node)
    wrapper.disconnectGui(wrapper.connectGui(gui))
    gui.steps.value = 3
    assert wrapper.steps == 20
    wrapper.steps = 5
    assert gui.steps.value == 3


def test_explicit_connection_can_always_be_undone(node: Any, gui: SimpleNamespace) -> None:
    wrapper = Everything(node)
    wrapper.disconnectGui(wrapper.connectParametersToGui({"steps": gui.steps}))
    gui.steps.value = 3
    assert wrapper.steps == 20


def test_left_widgets_go_on_writing_as_in_slicer(node: Any, gui: SimpleNamespace) -> None:
    """Slicer's issue 7547: there is no tag to disconnect by."""
    wrapper = Everything(node)
    tag = wrapper.connectGui(gui)
    assert tag is None
    wrapper.disconnectGui(tag)
    gui.steps.value = 3
    assert wrapper.steps == 3


def test_connecting_twice_resets_a_choice_as_in_slicer(node: Any, gui: SimpleNamespace) -> None:
    """What issue 7547 leads to: filling the combo box anew is heard by the connection that was never undone."""
    wrapper = Everything(node)
    wrapper.method = "exact"
    wrapper.disconnectGui(wrapper.connectGui(gui))
    Everything(node).connectGui(gui)
    assert wrapper.method == "fast"


@pytest.mark.parametrize(
    ("name", "widget"),
    [("strength", QtWidgets.QSpinBox), ("comment", QtWidgets.QPlainTextEdit), ("names", QtWidgets.QListWidget)],
)
def test_widget_that_slicer_cannot_connect_is_refused(node: Any, name: str, widget: type) -> None:
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        Everything(node).connectGui(form(**{name: widget()}))


def test_subclass_of_a_widget_is_refused(node: Any) -> None:
    class Mine(QtWidgets.QLineEdit):
        pass

    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        Everything(node).connectGui(form(comment=Mine()))


def test_unknown_parameter_name_is_an_error(node: Any) -> None:
    with pytest.raises(ValueError, match="stepz"):
        Everything(node).connectGui(form(stepz=QtWidgets.QSpinBox()))
