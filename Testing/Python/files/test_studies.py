"""A study as people write it: tables and folders are read, and what is wrong is said with its row or file."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from Python.files.series import write_series
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.files.links import read_links, write_links
from RegistrationNetLib.files.segmentations import Segmentation, write_segmentation
from RegistrationNetLib.files.studies import COLUMNS, LESION_COLUMNS, read_study
from RegistrationNetLib.lesions.study import Study

GRID = Grid.of((12, 14, 16), (3.0, 2.0, 2.0), np.eye(3)[:, ::-1], (-10.0, 5.0, 20.0))


def image(seed: int, grid: Grid = GRID) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 1000, (1, *grid.shape)).astype(np.int16), grid)


def blocks(values: dict[int, int], grid: Grid = GRID) -> Image:
    """A cube for each label, at so many voxels along every axis."""
    labels = np.zeros((1, *grid.shape), np.uint8)
    for label, at in values.items():
        labels[0, at : at + 2, at : at + 2, at : at + 2] = label
    return Image(labels, grid)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2):
        write_image(image(number), tmp_path / f"ct{number}.nii.gz")
        write_image(blocks({3: 1, 7: 6}), tmp_path / f"labels{number}.nii.gz")
    two = blocks({1: 1}).data + blocks({1: 6}).data
    write_image(Image(two, GRID), tmp_path / "mask.nii.gz")
    (tmp_path / "points.csv").write_text("x,y,z\n-4,9,26\n")
    return tmp_path


def table(folder: Path, *rows: str, name: str = "scans.csv") -> Path:
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / name


def names(study: Study) -> list[list[str] | None]:
    return [None if scan.lesions is None else [one.name for one in scan.lesions] for scan in study.scans]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_is_read_in_the_order_of_dates_whatever_its_own(folder, delimiter):
    rows = ["image,Date,outlines,patient", "ct2.nii.gz,20240305,labels2.nii.gz,P", "ct1.nii.gz,2024-01-08,,P", ""]
    study = read_study(table(folder, *(row.replace(",", delimiter) for row in rows)))
    assert [scan.day for scan in study.scans] == [date(2024, 1, 8), date(2024, 3, 5)]
    assert (names(study), study.patient) == ([None, ["3", "7"]], "P")
    assert study.scans[1].image.name == "ct2.nii.gz"
    center = GRID.to_world((1.5, 1.5, 1.5))
    np.testing.assert_allclose(study.scans[1].lesions[0].center, center, atol=1e-4)


def test_a_mask_is_its_separate_pieces_and_none_is_not_nothing(folder):
    path = table(
        folder,
        "date,image,outlines,points",
        "2024-01-08,ct1.nii.gz,mask.nii.gz,points.csv",
        "2024-03-05,ct2.nii.gz,none,",
    )
    study = read_study(path)
    assert [len(scan.lesions) for scan in study.scans] == [3, 0]
    assert [one.clicked for one in study.scans[0].lesions] == [False, False, True]
    assert len({one.name for one in study.scans[0].lesions}) == 3


def test_a_slicer_segmentation_names_its_lesions_and_may_be_cropped(folder):
    part = GRID.padded((0, -1, -1), (-2, 0, 0))
    layers = Image(np.concatenate([blocks({1: 3}, part).data, blocks({1: 6, 2: 3}, part).data]), part)
    fields = {}
    for number, (name, layer, value) in enumerate([("upper", 0, 1), ("lower", 1, 1), ("node", 1, 2)]):
        fields |= {f"Segment{number}_ID": f"S{number}", f"Segment{number}_Name": name}
        fields |= {f"Segment{number}_Layer": str(layer), f"Segment{number}_LabelValue": str(value)}
    write_segmentation(Segmentation(layers, fields), folder / "drawn.seg.nrrd")
    path = table(
        folder, "date,image,outlines", "2024-01-08,ct1.nii.gz,drawn.seg.nrrd", "2024-03-05,ct2.nii.gz,labels2.nii.gz"
    )
    lesions = {one.name: one for one in read_study(path).scans[0].lesions}
    assert set(lesions) == {"upper", "lower", "node"}
    np.testing.assert_allclose(lesions["lower"].center, GRID.to_world((6.5, 7.5, 7.5)), atol=1e-4)


def test_a_table_of_lesions_names_and_describes_them(folder):
    table(
        folder,
        "lesion,name,type,organ,role,node",
        "3,liver A,metastasis,liver,target,no",
        "7,,node,,non-target,yes",
        name="lesions.csv",
    )
    path = table(
        folder,
        "date,image,outlines,lesions,confirms,markers_normal",
        "2024-01-08,ct1.nii.gz,labels1.nii.gz,lesions.csv,,",
        "2024-03-05,ct2.nii.gz,labels2.nii.gz,,2024-01-08,no",
    )
    first, second = read_study(path).scans
    assert [one.name for one in first.lesions] == ["liver A", "7"]
    assert (first.about["liver A"].organ, first.about["liver A"].label, first.about["7"].node) == ("liver", "3", True)
    assert (first.about["7"].role, second.confirms, second.markers_normal) == ("non-target", date(2024, 1, 8), False)


def test_a_folder_is_read_by_the_dates_in_names_and_in_dicom(folder, tmp_path_factory):
    scans = tmp_path_factory.mktemp("patient 7")
    write_image(image(1), scans / "2024-01-08_ct.nii.gz")
    write_image(blocks({3: 1, 7: 6}), scans / "2024-01-08_ct_lesions.nii.gz")
    write_image(image(2), scans / "ct_20240305.nii.gz")
    (scans / "tracked").mkdir()  # of an earlier run
    write_image(image(3), scans / "tracked" / "carried_2024-03-05.nii.gz")
    study = read_study(scans)
    assert [scan.name for scan in study.scans] == ["2024-01-08", "2024-03-05"]
    assert names(study) == [["3", "7"], None]
    table(scans, "date,image", "2024-01-08,ct_20240305.nii.gz", "2024-02-01,2024-01-08_ct.nii.gz", name="study.csv")
    assert [scan.name for scan in read_study(scans).scans] == ["2024-01-08", "2024-02-01"]  # a table goes first


GOOD = "2024-01-08,ct1.nii.gz,labels1.nii.gz"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["date,image,outlines"], "has no rows"),
        (["date,outlines", "2024-01-08,labels1.nii.gz"], "has no column 'image'"),
        (["date,image,outline", GOOD], "a column 'outline' that is not known. Known are: date, image, outlines"),
        (["date,image,outlines", GOOD], "two or more scans; here is 1"),
        (["date,image,outlines", GOOD, "08.03.2024,ct2.nii.gz,"], "Row 3 .* '08.03.2024' is no date; write year-month"),
        (["date,image,outlines", GOOD, "2024-02-30,ct2.nii.gz,"], "Row 3 .* '2024-02-30' is no date"),
        (["date,image,outlines", GOOD, ",ct2.nii.gz,"], "Row 3 .* has no date"),
        (["date,image,outlines", GOOD, "2024-01-08,ct2.nii.gz,"], "Row 2 .* and row 3 .* are both of 2024-01-08"),
        (["date,image,outlines", GOOD, "2024-03-05,ct9.nii.gz,"], "Row 3 .*ct9.nii.gz' does not exist"),
        (["date,image,outlines", GOOD, "2024-03-05,,"], "Row 3 .* has no image"),
        (["date,image,outlines", GOOD, "2024-03-05,ct2.nii.gz,shifted.nii.gz"], "Row 3 .* was not drawn on the voxels"),
        (["date,image,outlines,x,y", GOOD], "a column 'x'"),
        (["date,image,outlines", GOOD, "2024-03-05,ct2.nii.gz,a,b"], "Row 3 .* more cells than columns"),
        (["date,image,patient", "2024-01-08,ct1.nii.gz,P", "2024-03-05,ct2.nii.gz,Q"], "scans of P, Q"),
        (["date,image,region", "2024-01-08,ct1.nii.gz,", "2024-03-05,ct2.nii.gz,mask.nii.gz"], "Row 3 .* has a region"),
        (["date,image,markers_normal", "2024-01-08,ct1.nii.gz,maybe"], "Row 2 .* says 'maybe'"),
    ],
)
def test_what_is_wrong_is_said_with_its_row_and_the_cure(folder, rows, said):
    write_image(blocks({1: 3}, GRID.padded((1, 0, 0), (1, 0, 0)).resampled((15, 14, 16))), folder / "shifted.nii.gz")
    with pytest.raises(InputError, match=said):
        read_study(table(folder, *rows))


@pytest.mark.parametrize(
    ("lesions", "said"),
    [
        ("lesion,role\n9,target", "describes a lesion '9', but this scan has: 3, 7"),
        ("lesion,role\n3,primary", "says 'primary' in 'role'; write target or non-target"),
        ("lesion,node\n3,perhaps", "says 'perhaps' in 'node'"),
        ("lesion,name\n3,A\n7,A", "Two lesions of 2024-01-08 are called 'A'"),
    ],
)
def test_a_table_of_lesions_that_cannot_be_is_refused(folder, lesions, said):
    (folder / "about.csv").write_text(lesions)
    path = table(folder, "date,image,outlines,lesions", f"{GOOD},about.csv", "2024-03-05,ct2.nii.gz,,")
    with pytest.raises(InputError, match=said):
        read_study(path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["ct.nii.gz"], "does not say when it was made"),
        (["2024-01-08.nii.gz"], "holds scans of 1 dates"),
        (["2024-01-08.nii.gz", "2024-01-08_b.nii.gz", "2024-02-08.nii.gz"], "Of 2024-01-08 there is .*one image"),
        (["2024-01-08_lesions.nii.gz", "2024-02-08.nii.gz"], "no image"),
    ],
)
def test_a_folder_that_leaves_something_open_is_refused(tmp_path, files, said):
    for number, name in enumerate(files):
        write_image(image(number), tmp_path / name)
    with pytest.raises(InputError, match=said):
        read_study(tmp_path)


def test_a_dicom_folder_says_its_date(folder):
    for number, day in ((1, "20240108"), (2, "20240305")):
        write_series(folder / f"dicom{number}", **{"0008|0022": day, "uid": f"1.2.{number}"})
    study = read_study(table(folder, "image", "dicom2", "dicom1"))
    assert [scan.name for scan in study.scans] == ["2024-01-08", "2024-03-05"]


def test_links_are_read_by_label_or_point_and_kept_by_place(folder):
    rows = ["date,image,outlines", GOOD, "2024-03-05,ct2.nii.gz,labels2.nii.gz"]
    study = read_study(table(folder, *rows))
    point = " ".join(f"{value:.3f}" for value in study.scans[1].lesions[1].anchor)
    path = table(
        folder,
        "earlier_date,earlier,later_date,later,same",
        "2024-01-08,3,2024-03-05,7,yes",
        f"2024-01-08,7,2024-03-05,{point},no",
        name="links.csv",
    )
    words = read_links(path, study)
    assert [(word.same, word.later.timepoint) for word in words] == [(True, "2024-03-05"), (False, "2024-03-05")]
    np.testing.assert_allclose(words[0].later.point_mm, words[1].later.point_mm, atol=1e-3)
    write_links(words, folder / "again.csv")
    again = read_links(folder / "again.csv", study)
    for before, after in zip(words, again, strict=True):
        np.testing.assert_allclose(before.earlier.point_mm, after.earlier.point_mm, atol=1e-3)
        assert before.same == after.same


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2024-01-08,5,2024-03-05,7,yes", "Row 2 .* names a lesion '5' of 2024-01-08, which has: 3, 7"),
        ("2024-01-09,3,2024-03-05,7,yes", "Row 2 .* names a scan of 2024-01-09"),
        ("2024-03-05,3,2024-01-08,7,yes", "Row 2 .* earlier scan after its later one"),
        ("2024-01-08,3,2024-03-05,7,", "Row 2 .* does not say whether"),
    ],
)
def test_a_link_that_cannot_be_is_refused(folder, row, said):
    study = read_study(table(folder, "date,image,outlines", GOOD, "2024-03-05,ct2.nii.gz,labels2.nii.gz"))
    with pytest.raises(InputError, match=said):
        read_links(table(folder, "earlier_date,earlier,later_date,later,same", row, name="links.csv"), study)


def test_the_page_explains_every_column():
    page = (Path(__file__).parents[3] / "docs" / "lesions-tracking.md").read_text(encoding="utf-8")
    assert [name for name in (*COLUMNS, *LESION_COLUMNS) if f"`{name}`" not in page] == []
