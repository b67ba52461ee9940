"""What a registration will hold in memory, said before it starts, and ever smaller plans for where that is too much.

Images are prepared, warped and judged at full size, slab by slab; refinement and networks work on a grid that can be
made coarser, or on another device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from RegistrationNetLib.core.errors import DeviceError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine import devices, estimate, features
from RegistrationNetLib.engine.levels import finest_grid
from RegistrationNetLib.engine.memory import memory_mib
from RegistrationNetLib.engine.predict import Model, seen_shape
from RegistrationNetLib.engine.prepare import PADDING_HU, working_grids
from RegistrationNetLib.engine.result import Registration
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.engine.upright import Turn

_KEPT, _KEPT_MOVING = 42, 8
"""Bytes per working voxel of either image from preparation to the end: its values, what the similarity keeps of them,
the field found."""
_REFINED, _REFINED_MASKS = 102, 36
"""Bytes per working voxel of refinement at its peak, counted; more where masks are compared too."""
_REFINED_STRUCTURE = 490
"""The same where structure is compared at full resolution."""
_SYMMETRIC = 1.6
"""Times as much where both images move, counted."""
_SCATTERED = {"cpu": 1.2}
"""What the C library's allocator takes for them, measured: between 1 and 1.5 times as much."""
_PREPARED, _FILLED = 6, 18
"""Bytes per voxel of an image being prepared; where what is masked or padded has to be filled."""
_READIED, _RESTRAINT, _HELD = 62, 8, 76
"""Bytes per voxel of the fixed image while parts and regions are made ready, and from then on; and per working voxel
where they hold the deformation at every iteration. Measured with all of them at once."""
_JUDGED, _LABELS = 15, 24
"""Bytes per voxel of the fixed image, beside the warped one; more where labels are compared."""
_SPARE = 0.9
"""Of the memory that is free; the rest is left to others."""
_COARSEST = 100_000
"""Voxels of a working grid that still shows something of a body."""


@dataclass(frozen=True)
class Need:
    """Bytes at the peak, beyond what is held when the registration starts.

    stages: of the computer's memory, by stage; on_gpu: 0 where none computes.
    """

    stages: dict[str, int]
    on_gpu: int = 0

    @property
    def here(self) -> int:
        return max(self.stages.values())

    def fits(self, device: torch.device) -> bool:
        """Whether so much is free now."""
        here = self.here <= _SPARE * devices.free_bytes(torch.device("cpu"))
        return here and (self.on_gpu == 0 or self.on_gpu <= _SPARE * devices.free_bytes(device))


