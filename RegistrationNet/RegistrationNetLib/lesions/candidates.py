"""Where a follow-up differs from the baseline: places to look at, whether anybody outlined something there or not.

Both scans are compared voxel by voxel through a mapping too stiff to follow a lesion (a free one would draw a brighter
neighbour into a new lesion and hide it). A difference counts by how far it exceeds what noise and a small registration
error make of the edges there. Candidates are to be looked at, not findings: most are not lesions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, label

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Displacement, Mapping
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.likeness import matching_levels

STIFF_MM = 15.0
"""Sigma of the smoothing after which a deformation follows organs, but no lesion."""
SCALE_MM = 1.5
"""Sigma at which scans are compared; the lattice is about as fine, where the scans allow it."""
ERROR_MM = 0.5
"""The registration error whose effect on edges is expected."""
FEWEST_SIGMA, SMALLEST_MM3, MOST = 2.5, 14.0, 20
"""Least difference; volume of a ball of 3 mm; candidates listed for a follow-up, the clearest ones."""
_BIAS_MM, _NOISE_MM = 20.0, 12.0
_CLIPPED = 4.0
_NEAR_MM = 3.0
_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, eq=False)
class Candidate:
    """outline: where the scans differ, on a lattice in the baseline's world. center, center_there: its centre there and
    on the follow-up, LPS mm (3,). sigma: the largest difference, in units of what is expected; above 0 where the
    follow-up is brighter. lesion, lesion_there: the baseline's and the follow-up's that it lies in or beside (3 mm)."""

    outline: Lesion
    center: Points
    center_there: Points
    sigma: float
    lesion: str = ""
    lesion_there: str = ""


def candidates(
    baseline: Image,
    follow_up: Image,
    mapping: Mapping,
    region: Image,
    lesions: tuple[Lesion, ...] = (),
    lesions_there: tuple[Lesion, ...] = (),
) -> tuple[Candidate, ...]:
    """The clearest `MOST`, clearest first.

    mapping: baseline world -> follow-up world. region: nonzero where to look. lesions: of the baseline;
    lesions_there: of the follow-up.
    """
    from RegistrationNetLib.core.resample import warp  # needs PyTorch

    grid, stiff = _lattice(baseline.grid), stiffened(mapping)
    seen = warp(replace(region, background=0.0), Mapping(), grid, "nearest").scalar != 0
    shown = follow_up.grid.contains(stiff(grid.points()))
    one, other = (
        warp(replace(image, data=image.data.astype(np.float32)), way, grid).scalar
        for image, way in ((baseline, Mapping()), (follow_up, stiff))
    )
    sigma = _difference(one, other, seen & shown, grid.spacing)
    pieces, _ = label(np.abs(sigma) > FEWEST_SIGMA, _EVERY_NEIGHBOUR)
    found = [
        _candidate(sigma, pieces, number, box, grid, mapping) for number, box in enumerate(find_objects(pieces), 1)
    ]
    large = [one for one in found if one.outline.volume_mm3 >= SMALLEST_MM3]
    clearest = sorted(large, key=lambda one: (-abs(one.sigma), *one.center))[:MOST]
    return tuple(
        replace(
            one,
            lesion=_beside(one.outline.points, lesions),
            lesion_there=_beside(mapping(one.outline.points), lesions_there),
        )
        for one in clearest
    )


def stiffened(mapping: Mapping) -> Mapping:
    """The same with every deformation smoothed by `STIFF_MM`."""
    return Mapping(tuple(_smooth(step) if isinstance(step, Displacement) else step for step in mapping.steps))


def _smooth(step: Displacement) -> Displacement:
    field = np.stack([gaussian_filter(part, STIFF_MM / step.grid.spacing, mode="nearest") for part in step.field])
    return replace(step, field=field)


def _lattice(grid: Grid) -> Grid:
    """No axis finer than the scale of the comparison."""
    shape = [max(1, round(n * min(1.0, s / SCALE_MM))) for n, s in zip(grid.shape, grid.spacing, strict=True)]
    return grid.resampled(shape)


def _difference(
    one: NDArray[np.float32], other: NDArray[np.float32], where: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Second less first in units of the difference that is expected, 0 elsewhere: intensities matched, slow differences
    (coil, contrast agent) taken out, edges and noisy places expected to differ more."""
    if where.sum() < 2:
        return np.zeros(one.shape)
    one, other = (gaussian_filter(values, SCALE_MM / spacing) for values in (one, other))
    gain, offset = matching_levels(other[where], one[where])
    other = gain * other + offset
    difference = other - one
    noise = 1.4826 * np.median(np.abs(difference[where] - np.median(difference[where]))) + 1e-9
    difference = difference - _mean_around(np.clip(difference, -8 * noise, 8 * noise), where, _BIAS_MM / spacing)
    usual = _mean_around(np.clip(difference, -_CLIPPED * noise, _CLIPPED * noise) ** 2, where, _NOISE_MM / spacing)
    slopes = np.gradient((one + other) / 2, *spacing)
    edges = ERROR_MM**2 * sum(slope**2 for slope in slopes)
    return np.where(where, difference / np.sqrt(np.maximum(usual, noise**2) + edges), 0.0)


def _mean_around(
    values: NDArray[np.float64], where: NDArray[np.bool_], sigma: NDArray[np.float64]
) -> NDArray[np.float64]:
    weight = gaussian_filter(where.astype(np.float32), sigma)
    return np.asarray(gaussian_filter(np.where(where, values, 0.0), sigma) / np.maximum(weight, 1e-3))


def _candidate(
    sigma: NDArray[np.float64],
    pieces: NDArray[np.int_],
    number: int,
    box: tuple[slice, ...],
    grid: Grid,
    mapping: Mapping,
) -> Candidate:
    inside, values = pieces[box] == number, sigma[box]
    near = grid.padded([-cut.start for cut in box], [cut.stop - n for cut, n in zip(box, grid.shape, strict=True)])
    outline = Lesion(str(number), Image(inside[None].astype(np.uint8), near, name=f"candidate {number}"))
    peak = float(values[inside][np.abs(values[inside]).argmax()])
    return Candidate(outline, outline.center, mapping(outline.center), peak)


def _beside(points: Points, lesions: tuple[Lesion, ...]) -> str:
    near = [one for one in lesions if one.within(points, _NEAR_MM).any()]
    return near[0].name if near else ""
