"""What a registration must respect besides the images: parts kept as they are, a region to stay in, points as hints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image

MARGIN_MM = 10.0
"""Around a region of interest, where nothing else is said."""


REACH_MM = 20.0
"""Around a point beside which something is to change."""


def around(points: Points, grid: Grid, reach_mm: float = REACH_MM) -> Image:
    """A region on a grid: all that is no farther than `reach_mm` from a point, (N, 3) LPS mm."""
    inside = np.zeros(grid.shape, np.uint8)
    for voxel in grid.to_voxel(points):
        offsets = [(np.arange(n) - v) * s for n, v, s in zip(grid.shape, voxel, grid.spacing, strict=True)]
        near = [np.flatnonzero(np.abs(offset) <= reach_mm) for offset in offsets]
        d, h, w = (offset[index] ** 2 for offset, index in zip(offsets, near, strict=True))
        inside[np.ix_(*near)] |= d[:, None, None] + h[:, None] + w <= reach_mm**2
    return Image(inside[None], grid, name="surroundings of the points")


@dataclass(frozen=True, eq=False)
class Constraints:
    """Images lie in the fixed space; each connected piece of each label of the first two is kept on its own.

    rigid: what only turns and shifts (a bone, an implant): distances inside it are the same in both images.
    volume: what keeps its volume beside the affine's scaling of the whole, though its shape may change (a lesion that
    is measured); it is left out of the similarity, so that its surroundings carry it.
    region: where deformation is wanted. Farther than `margin_mm` from it, all stays as the start or the affine has it.
    hints: corresponding points, fixed and moving, (N, 3) each, LPS mm, that guide the search.
    """

    rigid: Image | None = None
    volume: Image | None = None
    region: Image | None = None
    margin_mm: float = MARGIN_MM
    hints: tuple[Points, Points] | None = None

    def __post_init__(self) -> None:
        for image, use in ((self.rigid, "keep rigid"), (self.volume, "keep the volume of"), (self.region, "stay in")):
            if image is not None and not (image.scalar > 0).any():
                raise InputError(f"'{image.name}' marks nothing to {use} (no voxel above 0). Draw it, or leave it out.")
        if not self.margin_mm > 0:
            raise InputError(f"The margin around the region is {self.margin_mm:g} mm; give a length above 0.")
        if self.hints is not None and (len(self.hints[0]) != len(self.hints[1]) or not len(self.hints[0])):
            raise InputError(
                f"There are {len(self.hints[0])} fixed hints and {len(self.hints[1])} moving ones. "
                "Points are paired in order: give the same number, at least one, for both images."
            )

    @property
    def on_deformation(self) -> bool:
        """Whether anything is asked that only a deformation can fulfil."""
        return any(image is not None for image in (self.rigid, self.volume, self.region))
