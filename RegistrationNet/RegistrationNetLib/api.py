"""One call for scripts: paths, SimpleITK images or `Image`s in, a `Registration` out; one more call to save it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.errors import InputError, RegistrationError
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine.constraints import MARGIN_MM, Constraints
from RegistrationNetLib.engine.memory import peak_memory_mib
from RegistrationNetLib.engine.result import IsCancelled, OnProgress, Reference, Registration
from RegistrationNetLib.engine.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

    Source = str | Path | Image | sitk.Image
    Landmarks = str | Path | Sequence[Sequence[float]] | Points

Notes = list[str]

_LOOKED_AT, _ENOUGH = 1_000_000, 1000
"""Voxels of a mask that are looked at, and labelled ones among them from which to tell whether it fits."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Everything read for one registration, with sentences on what had to be corrected and the seconds it took."""

    fixed: Image
    moving: Image
    fixed_mask: Image | None = None
    moving_mask: Image | None = None
    initial: Mapping | None = None
    constraints: Constraints = field(default_factory=Constraints)
    reference: Reference | None = None
    paths: tuple[str | None, str | None] = (None, None)
    notes: Notes = field(default_factory=list)
    seconds: float = 0.0


def register(
    fixed: Source,
    moving: Source,
    *,
    preset: str = "balanced",
    settings: Settings | None = None,
    initial: str | Path | Mapping | None = None,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    keep_rigid: Source | None = None,
    keep_volume: Source | None = None,
    region: Source | None = None,
    region_margin_mm: float = MARGIN_MM,
    fixed_hints: Landmarks | None = None,
    moving_hints: Landmarks | None = None,
    fixed_labels: Source | None = None,
    moving_labels: Source | None = None,
    fixed_landmarks: Landmarks | None = None,
    moving_landmarks: Landmarks | None = None,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
    **choices: Any,
) -> Registration:
    """Register `moving` to `fixed`: `register("fixed.nii.gz", "moving.nii.gz").warped`.

    fixed, moving, masks, labels: a path (any format SimpleITK reads, or a DICOM folder), a SimpleITK image, an `Image`.
    preset: "fast", "balanced" or "accurate"; settings: all of them, instead of a preset.
    initial: a transform file or a `Mapping`, fixed to moving points, LPS mm, from which to start.
    keep_rigid, keep_volume: label maps or masks of the fixed image whose pieces only turn and shift, or keep their
    volume; region: a mask outside of which, beyond a margin, nothing is deformed. See `engine.constraints`.
    hints: points that guide the search; a file or (N, 3) points in LPS mm, in the same order.
    labels, landmarks: only to judge the result; landmarks are given as hints are.
    choices: single settings over the preset: model="udrnet", weights="own.safetensors", transform="affine",
    device="cpu", refine__steps_full=4.
    Raises the errors of `core.errors`, each with a sentence for the user.
    """
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in choices.items()}
    chosen = (settings or Settings.preset(preset)).with_values(**plain)
    pair = read_pair(
        fixed,
        moving,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        keep_rigid=keep_rigid,
        keep_volume=keep_volume,
        region=region,
        region_margin_mm=region_margin_mm,
        fixed_hints=fixed_hints,
        moving_hints=moving_hints,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_landmarks=fixed_landmarks,
        moving_landmarks=moving_landmarks,
        initial=initial,
    )
    return register_pair(pair, chosen, on_progress, cancelled)


def register_pair(
    pair: Pair, settings: Settings, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
) -> Registration:
    """`register` for a pair that is read already; what reading took and corrected goes into the report."""
    from RegistrationNetLib.engine.register import register as compute

    registration = compute(
        pair.fixed,
        pair.moving,
        settings,
        initial=pair.initial,
        fixed_mask=pair.fixed_mask,
        moving_mask=pair.moving_mask,
        constraints=pair.constraints,
        reference=pair.reference,
        on_progress=on_progress,
        cancelled=cancelled,
    )
    registration.report["notes"][:0] = pair.notes
    for side, path in zip(("fixed", "moving"), pair.paths, strict=True):
        registration.report[side]["path"] = path
    _add_stage(registration.report, "read", pair.seconds)
    return registration


