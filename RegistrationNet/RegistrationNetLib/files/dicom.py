"""A folder of DICOM slices -> one `Image`: series told apart, slices sorted, gaps and gantry tilt found.

Only the slices' own positions and orientations are trusted, never file names or instance numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.checks import damaged
from RegistrationNetLib.files.geometry import image_from_sitk

_CHOOSE = (
    "choose one by its number with --fixed-series or --moving-series (register), --series or --reference-series "
    "(apply), or series= (read_image)"
)

_SPLITTERS = {
    "0020|0100": "time point",
    "0018|0086": "echo",
    "0020|0012": "acquisition",
    "0018|1060": "trigger time",
    "0018|9087": "b-value",
    "0008|0008": "image type",
}
"""Tags that tell stacks within one series apart, where several slices share a position."""


@dataclass(frozen=True, eq=False)
class Slice:
    """What one file's header says; position (3,) and unit axes (2, 3) in LPS mm, NaN where the file has none."""

    path: Path
    tags: dict[str, str]
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    components: int
    position: NDArray[np.float64]
    axes: NDArray[np.float64]

    def tag(self, key: str) -> str:
        return self.tags.get(key, "")

    @property
    def placed(self) -> bool:
        return bool(np.isfinite(self.position).all() and np.isfinite(self.axes).all())

    @property
    def height(self) -> float:
        """Millimetres along the slices' normal."""
        return float(self.position @ np.cross(*self.axes))


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one volume, lowest first."""

    slices: tuple[Slice, ...]
    suffix: str = ""

    @property
    def uid(self) -> str:
        return self.slices[0].tag("0020|000e")

    @property
    def title(self) -> str:
        first = self.slices[0]
        name = first.tag("0008|103e") or "no description"
        return f"'{name}{self.suffix}' (series number {first.tag('0020|0011') or 'none'})"

    @property
    def summary(self) -> str:
        columns, rows = self.slices[0].size[:2]
        count = self.slices[0].size[2] if len(self.slices) == 1 else len(self.slices)
        return f"{self.title}, {count} {'slice' if count == 1 else 'slices'} of {columns} x {rows}"


def read_dicom_folder(folder: Path, *, series: int | str | None = None) -> Image:
    """One series of a folder (searched with its subfolders) on the grid its positions describe.

    The grid is sheared where the gantry was tilted. series: number in the list the refusal shows, or a UID.
    Raises InputError when there is no series, more than one and none chosen, or slices are missing.
    """
    stack = chosen_stack(folder, series)
    return _volume(stack, f"{folder.name}: {stack.slices[0].tag('0008|103e') or 'DICOM'}{stack.suffix}", folder)


def chosen_stack(folder: Path, series: int | str | None = None) -> Stack:
    """The slices of one series; see `read_dicom_folder`."""
    stacks = dicom_series(folder)
    if not stacks:
        raise InputError(f"'{folder}' holds no DICOM images; give an image file or the folder of one DICOM series.")
    return _chosen(stacks, series, folder)


def dicom_series(folder: Path) -> list[Stack]:
    """Every stack of slices below a folder, in the order of their series numbers."""
    groups: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    seen: set[str] = set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        item = _header(path)
        if item is None or item.tag("0008|0018") in seen:
            continue
        seen.add(item.tag("0008|0018") or str(path))
        axes = tuple(np.round(item.axes, 3).ravel() + 0.0) if item.placed else ()
        groups[(item.tag("0020|000e"), item.size, axes)].append(item)
    stacks = [stack for group in groups.values() for stack in _split(group)]
    return sorted(stacks, key=lambda s: (_number(s.slices[0].tag("0020|0011")), s.uid, s.suffix))


def _header(path: Path) -> Slice | None:
    """None for whatever is no DICOM image. Raises InputError for one that is damaged: it must not just be missing."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if not _holds_pixels(path):
            return None
        raise InputError(damaged(path, "its slice cannot be read")) from error
    tags = {key: reader.GetMetaData(key).strip().strip("\0") for key in reader.GetMetaDataKeys()}
    axes = _numbers(tags.get("0020|0037"), 6).reshape(2, 3)
    return Slice(
        path,
        tags,
        tuple(reader.GetSize()),
        tuple(reader.GetSpacing()),
        reader.GetNumberOfComponents(),
        _numbers(tags.get("0020|0032"), 3),
        axes / np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-9),
    )


def _holds_pixels(path: Path) -> bool:
    """A DICOM file with the tag of pixel data; structure sets, reports and the like have none."""
    content = path.read_bytes()
    return content[128:132] == b"DICM" and b"\xe0\x7f\x10\x00" in content


def _split(group: list[Slice]) -> Iterable[Stack]:
    """One stack, or several where a tag tells apart slices at the same position (phases, echoes)."""
    if not all(item.placed for item in group):
        return [Stack(tuple(group))]
    group = sorted(group, key=lambda item: item.height)
    if not _share_positions(group):
        return [Stack(tuple(group))]
    for key, word in _SPLITTERS.items():
        parts: dict[str, list[Slice]] = defaultdict(list)
        for item in group:
            parts[item.tag(key)].append(item)
        if len(parts) > 1 and not any(_share_positions(part) for part in parts.values()):
            return [Stack(tuple(part), f", {word} {value}") for value, part in parts.items()]
    return [Stack(tuple(group))]


