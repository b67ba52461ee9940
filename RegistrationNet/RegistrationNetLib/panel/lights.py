"""The checks of a result as lights: a colour and a sign with its word, what was measured, and a sentence."""

from __future__ import annotations

from html import escape
from typing import Any

import qt

from RegistrationNetLib.engine.limits import Check, with_unit
from RegistrationNetLib.files.colours import VERDICTS


class Lights:
    """Labels in a layout, one for each check, in their order."""

    def __init__(self, layout: Any) -> None:
        self._layout = layout
        self._labels: list[Any] = []

    def show(self, checks: list[Check]) -> None:
        while len(self._labels) < len(checks):
            label = qt.QLabel()
            label.wordWrap = True
            self._layout.addWidget(label)
            self._labels.append(label)
        for index, label in enumerate(self._labels):
            label.visible = index < len(checks)
            label.text = in_words(checks[index]) if index < len(checks) else ""
            label.toolTip = held_against(checks[index]) if index < len(checks) else ""


def in_words(check: Check) -> str:
    """As rich text."""
    colour, sign = VERDICTS[check["verdict"]]
    light = f'<span style="color:{colour};font-weight:bold">{sign} {check["verdict"].capitalize()}</span>'
    return f"{light} &nbsp;<b>{escape(with_unit(check))}</b>: {escape(check['value'])}<br/>{escape(check['sentence'])}"


def held_against(check: Check) -> str:
    """The threshold, and who says so."""
    source = f"\nSource: {check['source']}" if check["source"] else ""
    return f"Threshold: {check['threshold']}{source}"
