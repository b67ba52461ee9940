"""A registration under way, as a panel shows it: how far it is, what it does, how long it will take. Knows no Qt."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from RegistrationNetLib.core.errors import Cancelled, RegistrationError

_TELLING = 0.15  # of the whole, from which on the time left can be told
_BARS, _WIDTH = "▁▂▃▄▅▆▇█", 40


class Underway(Protocol):
    """What is needed of a job; see `scene.SceneJob`."""

    def poll(self) -> bool: ...
    def cancel(self) -> None: ...
    def result(self) -> Any: ...


class Run:
    """Call `look` now and then. fraction: of the whole, 0 to 1; sentence: what to say of it."""

    def __init__(
        self,
        start: Callable[[Callable[[str, float, str], None], Callable[[float, float], None]], Underway],
        on_end: Callable[[], None],
    ) -> None:
        """start: begins the job, given whom it tells its progress and, as an `engine.result.Watch` does, similarity.
        on_end: called before a result is placed, and by `cancel`."""
        self.fraction, self.sentence = 0.0, "Starting"
        self._similarities: list[float] = []
        self.cancelled = False
        self.result: Any = None
        self.failure = ""
        self._began = time.monotonic()
        self._on_end = on_end
        self._job = start(self._heard, self._noted)

    @property
    def curve(self) -> str:
        """How alike the images have become, as a row of bars and the last value; empty before the first."""
        return f"Similarity {bars(self._similarities)} {self._similarities[-1]:.2f}" if self._similarities else ""

    def look(self) -> bool:
        """True when it has ended: then there is a `result`, or a `failure` in words, or it was cancelled."""
        if not self._job.poll():
            return False
        self._on_end()
        try:
            self.result = self._job.result()
            self.fraction, self.sentence = 1.0, f"Done in {in_words(time.monotonic() - self._began)}."
        except Cancelled:
            self.sentence = "Cancelled; the scene is as it was."
        except RegistrationError as error:
            self.failure = self.sentence = str(error)
        return True

    def cancel(self) -> None:
        """Returns at once; go on looking until it has ended."""
        self.cancelled, self.sentence = True, "Cancelling"
        self._on_end()
        self._job.cancel()

    def _noted(self, _voxel_mm: float, similarity: float) -> None:
        self._similarities.append(similarity)

    def _heard(self, stage: str, fraction: float, message: str) -> None:
        if self.cancelled:
            return
        self.fraction = fraction
        left = (time.monotonic() - self._began) * (1 - fraction) / max(fraction, 1e-6)
        self.sentence = f"{message}; about {in_words(left)} left" if fraction > _TELLING else message


def in_words(seconds: float) -> str:
    """A length of time as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"


def bars(values: Sequence[float]) -> str:
    """One bar to a value, or to each of 40 of them evenly apart, from the lowest to the highest."""
    step = max(1, -(-len(values) // _WIDTH))
    taken = [*values[::-1][::step]][::-1]
    low, span = min(taken), (max(taken) - min(taken)) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in taken)