def _share_positions(sorted_slices: list[Slice]) -> bool:
    heights = np.array([item.height for item in sorted_slices])
    return bool((np.diff(heights) < 1e-3).any())


def _chosen(stacks: list[Stack], series: int | str | None, folder: Path) -> Stack:
    listing = "; ".join(f"{number}: {stack.summary}" for number, stack in enumerate(stacks, start=1))
    if series is None:
        if len(stacks) == 1:
            return stacks[0]
        raise InputError(f"'{folder}' holds {len(stacks)} DICOM series; {_CHOOSE}: {listing}.")
    by_number = dict(enumerate(stacks, start=1))
    chosen = by_number.get(int(series)) if str(series).isdigit() else None
    chosen = chosen or next((stack for stack in stacks if stack.uid == str(series)), None)
    if chosen is None:
        raise InputError(f"'{folder}' has no DICOM series {series}; {_CHOOSE}: {listing}.")
    return chosen


def _volume(stack: Stack, name: str, folder: Path) -> Image:
    first = stack.slices[0]
    if first.components != 1:
        raise InputError(f"{stack.title} in '{folder}' is a colour image, grey values are needed; choose another.")
    if len(stack.slices) == 1:
        if len(first.size) == 3 and first.size[2] > 1:
            return image_from_sitk(_pixels(first.path), name)
        raise InputError(f"{stack.title} in '{folder}' is a single slice, a volume is needed; choose another series.")
    if not all(item.placed for item in stack.slices):
        raise InputError(
            f"{stack.title} in '{folder}' stores no slice positions (ImagePositionPatient), so the slices cannot be "
            "stacked; export the original series again."
        )
    grid = _grid(stack, folder)
    data = np.stack([np.squeeze(sitk.GetArrayFromImage(_pixels(item.path)), axis=0) for item in stack.slices])
    return Image(data[None], grid, 0.0, name)


def _grid(stack: Stack, folder: Path) -> Grid:
    """The (perhaps sheared) lattice of the slices. Raises InputError where they do not lie on one."""
    first = stack.slices[0]
    heights = np.array([item.height for item in stack.slices])
    positions = np.stack([item.position for item in stack.slices])
    gap = _slice_gap(stack, heights, folder)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    astray = np.abs(positions - (positions[0] + np.arange(len(positions))[:, None] * step)).max()
    if astray > max(0.5 * min(first.spacing[:2]), 0.1 * gap):
        raise InputError(
            f"{stack.title} in '{folder}' has slices shifted against each other by up to {astray:.1f} mm, so they form "
            "no regular volume; export the series again or resample it in the viewer that reads it."
        )
    row, column = first.axes
    normal = np.cross(row, column)
    sideways = step - (step @ normal) * normal
    if np.linalg.norm(sideways) * len(positions) < 0.5 * min(first.spacing[:2]):
        step = step - sideways  # rounding of the stored positions, not a tilted gantry
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([step, column * first.spacing[1], row * first.spacing[0]], axis=1)
    matrix[:3, 3] = positions[0]
    return Grid((len(positions), first.size[1], first.size[0]), matrix)


def _slice_gap(stack: Stack, heights: NDArray[np.float64], folder: Path) -> float:
    """The distance between neighbouring slices, mm. Raises InputError where it is not one distance."""
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    if usual < 1e-3:
        shared = int(np.count_nonzero(gaps < 1e-3))
        raise InputError(
            f"{stack.title} in '{folder}' has {shared + 1} slices at the same position (several phases, echoes or "
            "copies); keep one volume in the folder."
        )
    missing = np.rint(gaps / usual).astype(int) - 1
    if missing.max() > 0:
        where = ", ".join(f"{heights[i]:.1f} and {heights[i + 1]:.1f} mm" for i in np.flatnonzero(missing > 0)[:3])
        raise InputError(
            f"{stack.title} in '{folder}' lacks {int(missing.clip(0).sum())} of "
            f"{len(heights) + int(missing.clip(0).sum())} slices (between {where} along its normal); "
            "export the complete series again."
        )
    even = np.linspace(heights[0], heights[-1], len(heights))
    if np.abs(heights - even).max() > max(0.1 * usual, 0.05):
        raise InputError(
            f"{stack.title} in '{folder}' has unevenly spaced slices ({gaps.min():.2f} to {gaps.max():.2f} mm apart); "
            "export it with even spacing, or resample it in the viewer that reads it."
        )
    return usual


def _pixels(path: Path) -> sitk.Image:
    try:
        return sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError as error:
        raise InputError(
            f"'{path}' is damaged or in a compression SimpleITK does not know; export it again."
        ) from error


def _numbers(text: str | None, count: int) -> NDArray[np.float64]:
    """(count,); NaN where the tag is missing or holds anything else."""
    try:
        values = np.array([float(part) for part in (text or "").split("\\")])
    except ValueError:
        values = np.empty(0)
    return values if values.shape == (count,) else np.full(count, np.nan)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")
