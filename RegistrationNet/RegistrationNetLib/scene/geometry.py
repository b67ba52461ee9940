"""The one home of MRML's conventions: RAS <-> LPS, and VTK's axis order (i, j, k) <-> tensor order (d, h, w)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.scene.runtime import vtk

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""LPS <-> RAS: the first two world axes change sign."""

_REVERSE = np.eye(4)[[2, 1, 0, 3]]
"""(i, j, k) <-> (d, h, w): the order of axes turns round."""


def flip_points(points: ArrayLike) -> Points:
    """(..., 3) LPS <-> RAS; displacement vectors flip alike."""
    return np.asarray(points, np.float64) * (-1.0, -1.0, 1.0)


def flip_matrix(matrix: ArrayLike) -> NDArray[np.float64]:
    """A (4, 4) transform between world points, LPS <-> RAS."""
    return _FLIP @ np.asarray(matrix, np.float64) @ _FLIP


def grid_of(size: tuple[int, int, int], ijk_to_ras: ArrayLike) -> Grid:
    """MRML geometry -> Grid. size: voxels along (i, j, k); ijk_to_ras: (4, 4), RAS mm."""
    return Grid((size[2], size[1], size[0]), _FLIP @ np.asarray(ijk_to_ras, np.float64) @ _REVERSE)


def ijk_to_ras(grid: Grid) -> NDArray[np.float64]:
    """(4, 4); VTK voxel (i, j, k) -> RAS mm."""
    return np.asarray(_FLIP @ grid.voxel_to_world @ _REVERSE)


def to_vtk_matrix(matrix: ArrayLike) -> Any:
    """(4, 4) -> vtkMatrix4x4."""
    out = vtk.vtkMatrix4x4()
    out.DeepCopy(np.asarray(matrix, np.float64).ravel().tolist())
    return out


def from_vtk_matrix(matrix: Any) -> NDArray[np.float64]:
    """vtkMatrix4x4 -> (4, 4)."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
