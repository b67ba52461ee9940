"""How PyTorch's operations compute in a thread: by how many more, and whether numbers next to zero count as zero.

PyTorch holds both for every thread of its own. A thread that begins takes the number of threads that was set last, by
whichever thread, so that what one registration sets for itself must not stay with another that begins meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

_DENORMAL = 1e-40  # float32


@dataclass
class _Process:
    """within: how many changes hold, in all threads; before: the number of threads before the first of them."""

    within: int = 0
    before: int = 1


_lock, _process, _own = threading.Lock(), _Process(), threading.local()


@contextmanager
def threads(count: int | None = None) -> Iterator[int]:
    """Operations take `count` threads within it (None: as many as before); gives how many it was before, which it is
    again afterwards. Several Python threads may do so at once: when the last is done all is as before the first.
    """
    with _lock:
        before = _enter()
        torch.set_num_threads(count or before)
    try:
        yield before
    finally:
        with _lock:
            torch.set_num_threads(before)
            _own.within -= 1
            _process.within -= 1


def _enter() -> int:
    """Count one more change; the number of threads that this thread is to have after it."""
    nested = getattr(_own, "within", 0)
    if not _process.within:
        _process.before = torch.get_num_threads()
    _own.within, _process.within = nested + 1, _process.within + 1
    return torch.get_num_threads() if nested else _process.before


def flushes_denormals() -> bool:
    """Whether numbers next to zero count as zero in this thread."""
    return float(torch.tensor(_DENORMAL) * 1) == 0
