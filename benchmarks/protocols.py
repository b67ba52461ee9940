"""The papers' own data, in the layouts in which people have them, brought to one folder that training and judging
understand: `python -m benchmarks.protocols oasis|lpba40|ixi|lung-ct SOURCE OUT`.

Splits, sizes, label sets and windows are the papers' where they say them; what is ours stands beside each data set.
Nothing is downloaded: who has the data has agreed to their terms. Brains keep their voxels where these already are of
the papers' number, else they are resampled to 1 mm and cropped around what is labelled; origins move along.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from pathlib import Path

from benchmarks.preprocessing import sized, windowed
from benchmarks.protocol import Protocol
from benchmarks.structures import IXI30, LPBA54, LPBA56, SEG35, SUBCORTICAL
from RegistrationNetLib.core.errors import InputError, RegistrationError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.images import read_image, read_labels, write_image
from RegistrationNetLib.files.output import output_folder
from RegistrationNetLib.files.points import read_points
from RegistrationNetLib.training.cases import apart

WHOLE, CEREBRUM = (160, 224, 192), (160, 192, 160)
"""Voxels left to right, back to front, foot to head. FreeSurfer, whose order papers write, stores the former as
160 x 192 x 224."""
_SKULLSTRIPPED, _STRUCTURES = "delineation.skullstripped", "delineation.structure.label"
_BRAIN_METRICS = ("hd95_mm", "folded_percent", "topology_change")
_ATLAS = "Atlas"  # sorts before what scans are called: training aligns all to the first


@dataclass(frozen=True)
class Scan:
    """Its files; landmarks are voxel indices of the image, one a line."""

    image: Path
    labels: Path
    landmarks: Path | None = None


@dataclass(frozen=True)
class Source:
    """What was found in a folder, by id. ready: image and labels as they come -> as the paper has them."""

    protocol: Protocol
    scans: dict[str, Scan]
    ready: Callable[[Image, Image], tuple[Image, Image]]


def oasis(folder: Path) -> Source:
    """OASIS-1, as neurite or the Learn2Reg challenge ship 414 scans: skull-stripped, aligned, 160 x 192 x 224.

    Paper: 450 scans, 28 subcortical structures, one atlas. Ours: 380 to train, 20 to choose by, 50 to test, by sorted
    id, in proportion where there are fewer; the first training scan is the atlas, and fixed.
    """
    scans = {
        found.name: Scan(found / "aligned_norm.nii.gz", found / "aligned_seg35.nii.gz")
        for found in sorted(folder.glob("OASIS_OAS1_*_MR1"))
    } or _of_challenge(folder, "OASIS_*_0000.nii.gz", "Tr", "labels")
    if not scans:
        raise _nothing(
            folder,
            "folders OASIS_OAS1_xxxx_MR1 with aligned_norm.nii.gz and aligned_seg35.nii.gz, or imagesTr and labelsTr "
            "with OASIS_xxxx_0000.nii.gz",
        )
    learnt, test = split(scans, 400, 50, folder)
    pairs = tuple((learnt[0], moving) for moving in test)
    labels = {"28 labels": SUBCORTICAL, "35 labels": tuple(SEG35.values())}
    protocol = Protocol("oasis", *chosen_by(learnt, 20 / 400), test, pairs, labels, _BRAIN_METRICS)
    return Source(protocol, scans, partial(sized, size=WHOLE))


def lpba40(folder: Path) -> Source:
    """LPBA40 in delineation space: Sxx.delineation.skullstripped and Sxx.delineation.structure.label, NIfTI or Analyze,
    anywhere below the folder.

    Published code: S01 to S10 to test, the other 30 to train; 160 x 192 x 160; 56 labels, or 54 without cerebellum and
    brain stem. Ours: all ordered pairs of the ten, and three of the 30 to choose by.
    """
    found = {file.name: file for file in sorted(folder.rglob("S*.delineation.*"))}
    ids = [f"S{number:02d}" for number in range(1, 41)]
    scans = {
        one: Scan(_found(found, f"{one}.{_SKULLSTRIPPED}", folder), _found(found, f"{one}.{_STRUCTURES}", folder))
        for one in ids
    }
    test = tuple(ids[:10])
    labels = {"54 labels": LPBA54, "56 labels": LPBA56}
    pairs = tuple(permutations(test, 2))
    protocol = Protocol("lpba40", *chosen_by(ids[10:], 3 / 30), test, pairs, labels, _BRAIN_METRICS)
    return Source(protocol, scans, partial(sized, size=CEREBRUM))


def ixi(folder: Path) -> Source:
    """IXI as TransMorph's authors prepared it (FreeSurfer, 160 x 192 x 224), as NIfTI: NAME.nii.gz beside
    NAME_seg.nii.gz in the folders Train, Val and Test (403, 58, 115), and atlas.nii.gz with atlas_seg.nii.gz.

    Published: the split, the 30 labels, the atlas as moving image. Ours: of Train and Val together as many are chosen
    by as Val has, and the atlas is learnt from too; without such folders by sorted id; without an atlas the first
    training scan.
    """
    train, validation, test = parts = [_beside(folder / part) for part in ("Train", "Val", "Test")]
    scans = train | validation | test or _beside(folder)
    atlas = scans.pop("atlas", None) or _beside(folder).get("atlas")
    if not scans:
        raise _no_nifti(folder)
    if all(parts):
        learnt, tested, share = (*train, *validation), tuple(test), len(validation) / (len(train) + len(validation))
    else:
        (learnt, tested), share = split(scans, 461, 115, folder), 58 / 461
    if atlas is not None:
        scans, learnt = scans | {_ATLAS: atlas}, (_ATLAS, *learnt)
    pairs = tuple((fixed, min(learnt)) for fixed in tested)
    protocol = Protocol("ixi", *chosen_by(learnt, share), tested, pairs, {"30 labels": IXI30}, _BRAIN_METRICS)
    return Source(protocol, scans, partial(sized, size=WHOLE))


def lung_ct(folder: Path) -> Source:
    """Lung CT of the Learn2Reg challenge: LungCT_xxxx_0000 is expiration and fixed, _0001 inspiration and moving;
    masks, and landmarks or keypoints as voxel indices.

    Paper: 20 to train, 10 to test; the window, then [0, 1], then 192 x 192 x 208 to 192 x 192 x 192. Ours: the pairs of
    imagesTs are the test, or, without that folder, the last third; a tenth of the other scans is chosen by.
    """
    known, unseen = (_of_challenge(folder, "LungCT_*_000[01].nii.gz", part, "masks") for part in ("Tr", "Ts"))
    patients, tested = _patients(known), _patients(unseen)
    if not patients:
        raise _nothing(folder, "imagesTr and masksTr with LungCT_xxxx_0000.nii.gz and LungCT_xxxx_0001.nii.gz")
    if not tested:
        patients, tested = split(patients, 20, 10, folder)
    learnt, test = ([one for patient in part for one in _breaths(patient)] for part in (patients, tested))
    scans, landmarks = _with_landmarks(folder, known | unseen, test)
    protocol = Protocol(
        "lung-ct",
        *chosen_by(learnt, 1 / 10),
        tuple(test),
        tuple(_breaths(patient) for patient in tested),
        {"lung": (1,)},
        (*_BRAIN_METRICS, "one_minus_mse", "ncc", *(["tre_mm"] if landmarks else [])),
        landmarks,
    )
    return Source(protocol, scans, windowed)


NAMES = {"oasis": oasis, "lpba40": lpba40, "ixi": ixi, "lung-ct": lung_ct}


def split(ids: Iterable[str], learnt: int, tested: int, folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """So many to learn from and to test, by sorted id, in proportion where there are fewer; more are left out.

    Raises InputError where too few are left.
    """
    ordered = sorted(ids)[: learnt + tested]
    first = round(len(ordered) * learnt / (learnt + tested))
    if first < 3 or first == len(ordered):
        raise InputError(f"'{folder}' has {len(ordered)} cases, too few to train on some and test on others.")
    return tuple(ordered[:first]), tuple(ordered[first:])


def chosen_by(learnt: Iterable[str], share: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those to train on, and the share of them, at least one, that training holds back to choose by."""
    names = sorted(f"{one}.nii.gz" for one in learnt)
    held = apart(names, max(1, round(len(names) * share)))
    kept = [name for name in names if name not in held]
    train, validation = (tuple(name.removesuffix(".nii.gz") for name in part) for part in (kept, held))
    return train, validation


