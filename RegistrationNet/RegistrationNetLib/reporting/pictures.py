"""Pictures of reports: PNG files in memory, with what they show in words for those who cannot see them."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image as Pillow

from RegistrationNetLib.files.colours import STATUSES
from RegistrationNetLib.reporting.crops import Crop

INK, FAINT = "#1d2430", "#5c6672"
OUTLINE, PLACE = "#ffd24a", "#7fd6ff"
_DPI = 150
_COLOURS = 128
"""Of a picture's palette: files of a third the size, and no difference to the eye."""
_LETTERS = (
    *((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center")),
    *((0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom")),
)
_NICE_MM = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Picture:
    """png: the file. size_mm: width and height on paper. alt: what it shows; caption: below it."""

    png: bytes
    size_mm: tuple[float, float]
    alt: str
    caption: str = ""
    status: str = ""

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + b64encode(self.png).decode()


def blank(width_mm: float, height_mm: float) -> Figure:
    return Figure(figsize=(width_mm / 25.4, height_mm / 25.4), dpi=_DPI, facecolor="white")


def saved(figure: Figure, alt: str, caption: str = "", status: str = "") -> Picture:
    """alt: what it shows, in words."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    content = BytesIO()
    Pillow.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(_COLOURS).save(content, "PNG")
    width, height = figure.get_size_inches() * 25.4
    return Picture(content.getvalue(), (float(width), float(height)), alt, caption, status)


def drawn(crop: Crop) -> Picture:
    """A lesion on a scan: its outline, the line of its longest diameter, a scale bar and the directions' letters."""
    figure = blank(38, 38)
    ax = figure.add_axes((0, 0, 1, 1))
    side = crop.side_mm
    ax.imshow(crop.colours, extent=(0, side, side, 0), interpolation="nearest")
    ax.set_axis_off()
    _outlined(ax, crop)
    _scale_bar(ax, side)
    halo = [withStroke(linewidth=2, foreground="black")]
    for letter, (x, y, ha, va) in zip(crop.letters, _LETTERS, strict=True):
        style: dict[str, Any] = {"size": 8, "color": "#9fe3a1", "weight": "bold", "path_effects": halo}
        ax.text(x, y, letter, transform=ax.transAxes, ha=ha, va=va, **style)
    ax.set_xlim(0, side)
    ax.set_ylim(side, 0)
    sign = STATUSES[crop.status][1] if crop.status in STATUSES else ""
    return saved(figure, f"{crop.caption}: {crop.seen}", f"{crop.day} {sign} {crop.caption}. {crop.seen}", crop.status)


def _outlined(ax: Axes, crop: Crop) -> None:
    at = (crop.mm_per_pixel / 2, crop.side_mm - crop.mm_per_pixel / 2)
    if crop.inside.any():
        style: dict[str, Any] = {"colors": PLACE, "linestyles": "dashed"} if crop.carried else {"colors": OUTLINE}
        ax.contour(crop.inside, levels=[0.5], extent=(*at, *at), linewidths=1.1, **style)
    if crop.line is not None:
        halo = [withStroke(linewidth=1.8, foreground="#00000090")]
        ax.plot(*crop.line.T, color="white", linewidth=0.9, linestyle=(0, (1, 1.5)), path_effects=halo)


def _scale_bar(ax: Axes, side_mm: float) -> None:
    length = max(nice for nice in _NICE_MM if nice <= side_mm / 3)
    x, y = 0.05 * side_mm, 0.94 * side_mm
    halo = [withStroke(linewidth=3, foreground="black")]
    ax.plot((x, x + length), (y, y), color="white", linewidth=1.8, solid_capstyle="butt", path_effects=halo)
    ax.text(
        *(x, y - 0.03 * side_mm, f"{length} mm"), size=6.5, color="white", ha="left", va="bottom", path_effects=halo
    )
