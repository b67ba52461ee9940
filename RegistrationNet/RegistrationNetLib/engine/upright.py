"""Volumes turned so that the body stands upright, as networks see it: axes exchanged and flipped, nothing interpolated.

Scanners store axes in any order and direction; a network that has learnt where the brain stem is must not meet it on
top because a file is stored in sagittal slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from RegistrationNetLib.core.grid import Grid

_UPRIGHT = (2, 1, 0)
"""The world's axes (x, y, z), LPS, along which d, h and w run: d to superior, h to posterior, w to left."""


@dataclass(frozen=True)
class Turn:
    """order: which stored axis becomes d, h and w; flipped: which of these then run backwards."""

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, grid: Grid) -> Turn:
        """The one that brings a grid's axes nearest to upright."""
        along = grid.directions[_UPRIGHT, :]
        order = linear_sum_assignment(-np.abs(along))[1]
        d, h, w = (bool(along[axis, stored] < 0) for axis, stored in enumerate(order))
        return cls((int(order[0]), int(order[1]), int(order[2])), (d, h, w))

    def there(self, volume: Tensor) -> Tensor:
        """(N, C, D, H, W) upright."""
        return volume.permute(0, 1, *(2 + axis for axis in self.order)).flip(self._backwards)

    def field_there(self, field: Tensor) -> Tensor:
        """A displacement (N, 3, D, H, W) in voxels, upright."""
        return self._signed(self.there(field[:, self.order]))

    def field_back(self, field: Tensor) -> Tensor:
        """An upright displacement as the volume was stored."""
        stored = [self.order.index(axis) for axis in range(3)]
        turned = self._signed(field).flip(self._backwards)
        return turned.permute(0, 1, *(2 + axis for axis in stored))[:, stored]

    def grid(self, grid: Grid) -> Grid:
        """Where the upright voxels lie."""
        matrix, shape = grid.voxel_to_world.copy(), [grid.shape[axis] for axis in self.order]
        matrix[:3, :3] = matrix[:3, self.order]
        for axis, backwards in enumerate(self.flipped):
            if backwards:
                matrix[:3, 3] += (shape[axis] - 1) * matrix[:3, axis]
                matrix[:3, axis] *= -1
        return Grid((shape[0], shape[1], shape[2]), matrix)

    @property
    def _backwards(self) -> list[int]:
        return [2 + axis for axis, backwards in enumerate(self.flipped) if backwards]

    def _signed(self, field: Tensor) -> Tensor:
        return field * field.new_tensor([-1.0 if one else 1.0 for one in self.flipped]).view(1, 3, 1, 1, 1)