def found(name: str, folder: Path, labels: Sequence[int] | None = None) -> Source:
    """The data set in a folder, none of its files missing. labels: values to judge by instead of its own.

    Raises InputError.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder '{folder}'.")
    source = NAMES[name](folder)
    for scan in source.scans.values():
        if not scan.labels.is_file():
            raise InputError(f"'{scan.labels}' is missing; '{scan.image}' is of no use without its labels.")
        if not scan.image.is_file():
            raise InputError(f"'{scan.image}' is missing; '{scan.labels}' are its labels.")
    if labels is None:
        return source
    return replace(source, protocol=replace(source.protocol, labels={f"{len(labels)} labels": tuple(labels)}))


def prepare(source: Source, out: Path) -> None:
    """Write all scans, and what is to be done with them, to a new folder. Raises InputError."""
    if out.exists() and any(out.iterdir()):
        raise InputError(f"'{out}' is not empty; name a new folder.")
    with output_folder(out) as draft:
        for part in ("images", "labels", *(["landmarks"] if source.protocol.landmarks else [])):
            (draft / part).mkdir()
        for number, (one, scan) in enumerate(source.scans.items(), 1):
            grid = _written(one, scan, source, draft)
            print(f"{number} of {len(source.scans)}: {one}", flush=True)
        # A network sees voxels that are as long as they are wide, as many as the images have.
        source.protocol.write(draft, round(grid.voxel_volume ** (1 / 3), 2))


def _written(one: str, scan: Scan, source: Source, folder: Path) -> Grid:
    original = read_image(scan.image)
    image, labels = source.ready(original, read_labels(scan.labels))
    write_image(image, folder / "images" / f"{one}.nii.gz")
    write_image(labels, folder / "labels" / f"{one}.nii.gz")
    if scan.landmarks is not None:
        points = read_points(scan.landmarks, points_in="voxel", grid=original.grid).points
        rows = [" ".join(f"{value:.4f}" for value in voxel[::-1]) for voxel in image.grid.to_voxel(points)]
        text = "\n".join(["index", str(len(rows)), *rows])
        (folder / "landmarks" / f"{one}.txt").write_text(f"{text}\n", encoding="utf-8")
    return image.grid


def _of_challenge(folder: Path, pattern: str, part: str, labels: str) -> dict[str, Scan]:
    """Learn2Reg's layout: imagesTr, and beside it labelsTr or masksTr with the same names. part: Tr or Ts."""
    images = sorted((folder / f"images{part}").glob(pattern))
    return {file.name.removesuffix(".nii.gz"): Scan(file, folder / f"{labels}{part}" / file.name) for file in images}


