"""What a registration gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping

OnProgress = Callable[[str, float, str], None]
"""Called with the stage, the fraction of the whole that is done (0..1) and a sentence for the user."""

IsCancelled = Callable[[], bool]


@dataclass(frozen=True)
class Watch:
    """Who looks on while the deformation is refined.

    similarity: called with a level's voxel size (mm) and how alike the images are at it, at first and after each
    iteration. preview: called with the moving image as it lies after a level that others follow, coarse, in [0, 1].
    """

    similarity: Callable[[float, float], None] | None = None
    preview: Callable[[Image], None] | None = None


NOBODY = Watch()


@dataclass(frozen=True, eq=False)
class Reference:
    """What is known about a pair beforehand; used only to judge the result, never to find it.

    Labels: integer images in the fixed and the moving space. Landmarks: corresponding points (N, 3), LPS mm.
    """

    fixed_labels: Image | None = None
    moving_labels: Image | None = None
    fixed_landmarks: Points | None = None
    moving_landmarks: Points | None = None

    def __post_init__(self) -> None:
        for what, one, other in (
            ("labels", self.fixed_labels, self.moving_labels),
            ("landmarks", self.fixed_landmarks, self.moving_landmarks),
        ):
            if (one is None) != (other is None):
                raise InputError(f"Only one side's {what} were given. Give {what} for both images, or for neither.")
        if self.fixed_landmarks is not None and self.moving_landmarks is not None:
            count, other_count = len(self.fixed_landmarks), len(self.moving_landmarks)
            if count != other_count or count == 0:
                raise InputError(
                    f"There are {count} fixed landmarks and {other_count} moving ones. "
                    "Landmarks are compared in order: give the same number, at least one, for both images."
                )


@dataclass(frozen=True, eq=False)
class Registration:
    """mapping: fixed world -> moving world, LPS mm.
    warped: the moving image on the fixed grid, in its own pixel type.
    jacobian: determinant of the deformable part on the fixed grid, float32; > 1 where tissue is larger in the moving
    image. Multiply by report["jacobian"]["affine_determinant"] for statements about volumes.
    report: plain values (JSON): inputs, settings, similarity and seconds per stage, quality, notes.
    """

    mapping: Mapping
    warped: Image
    jacobian: Image
    report: dict[str, Any]
