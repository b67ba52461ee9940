"""What a training leaves in its folder: the best weights, a log, and the state from which it goes on."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from RegistrationNetLib.core.errors import SettingsError
from RegistrationNetLib.core.version import __version__
from RegistrationNetLib.engine import devices
from RegistrationNetLib.networks import weights
from RegistrationNetLib.training.settings import Course, Train
from RegistrationNetLib.training.validation import Score

_EVERY = 60.0
"""Seconds; no more is lost when a training is killed."""
_LOGGED = 10  # steps between lines of the log
_STATE, _LOG = "state.pt", "log.jsonl"


@dataclass
class State:
    """How far a training is. stale: looks at the validation cases since the best one."""

    settings: dict[str, Any]
    step: int = 0
    seconds: float = 0.0
    before: float = float("-inf")
    best: float = float("-inf")
    stale: int = 0

    @classmethod
    def of(cls, settings: Train, folder: Path, network: nn.Module, optimiser: Any, device: torch.device) -> State:
        """A new one, or what was kept in the folder, with the network and the optimiser as they were.

        Raises SettingsError where the folder belongs to another training.
        """
        file, asked = folder / _STATE, settings.to_dict()
        if not file.exists():
            return cls(asked)
        kept = torch.load(file, map_location=device, weights_only=True)
        state = cls(**json.loads(kept["state"]))
        differ = sorted(name for name in asked if name != "course" and asked[name] != state.settings.get(name))
        if differ:
            raise SettingsError(
                f"'{folder}' holds a training with other settings ({', '.join(differ)}); choose another folder, or "
                "remove it to begin anew."
            )
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        state.settings = asked
        return state

    def fraction(self, course: Course) -> float:
        """How much of the course is done, by steps or by time."""
        by_time = self.seconds / (60 * course.minutes) if course.minutes else 0.0
        return min(max(self.step / course.steps, by_time), 1.0)

    def done(self, course: Course) -> bool:
        return self.fraction(course) >= 1 or (0 < course.patience <= self.stale)


@dataclass
class Record:
    """active: whether this process writes; of several that share a training one does."""

    settings: Train
    folder: Path
    command: str
    active: bool
    _kept: float = field(default_factory=time.monotonic)
    _board: Any = None

    def __post_init__(self) -> None:
        if self.active:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._board = _tensorboard(self.folder)

    @property
    def weights(self) -> Path:
        name = self.settings.name or self.settings.network.replace(":", "-").replace("/", "-")
        return self.folder / (name + weights.SUFFIX)

    def learnt(self, state: State, parts: dict[str, float]) -> None:
        """A step was taken."""
        if self.active and state.step % _LOGGED == 0:
            self._log({"step": state.step, "seconds": round(state.seconds, 1), "loss": sum(parts.values()), **parts})
            for name, value in parts.items():
                self._plot(f"loss/{name}", value, state.step)

    def looked(self, state: State, score: Score) -> None:
        """The validation cases were looked at."""
        if self.active:
            self._log({"step": state.step, "validation": score.measures, "best": state.best})
            for name, value in score.measures.items():
                self._plot(f"validation/{name}", value, state.step)
            if self._board is not None:
                self._board.add_image("fixed, moving, warped", score.shown.flatten(0, 1)[None], state.step)

    def best(self, state: State, network: nn.Module, score: Score) -> None:
        """The network is better than ever: its weights are kept, in half precision."""
        if self.active:
            weights.save(
                self.weights,
                network,
                spacing=(self.settings.data.spacing_mm,) * 3,
                intensity="prepared",
                training_data=self.settings.training_data,
                licence=self.settings.licence,
                version=__version__,
                metrics={name: round(value, 5) for name, value in score.measures.items()} | {"steps": state.step},
                command=self.command,
                machine=f"{devices.describe(next(network.parameters()).device)}, {platform.platform()}",
                hours=round(state.seconds / 3600, 3),
                purpose=self.settings.purpose,
                half=True,
            )

    def keep_now_and_then(self, state: State, network: nn.Module, optimiser: Any) -> None:
        if time.monotonic() - self._kept > _EVERY:
            self.keep(state, network, optimiser)

    def keep(self, state: State, network: nn.Module, optimiser: Any) -> None:
        """So that training can go on from here."""
        self._kept = time.monotonic()
        if self.active:
            unfinished = self.folder / (_STATE + ".part")
            torch.save(
                {
                    "state": json.dumps(asdict(state)),
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                },
                unfinished,
            )
            unfinished.replace(self.folder / _STATE)

    def _log(self, line: dict[str, Any]) -> None:
        with (self.folder / _LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _plot(self, name: str, value: float, step: int) -> None:
        if self._board is not None:
            self._board.add_scalar(name, value, step)


def _tensorboard(folder: Path) -> Any:
    """None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
