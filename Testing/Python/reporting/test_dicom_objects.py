"""DICOM segmentations and reports hold what was outlined and measured, and name the slices of it."""

import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial.transform import Rotation

from Python.files.series import write_series
from Python.lesions.heads import FIRST, LESION
from Python.reporting.studies import Still
from RegistrationNetLib import tracking
from RegistrationNetLib.anatomy import Head
from RegistrationNetLib.cli import main
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.dicom import read_dicom_folder
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.files.studies import read_study
from RegistrationNetLib.lesions.follow import Tracking, follow
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.study import Study, label_map

pytest.importorskip("highdicom", reason="highdicom is not installed here.")

from highdicom.seg import Segmentation
from highdicom.sr import Comprehensive3DSR
from pydicom import dcmread

from RegistrationNetLib.reporting.dicom import write_dicom
from RegistrationNetLib.reporting.sources import check_dicom

DAYS = [FIRST + timedelta(days=60 * k) for k in range(2)]
BALLS = ({1: ((10, 0, 10), 9.0), 2: ((-14, 5, 0), 8.0)}, {1: ((10, 0, 10), 12.0), 3: ((-14, 5, 0), 8.0)})
TILT = Rotation.from_rotvec([0.25, -0.2, 0.15]).as_matrix()


def lattice(spacing: tuple[float, float, float]) -> Grid:
    """Oblique, about 80 mm wide, around the head's middle."""
    directions = TILT @ np.eye(3)[:, ::-1]
    shape = np.rint(80 / np.array(spacing)).astype(int)
    return Grid.of(shape, spacing, directions, -directions @ (np.array(spacing) * (shape - 1) / 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two oblique CT series of different slice thickness, their outlines, and a table of them."""
    folder = tmp_path_factory.mktemp("study")
    lines = ["date,image,outlines,patient"]
    for number, (day, balls, spacing) in enumerate(zip(DAYS, BALLS, [(4.0, 2.0, 2.0), (5.0, 1.5, 2.5)], strict=True)):
        grid = lattice(spacing)
        values, labels = Head(0).draw(grid.points())[0].astype(np.float64), np.zeros(grid.shape, np.uint8)
        for label, (center, radius) in balls.items():
            inside = np.linalg.norm(grid.points() - center, axis=-1) <= radius
            values[inside], labels[inside] = LESION, label
        study = {"0020|000d": f"1.2.{number + 5}", "0020|0052": "1.2.9", "0010|0020": "P7", "0010|0010": "Phantom^Head"}
        write_series(
            folder / f"ct{number}", grid, np.rint(values).astype(np.int16), uid=f"1.2.3.{number}",
            **study, **{"0008|0020": day.strftime("%Y%m%d")},
        )  # fmt: skip
        read = read_dicom_folder(folder / f"ct{number}").grid
        assert read.isclose(grid, 0.01)
        write_image(Image(labels[None], read), folder / f"lesions{number}.nii.gz")
        lines.append(f"{day},ct{number},lesions{number}.nii.gz,P7")
    (folder / "study.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def followed(folder: Path) -> Tracking:
    return follow(read_study(folder / "study.csv"), Still(), local=False)


@pytest.fixture(scope="module")
def written(followed: Tracking, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dicom")
    names = write_dicom(followed, out, "Example^Reader")
    assert names == [f"{kind}_{day}.dcm" for day in DAYS for kind in ("segmentation", "measurements")]
    return out


def segmentation(written: Path, number: int) -> Segmentation:
    return Segmentation.from_dataset(dcmread(written / f"segmentation_{DAYS[number]}.dcm"))


def report(written: Path, number: int) -> Comprehensive3DSR:
    return Comprehensive3DSR.from_dataset(dcmread(written / f"measurements_{DAYS[number]}.dcm"))


def world(drawn: Segmentation, number: int) -> np.ndarray:
    """Positions of a segment's voxels from what its frames say of themselves, (N, 3)."""
    shared = drawn.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    height, width = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    for frame, pixels in zip(drawn.PerFrameFunctionalGroupsSequence, np.atleast_3d(drawn.pixel_array), strict=True):
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            first = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
            rows, columns = np.nonzero(pixels)
            found.append(first + columns[:, None] * width * axes[0] + rows[:, None] * height * axes[1])
    return np.concatenate(found)


@pytest.mark.parametrize("number", [0, 1])
def test_segments_lie_where_the_lesions_were_outlined(followed: Tracking, written: Path, number: int):
    drawn, scan = segmentation(written, number), followed.study.scans[number]
    assert drawn.number_of_segments == len(scan.lesions or ()) == 2
    for segment, lesion in enumerate(scan.lesions or (), 1):
        here, there = world(drawn, segment), lesion.points
        assert len(here) == len(there)
        np.testing.assert_allclose(here[np.lexsort(here.round(1).T)], there[np.lexsort(there.round(1).T)], atol=0.02)


@pytest.mark.parametrize("number", [0, 1])
def test_every_slice_that_is_named_is_one_of_the_source(folder: Path, written: Path, number: int):
    sources = [dcmread(path, stop_before_pixels=True) for path in (folder / f"ct{number}").iterdir()]
    known = {one.SOPInstanceUID: np.array(one.ImagePositionPatient, float) for one in sources}
    drawn, measured = segmentation(written, number), report(written, number)
    for frame in drawn.PerFrameFunctionalGroupsSequence:
        named = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, known[named], atol=1e-3)
    for made in (drawn, measured):
        assert (made.StudyInstanceUID, made.PatientID) == (sources[0].StudyInstanceUID, "P7")
    assert drawn.FrameOfReferenceUID == "1.2.9"
    evidence = {
        one.ReferencedSOPInstanceUID
        for study in measured.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert drawn.SOPInstanceUID in evidence
    assert evidence & set(known)
    assert evidence - {drawn.SOPInstanceUID} <= set(known)


@pytest.mark.parametrize("number", [0, 1])
def test_measurements_are_the_tables_with_units_and_intervals(followed: Tracking, written: Path, number: int):
    drawn, scan = segmentation(written, number), followed.study.scans[number]
    groups = report(written, number).content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    for segment, (group, lesion) in enumerate(zip(groups, scan.lesions or (), strict=True), 1):
        measures = followed.measures[scan.name, lesion.name]
        expected = {
            "Volume": (measures.volume_mm3, "mm3"),
            "Long axis": (measures.longest_mm, "mm"),
            "Short axis": (measures.short_axis_mm, "mm"),
            "Attenuation Coefficient": (measures.mean, "[hnsf'U]"),
        }
        found = {one.name.meaning: one for one in group.get_measurements()}
        assert set(found) == set(expected)
        for name, (estimate, unit) in expected.items():
            assert found[name].value == pytest.approx(estimate.value, rel=1e-6)
            assert (found[name].unit.value, found[name].unit.scheme_designator) == (unit, "UCUM")
            above, below = (item.MeasuredValueSequence[0] for item in uncertainties(found[name][0]))
            assert float(above.NumericValue) == pytest.approx(estimate.high - estimate.value, rel=1e-4)
            assert float(below.NumericValue) == pytest.approx(estimate.value - estimate.low, rel=1e-4)
            assert above.MeasurementUnitsCodeSequence[0].CodeValue == unit
        assert group.referenced_segment.referenced_sop_instance_uid == drawn.SOPInstanceUID
        assert group.referenced_segment.referenced_segment_numbers == [segment]
        assert group.tracking_uid == drawn.SegmentSequence[segment - 1].TrackingUID


def uncertainties(item: object) -> list:
    named = {one.ConceptNameCodeSequence[0].CodeValue: one for one in item.ContentSequence}  # type: ignore[attr-defined]
    return [named["371886008"], named["371885007"]]


def test_a_lesion_has_one_tracking_uid_over_time_and_another_one_its_own(followed: Tracking, written: Path):
    uids = {
        (day, segment.TrackingID): segment.TrackingUID
        for number, day in enumerate(DAYS)
        for segment in segmentation(written, number).SegmentSequence
    }
    names = followed.history.names.values()
    assert {name for _, name in uids} == set(names) == {"1", "2"}
    assert uids[DAYS[0], "1"] == uids[DAYS[1], "1"] != uids[DAYS[0], "2"] == uids[DAYS[1], "2"]


def test_what_became_of_a_lesion_and_who_outlined_it_is_said(written: Path):
    text = str(report(written, 1))
    assert all(said in text for said in ("grown", "stable", "Example^Reader"))


def test_overlapping_lesions_are_both_whole(followed: Tracking, tmp_path: Path):
    scan = followed.study.scans[0]
    one, two = scan.lesions or ()
    grid = scan.image.grid
    both = (label_map([one, two], grid).scalar > 0).astype(np.uint8)
    lesions = (one, Lesion(two.name, Image(both[None], grid, name="both")))
    write_dicom(replace(followed, study=Study((replace(scan, lesions=lesions), followed.study.scans[1]))), tmp_path)
    drawn = segmentation(tmp_path, 0)
    assert [len(world(drawn, number)) for number in (1, 2)] == [len(one.points), len(lesions[1].points)]


def test_scans_that_are_no_dicom_are_refused_by_name_before_the_work_begins(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    image = read_dicom_folder(folder / "ct0")
    write_image(image, tmp_path / "head.nii.gz")
    table = f"date,image,outlines\n{DAYS[0]},head.nii.gz,{folder / 'lesions0.nii.gz'}\n{DAYS[1]},{folder / 'ct1'},\n"
    (tmp_path / "study.csv").write_text(table)
    run = ["track", str(tmp_path / "study.csv"), "-o", str(tmp_path / "out"), "--dicom"]
    refused = CliRunner().invoke(main, run)
    said = " ".join(refused.output.split())
    assert (refused.exit_code, (tmp_path / "out").exists()) == (2, False)
    assert f"'head.nii.gz' ({DAYS[0]}) was not read from a DICOM series" in said
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert "pip install 'registrationnet[dicom]'" in " ".join(CliRunner().invoke(main, run).output.split())


def test_a_series_without_a_frame_of_reference_is_refused(followed: Tracking, tmp_path: Path):
    scan = followed.study.scans[0]
    write_series(tmp_path / "ct", scan.image.grid, scan.image.scalar.astype(np.int16), uid="1.2.3.8")
    first = replace(scan, source=str(tmp_path / "ct"))
    with pytest.raises(InputError, match="have no FrameOfReferenceUID"):
        check_dicom(Study((first, followed.study.scans[1])))


def test_the_command_writes_them_beside_the_rest(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking.Registrations, "register", Still.register)
    run = ["track", str(folder), "-o", str(tmp_path), "--dicom", "--no-local", "--reader", "Dr Example"]
    done = CliRunner().invoke(main, run)
    assert done.exit_code == 0, done.output
    assert {f"{kind}_{day}.dcm" for day in DAYS for kind in ("segmentation", "measurements")} <= {
        path.name for path in tmp_path.iterdir()
    }


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed here.")
def test_a_validator_finds_no_error(written: Path):
    for path in written.iterdir():
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert [line for line in said.splitlines() if line.startswith("Error")] == []
