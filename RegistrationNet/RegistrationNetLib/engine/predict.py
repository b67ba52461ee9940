"""The network's field for a prepared pair: the start that refinement takes further."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.errors import DeviceError
from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine import devices
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.engine.upright import Turn
from RegistrationNetLib.networks import weights


@dataclass(frozen=True, eq=False)
class Model:
    """The network that starts a registration, or None, and a sentence about it.

    spacing: mm along d, h and w of the upright images it was trained on, None for any.
    """

    name: str
    note: str
    network: nn.Module | None = None
    spacing: tuple[float, float, float] | None = None


def chosen(settings: Settings) -> Model:
    """The network that these settings ask for, with its weights; a network without trained ones is left out, for it
    would be the identity.

    Raises SettingsError for an unknown network; WeightsError for a file that is missing, damaged or made for another.
    """
    asked = None if settings.model == "none" else settings.model
    shipped = None if asked is None else weights.available(asked)
    file = weights.named(settings.weights) if settings.weights else shipped
    if file is None:
        why = "No network was asked for" if asked is None else f"{asked} has no trained weights yet, so it was skipped"
        return Model(settings.model, f"{why}; refinement does all the work.")
    card = weights.read_card(file, asked)
    note = f"{card.network} predicted the start from its weights '{file.stem}'."
    return Model(card.network, note, weights.load(file), card.spacing)


def require_precision(precision: str, device: torch.device) -> None:
    """Raises DeviceError where mixed precision is asked for and the device has none."""
    if precision == "mixed" and not torch.amp.is_autocast_available(device.type):
        raise DeviceError(f"Mixed precision does not work on the device {device}; choose full precision there.")


def predicted_start(
    model: Model, prepared: Prepared, affine: Affine, device: torch.device, precision: str = "auto"
) -> Tensor:
    """What the network says of a prepared pair: the deformation before `affine`, (1, 3, D, H, W) float32 in voxels of
    the fixed working grid, on the device."""
    moving = Image(prepared.moving[0].numpy(), prepared.moving_grid)
    aligned = warp(moving, Mapping((affine,)), prepared.fixed_grid)
    seen = torch.from_numpy(np.asarray(aligned.data, np.float32))[None]
    return predict(model, prepared.fixed.to(device), seen.to(device), prepared.fixed_grid, precision)


def predict(model: Model, fixed: Tensor, moving: Tensor, grid: Grid, precision: str = "full") -> Tensor:
    """The total field (1, 3, D, H, W), float32, voxels of `grid`, the grid of both images.

    fixed, moving: (1, 1, D, H, W) in [0, 1], the moving image already affinely aligned. They are turned upright and
    brought to the voxel size the network was trained on, and the field back.
    """
    assert model.network is not None
    device = fixed.device
    network = model.network.to(device).eval()
    turn = Turn.of(grid)
    upright = turn.grid(grid)
    pair = [at_spacing(turn.there(image), upright, model.spacing) for image in (fixed, moving)]
    with torch.inference_mode():
        with arithmetic(device, precision):
            field = network(*pair)[-1]
        if not field.isfinite().all():  # half precision ends at 65 504
            field = network(*pair)[-1]
    return turn.field_back(spatial.resize_field(field, upright.shape))


def arithmetic(device: torch.device, precision: str = "auto") -> torch.autocast:
    """Within it a network computes in this precision. Mixed, CPUs take bfloat16; GPUs float16, whose steps are eight
    times finer."""
    mixed = precision == "mixed" or (precision == "auto" and devices.has_half(device))
    return torch.autocast(device.type, torch.bfloat16 if device.type == "cpu" else torch.float16, enabled=mixed)


def at_spacing(image: Tensor, grid: Grid, spacing: tuple[float, float, float] | None) -> Tensor:
    """The same field of view at about `spacing` (mm), smoothed first where that is coarser."""
    if spacing is None:
        return image
    factors = np.asarray(spacing) / grid.spacing
    blurred = smooth(image, [0.5 * factor if factor > 1.2 else 0.0 for factor in factors])
    return spatial.resize(blurred, seen_shape(grid, spacing))


def seen_shape(grid: Grid, spacing: tuple[float, float, float] | None) -> tuple[int, ...]:
    """The voxels (D, H, W) that a network trained at `spacing` (mm) is given of a grid."""
    if spacing is None:
        return grid.shape
    return tuple(max(1, round(n / (s / own))) for n, own, s in zip(grid.shape, grid.spacing, spacing, strict=True))
