"""A paper's data, as `python -m benchmarks.protocols` leaves them in a folder: images/ID.nii.gz, labels/ID.nii.gz,
landmarks/ID.txt where there are some (voxel indices), recipe.toml to train by, and protocol.json, which says the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.cases import Case
from benchmarks.data import Pair
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.image import Image

FILE, RECIPE = "protocol.json", "recipe.toml"
_RECIPE = """# Trains on the scans of '{name}' that are for that, without labels; with them: --labels labels.
#   registrationnet train {recipe} --network NAME -o FOLDER
network = "voxelmorph"
training_data = "{count} training scans of {name}"
licence = "as the data's"

[data]
kind = "images"
images = "images"
only = "{only}"
held_back = {held_back}
spacing_mm = {spacing}
cache = "cache"

[change]
turn_degrees = 0
scale = 0
shift_mm = 0
residual = 0
contrast = 0

[course]
rate = 1e-4
"""


@dataclass(frozen=True)
class Protocol:
    """Who is learnt from and what is judged.

    train, validation, test: ids. pairs: (fixed, moving), to judge. labels: sets of label values by name, each with a
    mean Dice of its own, the first above all. metrics: what else is said. landmarks: of which kind; empty for none.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    labels: dict[str, tuple[int, ...]]
    metrics: tuple[str, ...]
    landmarks: str = ""

    @classmethod
    def read(cls, folder: Path) -> Protocol:
        """Raises InputError for a folder that was not prepared."""
        file = folder / FILE
        if not file.is_file():
            raise InputError(
                f"'{folder}' has no {FILE}; prepare it with python -m benchmarks.protocols NAME SOURCE '{folder}'."
            )
        said = json.loads(file.read_text(encoding="utf-8"))
        said |= {part: tuple(said[part]) for part in ("train", "validation", "test", "metrics")}
        said["pairs"] = tuple((fixed, moving) for fixed, moving in said["pairs"])
        said["labels"] = {name: tuple(values) for name, values in said["labels"].items()}
        return cls(**said)

    def write(self, folder: Path, spacing_mm: float) -> None:
        """spacing_mm: of the voxels that a network is to see."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        recipe = _RECIPE.format(
            name=self.name,
            count=len(self.train),
            only=" ".join(f"{one}.nii.gz" for one in sorted((*self.train, *self.validation))),
            held_back=len(self.validation),
            spacing=spacing_mm,
            recipe=RECIPE,
        )
        (folder / RECIPE).write_text(recipe, encoding="utf-8")

    def to_judge(self) -> tuple[Pair, ...]:
        """The test pairs, their files relative to the folder."""
        return tuple(self._pair(fixed, moving) for fixed, moving in self.pairs)

    def _pair(self, fixed: str, moving: str) -> Pair:
        sides = (fixed, moving)
        return Pair(
            f"{self.name} {moving} onto {fixed}",
            *(f"images/{side}.nii.gz" for side in sides),
            labels=(f"labels/{fixed}.nii.gz", f"labels/{moving}.nii.gz"),
            landmarks=(f"landmarks/{fixed}.txt", f"landmarks/{moving}.txt") if self.landmarks else None,
        )


def of_labels(case: Case, values: Sequence[int]) -> Case:
    """The case as these labels alone show it."""

    def alone(labels: Image | None) -> Image | None:
        return labels and replace(labels, data=np.where(np.isin(labels.data, values), labels.data, 0))

    known = case.reference
    chosen = replace(known, fixed_labels=alone(known.fixed_labels), moving_labels=alone(known.moving_labels))
    return replace(case, reference=chosen)
