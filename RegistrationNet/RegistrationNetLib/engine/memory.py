"""How much memory this process has held. Light: no PyTorch."""

from __future__ import annotations

import sys

import psutil


def peak_memory_mib() -> float:
    """The most memory this process has held so far, MiB."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
