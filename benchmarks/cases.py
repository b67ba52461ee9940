"""One pair as every method gets it.

The moving image is resampled once, through one affine, onto the fixed image's grid, so that a method has only the
deformation to find, and says it as displacements in LPS mm on that grid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from benchmarks.data import Pair, landmarks
from benchmarks.truth import known_pair, smooth_field
from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import field_on
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.devices import flushed_denormals
from RegistrationNetLib.engine.prepare import Prepared, prepare
from RegistrationNetLib.engine.result import Reference
from RegistrationNetLib.engine.settings import Align, Prepare
from RegistrationNetLib.files.geometry import image_to_sitk
from RegistrationNetLib.files.images import read_image, read_labels, read_mask
from RegistrationNetLib.files.transforms import write_affine

SHARED = ("affine.tfm", "fixed.mha", "moving.mha")
"""The files of a folder from which all methods start."""
_RANGE = 1000.0
"""What the largest value becomes: some tools take differences below 0.001 for none."""
_PEAK_MM, _SIGMA_MM, _NOISE_HU = 15.0, 40.0, 20.0
_AIR_HU = -1000.0


@dataclass(frozen=True, eq=False)
class Case:
    """A pair with all that is known about it.

    body: where the deformation is judged, on the fixed grid, (D, H, W); truth: the mapping itself, where it is known.
    """

    fixed: Image
    moving: Image
    reference: Reference
    body: NDArray[np.bool_]
    truth: Mapping | None = None


def load(pair: Pair, data: Path) -> Case:
    fixed, moving = (read_image(data / file) for file in (pair.fixed, pair.moving))
    if pair.warp_seed is not None:
        return _warped(moving, read_mask(data / str(pair.body)), pair.warp_seed)
    labels = [read_labels(data / file) for file in pair.labels or ()]
    points = [
        landmarks(data / image, data / file)
        for image, file in zip((pair.fixed, pair.moving), pair.landmarks or (), strict=False)
    ]
    reference = Reference(*(labels or (None, None)), *(points or (None, None)))
    inside = labels[0] if pair.body is None else read_mask(data / pair.body)
    return Case(fixed, moving, reference, inside.scalar > 0)


def _warped(scan: Image, lung: Image, seed: int) -> Case:
    """The scan onto itself, warped; where the lung is wider it holds more air, and so is darker."""
    truth = Mapping((smooth_field(scan.grid, seed, _PEAK_MM, _SIGMA_MM),))
    pair = known_pair(scan, truth, _NOISE_HU, seed, lung)
    assert pair.fixed_labels is not None
    body = pair.fixed_labels.scalar > 0
    density = spatial.jacobian_determinant(field_on(truth, scan.grid))[0, 0].numpy()
    breathed = _AIR_HU + (pair.fixed.scalar - _AIR_HU) * density
    fixed = replace(pair.fixed, data=np.where(body, breathed, pair.fixed.scalar)[None].astype(pair.fixed.data.dtype))
    return Case(fixed, pair.moving, Reference(), body, truth)


def share(case: Case, folder: Path) -> None:
    """Write what all methods start from: the images, on one grid, and the affine."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared = prepare(case.fixed, case.moving, Prepare())
    with flushed_denormals():
        affine = align(prepared, Align(), "affine")
    fixed, moving = (image_to_sitk(image) for image in in_units(prepared))
    write_affine(affine, folder / "affine.tfm")
    # Beyond the moving image its outermost voxels are repeated: its border would be an edge to register otherwise.
    moving = sitk.Resample(
        moving, fixed, sitk.ReadTransform(str(folder / "affine.tfm")), useNearestNeighborExtrapolator=True
    )
    for image, name in ((fixed, "fixed.mha"), (moving, "moving.mha")):
        sitk.WriteImage(image, str(folder / name))


def in_units(prepared: Prepared) -> tuple[Image, Image]:
    """The prepared images, 0 to 1000, or in HU where both are CT."""
    settings = Prepare()
    ct = prepared.modality == "ct"
    low, width = (settings.ct_low, settings.ct_high - settings.ct_low) if ct else (0.0, _RANGE)
    sides = ((prepared.fixed, prepared.fixed_grid, "fixed"), (prepared.moving, prepared.moving_grid, "moving"))
    fixed, moving = (Image(low + width * values[0].numpy(), grid, low, name) for values, grid, name in sides)
    return fixed, moving
