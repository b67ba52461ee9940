"""The papers' data sets, from made-up folders of the same layouts: who is in which split, what is judged by what, and
that every voxel stays where it was, as SimpleITK sees it."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from benchmarks import protocols
from benchmarks.data import landmarks
from benchmarks.preprocessing import cropped
from benchmarks.protocol import FILE, RECIPE, Protocol
from benchmarks.protocols import found, prepare
from benchmarks.structures import IXI30, LPBA54, LPBA56, SEG35, SUBCORTICAL
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.training.cases import Cases
from RegistrationNetLib.training.settings import Train

RAS = (-1, 0, 0, 0, -1, 0, 0, 0, 1)  # ITK's world is LPS
LIA = (1, 0, 0, 0, 0, -1, 0, -1, 0)  # FreeSurfer's order: left to right, head to foot, back to front
SIZE = (20, 28, 24)  # left to right, back to front, foot to head


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brains of a few thousand voxels."""
    monkeypatch.setattr(protocols, "WHOLE", SIZE)
    monkeypatch.setattr(protocols, "CEREBRUM", SIZE)


def write(file: Path, values: np.ndarray, direction=RAS, spacing=(1.0, 1.0, 1.0)) -> None:
    """values: (D, H, W)."""
    image = sitk.GetImageFromArray(values)
    image.SetDirection(direction)
    image.SetSpacing(spacing)
    image.SetOrigin((12.0, -7.5, 30.25))
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file))


