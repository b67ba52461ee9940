"""Every network by name. Light: nothing here imports PyTorch until a network is made.

A new network is one file, `networks/NAME.py` with a class `Network(config)`, its frozen dataclass `NetworkConfig` and
the multiple of voxels it needs, `STRIDE`, and one `Entry` below. One that is not in the package is named by its file,
"folder/my_network.py:MyNet"; once named, it is known by the short name "my_network:MyNet" until the program ends.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from types import ModuleType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from RegistrationNetLib.core.errors import InputError, SettingsError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    """What a person wants to know before choosing a network, and where its class is ("module:Class").

    group: one of our five networks ("paper"), the common "baseline", another library's for "comparison", or the user's
    "own".
    """

    name: str
    title: str
    purpose: str
    paper: str
    source: str
    group: Literal["paper", "baseline", "comparison", "own"] = "paper"


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
        paper="Cross attention over multi-layers, skip connections with residual blocks and cascade attention for 3D "
        "deformable registration, Intelligent Data Analysis, 2024, doi:10.3233/IDA-230692",
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
        paper="Wang and Cheng, Cascaded block registration model based on multi-spatial information extraction, "
        "Computer Systems & Applications 33(2), 2024",
        source="RegistrationNetLib.networks.cascaded_blocks:CascadedBlocks",
    ),
    Entry(
        name="voxelmorph",
        title="VoxelMorph",
        purpose="The common baseline for any organ: a small U-Net with an integrated velocity.",
        paper="Balakrishnan et al., VoxelMorph: a learning framework for deformable medical image registration, "
        "IEEE Transactions on Medical Imaging 38(8), 2019",
        source="RegistrationNetLib.networks.voxelmorph:VoxelMorph",
        group="baseline",
    ),
    Entry(
        name="attention-unet",
        title="Attention U-Net",
        purpose="For comparison: gates in the skip connections, driven by the level below. MONAI's.",
        paper="Oktay et al., Attention U-Net: learning where to look for the pancreas, arXiv:1804.03999, 2018",
        source="RegistrationNetLib.networks.comparison:AttentionUNet",
        group="comparison",
    ),
    Entry(
        name="residual-unet",
        title="Residual U-Net",
        purpose="For comparison: a U-Net of residual units that begins at half resolution. MONAI's.",
        paper="Kerfoot et al., Left-ventricle quantification using residual U-Net, STACOM 2018, "
        "doi:10.1007/978-3-030-12029-0_40",
        source="RegistrationNetLib.networks.comparison:ResidualUNet",
        group="comparison",
    ),
    Entry(
        name="unetr",
        title="UNETR",
        purpose="For comparison: a Transformer over patches encodes, a U-Net decodes; for one image size. MONAI's.",
        paper="Hatamizadeh et al., UNETR: Transformers for 3D medical image segmentation, WACV 2022, arXiv:2103.10504",
        source="RegistrationNetLib.networks.comparison:UNETR",
        group="comparison",
    ),
    Entry(
        name="swin-unetr",
        title="Swin UNETR",
        purpose="For comparison: a Transformer in shifted windows encodes, a U-Net decodes. MONAI's.",
        paper="Hatamizadeh et al., Swin UNETR: Swin Transformers for semantic segmentation of brain tumors in MRI "
        "images, BrainLes 2021, arXiv:2201.01266",
        source="RegistrationNetLib.networks.comparison:SwinUNETR",
        group="comparison",
    ),
)

OWN = ".py:"
"""What marks a name as a file and a class in it."""

_named: dict[str, Entry] = {}
"""The user's own networks that were named by their files so far, by their short names."""

_ran: dict[str, bytes] = {}
"""What was in the user's files when they were run, by their paths."""


def names() -> tuple[str, ...]:
    """The names `create` knows."""
    return tuple(entry.name for entry in ENTRIES)


def known(name: str) -> bool:
    """Whether `entry(name)` would look into no file: it is listed, or the user named its file before."""
    return name in names() or name in _named


def entry(name: str) -> Entry:
    """What is known about the network `name`. Raises SettingsError for an unknown one.

    name: one of `names()`, or the user's own as "folder/my_network.py:MyNet", which this makes known as
    "my_network:MyNet". Nothing of that file is run before `configure` or `create`.
    """
    if OWN in name:
        return _own(name)
    listed = {entry.name: entry for entry in ENTRIES} | _named
    if name not in listed:
        raise SettingsError(
            f"There is no network '{name}'; choose one of {', '.join(names())}, or name a file and a class of your own "
            "as in my_network.py:MyNet."
        )
    return listed[name]


