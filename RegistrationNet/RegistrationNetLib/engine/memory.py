"""How much memory this process has held. Light: no PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil


def memory_mib() -> float:
    """What this process holds now, MiB."""
    return float(psutil.Process().memory_info().rss) / 2**20


def peak_memory_mib() -> float:
    """The most memory this process has held so far, MiB."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    status = Path("/proc/self/status")
    own = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")] if status.exists() else []
    if own:  # `resource` would count in what the program that started this one held
        return int(own[0].split()[1]) / 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
