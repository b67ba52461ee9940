"""One call for scripts: paths, SimpleITK images or `Image`s in, a `Registration` out; one more call to save it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from RegistrationNetLib.core.errors import InputError, RegistrationError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine.result import IsCancelled, OnProgress, Reference, Registration
from RegistrationNetLib.engine.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

    Source = str | Path | Image | sitk.Image
    Landmarks = str | Path | Sequence[Sequence[float]] | Points

Notes = list[str]


@dataclass(frozen=True, eq=False)
class Pair:
    """Everything read for one registration, with sentences on what had to be corrected and the seconds it took."""

    fixed: Image
    moving: Image
    fixed_mask: Image | None = None
    moving_mask: Image | None = None
    initial: Mapping | None = None
    reference: Reference | None = None
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
    fixed_labels: Source | None = None,
    moving_labels: Source | None = None,
    fixed_landmarks: Landmarks | None = None,
    moving_landmarks: Landmarks | None = None,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
    **choices: Any,
) -> Registration:
    """Register `moving` to `fixed`: `register("fixed.nii.gz", "moving.nii.gz").warped`.

    fixed, moving, masks, labels: a path (any format SimpleITK reads, or a DICOM folder), a SimpleITK image or an `Image`.
    preset: "fast", "balanced" or "accurate"; settings: all of them, instead of a preset.
    initial: a transform file or a `Mapping`, fixed to moving points, LPS mm, from which to start.
    labels, landmarks: only to judge the result; landmarks as a file or (N, 3) points in LPS mm, in the same order.
    choices: single settings over the preset: model="udrnet", transform="affine", device="cpu", refine__steps_full=4.
    Raises the errors of `core.errors`, each with a sentence for the user.
    """
    chosen = (settings or Settings.preset(preset)).with_values(**choices)
    pair = read_pair(
        fixed,
        moving,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
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
        reference=pair.reference,
        on_progress=on_progress,
        cancelled=cancelled,
    )
    registration.report["notes"][:0] = pair.notes
    registration.report["stages"].insert(0, {"name": "read", "seconds": round(pair.seconds, 3), "similarity": None})
    return registration


def read_pair(
    fixed: Source,
    moving: Source,
    *,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
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
    labels = [_optional(source, "labels", notes) for source in (fixed_labels, moving_labels)]
    masks = [_optional(source, "mask", notes) for source in (fixed_mask, moving_mask)]
    for extra, image in ((labels[0], fixed_image), (labels[1], moving_image), (masks[0], fixed_image), (masks[1], moving_image)):
        _require_fit(extra, image)
    landmarks = [
        _landmarks(source, points_in, image)
        for source, image in ((fixed_landmarks, fixed_image), (moving_landmarks, moving_image))
    ]
    known = any(value is not None for value in (*labels, *landmarks))
    return Pair(
        fixed_image,
        moving_image,
        fixed_mask=masks[0],
        moving_mask=masks[1],
        initial=_mapping(initial),
        reference=Reference(*labels, *landmarks) if known else None,
        notes=notes,
        seconds=time.perf_counter() - started,
    )
