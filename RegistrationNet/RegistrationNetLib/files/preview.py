"""preview.png: a registration at a glance, for someone who has read nothing about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy import ndimage

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine.limits import with_unit
from RegistrationNetLib.files.colours import COLOURS, FOLDED, STOPS, VERDICTS, jacobian_colours
from RegistrationNetLib.files.planes import Plane
from RegistrationNetLib.files.slices import Registered, Slice, difference, slices_of

_INK, _FAINT, _PAPER = "#1d2430", "#6b7480", "#ffffff"
_NO_DATA = (0.42, 0.44, 0.47)
_LINES = "#ffd24a"
_DIFFERENCE = LinearSegmentedColormap.from_list("difference", ["#7fd6ff", "#1b6fb5", "#000000", "#c4571b", "#ffc38a"])
_VOLUME = LinearSegmentedColormap.from_list("volume", COLOURS).with_extremes(under=FOLDED)
_EDGES = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
)
_COLUMN_INCHES = 2.5
_DPI = 110
_FADING_MM = 3.0
"""Beyond the body's border the colours of the volume change fade away over this length."""

_NICE_MM = (1, 2, 2.5, 5, 10, 20, 25, 50)


def write_preview(registration: Registered, fixed: Image, moving: Image, path: str | Path) -> None:
    """Three planes through the middle of the fixed image's body, eight pictures of each. Raises InputError."""
    shown = slices_of(registration, fixed, moving)
    grid_mm = _nice(max(s.plane.size_mm[1] for s in shown) / 24)
    figure, rows = _page(shown)
    _headline(figure, registration.report, fixed.name, moving.name)
    strongest = max(0.2, float(np.percentile(np.abs(np.concatenate([difference(s)[0].ravel() for s in shown])), 99)))
    for axes, cut in zip(rows, shown, strict=True):
        _draw(axes, cut, strongest, grid_mm)
        _name_row(figure, axes[0], cut.plane)
    for ax, (title, subtitle) in zip(rows[0], _titles(grid_mm), strict=True):
        ax.annotate(title, (0.5, 1), (0, 19), "axes fraction", "offset points", ha="center", weight="bold", color=_INK)
        ax.annotate(subtitle, (0.5, 1), (0, 7), "axes fraction", "offset points", ha="center", size=8, color=_FAINT)
    _legends(figure, rows[-1], strongest, registration)
    try:
        figure.savefig(path, facecolor=_PAPER)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); check the folder.") from error


def _page(slices: list[Slice]) -> tuple[Figure, list[list[Axes]]]:
    """A figure with one row of axes per plane, all in one scale of millimetres."""
    columns, gap, left, right, top, bottom = 8, 0.06, 0.62, 0.2, 1.84, 1.05
    widest = max(s.plane.size_mm[1] for s in slices)
    heights = [s.plane.size_mm[0] / widest * _COLUMN_INCHES for s in slices]
    width = left + columns * (_COLUMN_INCHES + gap) + right
    height = top + sum(heights) + gap * 2 + bottom
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    rows, y = [], height - top
    for row_height in heights:
        y -= row_height
        x = [left + column * (_COLUMN_INCHES + gap) for column in range(columns)]
        boxes = [(start / width, y / height, _COLUMN_INCHES / width, row_height / height) for start in x]
        rows.append([figure.add_axes(box) for box in boxes])
        y -= gap
    return figure, rows


def _headline(figure: Figure, report: dict[str, Any], fixed: str, moving: str) -> None:
    width, height = figure.get_size_inches()
    left = 0.62 / width
    figure.text(left, 1 - 0.36 / height, f"{moving}  registered to  {fixed}", size=16, weight="bold", color=_INK)
    x, y, indent = left, 1 - 0.66 / height, 0.18 / width
    for check in report.get("checks", []):
        line = f"{with_unit(check | {'name': _short(check['name'])})}: {check['value']}"
        words = figure.text(x + indent, y, line, size=9.5, color=_INK, va="center")
        share = indent + words.get_window_extent().width / figure.dpi / width
        if x > left and x + share > 0.99:
            x, y = left, y - 0.21 / height
            words.set_position((x + indent, y))
        colour, sign = VERDICTS[check["verdict"]]
        figure.text(x, y, sign, size=11, color=colour, weight="bold", va="center")
        x += share + 0.3 / width


