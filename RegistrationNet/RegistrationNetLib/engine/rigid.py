"""The rotation and shift nearest to what points did (Kabsch 1976)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.mapping import Affine

_ON_A_LINE = 0.05  # spread across over spread along; a turn about such a line is open


def nearest_rotation(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """R with R x nearest to y, from the sum of y x^T, (3, 3)."""
    left, _, right = np.linalg.svd(covariance)
    left[:, 2] *= np.sign(np.linalg.det(left @ right))
    return np.asarray(left @ right)


def nearest_rigid(points: Points, onto: Points) -> Affine:
    """The rotation and shift that take points nearest to others, (N, 3) each; a shift alone for no triangle."""
    x, y = points - points.mean(0), onto - onto.mean(0)
    spread = np.linalg.svd(x, compute_uv=False)
    matrix = np.eye(4)
    if len(points) > 2 and spread[1] > _ON_A_LINE * spread[0]:
        matrix[:3, :3] = nearest_rotation(y.T @ x)
    matrix[:3, 3] = onto.mean(0) - matrix[:3, :3] @ points.mean(0)
    return Affine(matrix)
