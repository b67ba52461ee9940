"""An image in the world: values on a grid, at rest in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid


@dataclass(frozen=True, eq=False)
class Image:
    """Values (C, D, H, W) of any numeric type on a grid.

    background: what lies outside the image (air in CT, zero in MR); resampling fills with it.
    name: how messages call it (a file name, a node's name).
    """

    data: NDArray[Any]
    grid: Grid
    background: float = 0.0
    name: str = "image"

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or self.data.shape[1:] != self.grid.shape:
            raise InputError(
                f"'{self.name}' has values of shape {self.data.shape}, but its grid is {self.grid.shape}; "
                "an image needs (channels, depth, height, width)."
            )

    @property
    def scalar(self) -> NDArray[Any]:
        """The single channel, (D, H, W).

        Raises InputError for a multi-channel image.
        """
        if self.data.shape[0] != 1:
            raise InputError(
                f"'{self.name}' has {self.data.shape[0]} channels; one is needed. Extract one channel first."
            )
        return self.data[0]


_CT_PADDING = (-2000.0, -2048.0, -3000.0, -3024.0, -4096.0, -10000.0, -32768.0)
_CT_AIR = -1024.0


def background_of(data: NDArray[np.generic]) -> float:
    """What lies outside an image: its CT padding value, else CT air, else 0 where it occurs, else the minimum."""
    lowest = float(data.min())
    if lowest in _CT_PADDING:
        return lowest
    if -1500 <= lowest <= -900:
        return max(lowest, _CT_AIR)  # resampling undershoots, so less than air is air
    if lowest >= 0 or np.count_nonzero(data == 0) > 0.01 * data.size:
        return 0.0
    return lowest
