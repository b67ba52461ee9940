"""Outlines as DICOM segmentations, and measurements as structured reports (TID 1500), one of each for every scan.

They name the slices that they were made from; a lesion has the same tracking UID on every scan and in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.version import __version__
from RegistrationNetLib.lesions.estimate import Estimate
from RegistrationNetLib.lesions.follow import Tracking
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.measure import Measures
from RegistrationNetLib.lesions.study import Scan, label_map
from RegistrationNetLib.lesions.table import entries
from RegistrationNetLib.reporting.sources import check_dicom, headers, outlined

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from highdicom.sr import Comprehensive3DSR
    from pydicom import Dataset

_MAKER = "RegistrationNet"
_SCHEME = "99REGNET"
"""Our own coding scheme, for what no standard one has: what became of a lesion."""
_SERIES = {"segmentation": 9101, "measurements": 9102}


def write_dicom(tracking: Tracking, folder: str | Path, reader: str = "") -> list[str]:
    """segmentation_DATE.dcm and measurements_DATE.dcm of every scan with outlines; returns their names.

    reader: who outlined, for the reports. Raises what `check_dicom` raises.
    """
    check_dicom(tracking.study)
    names = []
    for scan in tracking.study.scans:
        if outlined(scan):
            slices = headers(scan)
            drawn = segmentation(tracking, scan, slices)
            for name, made in (
                ("segmentation", drawn),
                ("measurements", report(tracking, scan, slices, drawn, reader)),
            ):
                names.append(f"{name}_{scan.name}.dcm")
                made.save_as(Path(folder) / names[-1])
    return names


def segmentation(tracking: Tracking, scan: Scan, slices: Sequence[Dataset]) -> Segmentation:
    """One segment for each outlined lesion of a scan, on the slices that show any. slices: of the whole scan."""
    from highdicom import UID
    from highdicom.seg import Segmentation, SegmentationTypeValues

    lesions = outlined(scan)
    voxels = _voxels(lesions, scan)
    shown = np.flatnonzero(voxels.reshape(len(voxels), -1).any(axis=1))
    return Segmentation(
        [slices[int(index)] for index in shown],
        voxels[shown],
        SegmentationTypeValues.BINARY,
        [_segment(number, one, tracking, scan, slices) for number, one in enumerate(lesions, 1)],
        series_instance_uid=UID(),
        series_number=_SERIES["segmentation"],
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=_MAKER,
        manufacturer_model_name=_MAKER,
        software_versions=__version__,
        device_serial_number=__version__,
        content_label="LESIONS",
        content_description="Lesions as outlined on this scan",
        series_description="Lesions",
    )


def report(
    tracking: Tracking, scan: Scan, slices: Sequence[Dataset], drawn: Segmentation, reader: str = ""
) -> Comprehensive3DSR:
    """The measurements of a scan's outlined lesions. drawn: its segmentation, to which they refer."""
    from highdicom import UID
    from highdicom.sr import Comprehensive3DSR, MeasurementReport
    from pydicom.sr.codedict import codes

    groups = [_group(number, one, tracking, scan, slices, drawn) for number, one in enumerate(outlined(scan), 1)]
    content = MeasurementReport(
        _observed(reader), codes.SCT.ImagingProcedure, groups, title=codes.DCM.ImagingMeasurementReport
    )
    return Comprehensive3DSR(
        [*slices, drawn],
        content,
        series_instance_uid=UID(),
        series_number=_SERIES["measurements"],
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=_MAKER,
        is_complete=True,
        series_description="Measurements of lesions, for research use only",
    )


def _voxels(lesions: Sequence[Lesion], scan: Scan) -> NDArray[np.integer[Any]]:
    """(D, H, W) with each lesion's number, or (D, H, W, lesions) where they overlap."""
    grid = scan.image.grid
    labels = label_map(lesions, grid).scalar.astype(np.uint16)
    if np.count_nonzero(labels) == sum(len(one.points) for one in lesions):
        return labels
    return np.stack([label_map([one], grid).scalar for one in lesions], axis=-1).astype(np.uint8)


