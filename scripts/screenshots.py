"""Pictures of the panel and the slice views in each state, from the module as it is: `make screenshots`.

The module runs on the stand-ins for Slicer's application, over Slicer's own scene and slice views; the images are the
phantom's.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "Resources" / "screenshots"
WIDTH = 460
_LONG = 900  # seconds, on a busy computer


def main() -> None:
    sys.path.insert(0, str(ROOT / "Testing"))
    from slicer_standin.application import running
    from slicer_standin.factory import load_module

    FOLDER.mkdir(parents=True, exist_ok=True)
    with running() as app:
        module = load_module(ROOT / "RegistrationNet" / "RegistrationNet.py")
        frame = module.widgetRepresentation()
        frame.enter()
        frame.show()
        take(app, frame, sys.modules["RegistrationNet"])


def take(app: Any, frame: Any, module: Any) -> None:
    """Walk through a registration as a user does."""
    panel = frame.self()
    fixed, moving = module.loadSampleData(None)
    panel.ui.fixedSelector.setCurrentNode(fixed)
    panel.ui.movingSelector.setCurrentNode(moving)
    wait(app, lambda: bool(panel.ui.deviceNeedLabel.text))
    picture(app, frame, "panel-ready")
    slices(app, "slices-before")
    folded = [panel.ui.extraCollapsibleButton, panel.ui.outputsCollapsibleButton, panel.ui.advancedCollapsibleButton]
    sections(folded, panel, collapsed=False)
    picture(app, frame, "panel-everything")
    sections(folded, panel, collapsed=True)
    panel.ui.registerButton.click()
    wait(app, lambda: panel.ui.progressBar.value > 700)
    picture(app, frame, "panel-running")
    wait(app, lambda: panel._run is None)
    picture(app, frame, "panel-result")
    slices(app, "slices-warped-over-fixed")
    for mode in ("edges", "checkerboard", "jacobian"):
        panel.ui.compareComboBox.setCurrentIndex(panel.ui.compareComboBox.findData(mode))
        slices(app, f"slices-{mode}")


def sections(buttons: list[Any], panel: Any, collapsed: bool) -> None:
    """Fold or unfold them, and the stages among the advanced settings."""
    for button in (*buttons, *panel.ui.advancedCollapsibleButton.findChildren("ctkCollapsibleButton")):
        button.collapsed = collapsed


def wait(app: Any, until: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not until():
        app.processEvents()
        time.sleep(0.02)
        if time.monotonic() - begun > _LONG:
            raise SystemExit("The registration did not get there in time.")


def picture(app: Any, frame: Any, name: str) -> None:
    """The panel, as high as what it shows."""
    for _ in range(2):  # a layout settles in the second round
        app.processEvents()
        frame.resize(WIDTH, frame.layout().heightForWidth(WIDTH))
    frame.grab().save(str(FOLDER / f"{name}.png"))


def slices(app: Any, name: str) -> None:
    """The three slice views side by side."""
    import numpy as np
    from matplotlib import image

    from slicer_standin.views import pixels

    views = [app.layoutManager().sliceWidget(colour) for colour in ("Red", "Green", "Yellow")]
    image.imsave(FOLDER / f"{name}.jpg", np.hstack([pixels(view.sliceView()) for view in views]))


if __name__ == "__main__":
    main()
