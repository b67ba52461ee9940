"""The house rules that a reader relies on: arrows point downwards, and light parts stay light."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
PACKAGE = "RegistrationNetLib"
HEAVY = {"torch", "vtk", "vtkmodules", "slicer", "SimpleITK", "matplotlib"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, include_external_packages=True, cache_dir=None)


def modules_loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after the statement."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "RegistrationNet", capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_imports_point_only_downwards() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("library", ["slicer", "vtk"])
def test_only_the_scene_knows_slicer_and_vtk(graph: grimp.ImportGraph, library: str) -> None:
    if library not in graph.modules:
        pytest.skip(f"No module imports {library}.")
    users = graph.find_modules_that_directly_import(library)
    assert [name for name in users if not name.startswith(f"{PACKAGE}.scene")] == []


@pytest.mark.parametrize("light", ["files", "scene", "lesions", "engine.settings"])
def test_borders_and_settings_do_not_name_torch(graph: grimp.ImportGraph, light: str) -> None:
    name = f"{PACKAGE}.{light}"
    modules = {name, *graph.find_descendants(name)}
    assert not modules & graph.find_modules_that_directly_import("torch")


def test_importing_the_package_loads_no_heavy_library() -> None:
    assert not modules_loaded_by(f"import {PACKAGE}") & (HEAVY | {"numpy", "scipy"})


@pytest.mark.parametrize("light", ["files", "scene", "lesions", "engine.settings"])
def test_borders_and_settings_load_without_torch(graph: grimp.ImportGraph, light: str) -> None:
    name = f"{PACKAGE}.{light}"
    every = ", ".join(sorted({name, *graph.find_descendants(name)}))
    assert "torch" not in modules_loaded_by(f"import {every}")


def test_settings_load_no_heavy_library() -> None:
    assert not modules_loaded_by(f"import {PACKAGE}.engine.settings") & HEAVY
