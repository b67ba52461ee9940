"""Draw the module's icon: a regular grid that bends onto a deformed one."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

ICON = Path(__file__).parents[1] / "RegistrationNet/Resources/Icons/RegistrationNet.png"
PIXELS = 128


def bend(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smooth swirl around the middle of the unit square that leaves its border alone."""
    strength = 0.13 * np.sin(np.pi * x) * np.sin(np.pi * y)
    return x + strength * np.sin(2 * np.pi * y), y - strength * np.sin(2 * np.pi * x)


def draw(path: Path) -> None:
    """Write the icon as a PNG of 128 x 128 pixels with a transparent surround."""
    figure = plt.figure(figsize=(1, 1), dpi=PIXELS)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set(xlim=(-0.22, 1.22), ylim=(-0.22, 1.22))
    axes.add_patch(FancyBboxPatch((-0.06, -0.06), 1.12, 1.12, boxstyle="round,pad=0.13", facecolor="#14324a", lw=0))
    along = np.linspace(0, 1, 100)
    for level in np.linspace(0, 1, 6):
        across = np.full_like(along, level)
        for x, y in ((along, across), (across, along)):
            axes.plot(x, y, color="#4f7f9f", lw=0.7)
            axes.plot(*bend(x, y), color="#ffb454", lw=1.5, solid_capstyle="round")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the software's name and date the same drawing is the same file.
    figure.savefig(path, transparent=True, metadata={"Software": None})


if __name__ == "__main__":
    draw(ICON)
