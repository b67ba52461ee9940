"""The real image pairs that benchmarks register, as files relative to the folder REGISTRATIONNET_DATA names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RegistrationNetLib.core.grid import Points

OASIS = ("1000", "1001", "1002", "1006", "1007", "1008", "1003")
IXI_IDS, HIPPOCAMPUS_IDS = 20, 40
"""How many of the sorted ids are for evaluation; the others are for training."""
IXI_VALIDATION, HIPPOCAMPUS_VALIDATION = 10, 20
"""How many of those for training, the last, are kept to choose by."""


@dataclass(frozen=True)
class Pair:
    """truth: labels (fixed, moving) or landmarks as voxel indices.

    name: the data set first, then "moving onto fixed".
    body: where the deformation is judged, if not inside the fixed labels.
    warp_seed: the fixed image is the moving one through the known warp of that seed.
    """

    name: str
    fixed: str
    moving: str
    labels: tuple[str, str] | None = None
    landmarks: tuple[str, str] | None = None
    body: str | None = None
    warp_seed: int | None = None


def oasis(fixed: str, moving: str) -> Pair:
    return _labelled("brain_oasis", "brain_oasis/{}_t1.nii.gz", "brain_oasis/{}_labels.nii.gz", fixed, moving)


def ixi(fixed: str, moving: str) -> Pair:
    return _labelled("brain_ixi", "brain_ixi/t1/{}.nii.gz", "brain_ixi/labels/{}.nii.gz", fixed, moving)


def hippocampus(fixed: str, moving: str) -> Pair:
    return _labelled("hippocampus", "hippocampus/images/{}.nii.gz", "hippocampus/labels/{}.nii.gz", fixed, moving)


def lung(fixed: str, moving: str) -> Pair:
    points = (f"lung_ct/{fixed}.txt", f"lung_ct/{moving}.txt")
    return Pair(
        f"lung_ct {moving} onto {fixed}",
        f"lung_ct/{fixed}.mha",
        f"lung_ct/{moving}.mha",
        landmarks=points,
        body=f"lung_ct/{fixed}_mask.mha",
    )


def lung_warped(scan: str, seed: int) -> Pair:
    file = f"lung_ct/{scan}.mha"
    return Pair(
        f"lung_ct_warped {scan} onto its warp {seed}", file, file, body=f"lung_ct/{scan}_mask.mha", warp_seed=seed
    )


def sets(data: Path) -> dict[str, tuple[Pair, ...]]:
    """What methods are compared on, by data set; of two ids the first is the fixed one."""
    ixi_ids = _ids(data / "brain_ixi/t1")[:IXI_IDS]
    hippocampus_ids = _ids(data / "hippocampus/images")[:HIPPOCAMPUS_IDS]
    return {
        "brain_oasis": tuple(oasis(fixed, moving) for fixed, moving in pairwise(OASIS)),
        "brain_ixi": _by_twos(ixi, ixi_ids),
        "hippocampus": _by_twos(hippocampus, hippocampus_ids),
        "lung_ct": (lung("baseline", "followup"), lung("followup", "baseline")),
        "lung_ct_warped": tuple(lung_warped(scan, seed) for scan in ("baseline", "followup") for seed in (1, 2)),
    }


def lung_mri(fixed: str, moving: str) -> Pair:
    return _labelled("lung_mri", "lung_mri/{}H1.nii.gz", "lung_mri/{}Lobes.nii.gz", fixed, moving)


def for_weights(data: Path) -> dict[str, tuple[Pair, ...]]:
    """What trained weights are judged on: pairs that none have learnt from."""
    known = sets(data)
    names = ("brain_oasis", "brain_ixi", "hippocampus", "lung_ct")
    return {name: known[name] for name in names} | {"lung_mri": (lung_mri("0004", "0006"), lung_mri("0006", "0004"))}


def validation(data: Path) -> dict[str, tuple[Pair, ...]]:
    """What weights are chosen by: the last training cases, which no shipped weights have learnt from."""
    ixi_ids = _ids(data / "brain_ixi/t1")[-IXI_VALIDATION:]
    hippocampus_ids = _ids(data / "hippocampus/images")[-HIPPOCAMPUS_VALIDATION:]
    return {"brain_ixi": _by_twos(ixi, ixi_ids), "hippocampus": _by_twos(hippocampus, hippocampus_ids)}


def landmarks(image: Path, points: Path) -> Points:
    """(N, 3) LPS mm from voxel indices, one landmark a line after two lines of heading."""
    geometry = sitk.ReadImage(str(image))
    indices = [[float(value) for value in line.split()] for line in points.read_text().strip().splitlines()[2:]]
    return np.array([geometry.TransformContinuousIndexToPhysicalPoint(index) for index in indices])


def data_folder() -> Path:
    """Where the real images are.

    Raises SystemExit where that is not said.
    """
    named = os.environ.get("REGISTRATIONNET_DATA")
    if not named:
        raise SystemExit("Set REGISTRATIONNET_DATA to the folder with the real images.")
    return Path(named)


def _labelled(kind: str, image: str, labels: str, fixed: str, moving: str) -> Pair:
    return Pair(
        f"{kind} {moving} onto {fixed}",
        image.format(fixed),
        image.format(moving),
        (labels.format(fixed), labels.format(moving)),
    )


def _by_twos(pair: Callable[[str, str], Pair], ids: Sequence[str]) -> tuple[Pair, ...]:
    """Each id with its neighbour, none of them twice."""
    return tuple(pair(*two) for two in zip(ids[::2], ids[1::2], strict=True))


def _ids(images: Path) -> list[str]:
    return sorted(path.name.removesuffix(".nii.gz") for path in images.glob("*.nii.gz"))