def brain(image: Path, labels: Path, size=(20, 24, 28), direction=LIA, spacing=(1.0, 1.0, 1.0), seed=0) -> None:
    """A box of noise, not in the middle, in two labels; size: as SimpleITK says it."""
    shape = size[::-1]
    inside = np.zeros(shape, bool)
    inside[tuple(slice(n // 4, n // 4 + n // 2) for n in shape)] = True
    values = np.random.default_rng(seed).uniform(0.2, 1, shape) * inside
    halves = np.where(np.arange(shape[2]) < shape[2] // 2, 21, 182) * inside
    write(image, values.astype(np.float32), direction, spacing)
    write(labels, halves.astype(np.uint8), direction, spacing)


def neurite(folder: Path, count: int = 10) -> Path:
    for number in range(count):
        scan = folder / f"OASIS_OAS1_{number + 1:04}_MR1"
        brain(scan / "aligned_norm.nii.gz", scan / "aligned_seg35.nii.gz", seed=number)
    return folder


def challenge(folder: Path, count: int = 10) -> Path:
    for number in range(count):
        name = f"OASIS_{number + 1:04}_0000.nii.gz"
        brain(folder / "imagesTr" / name, folder / "labelsTr" / name, size=(20, 28, 24), direction=RAS)
    return folder


def delineation(folder: Path) -> Path:
    """As LONI ships it, in thick coronal slices, one in two files; no voxel of 1 mm lies halfway between two slices."""
    for number in range(1, 41):
        stem, ending = folder / "delineation_space" / f"S{number:02}", ".hdr" if number == 3 else ".nii.gz"
        files = (stem / f"{stem.name}.delineation.{part}{ending}" for part in ("skullstripped", "structure.label"))
        brain(*files, size=(37, 30, 43), direction=RAS, spacing=(0.86, 1.4, 0.86), seed=number)
    return folder


def transmorph(folder: Path, split: bool = True) -> Path:
    counts = {"Train": 4, "Val": 1, "Test": 2} if split else {".": 10}
    numbers = iter(range(10))
    for part, count in counts.items():
        for number in [next(numbers) for _ in range(count)]:
            brain(folder / part / f"subject_{number}.nii.gz", folder / part / f"subject_{number}_seg.nii.gz")
    brain(folder / "atlas.nii.gz", folder / "atlas_seg.nii.gz")
    return folder


def chests(folder: Path, train: int = 4, test: int = 2, points: str = "landmarks") -> Path:
    """HU far beyond the window; masks; landmarks of the test."""
    rng = np.random.default_rng(0)
    for number in range(1, train + test + 1):
        part = "Tr" if number <= train else "Ts"
        for breath in (0, 1):
            name = f"LungCT_{number:04}_000{breath}"
            values = rng.integers(-3000, 2000, (36, 20, 20)).astype(np.int16)
            write(folder / f"images{part}" / f"{name}.nii.gz", values, RAS, (1.75, 1.25, 1.75))
            mask = np.zeros(values.shape, np.uint8)
            mask[10:30, 5:15, 4:16] = 1
            write(folder / f"masks{part}" / f"{name}.nii.gz", mask, RAS, (1.75, 1.25, 1.75))
            rows = "\n".join(",".join(f"{value:.5f}" for value in row) for row in rng.uniform(8, 18, (5, 3)))
            (folder / f"{points}{part}").mkdir(exist_ok=True)
            (folder / f"{points}{part}" / f"{name}.csv").write_text(rows + "\n")
    return folder


def prepared(name: str, source: Path, out: Path) -> Protocol:
    prepare(found(name, source), out)
    return Protocol.read(out)


def read(folder: Path, part: str, one: str) -> sitk.Image:
    return sitk.ReadImage(str(folder / part / f"{one}.nii.gz"))


def assert_same_world(source: Path, result: sitk.Image, interpolator=sitk.sitkNearestNeighbor, atol=0.0) -> None:
    """Every voxel of the result shows what the source shows there."""
    seen = sitk.Resample(sitk.ReadImage(str(source)), result, sitk.Transform(), interpolator, 0.0)
    np.testing.assert_allclose(sitk.GetArrayFromImage(result), sitk.GetArrayFromImage(seen), atol=atol)


def assert_same_grid(one: sitk.Image, other: sitk.Image) -> None:
    assert one.GetSize() == other.GetSize()
    for said in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(one, said)(), getattr(other, said)(), atol=1e-5)


@pytest.mark.parametrize(("layout", "name"), [(neurite, "OASIS_OAS1_{:04}_MR1"), (challenge, "OASIS_{:04}_0000")])
def test_oasis_is_split_by_sorted_id_and_its_first_scan_is_the_fixed_atlas(layout, name, tmp_path):
    protocol = prepared("oasis", layout(tmp_path / "source"), tmp_path / "out")
    ids = [name.format(number) for number in range(1, 11)]
    assert sorted((*protocol.train, *protocol.validation)) == ids[:9]  # 400 of 450, in proportion
    assert len(protocol.validation) == 1
    assert protocol.test == (ids[9],)
    assert protocol.pairs == ((ids[0], ids[9]),)
    assert {file.name for file in (tmp_path / "out/labels").iterdir()} == {f"{one}.nii.gz" for one in ids}


def test_450_scans_or_more_are_380_to_train_20_to_choose_by_and_50_to_test(tmp_path):
    for number in range(460):
        scan = tmp_path / f"OASIS_OAS1_{number:04}_MR1"
        scan.mkdir()
        for file in ("aligned_norm.nii.gz", "aligned_seg35.nii.gz"):
            (scan / file).touch()
    protocol = found("oasis", tmp_path).protocol
    assert [len(part) for part in (protocol.train, protocol.validation, protocol.test)] == [380, 20, 50]
    assert max((*protocol.train, *protocol.validation)) < min(protocol.test)
    assert protocol.test[-1] == "OASIS_OAS1_0449_MR1"


def test_the_label_sets_have_as_many_structures_as_the_papers_say():
    assert (len(SEG35), len(SUBCORTICAL), len(LPBA54), len(LPBA56), len(IXI30)) == (35, 28, 54, 56, 30)
    assert SEG35["Brain-Stem"] == 13
    assert SEG35["Right-choroid-plexus"] == 35
    assert SEG35["Left-Cerebral-Cortex"] not in SUBCORTICAL


def test_other_labels_can_be_judged_by(tmp_path):
    prepare(found("oasis", neurite(tmp_path / "source"), [17, 53]), tmp_path / "out")
    assert Protocol.read(tmp_path / "out").labels == {"2 labels": (17, 53)}


def test_what_has_the_papers_size_stays_as_it_is_in_whichever_order_it_is_stored(tmp_path):
    protocol = prepared("oasis", neurite(tmp_path / "source"), tmp_path / "out")
    for part, file in (("images", "aligned_norm"), ("labels", "aligned_seg35")):
        source = sitk.ReadImage(str(tmp_path / "source" / protocol.test[0] / f"{file}.nii.gz"))
        result = read(tmp_path / "out", part, protocol.test[0])
        assert_same_grid(source, result)
        assert np.array_equal(sitk.GetArrayFromImage(source), sitk.GetArrayFromImage(result))


@pytest.mark.parametrize(
    ("direction", "size", "expected"),
    [(RAS, (30, 22, 31), SIZE), (LIA, (30, 31, 22), (20, 24, 28))],
    ids=["RAS", "LIA"],
)
def test_larger_brains_are_cropped_and_smaller_ones_padded_around_what_is_labelled(direction, size, expected, tmp_path):
    neurite(tmp_path / "source", count=5)
    scan = tmp_path / "source/OASIS_OAS1_0004_MR1"
    brain(scan / "aligned_norm.nii.gz", scan / "aligned_seg35.nii.gz", size=size, direction=direction)
    prepared("oasis", tmp_path / "source", tmp_path / "out")
    for part, file in (("images", "aligned_norm"), ("labels", "aligned_seg35")):
        result = read(tmp_path / "out", part, scan.name)
        assert result.GetSize() == expected
        assert_same_world(scan / f"{file}.nii.gz", result)
    inside = np.argwhere(sitk.GetArrayFromImage(result))
    assert len(inside) == 15 * 11 * 15  # nothing is lost
    assert abs((inside.min(0) + inside.max(0)) / 2 - (np.array(expected[::-1]) - 1) / 2).max() <= 0.5


def test_lpba40_tests_all_ordered_pairs_of_ten_by_54_labels_and_56(tmp_path):
    protocol = found("lpba40", delineation(tmp_path)).protocol
    assert protocol.test == tuple(f"S{number:02}" for number in range(1, 11))
    assert len(protocol.train) == 27
    assert sorted((*protocol.train, *protocol.validation)) == [f"S{number}" for number in range(11, 41)]
    assert len(set(protocol.pairs)) == 90
    assert all(one != other for one, other in protocol.pairs)
    assert protocol.labels == {"54 labels": LPBA54, "56 labels": LPBA56}
    assert set(LPBA56) - set(LPBA54) == {181, 182}


def test_coronal_slices_come_to_1_mm_where_they_lay(tmp_path):
    prepared("lpba40", delineation(tmp_path / "source"), tmp_path / "out")
    for one, ending in (("S01", ".nii.gz"), ("S03", ".hdr")):
        stem = tmp_path / "source/delineation_space" / one / f"{one}.delineation"
        image, labels = (read(tmp_path / "out", part, one) for part in ("images", "labels"))
        assert_same_grid(image, labels)
        assert image.GetSize() == SIZE
        np.testing.assert_allclose(image.GetSpacing(), 1, atol=0.02)
        assert_same_world(Path(f"{stem}.skullstripped{ending}"), image, sitk.sitkLinear, 1e-4)
        assert_same_world(Path(f"{stem}.structure.label{ending}"), labels)


def test_ixi_keeps_its_folders_and_carries_the_atlas_onto_the_subjects(tmp_path):
    protocol = prepared("ixi", transmorph(tmp_path / "source"), tmp_path / "out")
    assert protocol.test == ("subject_5", "subject_6")
    assert protocol.pairs == (("subject_5", "Atlas"), ("subject_6", "Atlas"))
    assert protocol.train[0] == "Atlas"
    assert sorted((*protocol.train, *protocol.validation))[1:] == [f"subject_{number}" for number in range(5)]
    assert len(protocol.validation) == 1
    assert protocol.labels == {"30 labels": IXI30}
    assert (tmp_path / "out/images/Atlas.nii.gz").exists()


def test_ixi_without_folders_is_split_by_sorted_id(tmp_path):
    protocol = found("ixi", transmorph(tmp_path, split=False)).protocol
    assert protocol.test == ("subject_8", "subject_9")  # 115 of 576
    assert len((*protocol.train, *protocol.validation)) == 9


class Harm:
    """What a pickle may hold."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_pickles_are_refused_and_never_read(tmp_path):
    (tmp_path / "Train").mkdir()
    (tmp_path / "Train/subject_0.pkl").write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    with pytest.raises(InputError, match=r"subject_0\.pkl' is a Python pickle.* NIfTI .* NAME_seg\.nii\.gz"):
        found("ixi", tmp_path)
    assert not (tmp_path / "harm").exists()


def test_lung_pairs_are_expiration_fixed_and_inspiration_moving(tmp_path):
    protocol = prepared("lung-ct", chests(tmp_path / "source"), tmp_path / "out")
    assert protocol.pairs == tuple((f"LungCT_000{n}_0000", f"LungCT_000{n}_0001") for n in (5, 6))
    assert len(protocol.train) == 7
    assert len(protocol.validation) == 1
    assert set(protocol.metrics) >= {"one_minus_mse", "ncc", "tre_mm", "hd95_mm"}
    assert protocol.labels == {"lung": (1,)}
    assert {pair.body for pair in protocol.to_judge()} == {None}


def test_lungs_go_through_the_window_to_0_and_1_and_lose_the_ends_of_their_long_axis(tmp_path):
    prepared("lung-ct", chests(tmp_path / "source"), tmp_path / "out")
    source = tmp_path / "source/imagesTs/LungCT_0005_0001.nii.gz"
    result = read(tmp_path / "out", "images", "LungCT_0005_0001")
    assert result.GetSize() == (20, 20, 20)
    hu = sitk.GetArrayFromImage(sitk.ReadImage(str(source))).astype(float)
    shown = sitk.GetArrayFromImage(result)
    np.testing.assert_allclose(shown, ((np.clip(hu, -1350, 150) + 1350) / 1500)[8:-8], atol=1e-6)
    index = sitk.ReadImage(str(source)).TransformIndexToPhysicalPoint((0, 0, 8))
    np.testing.assert_allclose(result.GetOrigin(), index, atol=1e-4)
    assert_same_world(
        tmp_path / "source/masksTs/LungCT_0005_0001.nii.gz", read(tmp_path / "out", "labels", source.name[:-7])
    )


@pytest.mark.parametrize("points", ["landmarks", "keypoints"])
def test_landmarks_stay_where_they_were_in_the_world(tmp_path, points):
    protocol = prepared("lung-ct", chests(tmp_path / "source", points=points), tmp_path / "out")
    assert protocol.landmarks == points
    (pair, _) = protocol.to_judge()
    for image, file in zip((pair.fixed, pair.moving), pair.landmarks, strict=True):
        name = Path(image).name
        source = sitk.ReadImage(str(tmp_path / "source/imagesTs" / name))
        rows = np.loadtxt(tmp_path / f"source/{points}Ts" / name.replace(".nii.gz", ".csv"), delimiter=",")
        world = [source.TransformContinuousIndexToPhysicalPoint(row) for row in rows]
        np.testing.assert_allclose(landmarks(tmp_path / "out" / image, tmp_path / "out" / file), world, atol=1e-3)


def test_without_a_folder_of_test_pairs_the_last_third_is_the_test(tmp_path):
    protocol = found("lung-ct", chests(tmp_path, train=6, test=0)).protocol
    assert [fixed for fixed, _ in protocol.pairs] == ["LungCT_0005_0000", "LungCT_0006_0000"]
    assert not {one for pair in protocol.pairs for one in pair} & {*protocol.train, *protocol.validation}


def test_without_landmarks_of_all_test_pairs_none_are_judged_by(tmp_path):
    (chests(tmp_path) / "landmarksTs/LungCT_0006_0001.csv").unlink()
    protocol = found("lung-ct", tmp_path).protocol
    assert "tre_mm" not in protocol.metrics
    assert protocol.to_judge()[0].landmarks is None


@pytest.mark.parametrize(
    ("name", "layout"), [("oasis", neurite), ("ixi", transmorph), ("lung-ct", chests)], ids=["oasis", "ixi", "lung-ct"]
)
def test_training_learns_from_the_train_split_and_chooses_by_the_validation(name, layout, tmp_path):
    protocol = prepared(name, layout(tmp_path / "source"), tmp_path / "out")
    settings = Train.read(tmp_path / "out" / RECIPE)
    cases = Cases.of(settings.data, tmp_path)
    assert [one.removesuffix(".nii.gz") for one in cases.learnt] == sorted(protocol.train)
    assert [one.removesuffix(".nii.gz") for one in cases.held_back] == sorted(protocol.validation)
    assert not {*protocol.train, *protocol.validation} & set(protocol.test)
    if name == "lung-ct":
        assert settings.data.spacing_mm == pytest.approx((1.75 * 1.25 * 1.75) ** (1 / 3), abs=0.01)


def without(file: str):
    """A break of a layout."""
    return lambda folder: next(iter(sorted(folder.rglob(file)))).unlink()


@pytest.mark.parametrize(
    ("name", "layout", "broken", "said"),
    [
        ("oasis", neurite, without("aligned_seg35.nii.gz"), r"OASIS_OAS1_0001_MR1/aligned_seg35\.nii\.gz' is missing"),
        ("oasis", challenge, without("labelsTr/*"), r"labelsTr/OASIS_0001_0000\.nii\.gz' is missing"),
        ("oasis", transmorph, lambda folder: None, r"none of what was looked for: folders OASIS_OAS1_xxxx_MR1"),
        ("lpba40", neurite, lambda folder: None, r"has no S01\.delineation\.skullstripped\.nii\.gz"),
        ("lpba40", delineation, without("S07*label*"), r"has no S07\.delineation\.structure\.label\.nii\.gz"),
        ("ixi", neurite, lambda folder: None, r"none of what was looked for: NAME\.nii\.gz"),
        ("ixi", transmorph, without("subject_5_seg.nii.gz"), r"subject_5_seg\.nii\.gz' is missing"),
        ("lung-ct", challenge, lambda folder: None, r"none of what was looked for: imagesTr and masksTr"),
        ("lung-ct", chests, without("masksTr/*"), r"masksTr/LungCT_0001_0000\.nii\.gz' is missing"),
        ("lung-ct", chests, without("imagesTr/*_0001.nii.gz"), r"imagesTr' has no LungCT_0001_0001\.nii\.gz"),
    ],
)
def test_a_folder_that_lacks_something_is_refused_by_name(name, layout, broken, said, tmp_path):
    broken(layout(tmp_path))
    with pytest.raises(InputError, match=said):
        found(name, tmp_path)


def test_too_few_scans_and_missing_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="has 3 cases, too few"):
        found("oasis", neurite(tmp_path, count=3))
    with pytest.raises(InputError, match=r"no folder '.*nowhere'"):
        found("oasis", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no protocol\.json; prepare it"):
        Protocol.read(tmp_path)


def test_labels_on_another_grid_and_lungs_of_another_shape_are_refused_and_leave_nothing(tmp_path):
    neurite(tmp_path / "brains")
    write(tmp_path / "brains/OASIS_OAS1_0002_MR1/aligned_seg35.nii.gz", np.ones((28, 24, 20), np.uint8), RAS)
    with pytest.raises(InputError, match=r"aligned_seg35\.nii\.gz' does not lie on the grid"):
        prepare(found("oasis", tmp_path / "brains"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    chests(tmp_path / "lungs")
    for part, kind in (("images", np.int16), ("masks", np.uint8)):
        values = np.arange(20**3).reshape(20, 20, 20).astype(kind)
        write(tmp_path / f"lungs/{part}Tr/LungCT_0001_0000.nii.gz", values)
    with pytest.raises(InputError, match=r"LungCT_0001_0000\.nii\.gz' has 20 x 20 x 20 voxels"):
        prepare(found("lung-ct", tmp_path / "lungs"), tmp_path / "out")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FILE).write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        prepare(found("oasis", neurite(tmp_path / "source")), tmp_path / "out")
    assert (tmp_path / "out" / FILE).read_text() == "mine"


def test_what_is_written_says_all_that_is_needed(tmp_path):
    prepared("lung-ct", chests(tmp_path / "source"), tmp_path / "out")
    said = json.loads((tmp_path / "out" / FILE).read_text())
    assert set(said) == {"name", "train", "validation", "test", "pairs", "labels", "metrics", "landmarks"}


def test_cropping_and_padding_keep_every_voxel_at_its_place():
    values = np.arange(4 * 5 * 6).reshape(1, 4, 5, 6)
    image = Image(values, Grid.of((4, 5, 6), (3, 2, 1), np.eye(3)[:, ::-1], (10, 20, 30)), background=-1)
    result = cropped(image, (-1, 2, 0), (3, -2, -4))
    assert result.grid.shape == (6, 5, 2)
    for voxel in np.ndindex(result.grid.shape):
        source = np.rint(image.grid.to_voxel(result.grid.to_world(voxel))).astype(int)
        known = (source >= 0).all() and (source < image.grid.shape).all()
        assert result.scalar[voxel] == (values[0][tuple(source)] if known else -1)
