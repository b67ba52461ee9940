"""Any image size for networks that halve: pad the far ends before, crop the fields after."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(volume: Tensor, stride: int) -> Tensor:
    """Repeat the far edge of each axis up to the next multiple of `stride`; (N, C, D, H, W) -> (N, C, D+, H+, W+).

    Only the far ends grow, so voxel (0, 0, 0) and with it every field's origin stays where it was.
    """
    missing = [-size % stride for size in volume.shape[2:]]
    if not any(missing):
        return volume
    depth, height, width = missing
    return F.pad(volume, (0, width, 0, height, 0, depth), mode="replicate")


def crop_to(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """The near corner of `volume`, of `shape` (d, h, w): undoes `pad_to_multiple`."""
    depth, height, width = shape
    return volume[:, :, :depth, :height, :width]


def coarse_shape(shape: Sequence[int], level: int) -> list[int]:
    """The voxels an axis that show an image of `shape` at 1 / 2^level; the last one may reach beyond the image."""
    return [-(-size // 2**level) for size in shape]
