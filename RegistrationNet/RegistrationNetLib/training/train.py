"""Training a registration network: a pair, a loss, a step; now and then a look at cases that are never learnt from.

Every pair is computed on its own, so that pairs may differ in size and a process may take any share of a step's pairs:
two processes with one each learn what one process learns from both.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.errors import Cancelled, DeviceError, MissingPackage, SettingsError
from RegistrationNetLib.core.objective import Objective, folding, unlike_labels
from RegistrationNetLib.engine import devices
from RegistrationNetLib.engine.result import IsCancelled, OnProgress
from RegistrationNetLib.networks import registry, weights
from RegistrationNetLib.training import halves
from RegistrationNetLib.training.pairs import Pair, source
from RegistrationNetLib.training.record import Record, State
from RegistrationNetLib.training.settings import Loss, Train
from RegistrationNetLib.training.validation import Validation

_LABELS_AT_ONCE = 12
"""Labels of which a step's Dice is taken, drawn anew each time; all of a hundred would not fit into memory."""

_WARM, _LONGEST_GRADIENT = 0.05, 1.0


@dataclass(frozen=True)
class Trained:
    """weights: the best file, None where none was better than what training went on from; score: its mean over the
    validation cases, more is better; before: that of the network before the first step; steps: done in all."""

    weights: Path | None
    score: float
    before: float
    steps: int


def train(
    settings: Train,
    folder: Path,
    *,
    on_progress: OnProgress = lambda stage, fraction, message: None,
    cancelled: IsCancelled = lambda: False,
    command: str = "",
) -> Trained:
    """Train a network; what is found goes to `folder`: NAME.safetensors, log.jsonl, TensorBoard's logs, and the state
    from which a training that was stopped goes on when it is asked for again.

    Started by `torchrun`, its processes share the pairs of every step. command: for the model card.
    Raises SettingsError, InputError, WeightsError or DeviceError; MissingPackage without Lightning Fabric; Cancelled,
    with the state kept, once `cancelled()` is true.
    """
    fabric = _fabric(settings)
    course, mine = settings.course, _share(settings.course.pairs, fabric)
    torch.manual_seed(settings.seed)
    network = _network(settings)
    if fabric.device.type == "cpu" and _mixed(settings, fabric.device):
        halves.spare(network)
    plain, objective = network, _objective(network, settings.loss)
    network, optimiser = fabric.setup(network, torch.optim.Adam(network.parameters(), lr=course.rate))
    pairs = source(settings, Path(settings.data.cache or folder / "cache"), fabric.device)
    validation = Validation(pairs.held_back(), objective)
    state = State.of(settings, folder, plain, optimiser, fabric.device)
    record = Record(settings, folder, command, active=fabric.is_global_zero)
    if state.step == 0:
        first = validation.score(plain)
        state.before = state.best = first.value
        record.looked(state, first)
    started = time.monotonic() - state.seconds
    while not state.done(course):
        if cancelled():
            record.keep(state, plain, optimiser)
            raise Cancelled
        for group in optimiser.param_groups:
            group["lr"] = course.rate * _part(state.fraction(course))
        parts: dict[str, float] = {}
        for index, number in enumerate(mine):
            pair = pairs.pair(state.step * course.pairs + number)
            with fabric.no_backward_sync(network, enabled=index + 1 < len(mine)):
                terms = losses(network, pair, objective, settings.loss, state.step)
                total = torch.stack(list(terms.values())).sum()
                fabric.backward(total / len(mine))
            parts = {name: parts.get(name, 0.0) + float(value.detach()) / len(mine) for name, value in terms.items()}
        if not math.isfinite(sum(parts.values())):
            raise SettingsError(f"The loss is no number any more after {state.step} steps; lower course.rate.")
        fabric.clip_gradients(network, optimiser, max_norm=_LONGEST_GRADIENT, error_if_nonfinite=False)
        optimiser.step()
        optimiser.zero_grad()
        state.step, state.seconds = state.step + 1, time.monotonic() - started
        record.learnt(state, parts)
        on_progress("train", state.fraction(course), f"Step {state.step:,} of {course.steps:,}")
        if state.step % course.check_every == 0 or state.done(course):
            found = validation.score(plain)
            if found.value > state.best:
                state.best, state.stale = found.value, 0
                record.best(state, plain, found)
            else:
                state.stale += 1
            record.looked(state, found)
        record.keep_now_and_then(state, plain, optimiser)
    record.keep(state, plain, optimiser)
    file = record.weights
    return Trained(file if file.exists() else None, state.best, state.before, state.step)


