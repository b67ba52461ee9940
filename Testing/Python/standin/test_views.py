"""The slice views are Slicer's own, drawn off screen."""

from typing import Any

import numpy as np
import pytest
import slicer

from slicer_standin.views import SIZE, pixels


@pytest.fixture
def layout(app: Any) -> Any:
    manager = app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    return manager


def shown(layout: Any, name: str = "Red") -> np.ndarray:
    return pixels(layout.sliceWidget(name).sliceView())


def volume(array: np.ndarray) -> Any:
    """Shown from black at 0 to white at 100; its last axis runs to patient left."""
    node = slicer.util.addVolumeFromArray(array.astype(np.float32), ijkToRAS=np.diag([-1.0, -1.0, 1.0, 1.0]))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevelMinMax(0, 100)
    return node


def half_bright() -> Any:
    """Bright in the patient's left half."""
    array = np.zeros((8, 16, 16))
    array[:, :, 8:] = 100
    return volume(array)


def test_the_three_views_of_slicer_are_there(layout: Any) -> None:
    assert set(layout.sliceViewNames()) == {"Red", "Green", "Yellow"}
    orientations = {name: layout.sliceWidget(name).mrmlSliceNode().GetOrientation() for name in layout.sliceViewNames()}
    assert orientations == {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
    assert shown(layout).shape == (SIZE[1], SIZE[0], 3)


def test_volume_is_seen_where_it_lies(layout: Any) -> None:
    assert shown(layout).max() == 0
    slicer.util.setSliceViewerLayers(background=half_bright(), fit=True)
    left, right = shown(layout)[SIZE[1] // 2, [SIZE[0] // 2 - 60, SIZE[0] // 2 + 60], 0]
    assert (left, right) == (0, 255)  # patient left is on the right of an axial slice


def test_foreground_is_blended_in(layout: Any) -> None:
    slicer.util.setSliceViewerLayers(
        background=half_bright(), foreground=volume(np.zeros((8, 16, 16))), foregroundOpacity=0.5, fit=True
    )
    assert shown(layout)[SIZE[1] // 2, SIZE[0] // 2 + 60, 0] == pytest.approx(127, abs=2)


def test_layout_of_one_s_own_brings_its_views(layout: Any) -> None:
    got: list[int] = []
    layout.connect("layoutChanged(int)", got.append)
    node = layout.layoutLogic().GetLayoutNode()
    node.AddLayoutDescription(
        17001,
        '<layout type="horizontal"><item><view class="vtkMRMLSliceNode" singletontag="Before">'
        '<property name="orientation" action="default">Axial</property></view></item></layout>',
    )
    layout.setLayout(17001)
    assert (layout.layout, got) == (17001, [17001])
    assert layout.sliceWidget("Before").mrmlSliceCompositeNode().GetLayoutName() == "Before"
    assert layout.sliceWidget("Before").mrmlSliceNode().IsMappedInLayout()
    assert not layout.sliceWidget("Red").mrmlSliceNode().IsMappedInLayout()


def test_views_outlive_a_closed_scene(layout: Any) -> None:
    slicer.mrmlScene.Clear(0)
    slicer.util.setSliceViewerLayers(background=half_bright(), fit=True)
    assert shown(layout).max() > 200
