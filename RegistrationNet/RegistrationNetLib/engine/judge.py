"""How good the result is, in numbers: overlap, Jacobian, Dice, HD95, TRE. What they mean is said in `verdicts`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from RegistrationNetLib.core import metrics, spatial
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import field_in, slabs, warp
from RegistrationNetLib.engine.result import Reference
from RegistrationNetLib.engine.trust import Alignment

Quality = dict[str, Any]

_SAME_MM = 5.0  # mean at the corners; an alignment so near to what was given is the same
_PLACES = 200_000  # at which it is looked whether both images show them


def jacobian_image(mapping: Mapping, fixed: Image) -> Image:
    """Determinant of the deformable part (the whole mapping's over its affine's) on the fixed grid, float32."""
    affine = np.linalg.det(mapping.affine.matrix[:3, :3])
    values = np.empty((1, *fixed.grid.shape), np.float32)
    field = torch.empty(1, 3, 0, *fixed.grid.shape[1:])
    for slab in slabs(fixed.grid):
        # Differences need both neighbours: two slices go on into the next slab, and what the last one lacked is redone.
        field = torch.cat([field[:, :, -2:], field_in(slab, mapping, fixed.grid)], dim=2)
        total = spatial.jacobian_determinant(field)[0, 0].numpy()
        first = slab.stop - len(total)
        known = 1 if first > 0 else 0
        values[0, first + known : slab.stop] = total[known:] / affine
    return Image(values, fixed.grid, background=1.0, name=f"{fixed.name} Jacobian")


def jacobian_report(jacobian: Image, mapping: Mapping, body: NDArray[np.bool_], body_name: str) -> Quality:
    statistics = metrics.jacobian_statistics(jacobian.scalar, body)
    affine = float(np.linalg.det(mapping.affine.matrix[:3, :3]))
    return {
        "body": body_name,
        **statistics,
        "affine_determinant": affine,
        **{f"total_{name}": affine * statistics[name] for name in ("min", "max", "mean")},
        "meaning": "> 1: tissue is larger in the moving image",
    }


def overlap_percent(mapping: Mapping, moving: Grid, body: NDArray[np.bool_], fixed: Grid) -> float:
    """How much of the fixed image's body lies in the moving image's field of view, at evenly spaced places, %."""
    step = max(1, math.ceil((fixed.voxels / _PLACES) ** (1 / 3)))
    places = np.argwhere(body[::step, ::step, ::step]) * step
    if not len(places):
        return 0.0
    return 100 * float(moving.contains(mapping(fixed.to_world(places))).mean())


def alignment_report(found: Affine, used: Affine, grid: Grid) -> Quality:
    """How far the affine map that is used is to be trusted; little, where another was found."""
    if not isinstance(found, Alignment):
        return {"confidence": "given"}
    corners = grid.corners()
    apart = float(np.linalg.norm(found(corners) - used(corners), axis=1).mean())
    report = found.trust.to_dict()
    return report if apart < _SAME_MM else report | {"confidence": "low", "left_as_given": True}


def displacement_report(mapping: Mapping, fixed: Image, body: NDArray[np.bool_]) -> Quality:
    """Length of the deformable part inside the body, mm: |A^-1 mapping(x) - x|."""
    deformable = mapping.then(Mapping((mapping.affine.inverse(),)))
    matrix = fixed.grid.voxel_to_world[:3, :3].astype(np.float32)
    inside = (field_in(slab, deformable, fixed.grid)[0].numpy()[:, body[slab]] for slab in slabs(fixed.grid))
    length = np.concatenate([np.linalg.norm(matrix @ voxels, axis=0) for voxels in inside])
    return {
        "mean": float(length.mean(dtype=np.float64)),
        "p95": float(np.percentile(length, 95)),
        "max": float(length.max()),
    }


def reference_report(reference: Reference, stages: dict[str, Mapping]) -> Quality:
    """Dice, HD95 and TRE for each stage's mapping, as far as labels and landmarks were given."""
    report: Quality = {}
    if reference.fixed_labels is not None and reference.moving_labels is not None:
        report |= label_report(reference.fixed_labels, reference.moving_labels, stages)
    if reference.fixed_landmarks is not None and reference.moving_landmarks is not None:
        report |= landmark_report(reference.fixed_landmarks, reference.moving_landmarks, stages)
    return report


def label_report(fixed: Image, moving: Image, stages: dict[str, Mapping]) -> Quality:
    """Mean Dice and HD95 (mm) per stage over the labels both maps share; moving labels by nearest neighbour.

    stages: name -> mapping, in order; Raises InputError where the maps share no label large enough.
    """
    labels = metrics.common_labels(fixed.scalar, moving.scalar)
    if not labels:
        raise InputError(
            f"'{fixed.name}' and '{moving.name}' share no label of at least {metrics.MIN_LABEL_VOXELS} voxels. "
            "Give two label maps that use the same numbers."
        )
    dice: Quality = {"labels": len(labels)}
    hd95: Quality = {"labels": len(labels)}
    for stage, mapping in stages.items():
        carried = warp(moving, mapping, fixed.grid, "nearest").scalar
        scores = metrics.dice(fixed.scalar, carried, labels)
        distances = metrics.hd95(fixed.scalar, carried, labels, fixed.grid.spacing)
        dice[stage] = float(np.mean(list(scores.values())))
        hd95[stage] = _mean_of_known(list(distances.values()))
    dice["per_label"] = {str(label): round(score, 4) for label, score in scores.items()}
    return {"dice": dice, "hd95_mm": hd95}


def landmark_report(fixed: Points, moving: Points, stages: dict[str, Mapping]) -> Quality:
    """Target registration error per stage, mm, from corresponding points (N, 3) LPS mm."""
    tre: Quality = {"landmarks": len(fixed)}
    for stage, mapping in stages.items():
        errors = metrics.tre(mapping(fixed), moving)
        tre[stage] = float(errors.mean())
    tre |= {"median_after": float(np.median(errors)), "max_after": float(errors.max())}
    tre["each_after"] = [round(float(e), 3) for e in errors]
    return {"tre_mm": tre}


def _mean_of_known(values: list[float]) -> float | None:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else None