def read_pair(
    fixed: Source,
    moving: Source,
    *,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    keep_rigid: Source | None = None,
    keep_volume: Source | None = None,
    region: Source | None = None,
    region_margin_mm: float = MARGIN_MM,
    fixed_hints: Landmarks | None = None,
    moving_hints: Landmarks | None = None,
    fixed_labels: Source | None = None,
    moving_labels: Source | None = None,
    fixed_landmarks: Landmarks | None = None,
    moving_landmarks: Landmarks | None = None,
    initial: str | Path | Mapping | None = None,
    points_in: str = "lps",
    fixed_series: str | None = None,
    moving_series: str | None = None,
) -> Pair:
    """Read and check all inputs of a registration. Raises InputError naming the file and the cure."""
    started = time.perf_counter()
    notes: Notes = []
    fixed_image = _image(fixed, "image", "fixed", notes, fixed_series)
    moving_image = _image(moving, "image", "moving", notes, moving_series)
    labels = [_optional(fixed_labels, "labels", "fixed", notes), _optional(moving_labels, "labels", "moving", notes)]
    masks = [_optional(fixed_mask, "mask", "fixed", notes), _optional(moving_mask, "mask", "moving", notes)]
    for extra, image in zip((*labels, *masks), (fixed_image, moving_image) * 2, strict=True):
        _require_fit(extra, image)
    marked = {
        "rigid": _optional(keep_rigid, "labels", "keep-rigid", notes),
        "volume": _optional(keep_volume, "labels", "keep-volume", notes),
        "region": _optional(region, "mask", "region", notes),
    }
    for extra in marked.values():
        _require_fit(extra, fixed_image)
    landmarks, hints = (
        (_points(ours, points_in, fixed_image, role), _points(theirs, points_in, moving_image, role))
        for ours, theirs, role in (
            (fixed_landmarks, moving_landmarks, "landmarks"),
            (fixed_hints, moving_hints, "hints"),
        )
    )
    known = any(value is not None for value in (*labels, *landmarks))
    return Pair(
        fixed_image,
        moving_image,
        fixed_mask=masks[0],
        moving_mask=masks[1],
        initial=_mapping(initial),
        constraints=Constraints(**marked, margin_mm=region_margin_mm, hints=_paired(*hints)),
        reference=Reference(labels[0], labels[1], landmarks[0], landmarks[1]) if known else None,
        paths=(_path_of(fixed), _path_of(moving)),
        notes=notes,
        seconds=time.perf_counter() - started,
    )


def save(
    registration: Registration, fixed: Source, moving: Source, folder: str | Path, *, inverse: bool = False
) -> list[str]:
    """Write a registration of these two images into `folder`, all files or none; returns their names.

    transform.h5 (whole mapping, fixed to moving points, LPS mm), affine.tfm, inverse.h5 on request, warped.nii.gz,
    jacobian.nii.gz, preview.png, scene.mrb (where the MRML runtime is installed) and report.json.
    """
    from RegistrationNetLib.files.output import output_folder

    images = [_image(source, "image", name, []) for source, name in ((fixed, "fixed"), (moving, "moving"))]
    with output_folder(folder) as draft:
        return write(registration, images[0], images[1], draft, inverse=inverse)


def write(registration: Registration, fixed: Image, moving: Image, draft: Path, *, inverse: bool = False) -> list[str]:
    """Every file of a registration into an empty folder; see `save`. The report gains what writing took and noted."""
    from RegistrationNetLib.files import images, preview, report, transforms

    started = time.perf_counter()
    figures = registration.report
    transforms.write_transform(registration.mapping, draft / "transform.h5")
    transforms.write_affine(registration.mapping.affine, draft / "affine.tfm")
    if inverse:
        figures["inverse"] = transforms.write_inverse(registration.mapping, fixed.grid, draft / "inverse.h5")
    images.write_image(registration.warped, draft / "warped.nii.gz")
    images.write_image(registration.jacobian, draft / "jacobian.nii.gz")
    preview.write_preview(registration, fixed, moving, draft / "preview.png")
    figures["notes"] += _write_scene(registration, fixed, moving, draft / "scene.mrb")
    _add_stage(figures, "write", time.perf_counter() - started)
    report.write_report(figures, draft / "report.json")
    return sorted(path.name for path in draft.iterdir())


