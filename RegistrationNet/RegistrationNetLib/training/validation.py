"""How good a network is on cases that it never learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from RegistrationNetLib.core import metrics, spatial
from RegistrationNetLib.core.objective import Objective
from RegistrationNetLib.training.pairs import Pair


@dataclass(frozen=True, eq=False)
class Score:
    """value: what is to become larger; measures: all that was measured, means over the cases, by name; shown: the
    middle slices of the first case: fixed, moving, warped, in [0, 1], (3, H, W)."""

    value: float
    measures: dict[str, float]
    shown: Tensor


@dataclass(frozen=True, eq=False)
class Validation:
    """Pairs that are never learnt from. Judged by the Dice of their labels, or, without any, by the loss."""

    pairs: Sequence[Pair]
    objective: Objective

    def score(self, network: nn.Module) -> Score:
        network.eval()
        with torch.no_grad():
            found = [self._one(network, pair) for pair in self.pairs]
        network.train()
        names = found[0][0]
        measures = {name: sum(one[name] for one, _ in found) / len(found) for name in names}
        return Score(measures.get("dice", -measures["loss"]), measures, found[0][1])

    def _one(self, network: nn.Module, pair: Pair) -> tuple[dict[str, float], Tensor]:
        fields = [field.float() for field in network(pair.fixed, pair.moving)]
        field = spatial.resize_field(fields[-1], pair.fixed.shape[2:])
        measures = {
            "loss": float(self.objective(pair.fixed, pair.moving, fields)),
            "folded_percent": 100 * float((spatial.jacobian_determinant(field) <= 0).float().mean()),
        }
        if pair.fixed_labels is not None and pair.moving_labels is not None:
            carried = spatial.warp(pair.moving_labels.float(), field, "nearest").long()
            measures["dice"] = dice(pair.fixed_labels, carried)
        images = (pair.fixed, pair.moving, spatial.warp(pair.moving, field))
        return measures, torch.stack([image[0, 0, image.shape[2] // 2] for image in images]).cpu()


def dice(one: Tensor, other: Tensor) -> float:
    """Mean over the labels that either map shows."""
    first, second = (labels.cpu().numpy() for labels in (one, other))
    shown = [int(label) for label in np.union1d(first, second) if label]
    return float(np.mean(list(metrics.dice(first, second, shown).values())))
