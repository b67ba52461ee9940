"""One more look around a place: how its surroundings lie in the other image, once a registration has been found."""

from __future__ import annotations

import numpy as np

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.prepare import prepare
from RegistrationNetLib.engine.settings import Align, Prepare

_COARSE_MM, _FINE_MM = 4.0, 1.5
_REACH_MM = 10.0
"""How far beyond the box the other image is looked at."""


def nudge(fixed: Image, moving: Image, mapping: Mapping, hidden: Image, apart: Image | None) -> Affine:
    """A turn and shift of fixed world points, to be applied before `mapping`, with which the surroundings fit best.

    hidden: on the part of the fixed image's lattice that is looked at, nonzero where the similarity may not look.
    apart: the same of the moving image, on its whole grid.
    Raises GeometryError where there is nothing to align, or no plausible alignment.
    """
    box = hidden.grid
    start = np.rint(fixed.grid.to_voxel(box.to_world((0, 0, 0)))).astype(int)
    part = tuple(slice(first, first + n) for first, n in zip(start, box.shape, strict=True))
    here = Image(fixed.data[(slice(None), *part)], box, fixed.background, fixed.name)
    margin = np.ceil(_REACH_MM / box.spacing).astype(int)
    around = box.padded(margin, margin)
    there = warp(moving, mapping, around)
    seen = None if apart is None else _outside(warp(apart, mapping, around, "nearest"))
    prepared = prepare(here, there, Prepare(), _outside(hidden), seen)
    return align(prepared, Align(coarse_mm=_COARSE_MM, fine_mm=_FINE_MM), "rigid", Affine(np.eye(4)), only=True)


def _outside(labels: Image) -> Image:
    return Image((labels.data == 0).astype(np.uint8), labels.grid, name=labels.name)
