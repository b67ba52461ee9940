"""How far Slicer's cubic interpolation of a saved transform lies from the linear one of SimpleITK and ourselves.

`python -m benchmarks.interpolation OUT/transform.h5 ...` reads each file with Slicer's own reader, maps random points
inside and around its displacement field both ways, and prints the differences in mm and whether either map folds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.files.transforms import read_transform
from RegistrationNetLib.scene.runtime import Runtime, slicer
from RegistrationNetLib.scene.transforms import from_world, move

POINTS = 200_000
STEP_MM = 0.05
BEYOND = 0.1
"""Points are drawn from a box larger than the field by this share at each end."""


def compare(path: Path) -> str:
    """One line of figures for a transform file."""
    mapping = read_transform(path)
    runtime = Runtime()
    node = runtime.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    storage.ReadData(node)
    theirs = from_world(node)
    points = _points(mapping)
    apart = np.linalg.norm(move(theirs, points) - mapping(points), axis=1)
    folds = [_folds(function, points[::10]) for function in (lambda p: move(theirs, p), mapping)]
    runtime.close()
    mean, high, largest = apart.mean(), np.percentile(apart, 99.9), apart.max()
    return (
        f"{path}: mean {mean:.4f}, 99.9 % {high:.3f}, largest {largest:.3f} mm; "
        f"folded points of {len(points[::10])}: cubic {folds[0]}, linear {folds[1]}"
    )


def _points(mapping: Mapping) -> Points:
    grid = mapping.displacements[0].grid
    last = np.array(grid.shape) - 1
    return grid.to_world(np.random.default_rng(0).uniform(-BEYOND * last, (1 + BEYOND) * last, (POINTS, 3)))


def _folds(function: Callable[[Points], Points], points: Points) -> int:
    """How many points have a Jacobian determinant of 0 or less, by central differences."""
    columns = [(function(points + step) - function(points - step)) / (2 * STEP_MM) for step in STEP_MM * np.eye(3)]
    return int((np.linalg.det(np.stack(columns, axis=-1)) <= 0).sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transforms", nargs="+", type=Path, help="transform.h5 files as `register` writes them")
    for transform in parser.parse_args().transforms:
        print(compare(transform), flush=True)
