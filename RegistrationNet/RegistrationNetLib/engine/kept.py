"""What became of the constraints of a registration, in numbers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import field_in, slabs
from RegistrationNetLib.engine.hold import Restraint
from RegistrationNetLib.engine.limits import RIGID_MM, VOLUME_PERCENT
from RegistrationNetLib.engine.parts import Parts
from RegistrationNetLib.engine.rigid import nearest_rigid

Quality = dict[str, Any]

_APART_MM, _APART_TIMES = 10.0, 3.0  # that far, and so many times the median, a pair disagrees with the images
_POINTS = 200_000  # of a part, at which its deviation is measured


def report(restraint: Restraint, mapping: Mapping, start: Mapping, jacobian: Image) -> Quality:
    """What was reached for everything that was asked for.

    start: what holds outside the region. jacobian: determinant of the mapping over that of its affine part.
    """
    reached: Quality = {}
    if restraint.parts is not None:
        reached |= _parts_report(restraint.parts, mapping, jacobian)
    if restraint.distance is not None:
        reached["region"] = {
            "margin_mm": restraint.margin_mm,
            "largest_change_outside_mm": _change_outside(restraint.distance, restraint.margin_mm, mapping, start),
        }
    return reached


def hints_report(
    pairs: tuple[Points, Points], trusted: NDArray[np.bool_], stages: dict[str, Mapping]
) -> tuple[Quality, list[str]]:
    """Mean distance of the pairs that were used (of all, where none was) after each stage, mm, and of each pair after
    the last; and a sentence for each that was used and yet ends far from its partner.
    """
    fixed, moving = pairs
    told: Quality = {"pairs": len(fixed), "left_out": [int(index) + 1 for index in np.flatnonzero(~trusted)]}
    used = trusted if trusted.any() else ~trusted
    for name, mapping in stages.items():
        apart = np.linalg.norm(mapping(fixed) - moving, axis=1)
        told[name] = float(apart[used].mean())
    told["each_after"] = [round(float(mm), 3) for mm in apart]
    limit = max(_APART_MM, _APART_TIMES * float(np.median(apart[used])))
    return told, [
        f"Hint pair {index + 1} still ends {apart[index]:.0f} mm apart: the images show otherwise. Check its points."
        for index in np.flatnonzero(trusted & (apart > limit))
    ]


def checks(reached: Quality) -> list[tuple[str, str, bool, str]]:
    """Key of its limit, value, whether it was kept, and what to do otherwise."""
    rows = []
    if "rigid" in reached:
        worst = max(part["deviation_mm"] for part in reached["rigid"])
        value = f"{worst:.2f} at most, {len(reached['rigid'])} in all"
        remedy = "Look at this part: is it one piece that cannot bend? Draw pieces that touch with a gap."
        rows.append(("rigid", value, worst <= RIGID_MM, remedy))
    if "volume" in reached:
        worst = max((part["change_percent"] for part in reached["volume"]), key=abs)
        value = f"{worst:+.2f} at most, {len(reached['volume'])} in all"
        remedy = "Look at this part; draw pieces that touch with a gap."
        rows.append(("kept volume", value, abs(worst) <= VOLUME_PERCENT, remedy))
    if "region" in reached:
        worst = reached["region"]["largest_change_outside_mm"]
        rows.append(("region", f"{worst:.3f}", worst == 0, "Report this as an error of the program."))
    if "hints" in reached:
        hints = reached["hints"]
        out = f", {len(hints['left_out'])} of {hints['pairs']} pairs left out" if hints["left_out"] else ""
        value = f"{hints['before']:.2f} before, {hints['after']:.2f} after{out}"
        kept = not hints["left_out"] and hints["after"] <= hints["before"]
        rows.append(("hints", value, kept, "Check the pairs that the notes name."))
    return rows


def _parts_report(parts: Parts, mapping: Mapping, jacobian: Image) -> Quality:
    reached: Quality = {}
    for number, voxels in parts.voxels():
        own = {"part": parts.names[number], "voxels": len(voxels)}
        if parts.rigid[number]:
            points = parts.grid.to_world(voxels[:: max(1, len(voxels) // _POINTS)])
            own["deviation_mm"] = _deviation_from_rigid(points, mapping(points))
        else:
            own["change_percent"] = 100 * float(jacobian.scalar[tuple(voxels.T)].mean(dtype=np.float64) - 1)
        reached.setdefault("rigid" if parts.rigid[number] else "volume", []).append(own)
    return reached


def _deviation_from_rigid(before: Points, after: Points) -> float:
    """How far any point lies from where the best rotation and shift would have it, mm."""
    return float(np.linalg.norm(nearest_rigid(before, after)(before) - after, axis=1).max())


def _change_outside(distance: Image, margin_mm: float, mapping: Mapping, start: Mapping) -> float:
    grid, largest = distance.grid, 0.0
    matrix = grid.voxel_to_world[:3, :3].astype(np.float32)
    for slab in slabs(grid):
        outside = distance.scalar[slab] > margin_mm
        change = (field_in(slab, mapping, grid) - field_in(slab, start, grid))[0].numpy()[:, outside]
        largest = max(largest, float(np.linalg.norm(matrix @ change, axis=0).max(initial=0)))
    return largest
