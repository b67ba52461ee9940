"""Opening the panel is quick: nothing heavy is loaded before Register."""

import os
import subprocess
import sys
from pathlib import Path

TESTING = Path(__file__).parents[2]
CODE = f"""
import sys
from pathlib import Path
from slicer_standin.application import running
from slicer_standin.factory import load_module

with running():
    module = load_module(Path({str(TESTING.parent / "RegistrationNet/RegistrationNet.py")!r}))
    module.widgetRepresentation().enter()
    print(*sorted({{"torch", "SimpleITK", "matplotlib"}} & set(sys.modules)))
"""


def test_the_panel_opens_without_pytorch() -> None:
    """In an interpreter of its own, because other tests of this run have loaded it."""
    paths = [str(TESTING), str(TESTING.parent / "RegistrationNet")]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
