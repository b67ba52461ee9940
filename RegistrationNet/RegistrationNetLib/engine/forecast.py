"""Where a registration would run and what it would need there, in a sentence, before it starts.

Memory is that of its plan. Time is counted: seconds for the alignment, for each voxel that is prepared and judged, and
for each voxel of each iteration, as measured on one core, times how much faster or slower this device is, which a
fraction of a second of such work tells.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from RegistrationNetLib.core.errors import RegistrationError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine import devices, estimate
from RegistrationNetLib.engine.levels import plans
from RegistrationNetLib.engine.plan import Task
from RegistrationNetLib.engine.predict import Model, chosen, seen_shape
from RegistrationNetLib.engine.prepare import working_grids
from RegistrationNetLib.engine.question import Question
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.engine.upright import Turn

_UNIT_S = 0.112
_ALIGN_S, _FULL_S, _DEFORMED_S, _STEP_S = 2.5, 0.6, 0.35, 0.155
"""Seconds on the core where the unit of work below takes `_UNIT_S`, measured on phantoms of 0.1 to 1.7 million voxels:
of an alignment, of a million voxels prepared and judged, and made ready for a deformation, and of an iteration."""
_SYMMETRIC = 2.5  # times as long
_UNIT = 64  # voxels along a side
_GIB = 2**30


@dataclass(frozen=True)
class Forecast:
    """A sentence, and whether the registration would run as asked."""

    said: str
    enough: bool


def forecast(question: Question) -> Forecast:
    """What is to be said of this registration here and now; what keeps it from running is said too."""
    try:
        device = devices.choose(question.settings.device)
        model = chosen(question.settings)
    except RegistrationError as error:
        return Forecast(str(error), False)
    task = Task(
        _hollow(question.fixed, "the fixed volume"),
        _hollow(question.moving, "the moving volume", question.bytes_per_voxel),
        model,
        question.masked,
        question.labelled,
        question.restrained,
    )
    need = task.need(question.settings, device)
    free = f"{_named(device)}, {in_gib(devices.free_bytes(device))} free."
    if need.fits(device):
        seconds = in_seconds(seconds_of(question, device, model))
        return Forecast(f"{free} This run needs about {in_gib(need.on_gpu or need.here)} and {seconds}.", True)
    return Forecast(f"{free} {_instead(task, question.settings, device)}", False)


def _instead(task: Task, settings: Settings, device: torch.device) -> str:
    """What will be done where there is not room for the registration as asked."""
    need = task.need(settings, device)
    lacking = f"Too little for this run, which needs about {in_gib(max(need.on_gpu, need.here))}"
    for where, plan in task.ladder(settings, device):
        if task.need(plan, where).fits(where):
            coarser = " and compare fewer voxels" if plan != settings else ""
            return f"{lacking}: it will use the {_plain(where)}{coarser}."
    return f"{lacking}. Close other programs, or crop the volumes to what matters."


def seconds_of(question: Question, device: torch.device, model: Model) -> float:
    """How long this registration takes, about, on this device."""
    here, there = speed("cpu"), speed(str(device))
    settings, voxels = question.settings, question.fixed.voxels + question.moving.voxels
    seconds = here * (_ALIGN_S + _FULL_S * voxels / 2e6)
    if settings.transform != "deformable":
        return seconds
    working = working_grids(question.fixed, question.moving, settings.prepare.max_voxels)[0]
    slower = _SYMMETRIC if settings.refine.symmetric else 1.0
    seconds += there * slower * (_DEFORMED_S * working.voxels + _STEP_S * _work(working, settings)) / 1e6
    if model.network is not None:
        upright = Turn.of(working).grid(working)
        seconds += _prediction(model.name, seen_shape(upright, model.spacing), str(device))
    return seconds


def _work(working: Grid, settings: Settings) -> float:
    """Voxels times iterations, over all resolutions."""
    levels = plans(working, settings.prepare.max_voxels, settings.refine)
    return float(sum(level.grid.voxels * level.steps for level in levels))


@cache
def _prediction(network: str, shape: tuple[int, ...], device: str) -> float:
    return estimate.estimate(network, shape, device).seconds


@cache
def speed(device: str) -> float:
    """How many times longer than on the core that was measured a piece of work takes on this device."""
    with devices.free_threads():
        _unit(device)  # the first time something is made ready
        started = time.perf_counter()
        _unit(device)
        return (time.perf_counter() - started) / _UNIT_S


def _unit(device: str) -> None:
    """A bit of what refinement does most: looking up and averaging."""
    volume = torch.linspace(0, 1, _UNIT**3, device=device).reshape(1, 1, _UNIT, _UNIT, _UNIT)
    lattice = F.affine_grid(torch.eye(3, 4, device=device)[None], [1, 1, _UNIT, _UNIT, _UNIT], align_corners=False)
    for _ in range(4):
        moved = F.grid_sample(volume, lattice, align_corners=False)
        volume = F.avg_pool3d(moved, 5, stride=1, padding=2)
    volume.sum().item()  # waits until a GPU is done


def in_gib(size: float) -> str:
    """Bytes as a person says them."""
    return f"{size / _GIB:.1f} GB" if size < 9.95 * _GIB else f"{size / _GIB:.0f} GB"


def in_seconds(seconds: float) -> str:
    """A length of time that is known roughly."""
    for step, most in ((1, 10), (5, 60), (10, 120)):
        if seconds < most:
            return f"{max(step, step * round(seconds / step))} s"
    return f"{round(seconds / 60)} min"


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple graphics card" if device.type == "mps" else "Processor"


def _plain(device: torch.device) -> str:
    return "processor" if device.type == "cpu" else "graphics card"


def _hollow(grid: Grid, name: str, itemsize: int = 2) -> Image:
    """An image of this size without voxels of its own."""
    value: Any = np.zeros(1, f"V{itemsize}")
    return Image(np.broadcast_to(value, (1, *grid.shape)), grid, 0.0, name)
