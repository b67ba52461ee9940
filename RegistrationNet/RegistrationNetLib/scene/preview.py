"""The moving volume as it lies while a registration runs, over what the slice views show; gone without a trace."""

from __future__ import annotations

from typing import Any

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.scene import views, volumes

_OPACITY = 0.5
_NAME = "registration under way"


class Preview:
    """Shows one image after another. It is no part of the scene that is saved, and of no list of volumes."""

    def __init__(self, scene: Any, fixed: Any) -> None:
        self._scene, self._fixed = scene, fixed
        self._node: Any = None
        self._before: list[tuple[Any, str | None, str | None, float]] = []

    def show(self, image: Image) -> None:
        """In all slice views, over the fixed volume; values 0 to 1."""
        if self._node is None:
            self._begin(image)
        else:
            volumes.fill(self._node, image)
            self._node.SetName(_NAME)

    def end(self) -> None:
        """The views show what they did."""
        for view, background, foreground, opacity in self._before:
            if view.GetScene() is self._scene:
                view.SetBackgroundVolumeID(background)
                view.SetForegroundVolumeID(foreground)
                view.SetForegroundOpacity(opacity)
        if self._node is not None and self._node.GetScene() is self._scene:
            display = self._node.GetDisplayNode()
            self._scene.RemoveNode(self._node)
            self._scene.RemoveNode(display)
        self._node, self._before = None, []

    def _begin(self, image: Image) -> None:
        node = volumes.volume_node(image)
        node.SetName(_NAME)
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        self._node = self._scene.AddNode(node)
        self._node.CreateDefaultDisplayNodes()
        display = self._node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetAutoWindowLevel(0)
        display.SetWindowLevelMinMax(0, 1)
        self._before = [
            (view, view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity())
            for view in views.slice_views(self._scene)
        ]
        views.show_over(self._scene, self._fixed, self._node, _OPACITY)
