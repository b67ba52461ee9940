"""The DICOM slices that a scan was read from, as what is derived from it has to name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from RegistrationNetLib.core.errors import InputError, MissingPackage
from RegistrationNetLib.files.dicom import Stack, chosen_stack
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.study import Scan, Study

if TYPE_CHECKING:
    from pydicom import Dataset

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
)
"""What DICOM asks for by name only, and what making anonymous takes away."""


def check_dicom(study: Study) -> None:
    """Raises MissingPackage without highdicom; InputError where nothing is outlined, or an outlined scan is no DICOM
    series of one file a slice, or lacks what objects derived from it have to name."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            "DICOM segmentations and reports need highdicom: pip install 'registrationnet[dicom]'. Or leave --dicom "
            "out."
        ) from error
    scans = [scan for scan in study.scans if outlined(scan)]
    if not scans:
        raise InputError("No scan has an outlined lesion, so there is nothing to write as DICOM. Leave --dicom out.")
    for scan in scans:
        first = headers(scan, slice(1))[0]
        missing = [name for name in _NEEDED if not first.get(name)]
        if missing:
            raise InputError(
                f"The DICOM slices of '{scan.image.name}' ({scan.day}) have no {', '.join(missing)}, which DICOM "
                "segmentations and reports have to name. Export the series again, or leave --dicom out."
            )


def outlined(scan: Scan) -> list[Lesion]:
    """Its lesions that are more than a click, of which nothing is measured."""
    return [one for one in scan.lesions or () if not one.clicked]


def headers(scan: Scan, part: slice = slice(None)) -> list[Dataset]:
    """Of its slices in the order of its voxels, without the pixels. Raises InputError where it is no DICOM series."""
    from pydicom import dcmread

    stack = _stack(scan)
    if len(stack.slices) != scan.image.grid.shape[0]:
        raise InputError(
            f"'{scan.image.name}' ({scan.day}) is one DICOM file of many frames; segmentations and reports are written "
            "for series of one file a slice. Export it so, or leave --dicom out."
        )
    slice_apart = 1 / np.linalg.norm(scan.image.grid.world_to_voxel[0, :3])
    found: list[Dataset] = [dcmread(item.path, stop_before_pixels=True) for item in stack.slices[part]]
    for one in found:
        for name in _MAY_BE_EMPTY:
            one.setdefault(name, "")
        one.setdefault("SliceThickness", float(f"{slice_apart:.6g}"))
    return found


def _stack(scan: Scan) -> Stack:
    source = Path(scan.source)
    if not scan.source or not source.is_dir():
        raise InputError(
            f"'{scan.image.name}' ({scan.day}) was not read from a DICOM series, so DICOM segmentations and reports "
            "have nothing to refer to. Give the DICOM folder as the image, or leave --dicom out."
        )
    return chosen_stack(source, scan.series or None)
