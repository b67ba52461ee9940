"""Can each network alone, fresh and without refinement, learn one pair? `python -m benchmarks.overfit` trains each on
it and compares what it gains in local correlation with what refinement gains; the table goes to docs/benchmarks.md.

The pair is the phantom, which everyone has; `--fixed` and `--moving` name images of your own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.page import machine, write_table
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp as warp_image
from RegistrationNetLib.core.similarity import LocalCorrelation
from RegistrationNetLib.core.spatial import jacobian_determinant, resize_field, warp
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.devices import choose, describe
from RegistrationNetLib.engine.estimate import made_for
from RegistrationNetLib.engine.prepare import foreground, prepare
from RegistrationNetLib.engine.refine import refine
from RegistrationNetLib.engine.settings import Align, Prepare, Refine
from RegistrationNetLib.files.images import read_image
from RegistrationNetLib.networks import registry
from RegistrationNetLib.phantom import phantom_pair

HEADER = """| | parameters | local correlation | gain, of refinement's | folded % | rate |
|---|---|---|---|---|---|"""
RATE = 1e-3
RATES = {"maxca": 2e-4}  # its blocks double what they are given, so that its head sees features ten times as large
INTRODUCTION = """One pair, learnt from a fresh network by its own objective ({steps} steps of Adam at the rate that is
named, which falls to nothing along a half cosine), without refinement; what it is asked for is at least half of what
refinement gains, with less than 0.5 % of the body folded. Local correlation is the squared one in windows of 5 voxels
inside the body, 0 to 1. This says that a network can learn, not how it does on a pair it has never seen."""
FOLDED = 0.5
GAIN = 0.5


@dataclass(frozen=True, eq=False)
class OnePair:
    """fixed, moving: (1, 1, D, H, W) in [0, 1] on one grid, affinely aligned; body: where figures are taken;
    refined: what refinement makes of them, a field in voxels."""

    fixed: Tensor
    moving: Tensor
    body: Tensor
    refined: Tensor

    @classmethod
    def of(cls, fixed: Image, moving: Image, max_voxels: int) -> OnePair:
        """Prepared by the engine on a grid of at most `max_voxels`."""
        prepared = prepare(fixed, moving, Prepare(max_voxels=max_voxels))
        affine = align(prepared, Align(), "affine")
        refined, grid = refine(prepared, affine, None, Refine(), torch.device("cpu"))
        assert grid.isclose(prepared.fixed_grid)
        seen = Image(prepared.moving[0].numpy(), prepared.moving_grid, name="moving")
        aligned = warp_image(seen, Mapping((affine,)), prepared.fixed_grid)
        body = torch.from_numpy(foreground(prepared.fixed).astype(np.float32))[None, None]
        return cls(prepared.fixed, torch.from_numpy(np.asarray(aligned.data, np.float32))[None], body, refined)

    def alike(self, field: Tensor | None) -> float:
        """Local correlation inside the body under a field, or before any."""
        moving = self.moving if field is None else warp(self.moving, field)
        return float(LocalCorrelation.of(self.fixed - 0.5)(moving - 0.5, self.body)[0])

    def folded(self, field: Tensor) -> float:
        """% of the body's voxels."""
        return 100 * float(((jacobian_determinant(field) <= 0) * self.body).sum() / self.body.sum())


def overfit(
    network: nn.Module,
    fixed: Tensor,
    moving: Tensor,
    steps: int,
    rate: float,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Tensor:
    """Train on one pair by the network's own objective; the last total field, (1, 3, D, H, W) voxels, on the CPU.

    The rate falls to nothing along a half cosine. on_step: called with the step's number and its loss.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    network.train()
    for step in range(steps):
        loss = network.objective(fixed, moving, network(fixed, moving))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        on_step(step, loss.item())
    with torch.inference_mode():
        return resize_field(network.eval()(fixed, moving)[-1], fixed.shape[2:]).cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only these networks (default: all but those for comparison)"
    )
    parser.add_argument("--fixed", type=Path, help="fixed image (default: the phantom)")
    parser.add_argument("--moving", type=Path, help="moving image")
    parser.add_argument("--steps", type=int, default=80, help="training steps (default: 80)")
    parser.add_argument("--rate", type=float, help="learning rate at first (default: 0.001, maxca 0.0002)")
    parser.add_argument("--voxels", type=int, default=110_000, help="of the grid worked on (default: 110000)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(registry.names())
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; there are {', '.join(registry.names())}")
    if asked.fixed is None:
        phantom = phantom_pair()
        pair = OnePair.of(phantom.fixed, phantom.moving, asked.voxels)
    else:
        pair = OnePair.of(read_image(asked.fixed), read_image(asked.moving), asked.voxels)
    device = choose(asked.device)
    before, refined = pair.alike(None), pair.alike(pair.refined)
    rows = [
        f"| affine | | {before:.3f} | | | |",
        f"| refinement | | {refined:.3f} | 1 | {pair.folded(pair.refined):.3f} | |",
    ]
    print(HEADER, *rows, sep="\n", flush=True)
    short = []
    for name in asked.names or [name for name in registry.names() if registry.entry(name).group != "comparison"]:
        torch.manual_seed(0)
        network, parameters = made_for(name, pair.fixed.shape[2:])
        network.to(device)
        rate = asked.rate or RATES.get(name, RATE)
        field = overfit(network, pair.fixed.to(device), pair.moving.to(device), asked.steps, rate)
        alike, folded = pair.alike(field), pair.folded(field)
        gain = (alike - before) / (refined - before)
        rows.append(f"| {name} | {parameters:,} | {alike:.3f} | {gain:.2f} | {folded:.3f} | {rate:g} |")
        print(rows[-1], flush=True)
        short += [] if gain >= GAIN and folded < FOLDED else [name]
    if asked.write:
        grid = " x ".join(str(size) for size in pair.fixed.shape[2:])
        where = machine() if device.type == "cpu" else machine(describe(device))
        command = f"`python -m benchmarks.overfit --write` on a grid of {grid} voxels, {where}"
        write_table("overfit", "\n".join([f"{INTRODUCTION.format(steps=asked.steps)}\n\n{command}:\n", HEADER, *rows]))
    if short:
        raise SystemExit(f"Too little gained, or folded: {', '.join(short)}.")


if __name__ == "__main__":
    main()
