"""The pairs of `benchmarks.affine`: of one contrast, of two, of different fields of view, and some that are no pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from benchmarks.truth import known_pair
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.engine.pose import about
from RegistrationNetLib.files.images import read_image
from RegistrationNetLib.files.transforms import read_transform


@dataclass(frozen=True, eq=False)
class Loaded:
    """truth: fixed -> moving world, where it is known."""

    fixed: Image
    moving: Image
    truth: Affine | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """together: whether there is an alignment to be found. quarter_turns: tried in all 24 orientations."""

    kind: str
    name: str
    load: Callable[[Path], Loaded]
    together: bool = True
    quarter_turns: bool = False


def oasis(number: int) -> str:
    return f"brain_oasis/{number}_t1.nii.gz"


def ixi(number: int) -> str:
    return f"brain_ixi/t1/IXI{number:03}.nii.gz"


def pair(kind: str, fixed: str, moving: str, together: bool = True, quarter_turns: bool = False) -> Case:
    name = f"{_short(moving)} onto {_short(fixed)}"
    load = lambda data: Loaded(read_image(data / fixed), read_image(data / moving))  # noqa: E731
    return Case(kind, name, load, together, quarter_turns)


def ms(kind: str, fixed: str, moving: str) -> Case:
    """Two scans of the MS patient, with the transforms published with them."""

    def load(data: Path) -> Loaded:
        folder = data / "longitudinal_ms" / "patient01"
        images = (read_image(folder / f"{name}.nii.gz") for name in (fixed, moving))
        return Loaded(*images, from_common(folder, fixed).inverse().then(from_common(folder, moving)).affine)

    return Case(kind, f"{moving} onto {fixed}", load)


def from_common(folder: Path, scan: str) -> Mapping:
    """From the common space to a scan: ITK's transforms map the points of what is resampled onto."""
    study, contrast = scan.split("_")
    flair = read_transform(folder / f"{study}_FLAIR_to_common_space.txt")
    if contrast == "FLAIR":
        return flair
    return flair.then(read_transform(folder / f"{scan}_intrastudy_to_FLAIR.txt"))


def copy(kind: str, file: str, seed: int, noise: float) -> Case:
    """A scan, and the same scan moved by a random affine; up to a quarter of each axis cropped from either end of both.

    noise: of the scan's 99th percentile.
    """

    def load(data: Path) -> Loaded:
        scan = read_image(data / file)
        rng = np.random.default_rng(seed)
        turn = Rotation.from_rotvec(0.1 * rng.standard_normal(3)).as_matrix()
        linear = turn @ (np.eye(3) + rng.uniform(-0.08, 0.08, (3, 3)))
        truth = about(scan.grid.center, linear, scan.grid.center + rng.uniform(-20, 20, 3))
        made = known_pair(scan, Mapping((truth,)), noise * float(np.percentile(scan.data, 99)), seed)
        parts = rng.uniform(0, 0.25, (4, 3))
        return Loaded(cropped(made.fixed, *parts[:2]), cropped(made.moving, *parts[2:]), truth)

    return Case(kind, f"{_short(file)} and its copy {seed}", load)


def half(kind: str, fixed: str, moving: str) -> Case:
    """Only the upper 55 % of the moving brain."""
    load = lambda data: Loaded(read_image(data / fixed), cropped(read_image(data / moving), (0.45, 0, 0), (0, 0, 0)))  # noqa: E731
    return Case(kind, f"half of {_short(moving)} onto {_short(fixed)}", load)


def noise(kind: str, fixed: str, both: bool) -> Case:
    """White noise onto a scan, or onto other noise."""

    def load(data: Path) -> Loaded:
        scan = read_image(data / fixed)
        made = [_noise(scan, seed) for seed in range(2)]
        return Loaded(made[0] if both else scan, made[1])

    return Case(kind, f"noise onto {'noise' if both else _short(fixed)}", load, together=False)