def _short(name: str) -> str:
    return name.split(" (")[0]


def _titles(grid_mm: float) -> list[tuple[str, str]]:
    return [
        ("Fixed", "stays as it is"),
        ("Moving, before", "placed by its file's header"),
        ("Moving, after", "warped onto the fixed image"),
        ("Difference, before", "black: no difference"),
        ("Difference, after", "same colour scale"),
        ("Checkerboard, after", "fixed and warped in turn"),
        ("Deformation", f"straight {grid_mm:g} mm grid of the moving image"),
        ("Local volume change", "Jacobian determinant, inside the body"),
    ]


def _draw(axes: list[Axes], cut: Slice, strongest: float, grid_mm: float) -> None:
    """One row of the page."""
    before, after = difference(cut)
    board = _checkerboard(cut)
    _picture(axes[0], cut.plane, _grey(cut.fixed))
    _picture(axes[1], cut.plane, _grey(cut.before, cut.before_known))
    _picture(axes[2], cut.plane, _grey(cut.after, cut.after_known))
    _picture(axes[3], cut.plane, _coloured(before, strongest, cut.before_known))
    _picture(axes[4], cut.plane, _coloured(after, strongest, cut.after_known))
    _picture(axes[5], cut.plane, _grey(np.where(board, cut.fixed, cut.after), cut.after_known | board))
    _picture(axes[6], cut.plane, _grey(0.6 * cut.fixed))
    _picture(axes[7], cut.plane, _volume_change(cut))
    _grid_lines(axes[6], cut, grid_mm)


def _name_row(figure: Figure, ax: Axes, plane: Plane) -> None:
    """At the left edge of the page, beside a row."""
    box, width = ax.get_position(), figure.get_figwidth()
    tilt = f", tilted {plane.tilt:.0f}\u00b0" if plane.tilt >= 3 else ""
    y = (box.y0 + box.y1) / 2
    style: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "center"}
    figure.text(0.2 / width, y, plane.name, weight="bold", color=_INK, **style)
    figure.text(0.42 / width, y, plane.seen + tilt, size=8, color=_FAINT, **style)


def _picture(ax: Axes, plane: Plane, colours: NDArray[np.float64]) -> None:
    """Pixels in true proportions with the letters of the directions at the edges."""
    height, width = plane.size_mm
    ax.imshow(colours, extent=(0, width, height, 0), interpolation="antialiased")
    ax.set_facecolor("black")
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_axis_off()
    outline = [withStroke(linewidth=1.5, foreground="black")]
    for letter, (x, y, ha, va) in zip(plane.letters, _EDGES, strict=True):
        style: dict[str, Any] = {"size": 8, "color": "#9fe3a1", "weight": "bold", "path_effects": outline}
        ax.text(x, y, letter, transform=ax.transAxes, ha=ha, va=va, **style)


