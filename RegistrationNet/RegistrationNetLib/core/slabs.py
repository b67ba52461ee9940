"""Cuts of a volume that a processor's cache holds, worked on one after the other or by several threads at once.

PyTorch would rather split each operation among its threads, which then wait for each other after every few dozen
microseconds: on volumes of a million voxels two threads so take as long as one. Here each thread has a slab to itself.
What comes out is the same, to the last bit, however many there are.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from RegistrationNetLib.core.threads import flushes_denormals, threads

_FEWEST, _LEAST_VALUES = 4, 100_000  # a smaller slab costs more by being one than by missing a cache
_SLAB_VALUES = 250_000  # 1 MB of float32: a few such temporaries fit a processor's second-level cache or just beyond

S = TypeVar("S")
T = TypeVar("T")
_own = threading.local()  # has a pool in a thread that may hand out slabs


def slabs(volume: Tensor) -> list[slice]:
    """Cuts of the first axis of (..., D, H, W) to be worked on one after the other; one on a GPU, which has no need."""
    depth, height, width = volume.shape[-3:]
    thickness = depth
    if cached(volume):
        values = depth * height * width
        count = max(math.ceil(values / _SLAB_VALUES), min(_FEWEST, values // _LEAST_VALUES))
        count = math.ceil(count / _FEWEST) * _FEWEST if count > 1 else 1
        thickness = math.ceil(depth / count)
    return [slice(start, min(start + thickness, depth)) for start in range(0, depth, thickness)]


def cached(volume: Tensor) -> bool:
    """Whether parts of it are best worked on one after the other, in a cache."""
    return volume.device.type == "cpu"


def reach(rows: slice, margin: int, size: int) -> tuple[slice, slice]:
    """The slices `rows` with `margin` more at both ends, as far as an axis of `size` has them; `rows` within those."""
    first, last = max(rows.start - margin, 0), min(rows.stop + margin, size)
    return slice(first, last), slice(rows.start - first, rows.stop - first)


def each(volume: Tensor, work: Callable[[slice], T]) -> list[T]:
    """`work` on every slab of a volume, and what it gives, in their order; within `at_once` several at a time, so
    `work` must write to its own slab alone.
    """
    return spread(slabs(volume), work)


def spread(
    parts: Sequence[S], work: Callable[[S], T], progress: Callable[[float], None] = lambda fraction: None
) -> list[T]:
    """`work` on every part, as `each` does on slabs.

    progress: takes, in the calling thread, the fraction that is done; what it raises ends the work.
    """
    pool: ThreadPoolExecutor | None = getattr(_own, "pool", None)
    results = map(work, parts) if pool is None or len(parts) <= 1 else pool.map(work, parts)
    done = []
    for result in results:
        done.append(result)
        progress(len(done) / len(parts))
    return done


@contextmanager
def at_once() -> Iterator[None]:
    """Within it, `each` and `spread` use as many threads as PyTorch has, and each operation takes one of them."""
    if hasattr(_own, "pool"):
        yield
        return
    with threads(1) as count:
        if count == 1:
            yield
            return
        pool = _own.pool = ThreadPoolExecutor(count, initializer=_begin, initargs=(flushes_denormals(),))
        try:
            yield
        finally:
            del _own.pool
            pool.shutdown(cancel_futures=True)  # what nobody waits for any more


def _begin(flush: bool) -> None:
    """A thread of the pool computes as the one it works for."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(flush)
