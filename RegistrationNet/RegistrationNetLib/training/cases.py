"""Images and label maps of a folder, made ready to learn from: upright, aligned to one of them, at one voxel size.

Each is prepared once, when it is first asked for, and kept in a cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from RegistrationNetLib.core.errors import GeometryError, InputError, SettingsError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.devices import flushed_denormals
from RegistrationNetLib.engine.predict import at_spacing, seen_shape
from RegistrationNetLib.engine.prepare import Prepared, prepare, working_grid
from RegistrationNetLib.engine.settings import Align, Prepare
from RegistrationNetLib.engine.upright import Turn
from RegistrationNetLib.files.images import read_image, read_labels
from RegistrationNetLib.files.suffixes import IMAGES, ends
from RegistrationNetLib.training.settings import Data

_MARGIN_MM = 12.0  # around the outermost labels
_DARKEST, _GOLDEN = 0.2, 0.618034  # so that maps can be aligned by what is scanned from them: each label has its grey


@dataclass(frozen=True, eq=False)
class Case:
    """One body. values: (D, H, W) float16 in [0, 1], or None; labels: (D, H, W), or None."""

    name: str
    values: NDArray[np.float16] | None
    labels: NDArray[np.int32] | None


@dataclass(frozen=True)
class Cases:
    """The files of a folder; the first is what the others are aligned to.

    learnt, held_back: names, of which the latter are never learnt from.
    """

    data: Data
    cache: Path
    learnt: tuple[str, ...]
    held_back: tuple[str, ...]

    @classmethod
    def of(cls, data: Data, cache: Path) -> Cases:
        """Raises SettingsError for a folder that is missing or holds too few files."""
        folder = Path(data.images if data.kind == "images" else data.labels)
        if not folder.is_dir():
            raise SettingsError(f"There is no folder '{folder}' to learn from; check the names under data.")
        names = sorted(
            file.name
            for file in folder.iterdir()
            if ends(file, IMAGES) and any(fnmatch(file.name, pattern) for pattern in data.only.split())
        )
        if len(names) < data.held_back + 2:
            raise SettingsError(
                f"'{folder}' has {len(names)} images that match '{data.only}'; {data.held_back} are held back, and at "
                "least two must be left to learn from."
            )
        held = apart(names, data.held_back, 2 if data.pairing == "twos" else 1)
        return cls(data, cache, tuple(name for name in names if name not in held), held)

    def __getitem__(self, name: str) -> Case:
        """Raises InputError, naming it, for a file that cannot be used."""
        kept = self.cache / f"{name}-{self._digest(name)}.npz"
        if not kept.exists():
            case = self._ready(name)
            self.cache.mkdir(parents=True, exist_ok=True)
            unfinished = kept.with_name(f"{kept.name}.part.npz")
            parts: dict[str, Any] = {"values": case.values, "labels": case.labels}
            np.savez_compressed(unfinished, **{key: value for key, value in parts.items() if value is not None})
            unfinished.replace(kept)
        with np.load(kept) as held:
            return Case(name, held.get("values"), held.get("labels"))

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        return self._grid.shape

    def _digest(self, name: str) -> str:
        """Of all that decides how a case comes out."""
        data = asdict(self.data) | {"held_back": 0, "cache": "", "only": ""}
        files = [path for file in (self.learnt[0], name) for path in self._files(file) if path is not None]
        return _digest_of(data, self.learnt[0], files)

    def _files(self, name: str) -> tuple[Path | None, Path | None]:
        """Its image and its label map."""
        image = Path(self.data.images) / name if self.data.kind == "images" else None
        return image, Path(self.data.labels) / name if self.data.labels else None

    def _ready(self, name: str) -> Case:
        scan = self._scan(name)
        prepared = prepare(self._first, scan, Prepare())
        affine = Affine(np.eye(4)) if name == self.learnt[0] else self._affine(name, prepared)
        file = self._files(name)[1]
        labels = None if file is None else warp(read_labels(file), Mapping((affine,)), self._grid, "nearest").scalar
        values = self._seen(prepared, affine) if self.data.kind == "images" else None
        return Case(name, values, None if labels is None else labels.astype(np.int32))

    def _affine(self, name: str, prepared: Prepared) -> Affine:
        """To the first case; kept on its own, whatever size of voxel is asked for later."""
        aligned_by = [next(path for path in self._files(file) if path is not None) for file in (self.learnt[0], name)]
        kept = self.cache / f"{name}-{_digest_of(*map(str, aligned_by), aligned_by)}.npy"
        if not kept.exists():
            try:
                with flushed_denormals():
                    affine = align(prepared, Align(), "affine")
            except GeometryError as error:
                raise InputError(f"'{name}' cannot be learnt from: {error}") from error
            self.cache.mkdir(parents=True, exist_ok=True)
            unfinished = kept.with_name(f"{kept.name}.part.npy")
            np.save(unfinished, affine.matrix)
            unfinished.replace(kept)
        return Affine(np.load(kept))

    def _seen(self, prepared: Prepared, affine: Affine) -> NDArray[np.float16]:
        """The moving image through the affine, as a network sees it."""
        moving = Image(prepared.moving[0].numpy(), prepared.moving_grid)
        aligned = warp(moving, Mapping((affine,)), prepared.fixed_grid)
        seen = torch.from_numpy(np.asarray(aligned.data, np.float32))[None]
        turn = Turn.of(prepared.fixed_grid)
        small = at_spacing(turn.there(seen), turn.grid(prepared.fixed_grid), (self.data.spacing_mm,) * 3)
        return np.asarray(small[0, 0], np.float16)

    def _scan(self, name: str) -> Image:
        """What it is aligned by."""
        image, labels = self._files(name)
        if image is not None:
            return read_image(image)
        assert labels is not None
        shown = read_labels(labels)
        grey = np.where(shown.data > 0, _DARKEST + (1 - _DARKEST) * (shown.data * _GOLDEN % 1), 0)
        return Image(grey.astype(np.float32), shown.grid, name=shown.name)

    @cached_property
    def _first(self) -> Image:
        return self._scan(self.learnt[0])

    @cached_property
    def _grid(self) -> Grid:
        """Upright, of the first case's field of view; of label maps alone, the organ and a margin."""
        spacing = (self.data.spacing_mm,) * 3
        if self.data.kind == "images":
            grid = working_grid(self._first.grid, Prepare().max_voxels)
        else:
            labels = read_labels(Path(self.data.labels) / self.learnt[0])
            grid = _around(labels, self.data.outside)
        upright = Turn.of(grid).grid(grid)
        return upright.resampled(seen_shape(upright, spacing))


