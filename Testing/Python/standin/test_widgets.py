"""The other widgets: sections that fold, sliders, paths, tables, the subject hierarchy, dialogs."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import slicer
import vtk

from slicer_standin.ctk_widgets import ctkMessageBox


@pytest.fixture
def ctk(app: Any) -> Any:
    return sys.modules["ctk"]


@pytest.fixture
def qt(app: Any) -> Any:
    return sys.modules["qt"]


@pytest.mark.parametrize("name", ["ctkCollapsibleButton", "ctkCollapsibleGroupBox"])
def test_folded_section_hides_its_children_and_gives_them_back(ctk: Any, qt: Any, name: str) -> None:
    section = getattr(ctk, name)()
    layout = qt.QVBoxLayout(section)
    label, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    hidden.hide()
    layout.addWidget(label)
    layout.addWidget(hidden)
    section.show()
    section.collapsed = True
    assert (label.visible, section.checked) == (False, False)
    section.collapsed = False
    assert (label.visible, hidden.visible) == (True, False)
    section.close()


def test_section_tells_when_it_folds(ctk: Any) -> None:
    section, got = ctk.ctkCollapsibleButton(), []
    section.connect("contentsCollapsed(bool)", lambda folded: got.append(folded))
    section.click()
    section.click()
    assert got == [True, False]


def test_slider_keeps_its_value_in_range_and_tells_it(ctk: Any) -> None:
    slider, got = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", lambda value: got.append(value))
    slider.minimum, slider.maximum = -2.0, 3.0
    slider.value = 10
    assert (slider.value, got) == (3.0, [3.0])


def test_path_is_told(ctk: Any) -> None:
    edit, got = ctk.ctkPathLineEdit(), []
    edit.connect("currentPathChanged(QString)", lambda path: got.append(path))
    edit.currentPath = "/weights.safetensors"
    assert got == ["/weights.safetensors"]


def test_table_view_follows_its_node(app: Any) -> None:
    node = app.mrmlScene().AddNewNodeByClass("vtkMRMLTableNode")
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(node)
    column = vtk.vtkStringArray()
    column.SetName("check")
    column.InsertNextValue("folding")
    node.AddColumn(column)
    assert view.model().rowCount() == 1
    assert view.model().item(0, 0).text() == "folding"


def test_subject_hierarchy_lists_data_nodes_and_tells_the_selected(app: Any) -> None:
    scene = app.mrmlScene()
    view, got = slicer.qMRMLSubjectHierarchyTreeView(), []
    view.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    view.multiSelection = True
    view.setMRMLScene(scene)
    first, second = (scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in "ab")
    scene.AddNewNodeByClass("vtkMRMLTextNode", "text")
    assert view.displayedItemCount() == 2
    view.connect("currentItemChanged(vtkIdType)", lambda item: got.append(item))
    view.setCurrentNode(second)
    hierarchy = view.subjectHierarchyNode()
    assert hierarchy.GetItemDataNode(view.currentItem()) is second
    assert got[-1] == view.currentItem()
    scene.RemoveNode(first)
    assert view.displayedItemCount() == 1


@pytest.fixture
def asking(app: Any) -> Iterator[type[ctkMessageBox]]:
    """Dialogs are made, as outside of testing mode."""
    ctkMessageBox.shown.clear()
    app._testing = False
    yield ctkMessageBox
    app._testing = True


def test_dialog_is_noted_and_answered(asking: type[ctkMessageBox], qt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert slicer.util.confirmOkCancelDisplay("Install PyTorch?", detailedText="2.4 GB")
    monkeypatch.setattr(asking, "answer", qt.QMessageBox.Cancel)
    assert not slicer.util.confirmOkCancelDisplay("Replace the result?")
    assert asking.shown == [("Install PyTorch?", "2.4 GB"), ("Replace the result?", "")]


def test_dialogs_are_skipped_in_testing_mode(app: Any) -> None:
    ctkMessageBox.shown.clear()
    slicer.util.confirmOkCancelDisplay("Replace the result?")
    assert ctkMessageBox.shown == []


def test_errors_are_logged(asking: type[ctkMessageBox], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="too far"), slicer.util.tryWithErrorDisplay("Not registered."):
        raise ValueError("too far")
    assert caplog.messages == ["Not registered.\n\ntoo far"]


def test_utilities_that_need_the_application(app: Any) -> None:
    assert slicer.util.mainWindow() is None
    assert slicer.util.showStatusMessage("Registering ...") is False
    slicer.util.delayDisplay("passed", 10)
    assert slicer.util.settingsValue("RegistrationNet/Device", "cpu") == "cpu"
    app.settings().setValue("RegistrationNet/Device", "cuda")
    assert slicer.util.settingsValue("RegistrationNet/Device", "cpu") == "cuda"
    assert slicer.util.tempDirectory().startswith(app.temporaryPath)


def test_process_is_read_while_events_are_processed(app: Any, qt: Any) -> None:
    lines: list[str] = []
    codes: list[int] = []
    slicer.util.launchConsoleProcess(
        [sys.executable, "-c", "print('stage 1'); raise SystemExit(3)"],
        blocking=False,
        logCallback=lines.append,
        completedCallback=codes.append,
    )
    loop = qt.QEventLoop()
    watch = qt.QTimer()
    watch.connect("timeout()", lambda: codes and loop.quit())
    watch.start(20)
    qt.QTimer.singleShot(20000, loop.quit)
    loop.exec()
    assert (lines, codes) == (["stage 1"], [3])
