"""What is asked before a registration starts: where it would run and what it would need. No voxels, no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.engine.parcel import as_grid, plain_grid
from RegistrationNetLib.engine.settings import Settings


@dataclass(frozen=True, eq=False)
class Question:
    """As much of a registration as decides over its time and memory.

    bytes_per_voxel: of the moving image. masked, labelled, restrained: whether masks are compared too, labels measure
    the result, parts or regions hold the deformation.
    """

    fixed: Grid
    moving: Grid
    settings: Settings
    bytes_per_voxel: int = 2
    masked: bool = False
    labelled: bool = False
    restrained: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        whole = {"fixed": plain_grid(self.fixed), "moving": plain_grid(self.moving)}
        return vars(self) | whole | {"settings": self.settings.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Question:
        """The reverse of `to_dict`."""
        whole = {side: as_grid(values[side]) for side in ("fixed", "moving")}
        return cls(**(values | whole | {"settings": Settings.from_dict(values["settings"])}))
