"""The Python that runs beside the caller's process. Light: no PyTorch, nothing that has to be installed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def python() -> str:
    """Slicer's own interpreter inside Slicer (its sys.executable is the application), else this one."""
    return shutil.which("PythonSlicer") or sys.executable


def python_path() -> str:
    """For its environment, so that it finds this library."""
    here = str(Path(__file__).parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
