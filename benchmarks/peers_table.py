"""The tables of `benchmarks.peers` in Markdown: the mean over pairs, and ourselves against each of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Figures = dict[str, Any]
"""What is known of one tool on one pair: measures by name, or `failed` with the reason."""
Found = Mapping[str, Mapping[str, Figures]]
"""Figures by pair and tool."""

OURS = ("fast", "balanced", "accurate")


@dataclass(frozen=True)
class Column:
    """A measure in a table: its title and how it is written."""

    title: str
    form: str


COLUMNS = {
    "dice": Column("Dice", "{:.3f}"),
    "hd95_mm": Column("HD95, mm", "{:.2f}"),
    "tre_mm": Column("TRE, mm", "{:.2f}"),
    "error_mm": Column("error, mm", "{:.2f}"),
    "inconsistency_mm": Column("there and back, mm", "{:.2f}"),
    "folded_percent": Column("folded, %", "{:.4f}"),
    "sd_log_jacobian": Column("SD log J", "{:.2f}"),
    "seconds": Column("s", "{:.1f}"),
    "cpu_seconds": Column("CPU s", "{:.1f}"),
    "mib": Column("MiB", "{:.0f}"),
}
INTRODUCTION = """Every pair is prepared once (intensities clipped and scaled, or the window -1000 to 500 HU for CT)
and aligned once by our affine alignment, through which the moving image is resampled linearly onto the fixed image's
grid, its border repeated where it ends. All methods start from these two images, each in a process of its own, none
with a mask, and end with a displacement field on that grid. Labels are carried from the original moving label map, by
nearest neighbour, through field and affine; Dice and HD95 are means over the labels of at least 50 voxels, TRE over
landmarks, the error that from a known warp inside the lung; "there and back" is how far points of the lung end from
where they started after both directions. Folded voxels are counted on the whole grid by SimpleITK's Jacobian
determinant of the field; SD log J is taken inside the labels or the lung. Seconds (wall, and CPU: user and system) are
the registration alone, without the start of Python, imports, reading the images and writing the field. Ours begin with
preparing both images and end with the field led to zero beyond its border, as we store it; those of ANTs hold the warps
that antspyx writes to disk before it returns. Memory is the whole process's at its peak, libraries included.

Each comparison is ours beside theirs: Dice by difference, millimetres, wall and CPU seconds by ratio, of means over the
pairs; in bold where we lose. Other work on a machine disturbs wall seconds, and CPU seconds where two threads share
a core. 40x20x0 is what
antspyx does unless told otherwise, never iterating at full resolution; 100x70x20 does. Where ANTs by correlation would
take hours, it is run on some pairs only, which its row says, or left out. FireANTs needs an NVIDIA GPU and is not in
these tables.

Under the tables of a data set stands what we ask of ourselves there, met or missed. The best other method is the one
that comes nearest to us or farthest ahead, over the pairs that both finished."""
MADE = "`{command}` with {threads} threads for each method on {machine}. Versions: {versions}."
_COMPARED = {"dice": "", "tre_mm": " mm", "error_mm": " mm", "seconds": " s", "cpu_seconds": " CPU"}
"""Each measure, and what its ratio is marked by."""


def made(command: str, threads: int, machine: str, versions: Mapping[str, str]) -> str:
    """versions: by package."""
    listed = ", ".join(f"{package} {number}" for package, number in versions.items())
    return MADE.format(command=command, threads=threads, machine=machine, versions=listed)


def line(figures: Figures) -> str:
    """One tool's figures on one pair, for a terminal."""
    if "failed" in figures:
        return f"failed: {figures['failed']}"
    known = [(column, figures[name]) for name, column in COLUMNS.items() if name in figures]
    return ", ".join(f"{column.title} {column.form.format(value)}" for column, value in known)


def section(kind: str, found: Found, titles: Mapping[str, str]) -> str:
    """All about one data set: means, comparison in the mean, comparison pair by pair.

    titles: how the tools are called, in the order of the rows.
    """
    parts = [f"### {kind}, {len(found)} pair{'s' * (len(found) > 1)}", means(found, titles)]
    mine = [name for name in OURS if name in titles]
    others = [name for name in titles if name not in OURS and name != "affine"]
    if mine and others:
        parts.append(against(found, titles, mine, others))
        chosen = "balanced" if "balanced" in mine else mine[0]
        each = pair_by_pair(found, titles, chosen, others)
        parts.append(f"<details><summary>{titles[chosen]} against each, pair by pair</summary>\n\n{each}\n\n</details>")
    return "\n\n".join(parts)


def means(found: Found, titles: Mapping[str, str]) -> str:
    """A row for each tool, over the pairs that it finished."""
    rows = {name: [pair[name] for pair in found.values() if name in pair] for name in titles}
    shown = {key: column for key, column in COLUMNS.items() if any(key in one for row in rows.values() for one in row)}
    lines = [["", *(column.title for column in shown.values())]]
    for name, figures in rows.items():
        done = [one for one in figures if "failed" not in one]
        note = "" if len(figures) == len(found) else f" (run on {len(figures)} of {len(found)} pairs)"
        note += "" if len(done) == len(figures) else f" ({len(figures) - len(done)} failed: {_reason(figures)})"
        cells = [
            column.form.format(value) if (value := mean(done, key)) is not None else "" for key, column in shown.items()
        ]
        lines.append([titles[name] + note, *cells])
    return _markdown(lines)


def against(found: Found, titles: Mapping[str, str], mine: Sequence[str], others: Sequence[str]) -> str:
    """Each of ours beside each of theirs, in the mean over the pairs that both finished."""
    lines = [["ours against", *(titles[name] for name in mine)]]
    for other in others:
        lines.append([titles[other], *(compared(both(found, name, other)) for name in mine)])
    return _markdown(lines)


def pair_by_pair(found: Found, titles: Mapping[str, str], mine: str, others: Sequence[str]) -> str:
    lines = [["pair", *(titles[name] for name in others)]]
    for pair, figures in found.items():
        cells = (
            compared(both({pair: figures}, mine, other)) or ("failed" if other in figures else "") for other in others
        )
        lines.append([pair, *cells])
    return _markdown(lines)


def both(found: Found, mine: str, other: str) -> list[tuple[Figures, Figures]]:
    """Of ours and of theirs, on each pair that both finished."""
    found_by = [(pair.get(mine), pair.get(other)) for pair in found.values()]
    return [(one, two) for one, two in found_by if one and two and "failed" not in one and "failed" not in two]


def compared(pairs: Sequence[tuple[Figures, Figures]]) -> str:
    """Our accuracy and time beside theirs, as "+0.012; 0.35 x s": Dice by difference, mm and seconds by ratio.

    Bold where we lose. Both are of means over pairs.
    """
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    cells = []
    for key, mark in _COMPARED.items():
        mine, other = mean(ours, key), mean(theirs, key)
        if mine is None or other is None:
            continue
        if key == "dice":
            text, lost = f"{mine - other:+.3f}", mine < other
        else:
            text, lost = f"{mine / other:.2f} x{mark}", mine > other
        cells.append(f"**{text}**" if lost else text)
    return "; ".join(cells)


def mean(figures: Sequence[Figures], key: str) -> float | None:
    """Over those that have it; None where none has."""
    values = [one[key] for one in figures if one.get(key) is not None]
    return float(np.mean(values)) if values else None


def _reason(figures: Sequence[Figures]) -> str:
    return next(str(one["failed"]) for one in figures if "failed" in one).replace("|", "/")


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])
