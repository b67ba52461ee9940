"""Which device computes, how many threads, and how much memory it took."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import psutil
import torch
import torch.nn.functional as F

from RegistrationNetLib.core.errors import DeviceError
from RegistrationNetLib.core.spatial import warp
from RegistrationNetLib.core.threads import flushes_denormals, threads
from RegistrationNetLib.engine import memory

# Large pages for PyTorch's memory on Linux: an iteration's temporaries would spend a third of its time on page faults.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def choose(name: str) -> torch.device:
    """The device of that name: "auto" -> the best device present; "cpu", "cuda", "cuda:N", "mps" -> that one.

    Raises DeviceError, naming what is present, for a device this machine has not.
    """
    if name == "auto":
        return torch.device(present()[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    canonical = None if device is None else (f"cuda:{device.index or 0}" if device.type == "cuda" else device.type)
    if canonical not in present():
        raise DeviceError(
            f"There is no device '{name}' on this machine. Choose auto or one of: {', '.join(present())}."
        )
    return torch.device(canonical)


def present() -> list[str]:
    """Devices of this machine, best first."""
    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available() and _computes(torch.device("mps")):
        found.append("mps")
    return [*found, "cpu"]


def _computes(device: torch.device) -> bool:
    """Whether the operations on volumes that we need exist there: not every PyTorch has them for Apple's GPUs."""
    try:
        volume = torch.rand(1, 2, 4, 4, 4, device=device)
        F.conv3d(F.pad(volume, (1, 1, 1, 1, 1, 1), mode="replicate"), torch.rand(3, 2, 3, 3, 3, device=device))
        F.interpolate(F.max_pool3d(F.avg_pool3d(volume, 2), 2), scale_factor=2, mode="trilinear")
        F.adaptive_avg_pool3d(volume, 2)
        warp(volume, torch.zeros(1, 3, 4, 4, 4, device=device))
    except (NotImplementedError, RuntimeError):
        return False
    return True


def has_half(device: torch.device) -> bool:
    """Whether half precision is in its hardware: on other processors it is imitated, and slower than full precision."""
    if device.type == "cpu":
        able: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # since PyTorch 2.11
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return device.type == "cuda"


def describe(device: torch.device) -> str:
    """For reports: the device in words."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "mps":
        return "mps (Apple GPU)"
    return f"cpu, {torch.get_num_threads()} threads"


def free_bytes(device: torch.device) -> int:
    """Memory that may be taken there now; the computer's own for anything but an NVIDIA GPU."""
    if device.type != "cuda":
        return memory.free_bytes()
    held_back = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + held_back


def is_out_of_memory(error: BaseException) -> bool:
    """PyTorch says it with an error of its own on NVIDIA's GPUs, in words elsewhere."""
    words = ("not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(part in str(error).lower() for part in words)
    )


def free_threads() -> AbstractContextManager[int]:
    """As many threads as processors are free (two on one busy core spin on each other); restored afterwards."""
    return threads(None if "OMP_NUM_THREADS" in os.environ else _free_processors())


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers next to zero count as zero: a flat background computes five times faster. Restored afterwards, and kept
    away from scipy's search trees, which never end on equal coordinates then."""
    before = flushes_denormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _free_processors() -> int:
    """Two OpenMP threads on one busy core spin on each other: take only what others leave free."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = psutil.cpu_percent(interval=0.1) / 100
    return max(1, round(allowed * (1 - busy)))