@dataclass(frozen=True, eq=False)
class Task:
    """What decides, beside settings and device, over the memory of a registration."""

    fixed: Image
    moving: Image
    model: Model
    masked: bool = False
    labelled: bool = False
    restrained: bool = False

    def need(self, settings: Settings, device: torch.device) -> Need:
        fixed_grid, moving_grid = working_grids(self.fixed.grid, self.moving.grid, settings.prepare.max_voxels)
        voxels, full = fixed_grid.voxels, self.fixed.grid.voxels
        computed = 0
        if settings.transform == "deformable":
            structure = settings.refine.similarity == "mind" and voxels <= features.MOST
            held = _REFINED_STRUCTURE if structure else _REFINED
            held += (_REFINED_MASKS if self.masked else 0) + (_HELD if self.restrained else 0)
            per_voxel = held * (_SYMMETRIC if settings.refine.symmetric else 1)
            refined = finest_grid(fixed_grid, settings.prepare.max_voxels, settings.refine).voxels
            computed = round(refined * per_voxel * _SCATTERED.get(device.type, 1))
            if self.model.network is not None:
                shape = seen_shape(Turn.of(fixed_grid).grid(fixed_grid), self.model.spacing)
                computed = max(computed, estimate.count(self.model.network, shape, device).peak_bytes)
        kept = _KEPT * voxels + _KEPT_MOVING * moving_grid.voxels + (1 + _RESTRAINT * self.restrained) * full
        judged = (_JUDGED + (_LABELS if self.labelled else 0)) * full
        readied = _READIED * full if self.restrained else 0
        on_gpu = computed if device.type == "cuda" else 0
        stages = {
            "prepare": max(self._prepared(self.fixed), self._prepared(self.moving), readied) + kept,
            "refine": kept + computed - on_gpu,
            "judge": kept + self.moving.data.itemsize * full + max(4 * self.moving.grid.voxels, judged),
        }
        return Need(stages, on_gpu)

    def ladder(self, settings: Settings, device: torch.device) -> Iterator[tuple[torch.device, Settings]]:
        """On a GPU as asked and with half the voxels; then on the CPU as asked, with half, a quarter ..."""
        if device.type != "cpu":
            yield from ((device, rung) for _, rung in zip(range(2), self._coarser(settings), strict=False))
        yield from ((torch.device("cpu"), rung) for rung in self._coarser(settings))

    def too_large(self, settings: Settings, device: torch.device) -> DeviceError:
        """What to say where no plan fits."""
        need = self.need(settings, device)
        return DeviceError(
            f"'{self.fixed.name}' and '{self.moving.name}' need about {max(need.here, need.on_gpu) / 2**30:.1f} GiB of "
            f"memory, more than is free ({devices.free_bytes(torch.device('cpu')) / 2**30:.1f} GiB), at a lower "
            "resolution too. Close other programs, or crop the images to the region that matters."
        )

    def require_room(self, settings: Settings, device: torch.device) -> None:
        """Raises MemoryError where what is now known to be needed, more than was planned for, is not free."""
        if not self.need(settings, device).fits(device):
            raise MemoryError("comparing structure needs more memory than is free")

    def note(self, asked: Settings, asked_device: torch.device, done: Settings, device: torch.device) -> str:
        """Why the registration is not the one that was asked for, and what it is."""
        need = self.need(asked, asked_device)
        gib = max(need.here, need.on_gpu) / 2**30
        grid, _ = working_grids(self.fixed.grid, self.moving.grid, done.prepare.max_voxels)
        return (
            f"Too little memory was free for the registration as asked (about {gib:.1f} GiB on {asked_device}): it was "
            f"computed on {device}, on {grid.voxels:,} voxels."
        )

    def _coarser(self, settings: Settings) -> Iterator[Settings]:
        yield settings
        voxels = working_grids(self.fixed.grid, self.moving.grid, settings.prepare.max_voxels)[0].voxels // 2
        while voxels >= _COARSEST:
            yield settings.with_values(prepare__max_voxels=voxels)
            voxels //= 2

    def _prepared(self, image: Image) -> int:
        filled = self.masked or image.background < PADDING_HU
        return image.grid.voxels * (_FILLED if filled else _PREPARED)


def within_memory(
    task: Task,
    settings: Settings,
    device: torch.device,
    compute: Callable[[Settings, torch.device], Registration],
) -> Registration:
    """What `compute` finds by the first plan that fits into the memory that is free: by its estimate, then in truth.

    Raises DeviceError where none does.
    """
    for where, plan in task.ladder(settings, device):
        need, held = task.need(plan, where), memory_mib()
        registration = _unless_out_of_memory(compute, plan, where) if need.fits(where) else None
        if registration is not None:
            compared = plan.with_values(refine__similarity=registration.report["similarity"]["kind"])
            registration.report["memory_estimate_mib"] = held + task.need(compared, where).here / 2**20
            if (where, plan) != (device, settings):
                registration.report["notes"].insert(0, task.note(settings, device, plan, where))
            return registration
    raise task.too_large(settings, device)


def _unless_out_of_memory(
    compute: Callable[[Settings, torch.device], Registration], settings: Settings, device: torch.device
) -> Registration | None:
    """None where the memory ran out; what was held is free again then."""
    try:
        return compute(settings, device)
    except (RuntimeError, MemoryError) as error:
        if not devices.is_out_of_memory(error):
            raise
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None