def _beside(folder: Path) -> dict[str, Scan]:
    """NAME.nii.gz with NAME_seg.nii.gz."""
    names = [file.name.removesuffix(".nii.gz") for file in sorted(folder.glob("*.nii.gz"))]
    return {
        name: Scan(folder / f"{name}.nii.gz", folder / f"{name}_seg.nii.gz")
        for name in names
        if not name.endswith("_seg")
    }


def _found(files: dict[str, Path], stem: str, folder: Path) -> Path:
    for ending in (".nii.gz", ".nii", ".hdr"):
        if stem + ending in files:
            return files[stem + ending]
    raise InputError(f"'{folder}' has no {stem}.nii.gz, .nii or .hdr, neither in it nor below.")


def _patients(scans: dict[str, Scan]) -> tuple[str, ...]:
    """Raises InputError for one of whom a breath is missing."""
    patients = tuple(sorted({one.rpartition("_")[0] for one in scans}))
    for one in (one for patient in patients for one in _breaths(patient)):
        if one not in scans:
            folder = next(iter(scans.values())).image.parent
            raise InputError(f"'{folder}' has no {one}.nii.gz; both breaths of a patient are needed.")
    return patients


def _breaths(patient: str) -> tuple[str, str]:
    """Expiration, inspiration."""
    return f"{patient}_0000", f"{patient}_0001"


def _with_landmarks(folder: Path, scans: dict[str, Scan], test: Sequence[str]) -> tuple[dict[str, Scan], str]:
    """The scans, those of the test with the landmarks, or else keypoints, that all of them have; and which."""
    for kind in ("landmarks", "keypoints"):
        files = {one: folder / f"{kind}{scans[one].image.parent.name[-2:]}" / f"{one}.csv" for one in test}
        if all(file.is_file() for file in files.values()):
            return scans | {one: replace(scans[one], landmarks=file) for one, file in files.items()}, kind
    return scans, ""


def _nothing(folder: Path, expected: str) -> InputError:
    return InputError(f"'{folder}' holds none of what was looked for: {expected}.")


def _no_nifti(folder: Path) -> InputError:
    expected = "NAME.nii.gz beside its label map NAME_seg.nii.gz, in Train, Val and Test or in the folder itself"
    pickles = sorted(folder.rglob("*.pkl"))
    if not pickles:
        return _nothing(folder, expected)
    return InputError(
        f"'{pickles[0]}' is a Python pickle, and reading one runs whatever program it holds, so it is not read. "
        f"Convert '{folder}' to NIfTI where you trust it: {expected}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("source", type=Path, help="the folder as it was downloaded")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--labels", nargs="+", type=int, help="values to judge by instead of the data set's own")
    asked = parser.parse_args()
    try:
        prepare(found(asked.name, asked.source, asked.labels), asked.out)
    except RegistrationError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
