"""What all tests share: where the real images are, one thread per worker, the same random cases in every run."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

# `make pytest HYPOTHESIS_PROFILE=explore` looks further, with new random cases each time.
settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", max_examples=1000, deadline=None, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


class SkipWithoutTorch:
    """Turns `import torch` into a skip: Slicer's Python before PyTorch is installed looks like this too."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "torch":
            pytest.skip("PyTorch is not installed here.", allow_module_level=True)
        return None


if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)
else:
    sys.meta_path.insert(0, SkipWithoutTorch())


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the real images; the test is skipped where there is none."""
    folder = os.environ.get("REGISTRATIONNET_DATA")
    if not folder:
        pytest.skip("REGISTRATIONNET_DATA is not set: the real images are not on this machine.")
    if not Path(folder).is_dir():
        pytest.fail(f"REGISTRATIONNET_DATA points to '{folder}', which is not a folder.")
    return Path(folder)