def _grey(brightness: NDArray[np.float64], known: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """(rows, columns, 3), a flat grey where nothing is known."""
    colours = np.repeat(brightness[..., None], 3, axis=-1)
    return colours if known is None else np.where(known[..., None], colours, _NO_DATA)


def _coloured(values: NDArray[np.float64], strongest: float, known: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(known[..., None], _DIFFERENCE(Normalize(-strongest, strongest)(values))[..., :3], _NO_DATA)


def _volume_change(cut: Slice) -> NDArray[np.float64]:
    """Colours over the fixed image, the stronger the change the denser, in the body only, as elsewhere it means
    nothing; folded pixels in the warning colour wherever they are.
    """
    beyond_mm = ndimage.distance_transform_edt(~cut.body, sampling=cut.plane.pixel_mm)
    density = np.clip(0.1 + np.abs(cut.determinant - 1) * 1.3, 0, 0.85) * np.clip(1 - beyond_mm / _FADING_MM, 0, 1)
    density = np.where(cut.determinant <= 0, 1, density)[..., None]
    return (1 - density) * _grey(cut.fixed) + density * jacobian_colours(cut.determinant)


def _checkerboard(cut: Slice) -> NDArray[np.bool_]:
    """True where the fixed image shows; about eight squares across."""
    height, width = cut.plane.size_mm
    side = max(height, width) / 8
    rows, columns = (np.arange(n) * mm // side for n, mm in zip(cut.fixed.shape, cut.plane.pixel_mm, strict=True))
    return np.asarray((rows[:, None] + columns[None]) % 2 == 0)


def _grid_lines(ax: Axes, cut: Slice, grid_mm: float) -> None:
    """Where the lines of a straight grid in the moving image, aligned by the affine, come to lie."""
    height, width = cut.plane.size_mm
    y = (np.arange(cut.fixed.shape[0]) + 0.5) * cut.plane.pixel_mm[0]
    x = (np.arange(cut.fixed.shape[1]) + 0.5) * cut.plane.pixel_mm[1]
    down, across = (_unit(cut.plane.points, axis) for axis in (0, 1))
    offset = cut.deformed - cut.plane.points[0, 0]
    for direction, length in ((down, height), (across, width)):
        levels = np.arange(-length, 2 * length, grid_mm)
        ax.contour(x, y, offset @ direction, levels=levels, colors=_LINES, linewidths=0.7)


def _unit(points: Points, axis: int) -> Points:
    step = np.take(points, -1, axis=axis)[0] - np.take(points, 0, axis=axis)[0]
    return np.asarray(step / np.linalg.norm(step))


def _legends(figure: Figure, last_row: list[Axes], strongest: float, registration: Registered) -> None:
    width, height = figure.get_size_inches()
    start, end = last_row[3].get_position().x0, last_row[4].get_position().x1
    bar = figure.add_axes((start + 0.4 / width, 0.66 / height, end - start - 0.8 / width, 0.12 / height))
    figure.colorbar(ScalarMappable(Normalize(-strongest, strongest), _DIFFERENCE), cax=bar, orientation="horizontal")
    bar.set_xticks([-strongest, 0, strongest], ["moving brighter", "same", "fixed brighter"])
    _tidy(bar, "each image scaled to its own brightness range; images of different contrast differ even when aligned")
    start, end = last_row[6].get_position().x0, last_row[7].get_position().x1
    bar = figure.add_axes((start + 0.4 / width, 0.66 / height, end - start - 0.8 / width, 0.12 / height))
    scale = ScalarMappable(Normalize(STOPS[0], STOPS[-1]), _VOLUME)
    figure.colorbar(scale, cax=bar, orientation="horizontal", extend="both")
    bar.set_xticks(STOPS, [f"{stop:g}" for stop in STOPS])
    affine = float(np.linalg.det(registration.mapping.affine.matrix[:3, :3]))
    _tidy(bar, f"> 1: tissue is larger in the moving image; the affine part (x {affine:.2f}) comes on top")
    folded = int(np.count_nonzero(registration.jacobian.data <= 0))
    words = f"folded: impossible anatomy ({f'{folded:,} voxels in all' if folded else 'none here'})"
    figure.legend(
        handles=[Patch(color=FOLDED, label=words), Patch(color=_NO_DATA, label="outside the moving image")],
        loc="lower left", bbox_to_anchor=(0.5 / width, 0.3 / height), frameon=False,
        fontsize=8.5, labelcolor=_INK,
    )  # fmt: skip


def _tidy(bar: Axes, caption: str) -> None:
    bar.tick_params(labelsize=8.5, colors=_INK, length=2)
    bar.set_xlabel(caption, size=8.5, color=_FAINT, labelpad=3)
    for spine in bar.spines.values():
        spine.set_visible(False)


def _nice(length_mm: float) -> float:
    return float(next((nice for nice in _NICE_MM if nice >= length_mm), _NICE_MM[-1]))
