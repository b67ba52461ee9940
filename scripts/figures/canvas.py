"""Boxes, arrows and sentences on a page; what a figure of a network is made of."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

COLOURS = {
    "image": "#f2f2f2",  # what comes in
    "conv": "#cfe2f3",
    "attention": "#fce5cd",
    "fusion": "#d9ead3",
    "warp": "#ead1dc",
    "field": "#fff2cc",  # what comes out
    "note": "none",
}
UNIT = 0.01  # inch a unit of the page


@dataclass(frozen=True)
class Box:
    """A drawn box; its sides' middles are where arrows begin and end. y grows downwards."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> tuple[float, float]:
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height


class Canvas:
    """A white page of width x height units, y downwards; text of size 9 is about 6 units a character."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width * UNIT, height * UNIT), facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        self.axes.axis("off")

    def box(self, x: float, y: float, width: float, height: float, text: str, kind: str = "conv") -> Box:
        """A box of one of the kinds in COLOURS with centred text (may have several lines)."""
        shape = FancyBboxPatch(
            (x, y), width, height, "round,pad=0,rounding_size=4", facecolor=COLOURS[kind], edgecolor="#444", lw=0.8
        )
        self.axes.add_patch(shape)
        self.text(x + width / 2, y + height / 2, text)
        return Box(x, y, width, height)

    def text(self, x: float, y: float, text: str, size: float = 9, align: str = "center") -> None:
        """A sentence; align: where (x, y) lies in it, "left", "center" or "right"."""
        self.axes.text(x, y, text, fontsize=size, ha=align, va="center", color="#222", linespacing=1.3)

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        text: str = "",
        bend: float = 0,
        dashed: bool = False,
        both: bool = False,
    ) -> None:
        """From start to end, or both ways; bend: curvature; text stands above the middle, or beside a vertical one.
        dashed: for what is shared or repeated."""
        self.axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="<|-|>" if both else "-|>", mutation_scale=9, lw=0.9, color="#444",
                shrinkA=0, shrinkB=0, linestyle="--" if dashed else "-", connectionstyle=f"arc3,rad={bend}",
            )
        )  # fmt: skip
        if text:
            along, down = end[0] - start[0], end[1] - start[1]
            right, up = down / hypot(along, down), along / hypot(along, down)  # square to the arrow
            if up < 0:
                right, up = -right, -up
            away = 7 * up + (2.7 * len(text) + 4) * abs(right)
            x, y = (start[0] + end[0]) / 2 + away * right, (start[1] + end[1]) / 2 - away * up
            self.text(x, y, text, size=8)

    def save(self, path: Path) -> None:
        """As SVG (text stays text, the same file every time) or, for a look, PNG."""
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem, "font.family": "sans-serif"}):
            extra = {"metadata": {"Date": None, "Creator": None}} if path.suffix == ".svg" else {"dpi": 120}
            self.figure.savefig(path, **extra)
