"""The checks of a result as lights: a colour and a sign with its word, what was measured, and a sentence.

The whole, and whatever asks for a look, is always seen; where there are many, the rest is folded away.
"""

from __future__ import annotations

from html import escape
from typing import Any

import ctk
import qt

from RegistrationNetLib.engine.limits import VERDICTS as BEST_FIRST
from RegistrationNetLib.engine.limits import Check, with_unit
from RegistrationNetLib.files.colours import VERDICTS

_MANY = 4
_URGENT = "look", "bad"


class Lights:
    """Labels in a layout, one for each check, in their order."""

    def __init__(self, layout: Any) -> None:
        self._seen = _Labels(layout)
        self._fold = ctk.ctkCollapsibleButton()
        self._fold.collapsed = True
        self._fold.toolTip = "Checks that ask for nothing, and those that could not be made."
        self._folded = _Labels(qt.QVBoxLayout(self._fold))
        layout.addWidget(self._fold)
        self.show([])

    @property
    def labels(self) -> list[Any]:
        """Those that say something."""
        return [label for label in (*self._seen.labels, *self._folded.labels) if label.text]

    def show(self, checks: list[Check]) -> None:
        """checks: the whole, then each, the worst first."""
        seen = [
            check for k, check in enumerate(checks) if k == 0 or check["verdict"] in _URGENT or len(checks) <= _MANY
        ]
        folded = [check for check in checks if check not in seen]
        self._seen.show(seen)
        self._folded.show(folded)
        self._fold.visible = bool(folded)
        self._fold.text = counted(folded)


class _Labels:
    """As many as are needed, in a layout."""

    def __init__(self, layout: Any) -> None:
        self._layout = qt.QVBoxLayout()
        layout.addLayout(self._layout)
        self.labels: list[Any] = []

    def show(self, checks: list[Check]) -> None:
        while len(self.labels) < len(checks):
            label = qt.QLabel()
            label.wordWrap = True
            self._layout.addWidget(label)
            self.labels.append(label)
        for index, label in enumerate(self.labels):
            label.visible = index < len(checks)
            label.text = in_words(checks[index]) if index < len(checks) else ""
            label.toolTip = held_against(checks[index]) if index < len(checks) else ""


def counted(checks: list[Check]) -> str:
    """How many of which verdict, the worst first."""
    found = [check["verdict"] for check in checks]
    said = [f"{found.count(verdict)} {verdict}" for verdict in reversed(BEST_FIRST) if verdict in found]
    return f"More checks: {', '.join(said)}"


def in_words(check: Check) -> str:
    """As rich text."""
    colour, sign = VERDICTS[check["verdict"]]
    light = f'<span style="color:{colour};font-weight:bold">{sign} {check["verdict"].capitalize()}</span>'
    return f"{light} &nbsp;<b>{escape(with_unit(check))}</b>: {escape(check['value'])}<br/>{escape(check['sentence'])}"


def held_against(check: Check) -> str:
    """The threshold, and who says so."""
    source = f"\nSource: {check['source']}" if check["source"] else ""
    return f"Threshold: {check['threshold']}{source}"
