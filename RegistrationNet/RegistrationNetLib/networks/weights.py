"""Trained weights: safetensors files that carry a model card, checked before they are trusted.

A file holds tensors and text only, and loading it runs no code. Reading a card needs neither PyTorch nor
safetensors, so that a list of networks can be shown before they are installed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from RegistrationNetLib.core.errors import SettingsError, WeightsError
from RegistrationNetLib.networks import registry

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDER = Path(__file__).parent / "trained"
"""The shipped files: NETWORK.safetensors is a network's default, NETWORK-PURPOSE.safetensors another of its."""
SUFFIX = ".safetensors"
_LONGEST_HEADER = 100_000_000  # bytes that the format allows; a damaged file may claim any number


@dataclass(frozen=True)
class Card:
    """What the weights are for and how they came about.

    network, config: as for `registry.create`. spacing: mm along d, h and w of the upright images trained on, None for
    the image's own. intensity: name of the preparation's intensity scheme. version: of these weights.
    purpose: which images they are for: `body` in words, `modality` ("MR", "CT" or "any"), and from and to how many mm
    what an image shows may measure, `left_right_mm`, `front_back_mm`, `head_foot_mm`; empty where that is not known.
    metrics: on validation cases; command, machine, hours: how they were made.
    """

    network: str
    config: dict[str, Any]
    spacing: tuple[float, float, float] | None
    intensity: str
    training_data: str
    licence: str
    version: str
    metrics: dict[str, float] = field(default_factory=dict)
    command: str = ""
    machine: str = ""
    hours: float = 0.0
    purpose: dict[str, Any] = field(default_factory=dict)


def shipped() -> dict[str, Path]:
    """The files in the box, by the names under which they are asked for; a network's default is its first."""
    files = {file.stem: file for file in FOLDER.glob("*" + SUFFIX)}
    return dict(sorted(files.items()))


def available(name: str) -> Path | None:
    """The default weights of a network, None while it has none. Raises SettingsError for an unknown network."""
    return shipped().get(registry.entry(name).name)


def named(wanted: str) -> Path:
    """The file that a user means: the name of shipped weights, or a path."""
    return shipped().get(wanted, Path(wanted))


def save(
    path: Path,
    network: nn.Module,
    *,
    spacing: tuple[float, float, float] | None,
    intensity: str,
    training_data: str,
    licence: str,
    version: str,
    metrics: dict[str, float] | None = None,
    command: str = "",
    machine: str = "",
    hours: float = 0.0,
    purpose: dict[str, Any] | None = None,
    half: bool = False,
) -> Card:
    """Write a network made by `registry.create` with its card; an existing file is replaced once all is written.

    half: in half precision, at half the size.
    """
    import safetensors.torch

    config: Any = network.config
    card = Card(
        registry.name_of(network),
        asdict(config),
        spacing,
        intensity,
        training_data,
        licence,
        version,
        metrics or {},
        command,
        machine,
        hours,
        purpose or {},
    )
    state = {key: _stored(value, half) for key, value in network.state_dict().items()}
    metadata = {"card": json.dumps(asdict(card))}
    header, tensors = _split(safetensors.torch.save(state, metadata))
    blob = safetensors.torch.save(state, metadata | {"sha256": _checksum(header, tensors)})
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(blob)
    unfinished.replace(path)
    return card


def _stored(value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if half and value.is_floating_point() else value


def read_card(path: Path, name: str | None = None) -> Card:
    """The card of a weights file whose checksum holds; with `name`, one for that network.

    Raises WeightsError for any other file.
    """
    card = _card(path, _read(path))
    if name is not None:
        _expect_network(path, card, name)
    return card


def glance(path: Path) -> Card:
    """The card alone, its checksum not compared, for a list that has to be there at once.

    Raises WeightsError as `read_card`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            head = start + file.read(min(int.from_bytes(start, "little"), _LONGEST_HEADER))
    except OSError as error:
        raise _unreadable(path, error) from error
    return _described(path, head)[0]


def load(path: Path, name: str | None = None, **config: Any) -> nn.Module:
    """The network that the file's card describes, with its weights, float32, on the CPU.

    With `name` (and switches) the file must be for exactly that network; a switch that is younger than the file has its
    default. A network that is not in the package is only made when the user named its file, here or before: what a card
    says never leads to code.
    Raises WeightsError for a missing or damaged file and for one made for another network or configuration.
    """
    import safetensors.torch

    blob = _read(path)
    card = _card(path, blob)
    if name is not None:
        _expect_network(path, card, name)
    _require_known(path, card)
    asked = None if name is None else registry.configure(name, **config)
    made_for = _configuration(path, card)
    if asked is not None and asked != made_for:
        switches = f"{_listed(made_for)}, not {_listed(asked)}"
        raise WeightsError(f"'{path.name}' was made for {card.network} with {switches}; ask for the same switches.")
    network = registry.create(card.network, **asdict(made_for))
    try:
        network.load_state_dict(safetensors.torch.load(blob))
    except RuntimeError as error:
        raise _misfit(path, card, "its tensors differ from this version's") from error
    return network


def _configuration(path: Path, card: Card) -> Any:
    try:
        return registry.configure(card.network, **card.config)
    except SettingsError as error:
        raise _misfit(path, card, str(error).rstrip(".")) from error


def _misfit(path: Path, card: Card, reason: str) -> WeightsError:
    return WeightsError(
        f"'{path.name}' does not fit the network {card.network}: {reason}. Update RegistrationNet or the file."
    )


def _listed(config: Any) -> str:
    return ", ".join(f"{switch}={value!r}" for switch, value in asdict(config).items())


def _require_known(path: Path, card: Card) -> None:
    if not registry.known(card.network):
        raise WeightsError(
            f"'{path.name}' holds weights of {card.network}, which this version does not have. If it is a network of "
            "your own, name its file too, as in my_network.py:MyNet."
        )


def _expect_network(path: Path, card: Card, name: str) -> None:
    name = registry.entry(name).name
    if card.network != name:
        raise WeightsError(f"'{path.name}' holds weights of {card.network}, not of {name}; choose a file for {name}.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f"The weights file '{path}' cannot be read ({error.strerror}); check its place.")


def _card(path: Path, blob: bytes) -> Card:
    card, sha256 = _described(path, blob)
    if sha256 != _checksum(*_split(blob)):
        raise WeightsError(f"'{path.name}' is damaged (its SHA-256 checksum does not match); download it again.")
    return card


def _described(path: Path, blob: bytes) -> tuple[Card, str]:
    """The card, and the checksum that the file should have, from its first bytes."""
    try:
        metadata = _split(blob)[0]["__metadata__"]
        card = json.loads(metadata["card"])
        spacing = card.pop("spacing")
        return Card(**card, spacing=None if spacing is None else tuple(spacing)), metadata["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"'{path.name}' is damaged or was not saved by RegistrationNet (no model card); download it again."
        ) from error


def _split(blob: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file is the header's length (8 bytes, little endian), the header (JSON) and the tensors."""
    start = 8 + int.from_bytes(blob[:8], "little")
    return json.loads(blob[8:start]), blob[start:]


def _checksum(header: dict[str, Any], tensors: bytes) -> str:
    """SHA-256 over everything but itself: names, shapes, card and values."""
    metadata = {key: value for key, value in header["__metadata__"].items() if key != "sha256"}
    described = json.dumps(header | {"__metadata__": metadata}, sort_keys=True).encode()
    return hashlib.sha256(described + tensors).hexdigest()
