"""What the tests of the panel share: a job that ends when it is told to, and what the scene and its views hold."""

from typing import Any

import slicer

from Testing.Python.scene.cases import KnownJob, known_mapping


class Slow(KnownJob):
    """A job that ends when it is told to."""

    def __init__(self, request: Any, on_progress: Any) -> None:
        super().__init__(request, known_mapping())
        self.tell, self.ended = on_progress, False
        self.watch: Any = None

    def poll(self) -> bool:
        return self.ended or self.cancelled


def names() -> list[str]:
    """Of all nodes in the scene."""
    scene = slicer.mrmlScene
    return [
        f"{scene.GetNthNode(k).GetClassName()} {scene.GetNthNode(k).GetName()}" for k in range(scene.GetNumberOfNodes())
    ]


def shown() -> tuple[Any, ...]:
    """What the red slice view shows."""
    view = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    return view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity()
