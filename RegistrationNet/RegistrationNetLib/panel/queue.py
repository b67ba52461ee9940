"""Many registrations one after the other, each with its state; one that fails does not stop the others. Knows no Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from RegistrationNetLib.core.errors import RegistrationError
from RegistrationNetLib.panel.run import Run

WAITING, CANCELLED = "waiting", "cancelled"


class Queue:
    """Looked at like a `Run`. states: of each, in words; result: the last that there is."""

    def __init__(self, starts: Sequence[Callable[[], Run]]) -> None:
        """starts: begin the registrations."""
        self.states = [WAITING] * len(starts)
        self.result: Any = None
        self.failure = ""
        self.cancelled = False
        self._starts, self._at = starts, -1
        self._run: Run | None = None
        self._next()

    @property
    def fraction(self) -> float:
        now = self._run.fraction if self._run is not None else 0.0
        return (self._at + now) / len(self.states)

    @property
    def sentence(self) -> str:
        if self._run is not None:
            return f"{self._at + 1} of {len(self.states)}: {self._run.sentence}"
        failed = sum(state.startswith("failed") for state in self.states)
        done = sum(state.startswith("Done") for state in self.states)
        return f"{done} of {len(self.states)} done" + (f", {failed} failed." if failed else ".")

    @property
    def curve(self) -> str:
        return "" if self._run is None else self._run.curve

    def look(self) -> bool:
        """True when all have ended."""
        if self._run is not None:
            ended = self._run.look()
            self.states[self._at] = self._run.sentence
            if not ended:
                return False
            if self._run.failure:
                self.states[self._at] = f"failed: {self._run.failure}"
            elif self._run.result is not None:
                self.result = self._run.result
            self._run = None
            self._next()
        return self._run is None

    def cancel(self) -> None:
        """The one under way and all that wait; go on looking until they have ended."""
        self.cancelled = True
        self.states[self._at + 1 :] = [CANCELLED] * (len(self.states) - self._at - 1)
        if self._run is not None:
            self._run.cancel()

    def _next(self) -> None:
        """Begin the next one that can be begun."""
        while self._run is None and not self.cancelled and self._at + 1 < len(self._starts):
            self._at += 1
            try:
                self._run = self._starts[self._at]()
            except RegistrationError as error:
                self.states[self._at] = f"failed: {error}"
