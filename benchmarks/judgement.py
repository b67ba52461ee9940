"""What a displacement field is worth: one judgement for every method that made one."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from benchmarks.cases import Case
from RegistrationNetLib.core import metrics
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Displacement, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine import judge

_POINTS = 50_000
"""Of the body, drawn where errors are taken point by point."""


def judged(case: Case, mapping: Mapping) -> dict[str, Any]:
    """The figures of a mapping, fixed to moving, whose first step is its deformable part; without what is not known.

    dice, hd95_mm: means over labels; tre_mm: mean over landmarks; error_mm: mean distance from the true mapping inside
    the body; folded_percent: of all voxels of the field; sd_log_jacobian: inside the body.
    """
    report = judge.reference_report(case.reference, {"after": mapping})
    found: dict[str, Any] = {name: report[name]["after"] for name in ("dice", "hd95_mm", "tre_mm") if name in report}
    if case.truth is not None:
        points = sampled(case)
        found["error_mm"] = float(metrics.tre(mapping(points), case.truth(points)).mean())
    return found | _smoothness(case, mapping.displacements[0])


def inconsistency_mm(case: Case, forward: Mapping, backward: Mapping) -> float:
    """Mean distance from where a point of the fixed body started, after there and back."""
    points = sampled(case)
    return float(metrics.tre(backward(forward(points)), points).mean())


def sampled(case: Case) -> Points:
    """World points of the body's voxels, at most so many, the same ones each time."""
    voxels = np.argwhere(case.body)
    if len(voxels) > _POINTS:
        voxels = np.random.default_rng(0).choice(voxels, _POINTS, replace=False)
    return case.fixed.grid.to_world(voxels)


def _smoothness(case: Case, field: Displacement) -> dict[str, float]:
    determinant = jacobian(field)
    body = Image(case.body[None].astype(np.uint8), case.fixed.grid)
    inside = warp(body, Mapping(), field.grid, "nearest").scalar > 0
    everywhere = metrics.jacobian_statistics(determinant, np.ones_like(inside))
    return {
        "folded_percent": everywhere["folded_percent"],
        "sd_log_jacobian": metrics.jacobian_statistics(determinant, inside)["sd_log"],
    }


def jacobian(field: Displacement) -> NDArray[np.float32]:
    """Its determinant as SimpleITK computes it, (D, H, W).

    SimpleITK differentiates along the grid's axes and takes the vectors as if they were along them too, so they are
    turned there first.
    """
    along = np.einsum("wk,wdhg->dhgk", field.grid.directions[:, ::-1], field.field)
    image = sitk.GetImageFromArray(along.astype(np.float64), isVector=True)
    image.SetSpacing(field.grid.spacing[::-1].tolist())
    return np.asarray(sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image)), np.float32)