def _noise(like: Image, seed: int) -> Image:
    return replace(like, data=np.random.default_rng(seed).random(like.data.shape, np.float32), name=f"noise {seed}")


def cropped(image: Image, before: ArrayLike, after: ArrayLike) -> Image:
    """Without these shares of its axes at the near and the far end."""
    size = np.array(image.grid.shape)
    near, far = (_voxels(share, size) for share in (before, after))
    box = tuple(slice(n, s - f) for n, s, f in zip(near, size, far, strict=True))
    return replace(image, data=image.data[(slice(None), *box)], grid=image.grid.padded(-near, -far))


def _voxels(share: ArrayLike, size: NDArray[np.int_]) -> NDArray[np.int_]:
    return np.round(np.asarray(share) * size).astype(int)


def _short(file: str) -> str:
    folder, name = Path(file).parts[0], Path(file).name.split(".")[0].removesuffix("_t1")
    return name if name.startswith("IXI") else f"{folder} {name}"


BRAINS = (1000, 1001, 1002, 1006, 1007, 1008, 1003)
HEADS = ((12, 13), (14, 15), (33, 34), (39, 48), (49, 51), (52, 56))
LUNGS = ("lung_ct/baseline.mha", "lung_ct/followup.mha")
LUNG_MR = ("lung_mri/0004H1.nii.gz", "lung_mri/0006H1.nii.gz")
ABDOMEN = "abdomen_ct/ct.nii.gz"
T1, PD = "multimodal_t1_pd/t1.nii.gz", "multimodal_t1_pd/PD.nii.gz"
APART, STRIPPED = "not of one region", "whole head and skull-stripped brain"
VISITS, CONTRASTS = "MS, two visits, one contrast", "MS, two visits, T1 with FLAIR or T2"

CASES = (
    *(pair("brains, skull-stripped", oasis(f), oasis(m)) for f, m in pairwise(BRAINS)),
    *(pair("whole heads", ixi(f), ixi(m)) for f, m in HEADS),
    pair("lung CT", *LUNGS),
    pair("lung CT", *LUNGS[::-1]),
    pair("lung MR", *LUNG_MR),
    pair("lung MR", *LUNG_MR[::-1]),
    *(copy("abdomen CT, cropped copies", ABDOMEN, seed, 0.1) for seed in range(4)),
    *(copy("heads, cropped copies", ixi(number), seed, 0.02) for seed, number in enumerate((57, 59, 67))),
    half("upper half of a brain onto a brain", oasis(1000), oasis(1001)),
    half("upper half of a brain onto a brain", oasis(1006), oasis(1008)),
    ms(VISITS, "study2_T1W", "study1_T1W"),
    ms(VISITS, "study1_FLAIR", "study2_FLAIR"),
    ms(VISITS, "study1_T2W", "study2_T2W"),
    ms(CONTRASTS, "study2_FLAIR", "study1_T1W"),
    ms(CONTRASTS, "study1_FLAIR", "study2_T1W"),
    ms(CONTRASTS, "study2_T1W", "study1_FLAIR"),
    ms(CONTRASTS, "study2_T2W", "study1_T1W"),
    pair("T1 and PD slab of one head", T1, PD),
    pair("T1 and PD slab of one head", PD, T1),
    pair("24 orientations", oasis(1000), oasis(1001), quarter_turns=True),
    pair("24 orientations", ixi(14), ixi(15), quarter_turns=True),
    pair(STRIPPED, oasis(1000), ixi(13), together=False),
    pair(STRIPPED, ixi(14), oasis(1001), together=False),
    pair(APART, oasis(1000), LUNGS[0], together=False),
    pair(APART, LUNGS[0], oasis(1001), together=False),
    pair(APART, ixi(12), ABDOMEN, together=False),
    pair(APART, ixi(14), LUNG_MR[0], together=False),
    noise(APART, oasis(1002), both=False),
    noise(APART, ixi(12), both=True),
)