def losses(network: nn.Module, pair: Pair, objective: Objective, asked: Loss, step: int) -> dict[str, Tensor]:
    """What a network is trained for on one pair, weighted, by name; their sum is the loss."""
    fields = network(pair.fixed, pair.moving)
    terms = {"images": objective(pair.fixed, pair.moving, fields)}
    field = spatial.resize_field(fields[-1].float(), pair.fixed.shape[2:])
    if asked.labels and pair.fixed_labels is not None and pair.moving_labels is not None:
        generator = torch.Generator().manual_seed(step)
        drawn = 1 + torch.randperm(pair.count - 1, generator=generator)[:_LABELS_AT_ONCE]
        terms["labels"] = asked.labels * unlike_labels(pair.fixed_labels, pair.moving_labels, field, drawn.tolist())
    if asked.folding:
        terms["folding"] = asked.folding * folding(field)
    if asked.inverse:
        back = spatial.resize_field(network(pair.moving, pair.fixed)[-1].float(), pair.fixed.shape[2:])
        terms["inverse"] = asked.inverse * spatial.compose(field, back).square().mean()
    return terms


def _part(fraction: float) -> float:
    """Of the learning rate: rising at first, or a fresh network's heads would be thrown far off, then falling to
    nothing along half a cosine."""
    return min(fraction / _WARM, 1.0) * (1 + math.cos(math.pi * fraction)) / 2 if fraction else 1e-3


def _fabric(settings: Train) -> Any:
    """Lightning Fabric on the device that is asked for, in the processes that torchrun started."""
    try:
        from lightning_fabric import Fabric
    except ModuleNotFoundError as error:
        raise MissingPackage("Training needs Lightning Fabric: pip install 'registrationnet[train]'.") from error
    device = devices.choose(settings.device)
    half: Any = "bf16-mixed" if device.type == "cpu" or torch.cuda.is_bf16_supported() else "16-mixed"
    processes, machines = (int(os.environ.get(name, 1)) for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"))
    chosen: Any = [device.index or 0] if device.type == "cuda" and processes == 1 else processes
    fabric = Fabric(
        accelerator=device.type,
        devices=chosen,
        num_nodes=machines,
        strategy="ddp" if processes * machines > 1 else "auto",
        precision=half if _mixed(settings, device) else "32-true",
    )
    fabric.launch()
    return fabric


def _mixed(settings: Train, device: torch.device) -> bool:
    """Raises DeviceError where that is asked for in vain."""
    able, asked = devices.has_half(device), settings.course.precision
    if asked == "mixed" and not able:
        raise DeviceError(
            f"Mixed precision would not train faster on {devices.describe(device)}: that takes an NVIDIA GPU, or a "
            "processor with AVX-512 BF16 or AMX. Choose full precision."
        )
    return able and asked != "full"


def _share(pairs: int, fabric: Any) -> range:
    """The numbers of a step's pairs that this process takes."""
    if pairs % fabric.world_size:
        raise SettingsError(
            f"course.pairs is {pairs}, which {fabric.world_size} processes cannot share evenly; make it a multiple."
        )
    return range(fabric.global_rank, pairs, fabric.world_size)


def _network(settings: Train) -> nn.Module:
    """A fresh one, or what a file of weights holds."""
    if settings.start:
        return weights.load(Path(settings.start), settings.network, **settings.switches)
    return registry.create(settings.network, **settings.switches)


def _objective(network: Any, asked: Loss) -> Objective:
    """The network's own, with what is asked for in place of some of it."""
    own: Objective = network.objective
    terms = tuple(
        replace(term, similarity=asked.image * term.similarity, smoothness=asked.smoothness * term.smoothness)
        for term in own.terms
    )
    similarity = own.similarity if asked.similarity == "own" else asked.similarity
    return replace(own, terms=terms, similarity=similarity, regularity=asked.regularity, radius=asked.radius)
