"""ITK's B-spline transforms as displacement fields, sampled until they agree within a stated tolerance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Displacement
from RegistrationNetLib.files.checks import OnNote
from RegistrationNetLib.files.geometry import from_itk, to_itk

BSPLINE_TOLERANCE_MM = 0.02
"""Largest difference to the B-spline, inside its domain; beyond it neither moves anything."""

_MOST_NODES = 30_000_000
_INWARD = 1e-7  # of the domain: ITK counts its far faces as outside


def sampled_bspline(transform: sitk.BSplineTransform, path: Path, on_note: OnNote) -> Displacement:
    """The transform on a grid from face to face of its domain, refined until linear interpolation is good enough.

    Raises InputError where that would take more than 30 million nodes.
    """
    for finer in (2, 4, 8, 16, 32):
        grid = _grid(transform, finer)
        if grid.voxels > _MOST_NODES:
            break
        field = _sampled(transform, grid)
        error = _error_between_nodes(transform, grid, field)
        if error <= BSPLINE_TOLERANCE_MM:
            on_note(f"'{path}': its B-spline was sampled every {grid.spacing.max():.2g} mm, within {error:.2g} mm.")
            return Displacement(np.moveaxis(field, -1, 0), grid)
    raise InputError(
        f"'{path}' holds a B-spline too fine to be sampled within {BSPLINE_TOLERANCE_MM} mm; convert it to a "
        "displacement field on the fixed image's grid first."
    )


def _grid(transform: sitk.BSplineTransform, finer: int) -> Grid:
    cells = np.array(transform.GetTransformDomainMeshSize()) * finer
    lengths = np.array(transform.GetTransformDomainPhysicalDimensions())
    direction = np.array(transform.GetTransformDomainDirection())
    origin = np.array(transform.GetTransformDomainOrigin()) + direction.reshape(3, 3) @ lengths * _INWARD / 2
    return from_itk(cells + 1, lengths * (1 - _INWARD) / cells, origin, direction)


def _sampled(transform: sitk.Transform, grid: Grid) -> NDArray[np.float32]:
    """(D, H, W, 3), mm."""
    geometry = to_itk(grid)
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, geometry.size, geometry.origin, geometry.spacing, geometry.direction
    )
    return np.asarray(sitk.GetArrayFromImage(field), np.float32)


def _error_between_nodes(transform: sitk.Transform, grid: Grid, field: NDArray[np.float32]) -> float:
    """At the middle of every cell, where linear interpolation is farthest off."""
    matrix = grid.voxel_to_world.copy()
    matrix[:3, 3] = grid.to_world((0.5, 0.5, 0.5))
    d, h, w = grid.shape
    middles = _sampled(transform, Grid((d - 1, h - 1, w - 1), matrix))
    between = field.astype(np.float64)
    for axis in range(3):
        near, far = range(between.shape[axis] - 1), range(1, between.shape[axis])
        between = (np.take(between, near, axis) + np.take(between, far, axis)) / 2
    return float(np.linalg.norm(middles - between, axis=-1).max())
