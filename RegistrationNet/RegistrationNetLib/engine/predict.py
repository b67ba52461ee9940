"""The network's field for a prepared pair: the start that refinement takes further."""

from __future__ import annotations

import torch
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.networks import weights


def predict(fixed: Tensor, moving: Tensor, name: str) -> tuple[Tensor | None, str]:
    """The total field (1, 3, D, H, W), voxels of the working grid, and a sentence about it.

    fixed, moving: (1, 1, D, H, W) in [0, 1] on one grid, the moving image already affinely aligned. A network
    without trained weights is skipped (None): it would only be the identity.
    Raises WeightsError for damaged weights, SettingsError for an unknown network.
    """
    if name == "none":
        return None, "No network was asked for; refinement does all the work."
    file = weights.available(name)
    if file is None:
        return None, f"{name} has no trained weights yet, so it was skipped; refinement does all the work."
    network = weights.load(file).to(fixed.device).eval()
    with torch.inference_mode():
        field = network(fixed, moving)[-1]
    return spatial.resize_field(field, fixed.shape[2:]), f"{name} predicted the start from its weights '{file.stem}'."
