"""The list of networks as a person wants to read it before choosing one. Light: only the costs need PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from RegistrationNetLib.core.errors import MissingPackage, SettingsError
from RegistrationNetLib.engine.result import OnProgress
from RegistrationNetLib.networks import registry, weights

SIZE = (160, 192, 224)
"""Voxels (D, H, W) of a brain at 1 mm, for which costs are estimated where nothing else is asked for."""


@dataclass(frozen=True)
class Trained:
    """Weights that come with a network. file: where they lie; the others as in their `Card`."""

    name: str
    file: str
    training_data: str
    licence: str


@dataclass(frozen=True)
class Model:
    """One network: what it is for, which trained weights it comes with, what one prediction costs.

    weights: those that it takes by itself first; none while there are none.
    parameters, flops, peak_bytes, seconds: as in `engine.estimate.Estimate`, None where `note` says why not.
    """

    name: str
    title: str
    purpose: str
    paper: str
    group: str
    weights: tuple[Trained, ...] = ()
    parameters: int | None = None
    flops: int | None = None
    peak_bytes: int | None = None
    seconds: float | None = None
    note: str = ""


def models(
    names: Sequence[str] = (),
    *,
    size: Sequence[int] = SIZE,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> list[Model]:
    """The networks of these names (default: all that are listed), with what they cost for images of `size` voxels.

    names: as for `registry.create`, own ones as "my_network.py:MyNet" too. device: auto, cpu, cuda, cuda:N or mps.
    Raises SettingsError for an unknown network or a size that is none, DeviceError for a device that is not there.
    """
    require_size(size)
    names = tuple(names) or registry.names()
    trained = _trained()
    listed = [_listed(name, trained) for name in names]
    for i, (name, model) in enumerate(zip(names, listed, strict=True)):
        if on_progress:
            on_progress(name, i / len(names), f"Estimating {model.name}")
        listed[i] = replace(model, **_costs(name, size, device))
    return listed


def require_size(size: Sequence[int]) -> None:
    """Raises SettingsError for what is no size of a volume."""
    if len(size) != 3 or any(type(voxels) is not int or voxels < 1 for voxels in size):
        raise SettingsError(
            f"The size {'x'.join(map(str, size))} is none; give three numbers of voxels, as 160x192x224."
        )


def _listed(name: str, trained: dict[str, tuple[Trained, ...]]) -> Model:
    entry = registry.entry(name)
    return Model(entry.name, entry.title, entry.purpose, entry.paper, entry.group, trained.get(entry.name, ()))


def _trained() -> dict[str, tuple[Trained, ...]]:
    """All shipped weights by network; each file is read whole for its checksum, so once for all networks."""
    found: dict[str, tuple[Trained, ...]] = {}
    for stem, file in weights.shipped().items():
        card = weights.read_card(file)
        known = Trained(stem, str(file), card.training_data, card.licence)
        found[card.network] = (*found.get(card.network, ()), known)
    return found


def _costs(name: str, size: Sequence[int], device: str) -> dict[str, Any]:
    try:
        from RegistrationNetLib.engine.estimate import estimate

        return vars(estimate(name, size, device))
    except MissingPackage as error:
        return {"note": str(error)}
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return {"note": "PyTorch is not installed, so nothing can be estimated: pip install torch."}


def device_in_words(device: str) -> str | None:
    """The device of that name, as in reports; None without PyTorch."""
    try:
        from RegistrationNetLib.engine import devices
    except ModuleNotFoundError:
        return None
    return devices.describe(devices.choose(device))
