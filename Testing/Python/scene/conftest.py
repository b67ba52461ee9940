"""Volumes and transforms in a real MRML scene."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.scene import transforms, volumes
from RegistrationNetLib.scene.runtime import Runtime
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID, PARENTS, image_on


@pytest.fixture(scope="session")
def runtime() -> Iterator[Runtime]:
    """Booted once for all tests of a process."""
    runtime = Runtime()
    yield runtime
    runtime.close()


@pytest.fixture
def scene(runtime: Runtime) -> Iterator[Any]:
    """The runtime's scene; emptied afterwards."""
    yield runtime.scene
    runtime.scene.Clear(0)


@pytest.fixture
def add_volume(scene: Any) -> Callable[..., Any]:
    """Adds an image as a volume node, under a transform node where one is given."""

    def add(image: Image, parent: Any = None, labels: bool = False) -> Any:
        node = scene.AddNode(volumes.volume_node(image, labels))
        if parent is not None:
            node.SetAndObserveTransformNodeID(parent.GetID())
        return node

    return add


@pytest.fixture
def add_transform(scene: Any) -> Callable[..., Any]:
    """Adds a transform node that maps, from parent, as a mapping does."""

    def add(mapping: Mapping, name: str = "transform") -> Any:
        node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
        node.SetAndObserveTransformFromParent(transforms.to_vtk(mapping))
        return node

    return add


@pytest.fixture
def pair(add_volume: Callable[..., Any], add_transform: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """A fixed and a moving volume, each under the named kind of parent."""

    def make(fixed_parent: str = "none", moving_parent: str = "none") -> tuple[Any, Any]:
        def parent(kind: str, name: str) -> Any:
            mapping = PARENTS[kind]
            return None if mapping is None else add_transform(mapping, name)

        fixed = add_volume(image_on(FIXED_GRID, "fixed"), parent(fixed_parent, "fixed parent"))
        moving = add_volume(image_on(MOVING_GRID, "moving", np.int16), parent(moving_parent, "moving parent"))
        return fixed, moving

    return make
