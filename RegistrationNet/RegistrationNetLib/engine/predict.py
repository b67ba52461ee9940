"""The network's field for a prepared pair: the start that refinement takes further."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.networks import weights


def trained(name: str) -> tuple[Path | None, str]:
    """The weights to use for a network and a sentence about them; None where there is nothing to ask.

    A network without trained weights is skipped: it would be the identity. Raises SettingsError for an unknown one.
    """
    if name == "none":
        return None, "No network was asked for; refinement does all the work."
    file = weights.available(name)
    if file is None:
        return None, f"{name} has no trained weights yet, so it was skipped; refinement does all the work."
    return file, f"{name} predicted the start from its weights '{file.stem}'."


def predict(file: Path, fixed: Tensor, moving: Tensor) -> Tensor:
    """The total field (1, 3, D, H, W), voxels of the grid of both images, from the network in a weights file.

    fixed, moving: (1, 1, D, H, W) in [0, 1], the moving image already affinely aligned.
    Raises WeightsError for damaged weights.
    """
    network = weights.load(file).to(fixed.device).eval()
    with torch.inference_mode():
        field = network(fixed, moving)[-1]
    return spatial.resize_field(field, fixed.shape[2:])
