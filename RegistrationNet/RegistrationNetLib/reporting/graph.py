"""Lesions that merged, split or came back, as a graph: scans from left to right, lesions at them, what led where."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from matplotlib.patches import FancyArrowPatch

from RegistrationNetLib.files.colours import STATUSES
from RegistrationNetLib.lesions.events import Event, History, Node
from RegistrationNetLib.lesions.table import origins
from RegistrationNetLib.reporting.pictures import FAINT, INK, Picture, blank, saved

_KINDS = ("merged", "split", "reappeared")
_WIDE_MM, _LINE_MM, _HEAD_MM = 180.0, 9.0, 12.0


def graph_picture(history: History, days: Sequence[date]) -> Picture | None:
    """None where no lesion merged, split or came back."""
    nodes, events = involved(history)
    if not nodes:
        return None
    rows = _rows(nodes, events, history)
    height = _HEAD_MM + _LINE_MM * (max(rows.values()) + 1)
    figure = blank(_WIDE_MM, height)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, _WIDE_MM)
    ax.set_ylim(height, 0)
    ax.set_axis_off()
    at = {
        node: (
            (days.index(date.fromisoformat(node[0])) + 0.5) * _WIDE_MM / len(days),
            _HEAD_MM + _LINE_MM * (row + 0.4),
        )
        for node, row in rows.items()
    }
    for number, day in enumerate(days):
        ax.text((number + 0.5) * _WIDE_MM / len(days), 5, str(day), size=7.5, color=FAINT, ha="center", va="center")
    for event in events:
        colour, sign = STATUSES[event.kind]
        for old in event.earlier:
            for new in event.later:
                ax.add_patch(_arrow(at[old], at[new], colour))
        x, y = at[event.later[0]]
        ax.text(x, y - 4.2, f"{sign} {event.kind}", size=6.5, color=INK, ha="center", va="center")
    for node, (x, y) in at.items():
        box: dict[str, Any] = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": INK, "linewidth": 0.8}
        ax.text(x, y, history.names[node], parse_math=False, size=7.5, color=INK, ha="center", va="center", bbox=box)
    return saved(figure, " ".join(in_words(event, history) for event in events if event.kind in _KINDS))


def involved(history: History) -> tuple[list[Node], list[Event]]:
    """Lesions that share an origin with one that merged, split or came back, in the order of time, and what led from
    one to the other."""
    came = origins(history)
    roots = {root for event in history.events if event.kind in _KINDS for node in event.later for root in came[node]}
    nodes = [node for node in came if came[node] & roots]
    events = [event for event in history.events if event.earlier and event.later and set(event.later) & set(nodes)]
    return sorted(nodes), events


def in_words(event: Event, history: History) -> str:
    """A sentence; the day is that of the later scan."""
    old, new = (" and ".join(history.names[node] for node in nodes) for nodes in (event.earlier, event.later))
    said = {
        "merged": f"{old} merged to {new}",
        "split": f"{old} split into {new}",
        "reappeared": f"{old} came back as {new}",
    }
    return f"{said[event.kind]} on {event.later[0][0]}."


def _rows(nodes: Sequence[Node], events: Sequence[Event], history: History) -> dict[Node, int]:
    """Which line each is drawn on: its forerunner's where that is free, else the next free one of its scan."""
    rows: dict[Node, int] = {}
    before = {node: event.earlier for event in events for node in event.later}
    for node in sorted(nodes, key=lambda node: (node[0], history.names[node])):
        taken = {row for other, row in rows.items() if other[0] == node[0]}
        wanted = min((rows[old] for old in before.get(node, ()) if old in rows), default=0)
        rows[node] = next(row for row in range(wanted, wanted + len(nodes) + 1) if row not in taken)
    return rows


def _arrow(start: tuple[float, float], end: tuple[float, float], colour: str) -> FancyArrowPatch:
    return FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=8, color=colour, linewidth=1.4, shrinkA=12, shrinkB=12
    )