def _add_stage(report: dict[str, Any], name: str, seconds: float) -> None:
    """Into the list of stages, in place of an earlier one of that name, and into the total."""
    stages = [stage for stage in report["stages"] if stage["name"] != name]
    own = {"name": name, "seconds": round(seconds, 3), "similarity": None}
    report["stages"] = [own, *stages] if name == "read" else [*stages, own]
    report["seconds_total"] = round(sum(stage["seconds"] for stage in report["stages"]), 3)
    report["peak_memory_mib"] = peak_memory_mib()


def _write_scene(registration: Registration, fixed: Image, moving: Image, path: Path) -> Notes:
    """scene.mrb, or a sentence on why there is none."""
    try:
        from RegistrationNetLib.scene.bundle import write_scene

        write_scene(path, fixed, moving, registration)
    except RegistrationError as error:
        path.unlink(missing_ok=True)
        return [f"scene.mrb was not written: {error}"]
    return []


def _image(source: Source, kind: str, name: str, notes: Notes, series: str | None = None) -> Image:
    """kind: "image", "labels" or "mask", which decides what is checked. Raises InputError."""
    from RegistrationNetLib.files import images

    if isinstance(source, Image):
        return source
    if isinstance(source, str | Path):
        reader = {"image": images.read_image, "labels": images.read_labels, "mask": images.read_mask}[kind]
        return reader(source, series=series, on_note=notes.append)
    if not hasattr(source, "GetPixelIDTypeAsString"):
        raise InputError(
            f"The {name} {kind} is of type {type(source).__name__}; give a path, a SimpleITK image or an Image."
        )
    checked = {"image": images.image_of, "labels": images.labels_of, "mask": images.mask_of}[kind]
    return checked(source, f"{name} {kind}", notes.append)


def _path_of(source: Source) -> str | None:
    return str(Path(source).absolute()) if isinstance(source, str | Path) else None


def _optional(source: Source | None, kind: str, name: str, notes: Notes) -> Image | None:
    return None if source is None else _image(source, kind, name, notes)


def _require_fit(extra: Image | None, image: Image) -> None:
    """Labels and masks must lie where their image lies; a map of another patient or grid is a mistake."""
    if extra is None or not (extra.scalar > 0).any():
        return
    inside = image.grid.contains(extra.grid.to_world(_marked(extra.scalar)))
    if inside.mean() < 0.5:
        raise InputError(
            f"'{extra.name}' does not fit '{image.name}': {100 - 100 * inside.mean():.0f} % of its labelled voxels lie "
            "outside that image. Give the labels or mask drawn on this image."
        )


def _marked(labels: NDArray[np.number[Any]]) -> NDArray[np.intp]:
    """Indices of labelled voxels, (N, 3), or of some spread among them: those of a whole body would fill the memory."""
    step = max(1, round((labels.size / _LOOKED_AT) ** (1 / 3)))
    some = np.argwhere(labels[::step, ::step, ::step] > 0) * step
    return some if len(some) >= _ENOUGH else np.argwhere(labels > 0)


def _points(source: Landmarks | None, points_in: str, image: Image, role: str) -> Points | None:
    from RegistrationNetLib.files.points import read_points

    if source is None:
        return None
    if isinstance(source, str | Path):
        points = read_points(source, points_in=points_in, grid=image.grid).points
    else:
        points = np.asarray(source, float)
        if points.ndim != 2 or points.shape[1] != 3:
            raise InputError(
                f"{role.capitalize()} of '{image.name}' have shape {points.shape}; give (N, 3) points in LPS mm."
            )
    outside = int((~image.grid.contains(points, margin_voxels=2)).sum())
    if outside:
        raise InputError(
            f"{outside} of {len(points)} {role} lie outside '{image.name}'. Check that they belong to it and "
            "are in LPS mm (or say --points-in ras or voxel)."
        )
    return points


def _paired(fixed: Points | None, moving: Points | None) -> tuple[Points, Points] | None:
    if (fixed is None) != (moving is None):
        raise InputError("Only one side's hints were given. Give them for both images, or for neither.")
    return None if fixed is None or moving is None else (fixed, moving)


def _mapping(source: str | Path | Mapping | None) -> Mapping | None:
    from RegistrationNetLib.files.transforms import read_transform

    return source if source is None or isinstance(source, Mapping) else read_transform(source)
