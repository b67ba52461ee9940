"""What the refinement of one pair costs by part: on a GPU, kernels, bytes and memory, counted; on this CPU, time.

`python -m benchmarks.refinement --write` puts the tables into docs/benchmarks.md. Counting needs no GPU: the refinement
runs on tensors that have a shape and a device but no values. `--measure` also runs every preset here, on one thread, on
a made-up pair of the same size; `--measure --device cuda` only runs them, warm, on a GPU, and ends with an error where
they take more time or memory than they may.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks import refinement_gpu
from benchmarks.page import machine, write_table
from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.core.similarity import LocalCorrelation
from RegistrationNetLib.engine import devices
from RegistrationNetLib.engine import refine as refinement
from RegistrationNetLib.engine.estimate import Tally
from RegistrationNetLib.engine.features import Moving
from RegistrationNetLib.engine.levels import Plan, levels
from RegistrationNetLib.engine.prepare import Prepared, prepare
from RegistrationNetLib.engine.settings import PRESETS, Prepare, Refine
from RegistrationNetLib.phantom import phantom_pair

SIZE = "160x192x224"
ELSEWHERE = torch.device("meta")
"""Stands for a GPU: tensors on it have no values."""
REST = "the rest"
PARTS: dict[str, list[tuple[Any, str]]] = {
    "setting up a level": [(refinement, "compared")],
    "warp": [(spatial, "resize_field"), (Moving, "through")],
    "local correlation": [(LocalCorrelation, "__call__")],
    "force": [(spatial, "pull"), (spatial, "resize")],
    "evening": [(refinement, "evened")],
    "smoothing": [(refinement, "smooth")],
    "advancing": [(spatial, "advance")],
    "mending": [(refinement, "unfold"), (refinement, "fit_to_store")],
}
"""The functions that make up each part; one within another belongs to the outer."""
_QUESTION = torch.ops.aten._local_scalar_dense.default
_WHERE = torch.ops.aten.nonzero.default
_WITHOUT_KERNEL = ("_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "lift_fresh", "detach")
_ONLY_WRITTEN = ("copy_", "fill_", "zero_")

HEADER = """| part | kernels | GB, one by one | ms | GB, fused | ms | {measured}
|---|---|---|---|---|---|{rule}"""
MEASURED = "CPU seconds here | GB/s, fused |", "---|---|"
INTRODUCTION = """The refinement of a {size} pair at {terabytes:g} TB/s (an H200) and {launch:g} microseconds a
kernel, counted by `python -m benchmarks.refinement --write`, without a GPU. One by one: every kernel reads its inputs
and writes its result, as the code stands; it takes the longest of its launch, its bytes and its arithmetic (at 67
TFLOPS in float32). Fused: each part reads what it is made of and writes what it makes once, in 4-byte values. With N
voxels of either image and M of the field, an iteration is 3M + 2N for the warp, 2N + 3N and 5N + N for the local
correlation, 2N + 3M for the force, 3M + M for the evening, 4M + 3M and 3M + 3M for smoothing the force and the field,
9M for advancing; a check for folds is 3M. Mending is counted as if there was nothing to mend."""


@dataclass
class Cost:
    """Of a part: kernels, bytes that they read and write, seconds they take at least one after another."""

    kernels: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass
class Parts:
    """Which part of the refinement runs, and the CPU seconds that each took."""

    current: str = REST
    seconds: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def named(self) -> Iterator[Parts]:
        """While this lasts, the functions of `PARTS` say when they run."""
        with ExitStack() as stack:
            for name, functions in PARTS.items():
                for owner, attribute in functions:
                    stack.enter_context(patch.object(owner, attribute, self._within(name, getattr(owner, attribute))))
            yield self

    def _within(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            if self.current != REST:
                return function(*args, **kwargs)
            self.current, started = name, time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.current = REST
                self.seconds[name] += time.process_time() - started

        return inside


class Traffic(Tally):
    """Counts what a GPU would be asked for, by part, while code runs on tensors of `ELSEWHERE`.

    sent, fetched: bytes of each tensor that is copied there and back. questions: values that the computer waits for;
    the answer to each is 0. Raises RuntimeError where an operation takes tensors from both places.
    """

    def __init__(
        self,
        parts: Parts | None = None,
        bandwidth: float = 4.8e12,
        launch: float = 4e-6,
        arithmetic: float = 67e12,
    ) -> None:
        super().__init__(ELSEWHERE)
        self.parts, self.bandwidth, self.launch = parts or Parts(), bandwidth, launch
        self.arithmetic = arithmetic
        self.costs: defaultdict[str, Cost] = defaultdict(Cost)
        self.sent: list[int] = []
        self.fetched: list[int] = []
        self.questions = 0
        self._numbers = _Numbers(self.sent)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        taken = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        there = any(value.device == ELSEWHERE for value in taken)
        name = function.overloadpacket.__name__
        if function is _QUESTION and there:
            self.questions += 1
            return 0
        if name == "_to_copy" and there and kwargs.get("device", ELSEWHERE) != ELSEWHERE:
            self.fetched.append(taken[0].nbytes)
            return torch.zeros(taken[0].shape, dtype=kwargs.get("dtype") or taken[0].dtype)
        if there and any(value.device != ELSEWHERE and value.dim() for value in taken):
            raise RuntimeError(f"{function} takes tensors of the device and of the computer.")
        if function is _WHERE and there:  # as if it was nowhere
            self.questions += 1
            result = taken[0].new_empty((0, taken[0].dim()), dtype=torch.long)
        else:
            result = function(*args, **kwargs)
        made = [value for value in tree_leaves(result) if isinstance(value, Tensor) and value.device == ELSEWHERE]
        if made and taken and not there:
            self.sent.append(sum(value.nbytes for value in made))
        elif made and not function.is_view and name not in _WITHOUT_KERNEL:
            counted = flop_registry.get(function.overloadpacket)
            self._count(moved(function, args, kwargs, made), counted(*args, **kwargs, out_val=result) if counted else 0)
        for value in made:
            self.hold(value)
        return result

    def hold(self, value: Tensor) -> None:
        """Count its memory for as long as it lives."""
        self._hold(value.untyped_storage())

    def __enter__(self) -> Traffic:
        self._numbers.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._numbers.__exit__(*raised)

    def _count(self, size: int, flops: int) -> None:
        cost = self.costs[self.parts.current]
        cost.kernels += 1
        cost.bytes += size
        cost.seconds += max(size / self.bandwidth, flops / self.arithmetic, self.launch)


class _Numbers(TorchFunctionMode):
    """Notes the bytes of each list of numbers that becomes a tensor elsewhere, of which no operation tells."""

    def __init__(self, sent: list[int]) -> None:
        super().__init__()
        self.sent = sent

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch.tensor and result.device == ELSEWHERE and not isinstance(args[0], np.ndarray):
            self.sent.append(result.nbytes)
        return result


def moved(function: Any, args: Any, kwargs: Any, made: list[Tensor]) -> int:
    """Bytes that an operation reads and writes; of a value that is repeated along an axis, those there are."""
    blind = function.overloadpacket.__name__ in _ONLY_WRITTEN
    read = []
    for index, argument in enumerate(function._schema.arguments):
        value = args[index] if index < len(args) else kwargs.get(argument.name)
        if not (argument.is_write and (argument.kwarg_only or blind)):
            read += [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return sum(_stored(value) for value in (*read, *made))


def _stored(value: Tensor) -> int:
    sizes = [size for size, stride in zip(value.shape, value.stride(), strict=True) if stride]
    return int(np.prod(sizes, dtype=np.int64)) * value.itemsize


def a_pair(size: tuple[int, ...]) -> Prepared:
    """Images of this size without values, 1 mm voxels."""
    grid = Grid.of(size, (1.0, 1.0, 1.0), np.eye(3), np.zeros(3))
    image = torch.empty(1, 1, *size, device=ELSEWHERE)
    return Prepared(image, image.clone(), grid, grid, None, None, "other", [])


def count(settings: Refine, size: tuple[int, ...], bandwidth: float = 4.8e12, launch: float = 4e-6) -> Traffic:
    """The refinement of a pair of this size with local correlation, nothing of which is computed."""
    prepared = a_pair(size)
    with Parts().named() as parts, Traffic(parts, bandwidth, launch) as traffic:
        for image in (prepared.fixed, prepared.moving):
            traffic.hold(image)
        refinement.refine(prepared, Affine(np.eye(4)), None, replace(settings, similarity="lncc"), ELSEWHERE)
    return traffic


def fused(settings: Refine, size: tuple[int, ...]) -> dict[str, int]:
    """Bytes by part where each reads its inputs and writes its result once."""
    prepared = a_pair(size)
    values: Counter[str] = Counter()
    for plan in levels(prepared, settings):
        values.update(_fused_level(plan, plan.grid.voxels, plan.field_grid.voxels))
    values["setting up a level"] += 2 * prepared.fixed_grid.voxels
    values["mending"] += 3 * plan.field_grid.voxels  # the last is looked at for bends too
    return {name: 4 * value for name, value in values.items()}


def _fused_level(plan: Plan, images: int, vectors: int) -> dict[str, int]:
    """Values read and written; the moving image has as many voxels as the fixed one."""
    steps, looks = plan.steps, plan.steps + 1
    return {
        "setting up a level": 2 * images,
        "warp": looks * (3 * vectors + 2 * images),
        "local correlation": looks * 11 * images,
        "force": looks * (2 * images + 3 * vectors),
        "evening": steps * 4 * vectors,
        "smoothing": steps * 13 * vectors,
        "advancing": steps * 9 * vectors,
        "mending": 3 * vectors,
    }


def measure(settings: Refine, prepared: Prepared) -> Parts:
    """The same parts, timed here."""
    with Parts().named() as parts:
        started = time.process_time()
        refinement.refine(prepared, Affine(np.eye(4)), None, replace(settings, similarity="lncc"), torch.device("cpu"))
        parts.seconds[REST] = time.process_time() - started - sum(parts.seconds.values())
    return parts


def made_up(size: tuple[int, ...]) -> Prepared:
    """The phantom's two heads, each filling a grid of this size."""
    pair = phantom_pair()
    grid = Grid.of(size, (1.0, 1.0, 1.0), np.eye(3), np.zeros(3))
    prepared = prepare(pair.fixed, pair.moving, Prepare())
    return replace(
        prepared,
        fixed=spatial.resize(prepared.fixed, size),
        moving=spatial.resize(prepared.moving, size),
        fixed_grid=grid,
        moving_grid=grid,
    )


