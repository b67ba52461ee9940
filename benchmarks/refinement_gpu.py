"""What the refinement of a pair takes on a GPU, measured there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import torch

from benchmarks.demands import Demand, at_most, meet, table
from benchmarks.page import machine, write_table
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.engine.mend import extend
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.refine import refine
from RegistrationNetLib.engine.settings import PRESETS, Refine

MOST_SECONDS = {"fast": 0.25, "balanced": 0.25, "accurate": 1.0}
MOST_GIB = 1.0
_RUNS = 5


def warm(settings: Refine, prepared: Prepared, device: torch.device) -> tuple[float, float]:
    """Wall seconds from affine to the field as it is stored, and GiB allocated on the device at peak.

    With local correlation; the median of several runs after a first one, which loads kernels.
    """
    chosen = replace(settings, similarity="lncc")

    def once() -> float:
        started = time.perf_counter()
        extend(*refine(prepared, Affine(np.eye(4)), None, chosen, device))  # ends on the CPU, so that all is done
        return time.perf_counter() - started

    once()
    torch.cuda.reset_peak_memory_stats(device)
    seconds = median(once() for _ in range(_RUNS))
    return seconds, torch.cuda.max_memory_allocated(device) / 2**30


def demands(preset: str, seconds: float, gib: float) -> list[Demand]:
    """What is asked of a preset on a GPU, on a pair of 160x192x224 voxels."""
    most = MOST_SECONDS[preset]
    return [
        at_most(f"`{preset}`: warm, affine to field, in at most {most:g} s", seconds, most, "{:.3f} s"),
        at_most(f"`{preset}`: at most {MOST_GIB:g} GiB at peak", gib, MOST_GIB, "{:.2f} GiB"),
    ]


def report(presets: Sequence[str], prepared: Prepared, device: torch.device, write: bool) -> None:
    """Print what each preset takes beside what it may take.

    write: also into docs/benchmarks.md. Raises SystemExit naming what was missed.
    """
    listed = [demand for name in presets for demand in demands(name, *warm(PRESETS[name], prepared, device))]
    where = machine(torch.cuda.get_device_name(device))
    command = f"`python -m benchmarks.refinement --measure --device {device.type} --write` on {where}:"
    said = f"{command}\n\n{table(listed)}"
    print(said)
    if write:
        write_table("refinement on gpu", said)
    meet(listed)
