"""Is a volume a label map or an image? Files do not say, and interpolating labels invents structures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.image import Image

FLAT = 0.4
"""Of the neighbours of a typical value, the share with the same value: label maps have 0.69 and more, images 0.07."""
LONE = 0.9
"""The share with the same value or background from which values lie about in spots."""
GREY = 0.15
"""The largest such share in an image."""
FEW, MANY = 16, 256
"""Fewer grey values hardly make an image, more values hardly lie about in spots."""


def is_label_map(image: Image) -> bool | None:
    """True for labels, False for grey values, None where the values leave it open.

    What counts is the typical value rather than the typical voxel: padding, air and saturation fill much of a CT and
    are flat, but they are few of its values.
    """
    values = image.scalar
    if not np.issubdtype(values.dtype, np.integer):
        if (values != np.rint(values)).any():
            return False
        values = values.astype(np.int64)
    found, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(found) < 2:
        return True
    flat, lone = _neighbours(codes.reshape(values.shape), counts)
    if flat >= FLAT or (lone >= LONE and len(found) <= MANY):
        return True
    return False if lone <= GREY and len(found) > FEW else None


def _neighbours(codes: NDArray[np.intp], counts: NDArray[np.intp]) -> tuple[float, float]:
    """Medians over all values but the most frequent one: share of equal, and of equal or most frequent, neighbours.

    codes: (D, H, W), the number of each voxel's value; counts: (values,), how often each occurs.
    """
    background, kinds = int(counts.argmax()), len(counts)
    touched, same, beside = (np.zeros(kinds) for _ in range(3))
    for axis in range(3):
        along = np.moveaxis(codes, axis, 0)
        ends = along[1:].ravel(), along[:-1].ravel()
        for here, there in (ends, ends[::-1]):
            touched += np.bincount(here, minlength=kinds)
            same += np.bincount(here[here == there], minlength=kinds)
            beside += np.bincount(here[there == background], minlength=kinds)
    others = np.arange(kinds) != background
    flat, lone = np.median(np.stack([same, same + beside])[:, others] / touched[others], axis=1)
    return float(flat), float(lone)
