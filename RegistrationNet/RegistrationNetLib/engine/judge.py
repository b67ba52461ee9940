"""How good the result is, in numbers and in words: Jacobian, Dice, HD95, TRE, and what to do about them."""

from __future__ import annotations

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
from RegistrationNetLib.engine import kept
from RegistrationNetLib.engine.result import Reference
from RegistrationNetLib.engine.trust import Alignment

Quality = dict[str, Any]

_ALIKE = {"lncc": 0.5, "mind": 0.4}  # similarity of scans that fit
_UNLIKE = {"lncc": 0.35, "mind": 0.2}  # of scans that do not
_MEANT = {"lncc": "local correlation, 0 to 1", "mind": "agreement of structure, 0 to 1"}
_SAME_MM = 5.0  # mean at the corners; an alignment so near to what was given is the same
_MUCH = 3.0  # volume change beyond which a look at the map is due


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


def checks(report: Quality) -> list[dict[str, str]]:
    """One line per figure with a verdict ("good", "check", "poor") and what to do when it is not good."""
    jacobian, similarity = report["jacobian"], report["similarity"]
    before, after, kind = similarity["before"], similarity["after"], similarity["kind"]
    rows = [
        _check(
            f"Similarity inside the body ({_MEANT[kind]})",
            f"{before:.3f} before, {after:.3f} after",
            "poor" if after < max(before, _UNLIKE[kind]) else "good" if after >= _ALIKE[kind] else "check",
            "Compare the images in the checkerboard; if they do not match, start from a rough alignment.",
        ),
        _check(
            "Folded voxels inside the body",
            f"{jacobian['folded_voxels']} ({jacobian['folded_percent']:.3f} %)",
            "good" if jacobian["folded_voxels"] == 0 else "check" if jacobian["folded_percent"] < 0.1 else "poor",
            "Do not measure where the Jacobian map shows the warning colour; raise the smoothing.",
        ),
        _check(
            "Local volume change, deformable part (Jacobian determinant)",
            f"{jacobian['min']:.2f} to {jacobian['max']:.2f}, SD of log {jacobian['sd_log']:.2f}",
            "good" if jacobian["min"] > 1 / _MUCH and jacobian["max"] < _MUCH else "check",
            "Such changes are rarely anatomy within one patient; look at the Jacobian map where it is darkest.",
        ),
        _check(
            "Volume change in all, with the affine part",
            f"{jacobian['total_min']:.2f} to {jacobian['total_max']:.2f}, mean {jacobian['total_mean']:.2f}",
            "good" if 1 / _MUCH < jacobian["total_mean"] < _MUCH else "check",
            "The affine part scales the whole; check that both images show the same region.",
        ),
    ]
    rows += [
        _check(name, value, "good" if held else "check", remedy)
        for name, value, held, remedy in kept.checks(report.get("constraints", {}))
    ]
    if "agreement" in report.get("alignment", {}):
        rows.append(alignment_check(report["alignment"]))
    return rows + _truth_checks(report.get("quality", {}))


def alignment_check(alignment: Quality) -> dict[str, str]:
    """The line of `checks` on an alignment that was found."""
    return _check(
        "Affine alignment found",
        f"{alignment['confidence']} confidence: {100 * alignment['agreement']:.0f} % of the starts led to it, "
        f"local correlation {alignment['similarity']:.2f} in the body",
        "good" if alignment["confidence"] == "high" else "check",
        "Compare the aligned images side by side. Where they do not match, check that both show the same region, give "
        "an initial transform or corresponding points, or have every orientation tried (--align-orientations any).",
    )


def _truth_checks(quality: Quality) -> list[dict[str, str]]:
    rows = []
    if "dice" in quality:
        dice = quality["dice"]
        verdict = "good" if dice["after"] >= dice["before"] else "poor"
        value = f"{dice['before']:.3f} before, {dice['after']:.3f} after, {dice['labels']} labels"
        rows.append(_check("Overlap of labels (mean Dice)", value, verdict, "The labels fit worse than before."))
        distance = quality["hd95_mm"]
        if distance["after"] is not None and distance["before"] is not None:
            verdict = "good" if distance["after"] <= distance["before"] else "check"
            value = f"{distance['before']:.2f} mm before, {distance['after']:.2f} mm after"
            rows.append(_check("Distance of label borders (HD95)", value, verdict, "Some borders moved apart."))
    if "tre_mm" in quality:
        error = quality["tre_mm"]
        verdict = "good" if error["after"] <= error["before"] else "poor"
        value = f"{error['before']:.2f} mm before, {error['after']:.2f} mm after (largest {error['max_after']:.2f} mm)"
        rows.append(_check("Landmark error (mean TRE)", value, verdict, "The landmarks fit worse than before."))
    return rows


def _check(name: str, value: str, verdict: str, remedy: str) -> dict[str, str]:
    return {"name": name, "value": value, "verdict": verdict, "remedy": "" if verdict == "good" else remedy}


def _mean_of_known(values: list[float]) -> float | None:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else None
