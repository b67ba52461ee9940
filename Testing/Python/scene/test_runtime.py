import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.scene.runtime import Runtime

ROOT = Path(__file__).parents[3]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "RegistrationNet")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_slicer_core_one_sentence_says_what_to_install() -> None:
    code = """
import sys
sys.modules["slicer"] = None
from RegistrationNetLib.core.errors import RegistrationError
try:
    from RegistrationNetLib.scene import register_nodes
except RegistrationError as error:
    print(error)
"""
    done = run(code)
    assert "pip install registrationnet[scene]" in done.stdout
    assert done.stderr == ""


def test_the_scene_comes_up_without_a_word_and_goes_down_without_a_crash() -> None:
    code = """
from RegistrationNetLib.scene.runtime import Runtime
runtime = Runtime()
assert runtime.scene.AddNewNodeByClass("vtkMRMLSegmentationNode").GetScene() is runtime.scene
"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_runtimes_do_not_see_each_other() -> None:
    one, other = Runtime(), Runtime()
    before = other.scene.GetNumberOfNodes()
    one.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    assert other.scene.GetNumberOfNodes() == before
    one.close()
    other.close()
