"""What a training is: everything a user may choose, read from one TOML file; imports nothing heavy."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from RegistrationNetLib.core.errors import SettingsError
from RegistrationNetLib.engine.settings import Checked, Knob, build


@dataclass(frozen=True)
class Data(Checked):
    """What the network learns from."""

    kind: Annotated[
        Literal["images", "label-maps", "shapes"],
        Knob(
            "images: real scans, any two of them a pair; label-maps: scans made up from real label maps, in ever other "
            "contrasts; shapes: scans of made-up shapes, for which nobody's data are needed"
        ),
    ] = "shapes"
    images: Annotated[str, Knob("Folder of the images, for 'images'")] = ""
    labels: Annotated[
        str,
        Knob("Folder of label maps: those of the images, under the same names (optional), or those to make scans of"),
    ] = ""
    outside: Annotated[
        int, Knob("Labels from this number on lie outside the organ and are at times left out; 0 for none", 0, 100_000)
    ] = 0
    only: Annotated[str, Knob("Only files whose names match this pattern, or one of several: 'IXI1* IXI2*'")] = "*"
    pairing: Annotated[
        Literal["any", "to-first", "from-first", "twos"],
        Knob(
            "any: any two are a pair; to-first: the first file, an atlas, is always the fixed one; from-first: always "
            "the moving one; twos: every two that follow each other by name, the earlier one fixed, as of one patient"
        ),
    ] = "any"
    spacing_mm: Annotated[float, Knob("Voxel size that the network sees", 0.5, 20, "mm")] = 2.0
    size: Annotated[int, Knob("Voxels along each axis of made-up shapes", 16, 256)] = 96
    held_back: Annotated[int, Knob("Cases that are kept for validation and never learnt from", 1, 100)] = 4
    cache: Annotated[str, Knob("Folder in which prepared images are kept; beside the results if empty")] = ""


@dataclass(frozen=True)
class Change(Checked):
    """How pairs are varied, so that no two are the same."""

    turn_degrees: Annotated[float, Knob("Both images are turned by up to this", 0, 180, "degrees")] = 10.0
    scale: Annotated[float, Knob("and made larger or smaller by up to this part", 0, 0.5)] = 0.1
    shift_mm: Annotated[float, Knob("and shifted by up to this", 0, 100, "mm")] = 10.0
    residual: Annotated[
        float, Knob("The moving one by this part of all that again, as an alignment may be off", 0, 1)
    ] = 0.2
    deform_mm: Annotated[float, Knob("Made-up scans are each deformed by about up to this", 0, 60, "mm")] = 8.0
    contrast: Annotated[float, Knob("How much brightness and contrast of real scans vary", 0, 1)] = 0.3


@dataclass(frozen=True)
class Loss(Checked):
    """What the network is trained for."""

    similarity: Annotated[
        Literal["own", "lncc", "ncc", "mse", "mind"], Knob("How images are compared; own: as the network's paper does")
    ] = "own"
    image: Annotated[float, Knob("Weight of that", 0, 100)] = 1.0
    radius: Annotated[
        int, Knob("Half width of lncc's window; the papers' 4 are for voxels of 1 mm, fewer suit larger voxels", 1, 10)
    ] = 4
    regularity: Annotated[Literal["diffusion", "bending"], Knob("What smooth fields have little of")] = "diffusion"
    smoothness: Annotated[float, Knob("Weight of that, times the network's own", 0, 100)] = 1.0
    labels: Annotated[float, Knob("Weight of one less the Dice of labels, where there are any", 0, 100)] = 0.0
    folding: Annotated[float, Knob("Weight of negative Jacobian determinants", 0, 1000)] = 0.0
    inverse: Annotated[
        float, Knob("Weight of how far there and back leads astray; computes every pair twice", 0, 100)
    ] = 0.0


@dataclass(frozen=True)
class Course(Checked):
    """How long and how fast."""

    steps: Annotated[int, Knob("Steps of the optimiser", 1, 10_000_000)] = 10_000
    minutes: Annotated[float, Knob("Stop after this time at the latest; 0 for no limit", 0, 100_000, "minutes")] = 0.0
    pairs: Annotated[int, Knob("Pairs a step, shared by all processes", 1, 1024)] = 1
    rate: Annotated[float, Knob("Highest learning rate; it rises to that, then falls to nothing", 1e-7, 1)] = 1e-4
    precision: Annotated[
        Literal["auto", "full", "mixed"],
        Knob("mixed: half precision, twice as fast on GPUs and on processors that have it; auto: mixed on those"),
    ] = "full"
    check_every: Annotated[int, Knob("Steps between looks at the validation cases", 1, 1_000_000)] = 500
    patience: Annotated[int, Knob("Looks without a better one after which training stops; 0 for never", 0, 1000)] = 0


@dataclass(frozen=True)
class Train(Checked):
    """One training."""

    network: Annotated[str, Knob("One that 'registrationnet models' lists, or your own as my_network.py:MyNet")]
    switches: dict[str, Any] = field(default_factory=dict)
    purpose: dict[str, Any] = field(default_factory=dict)
    start: Annotated[str, Knob("File of weights to go on from; empty for a fresh network")] = ""
    name: Annotated[str, Knob("What the weights will be called; the network's name if empty")] = ""
    training_data: Annotated[str, Knob("What was learnt from, for the model card")] = "not stated"
    licence: Annotated[str, Knob("Of the weights, for the model card")] = "not stated"
    seed: Annotated[int, Knob("Another number, another run", 0, 2**31)] = 0
    device: Annotated[str, Knob("auto, cpu, cuda, cuda:N or mps")] = "auto"
    data: Data = field(default_factory=Data)
    change: Change = field(default_factory=Change)
    loss: Loss = field(default_factory=Loss)
    course: Course = field(default_factory=Course)

    def __post_init__(self) -> None:
        super().__post_init__()
        needed = {"images": self.data.images, "label-maps": self.data.labels}.get(self.data.kind, "none")
        if not needed:
            folder = "images" if self.data.kind == "images" else "labels"
            raise SettingsError(f"data.kind is '{self.data.kind}', so name a folder in data.{folder}.")

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a TOML file; its folders are taken from where it lies, variables such as $DATA from the environment.

        Raises SettingsError, naming the file, for one that cannot be read or holds what is no setting.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"'{path}' cannot be read as a configuration ({error}).") from error
        data = values.get("data", {})
        for name in ("images", "labels", "cache"):
            if isinstance(data, dict) and data.get(name):
                data[name] = _place(data[name], path)
        if values.get("start"):
            values["start"] = _place(values["start"], path)
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What is left out keeps its default. Raises SettingsError naming an unknown or invalid setting."""
        if "network" not in values:
            raise SettingsError('Say which network is to be trained: network = "voxelmorph".')
        return build(cls, values, "training", PARTS)

    def with_change(self, change: Change) -> Self:
        """The same with other variations."""
        return replace(self, change=change)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def _place(name: str, beside: Path) -> str:
    return str((beside.parent / Path(os.path.expandvars(name)).expanduser()).resolve())


PARTS = {"data": Data, "change": Change, "loss": Loss, "course": Course}
"""The tables of the file."""
