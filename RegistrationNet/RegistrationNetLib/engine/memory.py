"""How much of the computer's memory this process holds, has held, and may still take. Light: no PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil


def free_bytes() -> int:
    """What this process may still take: what the computer has left, or its container or batch job, if that is less."""
    return min([int(psutil.virtual_memory().available), *_left_to_groups()])


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


def _left_to_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Bytes below the limit of each of Linux's control groups (version 2) that this process is in; none elsewhere."""
    lines = own.read_text().splitlines() if own.exists() else []
    inside = root / next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    return [left for group in (inside, *inside.parents) if (left := _left(group)) is not None]


def _left(group: Path) -> int | None:
    """Its limit less what it holds, files that can be read again not counted; None where there is no limit."""
    try:
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    return None if limit == "max" else max(int(limit) - int(used) + int(kept.get("inactive_file", 0)), 0)