def copying(size: tuple[int, ...]) -> float:
    """GB/s, read and written, of copies of volumes this large: the best of several."""
    source = torch.rand(3, *size)
    target = torch.empty_like(source)

    def once() -> float:
        started = time.process_time()
        target.copy_(source)
        return time.process_time() - started

    return 2 * source.nbytes / min(once() for _ in range(9)) / 1e9


def table(counted: Traffic, least: dict[str, int], parts: Parts | None) -> list[str]:
    """A row for each part and one for them all."""
    rows = []
    costs = {name: counted.costs[name] for name in [*PARTS, REST]}
    whole = Cost(*(sum(getattr(cost, item) for cost in costs.values()) for item in ("kernels", "bytes", "seconds")))
    took = parts.seconds if parts else Counter[str]()
    for name, cost, fewest, seconds in [
        *((name, cost, least.get(name, 0), took[name]) for name, cost in costs.items()),
        ("all", whole, sum(least.values()), took.total()),
    ]:
        ideal = 1e3 * fewest / counted.bandwidth
        cells = [name, f"{cost.kernels:,}", f"{cost.bytes / 1e9:.2f}", f"{1e3 * cost.seconds:.1f}"]
        cells += [f"{fewest / 1e9:.2f}", f"{ideal:.2f}"]
        cells += [f"{seconds:.2f}", f"{fewest / 1e9 / max(seconds, 1e-9):.1f}"] if parts else []
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def summary(name: str, settings: Refine, counted: Traffic) -> str:
    """What the table does not say."""
    kernels = sum(cost.kernels for cost in counted.costs.values())
    memory = sum(cost.bytes for cost in counted.costs.values()) / counted.bandwidth
    launches = kernels * counted.launch
    which = "launches, so CUDA graphs would help" if launches > memory else "bytes, so fused kernels would help"
    return (
        f"`{name}` ({settings.steps_coarse}, {settings.steps_half} and {settings.steps_full} iterations): "
        f"{counted.peak_bytes / 2**20:.0f} MiB at peak. {kernels:,} launches take {1e3 * launches:.0f} ms and the "
        f"bytes {1e3 * memory:.0f} ms: most is {which}. The computer waits for {counted.questions} answers, sends "
        f"{len(counted.sent)} tensors ({sum(counted.sent) / 1e6:.1f} MB) and fetches "
        f"{sum(counted.fetched) / 1e6:.0f} MB."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PRESET", help="only these presets")
    parser.add_argument("--size", default=SIZE, help="voxels along each axis")
    parser.add_argument("--terabytes", type=float, default=4.8, help="the GPU's TB/s (default: an H200's 4.8)")
    parser.add_argument("--launch", type=float, default=4.0, help="microseconds to start a kernel")
    parser.add_argument("--measure", action="store_true", help="also run every preset on this CPU, on one thread")
    parser.add_argument("--device", default="cpu", help="where to measure: cpu (default), or an NVIDIA GPU: cuda")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    asked = parser.parse_args()
    size = tuple(int(part) for part in asked.size.split("x"))
    device = devices.choose(asked.device)
    if asked.measure and device.type != "cpu":
        refinement_gpu.report(asked.names or list(PRESETS), made_up(size), device, asked.write)
        return
    lines = [INTRODUCTION.format(size=asked.size, terabytes=asked.terabytes, launch=asked.launch)]
    if asked.measure:
        torch.set_num_threads(1)
        busy = os.getloadavg()[0]
        lines.append(
            f"CPU: one thread of {machine()}, a phantom, other work on it {busy:.1f} processes; copying a field moves "
            f"{copying(size):.1f} GB/s."
        )
        images = made_up(size)
    header = HEADER.format(measured=MEASURED[0] if asked.measure else "", rule=MEASURED[1] if asked.measure else "")
    for name in asked.names or PRESETS:
        counted = count(PRESETS[name], size, 1e12 * asked.terabytes, 1e-6 * asked.launch)
        parts = measure(PRESETS[name], images) if asked.measure else None
        rows = table(counted, fused(PRESETS[name], size), parts)
        lines += ["", summary(name, PRESETS[name], counted), "", header, *rows]
        print("\n".join(lines[-len(rows) - 3 :]), flush=True)
    if asked.write:
        write_table("refinement", "\n".join(lines))


if __name__ == "__main__":
    main()