def _segment(number: int, lesion: Lesion, tracking: Tracking, scan: Scan, slices: Sequence[Dataset]) -> Any:
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    name = tracking.history.names[scan.name, lesion.name]
    return SegmentDescription(
        number,
        f"Lesion {name}"[:64],
        codes.SCT.MorphologicallyAbnormalStructure,
        codes.SCT.Lesion,
        SegmentAlgorithmTypeValues.MANUAL,
        tracking_uid=_tracking_uid(name, slices),
        tracking_id=name[:64],
    )


def _tracking_uid(name: str, slices: Sequence[Dataset]) -> str:
    """Of one lesion of one patient, whatever the scan."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[_MAKER, str(slices[0].get("PatientID", "")), name]))


def _observed(reader: str) -> Any:
    from highdicom import UID
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(UID(), _MAKER, _MAKER, _MAKER, __version__)
    family = reader if "^" in reader else f"{reader}^"  # a name in DICOM has parts
    person = PersonObserverIdentifyingAttributes(family) if reader else None
    return ObservationContext(
        observer_person_context=ObserverContext(codes.DCM.Person, person) if person else None,
        observer_device_context=ObserverContext(codes.DCM.Device, device),
    )


def _group(
    number: int, lesion: Lesion, tracking: Tracking, scan: Scan, slices: Sequence[Dataset], drawn: Segmentation
) -> Any:
    """All of one lesion."""
    from highdicom.sr import (
        CodedConcept,
        QualitativeEvaluation,
        ReferencedSegment,
        TimePointContext,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.sr.codedict import codes

    name = tracking.history.names[scan.name, lesion.name]
    status = next(one.status for one in entries(tracking) if (one.lesion, one.day) == (name, scan.day))
    change = CodedConcept("change", _SCHEME, "What became of the lesion")
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(_tracking_uid(name, slices), name),
        referenced_segment=ReferencedSegment.from_segmentation(drawn, number),
        time_point_context=TimePointContext(scan.name),
        finding_type=codes.SCT.Lesion,
        measurements=_measurements(tracking.measures[scan.name, lesion.name], slices[0]),
        qualitative_evaluations=[QualitativeEvaluation(change, CodedConcept(status, _SCHEME, status))],
    )


def _measurements(measures: Measures, first: Dataset) -> list[Any]:
    """Volume and diameters, and of a CT the mean attenuation: other intensities have no unit."""
    from pydicom.sr.codedict import codes

    sct, ucum = codes.SCT, codes.UCUM
    found = [
        _measurement(sct.Volume, measures.volume_mm3, ucum.CubicMillimeter),
        _measurement(sct.LongAxis, measures.longest_mm, ucum.Millimeter),
        _measurement(sct.ShortAxis, measures.short_axis_mm, ucum.Millimeter),
    ]
    if first.get("Modality") == "CT":
        name, unit = codes.DCM.AttenuationCoefficient, ucum.HounsfieldUnit
        found.append(_measurement(name, measures.mean, unit, derivation=sct.Mean))
    return found


def _measurement(name: Any, estimate: Estimate, unit: Any, **more: Any) -> Any:
    """With how far the ends of its 95 % interval lie below and above."""
    from highdicom.sr import CodedConcept, Measurement, MeasurementProperties

    ends = (estimate.high - estimate.value, estimate.value - estimate.low)
    if not np.isfinite((estimate.value, *ends)).all():
        return Measurement(name, estimate.value, unit, **more)
    above, below = (float(f"{end:.6g}") for end in ends)
    properties = MeasurementProperties(upper_measurement_uncertainty=above, lower_measurement_uncertainty=below)
    for item in properties:  # the library says "no units"
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0] = CodedConcept.from_code(unit)
    return Measurement(name, float(f"{estimate.value:.9g}"), unit, properties=properties, **more)
