"""What a registration gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping

OnProgress = Callable[[str, float, str], None]
"""Called with the stage, the fraction of the whole that is done (0..1) and a sentence for the user."""

IsCancelled = Callable[[], bool]


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