def _digest_of(*said: Any) -> str:
    """Short, of plain values and, last, of files as they are on disk."""
    *values, files = said
    states = [(stat.st_size, stat.st_mtime_ns) for stat in (file.stat() for file in files)]
    return sha256(json.dumps([values, states]).encode()).hexdigest()[:12]


def apart(names: Sequence[str], count: int, together: int = 1) -> tuple[str, ...]:
    """Those of the sorted names that are held back: spread over all but the first, so many `together`."""
    groups = [names[k : k + together] for k in range(0, len(names), together)]
    places = {round(k) for k in np.linspace(1, len(groups) - 1, -(-count // together))}
    return tuple(sorted(name for place in places for name in groups[place]))


def _around(labels: Image, outside: int) -> Grid:
    """The grid cropped to what is labelled, with labels below `outside` if that is above 0, and a margin."""
    organ = (labels.scalar > 0) & ((labels.scalar < outside) | (outside == 0))
    if not organ.any():
        raise InputError(f"'{labels.name}' has no label below {outside}, from which on labels lie outside the organ.")
    box = ndimage.find_objects(organ.astype(np.int8))[0]
    margin = np.ceil(_MARGIN_MM / labels.grid.spacing).astype(int)
    before = [max(cut.start - wide, 0) for cut, wide in zip(box, margin, strict=True)]
    after = [max(n - cut.stop - wide, 0) for cut, wide, n in zip(box, margin, labels.grid.shape, strict=True)]
    return labels.grid.padded([-n for n in before], [-n for n in after])
