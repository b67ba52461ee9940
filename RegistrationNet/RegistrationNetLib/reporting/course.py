"""The plot of volume and diameter over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.ticker import LogFormatter

from RegistrationNetLib.lesions.estimate import Estimate, exactly
from RegistrationNetLib.lesions.measure import Measures
from RegistrationNetLib.lesions.table import Entry
from RegistrationNetLib.reporting.pictures import FAINT, INK, Picture, blank, saved

MOST_NAMED = 8
"""Lesions in colour; of more, those that changed most, and the others grey."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5c6672", "#1d2430")
_MARKERS = "osD^vPX*"
_GONE = ("resolved", "gone")


@dataclass(frozen=True)
class Line:
    """A lesion over time. gone: days on which a reader found it no longer."""

    name: str
    days: tuple[date, ...]
    measures: tuple[Measures, ...]
    gone: tuple[date, ...]

    @property
    def change(self) -> float:
        """The largest against the smallest volume, in e-folds; what went away has changed most."""
        volumes = [one.volume_mm3.value for one in self.measures]
        return float("inf") if self.gone else float(np.log(max(volumes) / min(volumes)))


def course_picture(told: Sequence[Entry]) -> Picture | None:
    """Volume on a logarithmic and diameter on a linear scale; None where nothing was measured."""
    lines = _lines(told)
    if not lines:
        return None
    named = sorted(sorted(lines, key=lambda line: -line.change)[:MOST_NAMED], key=lines.index)
    figure = blank(180, 74)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.075, right=0.82, top=0.9, bottom=0.13, wspace=0.2)
    _draw(left, lines, named, "Volume, mm\u00b3", lambda one: one.volume_mm3)
    left.set_yscale("log")
    for show in (left.yaxis.set_major_formatter, left.yaxis.set_minor_formatter):
        show(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.8)))
    left.tick_params(which="both", labelsize=7, colors=FAINT)
    _draw(right, lines, named, "Longest diameter, mm", lambda one: one.longest_mm)
    for line, colour, marker in zip(named, _COLOURS, _MARKERS, strict=False):
        right.plot(
            date2num(line.gone), [0] * len(line.gone), marker, markerfacecolor="white", color=colour, markersize=4
        )
    right.set_ylim(bottom=-0.02 * right.get_ylim()[1])
    handles = right.containers[: len(named)]
    legend = figure.legend(
        handles, [f"Lesion {_short(line.name)}" for line in named],
        loc="center left", bbox_to_anchor=(0.825, 0.5), frameon=False, fontsize=7, labelcolor=INK,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    others = f" {len(lines) - len(named)} lesions that changed less are grey." if len(named) < len(lines) else ""
    said = f"Bars are 95 % intervals; hollow at 0: no longer there. Volumes are on a logarithmic scale.{others}"
    return saved(
        figure, f"Volume and longest diameter of {len(lines)} lesions over time; the table has the figures.", said
    )


def _lines(told: Sequence[Entry]) -> list[Line]:
    """Of what readers outlined: what the program proposes is no finding."""
    lines = []
    for name in dict.fromkeys(one.lesion for one in told):
        rows = [one for one in told if one.lesion == name]
        known = [(one.day, one.measures) for one in rows if one.measures and one.status != "proposed"]
        gone = tuple(one.day for one in rows if one.status in _GONE)
        if known:
            lines.append(Line(name, tuple(day for day, _ in known), tuple(one for _, one in known), gone))
    return lines


def _draw(
    ax: Axes, lines: Sequence[Line], named: Sequence[Line], title: str, of: Callable[[Measures], Estimate]
) -> None:
    styles = dict(zip((line.name for line in named), zip(_COLOURS, _MARKERS, strict=True), strict=False))
    for line in (*named, *(one for one in lines if one.name not in styles)):
        colour, marker = styles.get(line.name, ("#c9ced4", "."))
        found = [(day, of(one)) for day, one in zip(line.days, line.measures, strict=True)]
        broken = sorted([*found, *((day, exactly(np.nan)) for day in line.gone)], key=lambda one: one[0])
        values = np.array([one.value for _, one in broken])
        ends = np.array([(one.value - one.low, one.high - one.value) for _, one in broken]).clip(0).T
        ax.errorbar(
            date2num([day for day, _ in broken]),
            values,
            ends,
            color=colour,
            marker=marker,
            markersize=3.5,
            linewidth=1.1,
            capsize=2,
        )
    ax.set_title(title, size=8.5, color=INK, loc="left")
    ax.xaxis.set_major_locator(locator := AutoDateLocator(maxticks=6))
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.tick_params(labelsize=7, colors=FAINT)
    ax.xaxis.get_offset_text().set_fontsize(7)
    ax.grid(color="#e6e9ec", linewidth=0.6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}\u2026"
