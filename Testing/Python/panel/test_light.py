"""Opening the panel is quick: nothing heavy is loaded before Register."""

import os
import subprocess
import sys
from pathlib import Path

TESTING = Path(__file__).parents[2]
CODE = f"""
import sys
from pathlib import Path

absent = "torch", "psutil", "h5py", "safetensors", "nrrd", "rich", "click", "matplotlib"
sys.modules.update(dict.fromkeys(absent))  # importing them fails, as where they are not installed
from slicer_standin.application import running
from slicer_standin.factory import load_module

with running():
    module = load_module(Path({str(TESTING.parent / "RegistrationNet/RegistrationNet.py")!r}))
    frame = module.widgetRepresentation()
    frame.enter()
    print(*(name for name in ("SimpleITK", *absent) if sys.modules.get(name)))
    print(frame.self().ui.packagesLabel.text)
"""


def test_the_panel_opens_in_a_fresh_slicer_and_says_what_is_missing() -> None:
    """In an interpreter of its own, because other tests of this run have loaded it."""
    paths = [str(TESTING), str(TESTING.parent / "RegistrationNet")]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded, said = done.stdout.splitlines()
    assert loaded == ""
    assert said.startswith("RegistrationNet computes with PyTorch, which has to be installed once (about 0.3 GB")