def configure(name: str, **config: Any) -> Any:
    """The network's frozen configuration with these switches. Raises SettingsError for unknown names and values."""
    kind = _load(entry(name).source + "Config")
    allowed = get_type_hints(kind)
    for switch in config:
        if switch not in {field.name for field in fields(kind)}:
            raise SettingsError(f"{name} has no switch '{switch}'; it has {', '.join(allowed)}.")
    made = kind(**{switch: tuple(value) if type(value) is list else value for switch, value in config.items()})
    for switch in config:  # after its own checks, which can say more
        value = getattr(made, switch)
        if not _fits(value, allowed[switch]):
            raise SettingsError(f"{name} cannot take {switch}={value!r}; it can be {_in_words(allowed[switch])}.")
    return made


def create(name: str, **config: Any) -> nn.Module:
    """A fresh, untrained network: the identity within 0.05 voxel. `create("udrnet", schaf=False)`.

    Its convolutions are laid out channels last, which made them a third faster on the CPU. It raises InputError for
    what is no pair of images.
    """
    import torch

    network = _load(entry(name).source)(configure(name, **config))
    network.register_forward_pre_hook(_require_pair)
    return network.to(memory_format=torch.channels_last_3d)


def name_of(network: nn.Module) -> str:
    """The name under which a network's class is listed. Raises SettingsError for a class that is not."""
    kind = type(network)
    for entry in (*ENTRIES, *_named.values()):
        if entry.source == f"{kind.__module__}:{kind.__qualname__}":
            return entry.name
    raise SettingsError(f"'{kind.__qualname__}' is not a listed network; make one with create({' or '.join(names())}).")


def _require_pair(network: nn.Module, pair: tuple[Any, ...]) -> None:
    shapes = [tuple(image.shape) for image in pair]
    if any(shape != shapes[0] or len(shape) != 5 or shape[1] != 1 for shape in shapes):
        has = " and ".join(map(str, shapes))
        raise InputError(
            f"A network takes two images of one shape (N, 1, D, H, W), not {has}; resample or reshape them."
        )


def _own(name: str) -> Entry:
    file, _, attribute = name.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file() or not attribute.isidentifier():
        raise SettingsError(f"'{name}' names no network: give an existing file and a class, as in my_network.py:MyNet.")
    own = Entry(f"{path.stem}:{attribute}", attribute, "Your own network.", path.name, f"{path}:{attribute}", "own")
    if _named.setdefault(own.name, own) != own:
        raise SettingsError(
            f"'{name}' cannot be told from {_named[own.name].source}, for weights know both as {own.name}; rename the "
            "file or the class."
        )
    return own


def _load(source: str) -> Any:
    place, _, attribute = source.rpartition(":")
    module = _from_file(place) if place.endswith(".py") else import_module(place)
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise SettingsError(f"'{Path(place).name}' has no class '{attribute}', which its network needs.") from error


def _from_file(place: str) -> ModuleType:
    """The module in a file of the user's, run once and again after a change; known to Python by its whole path, which
    no other module has."""
    try:
        text = Path(place).read_bytes()
    except OSError as error:
        raise SettingsError(f"'{place}' cannot be read ({error.strerror}); check its place.") from error
    if place not in sys.modules or _ran.get(place) != text:
        module = sys.modules[place] = ModuleType(place)
        module.__file__ = place
        try:
            exec(compile(text, place, "exec"), module.__dict__)
        except BaseException as error:
            del sys.modules[place]
            if isinstance(error, Exception):
                raise SettingsError(f"'{Path(place).name}' cannot be used: {_cause(error, place)}.") from error
            raise
        _ran[place] = text
    return sys.modules[place]


def _cause(error: Exception, place: str) -> str:
    """What went wrong in the file, and in which of its lines, in a part of a sentence."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == place]
    said = str(error)
    if isinstance(error, SyntaxError) and error.filename == place:
        lines, said = [error.lineno], error.msg
    where = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{where} ({' '.join(said.split())})"


_PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "True or False"),
    int: ((int,), "a whole number"),
    float: ((float, int), "a number"),
    str: ((str,), "text"),
    type(None): ((type(None),), "None"),
}
"""Hints of switches -> what is taken for them, and in words. True is no number."""


def _fits(value: Any, hint: Any) -> bool:
    """Whether a switch with this type hint can have the value; True for hints of kinds that are not known here."""
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if get_origin(hint) is tuple:
        each_has = inner[:1] * len(value) if type(value) is tuple and inner[-1] is ... else inner
        return type(value) is tuple and len(value) == len(each_has) and all(map(_fits, value, each_has))
    return hint not in _PLAIN or type(value) in _PLAIN[hint][0]


def _in_words(hint: Any) -> str:
    """What fits a type hint, for a sentence."""
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return ", ".join(map(repr, inner))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_in_words, inner))
    if get_origin(hint) is tuple:
        return f"({', '.join('...' if each is ... else _in_words(each) for each in inner)})"
    return _PLAIN[hint][1] if hint in _PLAIN else str(hint)
