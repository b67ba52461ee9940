"""What each network costs: parameters, operations, memory and time of one prediction at growing sizes.

`python -m benchmarks.networks --write` measures each in a process of its own, so that memory is that network's alone,
and puts the table into docs/benchmarks.md: on a GPU, where there is one, in half precision, else on the CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from benchmarks.page import machine, write_table
from RegistrationNetLib.core.errors import RegistrationError
from RegistrationNetLib.engine.devices import choose, describe, has_half
from RegistrationNetLib.engine.estimate import count, made_for
from RegistrationNetLib.engine.memory import peak_memory_mib
from RegistrationNetLib.engine.predict import arithmetic
from RegistrationNetLib.networks import registry

SIZES = ("64x64x64", "96x96x96", "128x128x128", "160x192x224")
HEADER = """| network | million parameters | {sizes} |
|---|---|{rules}|"""
INTRODUCTION = """One prediction (no gradients) from a pair of images, by size. Each cell: seconds; GiB at peak; billion
multiply-adds. Memory is the whole process's, PyTorch itself ({empty:.2f} GiB) included, on a GPU what was allocated
there. Time is the best of three predictions after a first one, or that one where it takes over ten seconds."""


BOUND_HEADER = """| network | billion multiply-adds | GB read and written | arithmetic, ms | memory, ms |
|---|---|---|---|---|"""
BOUND = """The least time of one prediction at {size} in half precision on a GPU of {teraflops:g} TFLOPS and
{terabytes:g} TB/s (an H200), as long as each layer reads its inputs and writes its result once: counted, not measured,
by `python -m benchmarks.networks --bound --write`."""


@dataclass(frozen=True)
class Cost:
    """Of one prediction: seconds, peak GiB, multiply-adds."""

    parameters: int
    seconds: float
    gib: float
    operations: int


def measure(name: str, size: tuple[int, ...], device: torch.device, compiled: bool) -> Cost:
    """In this process; the peak is right only in a fresh one."""
    torch.manual_seed(0)
    network, parameters = made_for(name, size)
    network.to(device)
    pair = torch.rand(2, 1, 1, *size, device=device)
    predict = torch.compile(network) if compiled else network

    def once() -> float:
        started = time.perf_counter()
        with torch.inference_mode(), arithmetic(device):
            predict(*pair)[-1].sum().item()  # waits until a GPU is done
        return time.perf_counter() - started

    seconds = once()
    if seconds < 10 or compiled:  # whose first prediction is mostly compilation
        seconds = min(once() for _ in range(3))
    gib = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_memory_mib() / 2**10
    return Cost(parameters, seconds, gib, count(made_for(name, size)[0], size, device).flops // 2)


def in_own_process(name: str, size: str, device: str, compiled: bool) -> Cost | str:
    """The cost, or a word on why there is none."""
    command = [sys.executable, "-m", "benchmarks.networks", name, "--sizes", size, "--device", device, "--here"]
    done = subprocess.run(command + ["--compile"] * compiled, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        return done.stdout.strip()
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return "failed"
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def here(name: str, size: str, device: str, compiled: bool) -> None:
    try:
        cost = measure(name, tuple(int(part) for part in size.split("x")), choose(device), compiled)
    except RegistrationError as error:
        print(error)
        raise SystemExit(3) from error
    print(json.dumps(asdict(cost)))


def cell(cost: Cost | str) -> str:
    if isinstance(cost, str):
        return cost
    return f"{cost.seconds:.2f} s; {cost.gib:.2f}; {cost.operations / 1e9:,.0f}"


def row(name: str, costs: list[Cost | str]) -> str:
    counts = [cost.parameters for cost in costs if isinstance(cost, Cost)]
    parameters = f"{counts[0] / 1e6:.2f}" if counts else ""
    return f"| {name} | {parameters} | {' | '.join(map(cell, costs))} |"


def bound(name: str, size: tuple[int, ...], terabytes: float, teraflops: float) -> str:
    """A row of the bounds: float32 is counted, half precision is half of it."""
    counted = count(made_for(name, size)[0], size, torch.device("cpu"))
    moved = counted.moved_bytes / 2
    arithmetic_ms, memory_ms = counted.flops / teraflops / 1e9, moved / terabytes / 1e9
    return f"| {name} | {counted.flops / 2e9:,.0f} | {moved / 1e9:.0f} | {arithmetic_ms:.1f} | {memory_ms:.1f} |"


def write_bounds(names: Sequence[str], size: str, terabytes: float, teraflops: float, write: bool) -> None:
    """Print the table of bounds, or put it into docs/benchmarks.md as well."""
    voxels = tuple(int(part) for part in size.split("x"))
    rows = [bound(name, voxels, terabytes, teraflops) for name in names]
    print(BOUND_HEADER, *rows, sep="\n")
    if write:
        introduction = BOUND.format(terabytes=terabytes, teraflops=teraflops, size=size)
        write_table("networks bound", "\n".join([f"{introduction}\n", BOUND_HEADER, *rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these networks")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="voxels along each axis, as 64x64x64")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--compile", action="store_true", help="with torch.compile, where there is a compiler")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--bound", action="store_true", help="count what a GPU could not beat at the last size")
    parser.add_argument("--terabytes", type=float, default=4.8, help="its memory's TB/s (default: an H200's 4.8)")
    parser.add_argument(
        "--teraflops", type=float, default=990, help="its TFLOPS (default: an H200's 990, half precision)"
    )
    parser.add_argument("--here", action="store_true", help="measure one in this process and print JSON")
    asked = parser.parse_args()
    names = asked.names or registry.names()
    if asked.here:
        here(names[0], asked.sizes[0], asked.device, asked.compile)
        return
    if asked.bound:
        write_bounds(names, asked.sizes[-1], asked.terabytes, asked.teraflops, asked.write)
        return
    header = HEADER.format(sizes=" | ".join(asked.sizes), rules="|".join("---" for _ in asked.sizes))
    print(header, flush=True)
    rows = []
    for name in names:
        rows.append(row(name, [in_own_process(name, size, asked.device, asked.compile) for size in asked.sizes]))
        print(rows[-1], flush=True)
    if asked.write:
        device = choose(asked.device)
        where = machine() if device.type == "cpu" else machine(describe(device))
        introduction = INTRODUCTION.format(empty=peak_memory_mib() / 2**10)
        precision = "half precision" if has_half(device) else "float32"
        command = f"`python -m benchmarks.networks --write`, {precision} on {where}:"
        write_table(f"networks on {device.type}", "\n".join([f"{introduction}\n\n{command}\n", header, *rows]))


if __name__ == "__main__":
    main()
