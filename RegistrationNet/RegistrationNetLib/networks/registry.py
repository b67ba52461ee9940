"""Every network by name. Light: nothing here imports PyTorch until a network is made.

A new network is one file, `networks/NAME.py` with a class `Network(config)`, its frozen dataclass `NetworkConfig` and
the multiple of voxels it needs, `STRIDE`, and one `Entry` below.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from RegistrationNetLib.core.errors import SettingsError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    """What a person wants to know before choosing a network, and where its class is ("module:Class")."""

    name: str
    title: str
    purpose: str
    paper: str
    source: str


ENTRIES = (
    Entry(
        name="udrnet",
        title="UDRNet with scHAF",
        purpose="Lung CT, inspiration to expiration: fuses spatial and channel attention in the skip connections.",
        paper="Ma et al., UDRNet: unsupervised deformable registration network of lung CT images with hybrid attention "
        "mechanism, Frontiers in Medicine 12, 2025",
        source="RegistrationNetLib.networks.udrnet:UDRNet",
    ),
    Entry(
        name="caml",
        title="CAML-RBSC-CARSC",
        purpose="Brain MR, subject to atlas: each image looks for its counterpart in the other, in two passes.",
        paper="Cross attention over multiple layers, residual-block skip connections and cascade attention for "
        "unsupervised 3D registration, Intelligent Data Analysis, 2024, doi:10.3233/IDA-230692",
        source="RegistrationNetLib.networks.caml:CAML",
    ),
    Entry(
        name="dilformer",
        title="MSR-Dilformer-SRF",
        purpose="Brain MR, subject to subject: a coarse-to-fine pyramid with dilated convolutions for large moves.",
        paper="Peng et al., Multi-scale residual learning combined with Dilformer for dual-stream medical image "
        "registration network, Journal of Zhejiang University (Engineering Science) 60(5), 2026",
        source="RegistrationNetLib.networks.dilformer:Dilformer",
    ),
    Entry(
        name="maxca",
        title="MAXCA",
        purpose="Brain MR and heart: attention near and far at full resolution, for fine structures.",
        paper="Meng et al., Advancing deformable medical image registration with multi-axis cross-covariance "
        "attention, arXiv:2412.18545, 2024",
        source="RegistrationNetLib.networks.maxca:MAXCANet",
    ),
    Entry(
        name="cascaded-blocks",
        title="Cascaded block registration",
        purpose="Complex local deformation in any organ: overlapping blocks are registered one by one, then fused.",
        paper="Cascaded block registration with multi-spatial information extraction, Computer Systems & Applications "
        "33(2), 2024",
        source="RegistrationNetLib.networks.cascaded_blocks:CascadedBlocks",
    ),
    Entry(
        name="voxelmorph",
        title="VoxelMorph",
        purpose="The common baseline for any organ: a small U-Net with an integrated velocity.",
        paper="Balakrishnan et al., VoxelMorph: a learning framework for deformable medical image registration, "
        "IEEE Transactions on Medical Imaging 38(8), 2019",
        source="RegistrationNetLib.networks.voxelmorph:VoxelMorph",
    ),
)


def names() -> tuple[str, ...]:
    """The names `create` knows."""
    return tuple(entry.name for entry in ENTRIES)


def entry(name: str) -> Entry:
    """What is known about the network `name`. Raises SettingsError for an unknown one."""
    for known in ENTRIES:
        if known.name == name:
            return known
    raise SettingsError(f"There is no network '{name}'; choose one of {', '.join(names())}.")


def configure(name: str, **config: Any) -> Any:
    """The network's frozen configuration with these switches. Raises SettingsError for unknown names and values."""
    kind = _load(entry(name).source + "Config")
    allowed = get_type_hints(kind)
    for switch, value in config.items():
        if switch not in {field.name for field in fields(kind)}:
            raise SettingsError(f"{name} has no switch '{switch}'; it has {', '.join(allowed)}.")
        _check(name, switch, value, allowed[switch])
    return kind(**config)


def create(name: str, **config: Any) -> nn.Module:
    """A fresh, untrained network: the identity within 0.05 voxel. `create("udrnet", schaf=False)`.

    Its convolutions are laid out channels last, which made them a third faster on the CPU.
    """
    import torch

    network = _load(entry(name).source)(configure(name, **config))
    return network.to(memory_format=torch.channels_last_3d)


def name_of(network: nn.Module) -> str:
    """The name under which a network's class is listed. Raises SettingsError for a class that is not."""
    kind = type(network)
    for known in ENTRIES:
        if known.source == f"{kind.__module__}:{kind.__qualname__}":
            return known.name
    raise SettingsError(f"'{kind.__qualname__}' is not a listed network; make one with create({' or '.join(names())}).")


def _load(source: str) -> Any:
    module, _, attribute = source.partition(":")
    return getattr(import_module(module), attribute)


def _check(name: str, switch: str, value: Any, hint: Any) -> None:
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices and not any(type(value) is type(choice) and value == choice for choice in choices):
        known = ", ".join(repr(choice) for choice in choices)
        raise SettingsError(f"{name} cannot take {switch}={value!r}; it can be {known}.")
