"""A baseline lesion carried to a follow-up: where its outline comes to lie there, and what the mapping makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import INVERSE_TOLERANCE_MM, Displacement, Mapping
from RegistrationNetLib.lesions.jacobian import RIM_MM, JacobianMeans, jacobian_means
from RegistrationNetLib.lesions.lesion import Lesion, clicked
from RegistrationNetLib.lesions.measure import sampled
from RegistrationNetLib.lesions.outline import Outline
from RegistrationNetLib.lesions.study import box_around

_INSIDE = 0.5


@dataclass(frozen=True, eq=False)
class Forward:
    """A baseline lesion on a follow-up.

    lesion: its carried outline on the follow-up's lattice; None where the follow-up does not show the place.
    center: where its centre is carried to, (3,) LPS mm; moved_mm: that less its centre at baseline (3,).
    jacobian: means of the total determinant inside and around it; None for a click. error_mm: expected of the place.
    """

    lesion: Lesion | None
    center: Points
    moved_mm: Points
    jacobian: JacobianMeans | None
    error_mm: float


def forward(lesion: Lesion, mapping: Mapping, onto: Grid, error_mm: float) -> Forward:
    """mapping: baseline world -> follow-up world."""
    center = mapping(lesion.center)
    jacobian = None if lesion.clicked else jacobian_means(whole_outline(lesion), determinant(lesion, mapping))
    return Forward(carried(lesion, mapping, onto), center, center - lesion.center, jacobian, error_mm)


def carried(lesion: Lesion, mapping: Mapping, onto: Grid) -> Lesion | None:
    """The lesion as it lies on another scan's lattice; None where that does not reach its place.

    What is smaller than a voxel there has the one in which its centre lies.
    """
    center = mapping(lesion.center)
    if not onto.contains(center):
        return None
    if lesion.clicked:
        return clicked(lesion.name, center)
    box = box_around(mapping(lesion.points), onto, 2 * float(lesion.outline.grid.spacing.max()))
    outline = lesion.outline.grid.padded((1, 1, 1), (1, 1, 1))
    soft = np.pad(lesion.outline.scalar != 0, 1).astype(np.float32)
    inside = sampled(soft, outline, backwards(mapping)(box.points().reshape(-1, 3))).reshape(box.shape) >= _INSIDE
    if not inside.any():
        inside[tuple(np.rint(box.to_voxel(center)).astype(int).clip(0, np.array(box.shape) - 1))] = True
    return Lesion(lesion.name, Image(inside[None].astype(np.uint8), box, name=lesion.name))


def backwards(mapping: Mapping) -> Callable[[Points], Points]:
    """The inverse at points (N, 3); where a field folds, the nearest that there is, where `Mapping.inverse` refuses."""

    def back(points: Points) -> Points:
        for step in reversed(mapping.steps):
            if isinstance(step, Displacement) and not step.inverted:
                points = step.solve(points, points - step.at(points), INVERSE_TOLERANCE_MM)[0]
            else:
                points = step.inverse()(points)
        return points

    return back


def whole_outline(lesion: Lesion) -> Outline:
    """For measuring."""
    return Outline(lesion.outline.scalar != 0, lesion.outline.grid, lesion.name)


def determinant(lesion: Lesion, mapping: Mapping) -> Image:
    """Of the whole mapping, affine included, around a lesion: above 1, tissue is larger in the later scan."""
    from RegistrationNetLib.engine.judge import jacobian_image  # needs PyTorch

    margin = np.ceil(RIM_MM / lesion.outline.grid.spacing).astype(int) + 3
    grid = lesion.outline.grid.padded(margin, margin)
    there = jacobian_image(mapping, Image(np.zeros((1, *grid.shape), np.uint8), grid, name=lesion.name))
    total = np.linalg.det(mapping.affine.matrix[:3, :3])
    return Image(there.data * np.float32(total), grid, background=float(total), name=f"Jacobian around {lesion.name}")
