"""What the registration itself says of a lesion's growth: the mean Jacobian determinant inside and in a rim around it.

The determinant is that of the mapping from the scan with the outline to the other one: above 1, tissue is larger there.
A deformation is smooth and may have been kept from following the lesion, so it is shown beside the measured change and
never in its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.estimate import Estimate, Jitter
from RegistrationNetLib.lesions.measure import sampled
from RegistrationNetLib.lesions.outline import Outline, Surface, surface
from RegistrationNetLib.lesions.precision import mean_estimate

RIM_MM = 5.0
FINEST_MM = 1.0
"""The means are taken on a lattice about as fine, so that thick slices do not leave a rim without points."""


@dataclass(frozen=True)
class JacobianMeans:
    """Mean determinants, each with its 95 % interval from outline jitter: inside, and from 0 to RIM_MM outside."""

    inside: Estimate
    rim: Estimate


def jacobian_means(outline: Outline, determinant: Image, jitter: Jitter | None = None) -> JacobianMeans:
    """determinant: one channel, on any grid that covers the lesion and its rim; GeometryError where it does not."""
    jitter = jitter or Jitter()
    skin = surface(outline)
    inner, outer = _around(outline, skin)
    at_skin, beyond = (_values(outline, determinant, places) for places in (skin.points, _shell(skin)))
    inside, around = (_values(outline, determinant, places) for places in (inner, outer))
    lattice_mm3 = float(outline.mask.sum()) * outline.grid.voxel_volume / len(inner)
    mean, rim = float(inside.mean()), float(around.mean())
    return JacobianMeans(
        mean_estimate(mean, at_skin, lattice_mm3 * len(inner), outline, skin, jitter),
        mean_estimate(rim, rim + beyond - at_skin, lattice_mm3 * len(outer), outline, skin, jitter),
    )


def _shell(skin: Surface) -> Points:
    """The rim's outer side."""
    return np.asarray(skin.points + RIM_MM * skin.normals)


def _around(outline: Outline, skin: Surface) -> tuple[Points, Points]:
    """A fine lattice's places inside the outline, and outside within RIM_MM of it, world LPS mm."""
    spacing = outline.grid.spacing
    wide = outline.tight(np.ceil(RIM_MM / spacing).astype(int) + 1)
    finer = np.maximum(1, np.round(spacing / FINEST_MM)).astype(int)
    fine = wide.grid.resampled(np.array(wide.grid.shape) * finer)
    mask = wide.mask.repeat(finer[0], 0).repeat(finer[1], 1).repeat(finer[2], 2)
    points = fine.points()
    near = cKDTree(skin.points).query(points[~mask], distance_upper_bound=RIM_MM)[0] <= RIM_MM
    return points[mask], points[~mask][near]


def _values(outline: Outline, determinant: Image, places: Points) -> NDArray[np.float64]:
    if not determinant.grid.contains(places).all():
        raise GeometryError(
            f"'{determinant.name}' does not reach {RIM_MM:.0f} mm beyond '{outline.name}'; compute it on a larger grid."
        )
    return sampled(determinant.scalar, determinant.grid, places)


def disagreement(change: Estimate, inside: Estimate) -> str:
    """A sentence where the measured relative change of volume and the mean determinant cannot both hold; else ""."""
    if change.low <= inside.high - 1 and inside.low - 1 <= change.high:
        return ""
    return (
        f"By its outlines the volume changed by {100 * change.value:+.0f} %, by the deformation's Jacobian by "
        f"{100 * (inside.value - 1):+.0f} %: trust the outlines, and look at the registration there."
    )
