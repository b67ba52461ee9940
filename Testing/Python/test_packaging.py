"""What is installed, packaged and listed is what lies in the tree."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import grimp
import pytest
from hatchling import build
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import RegistrationNetLib
from scripts import module_files

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "RegistrationNet"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
SCENE, DEV, COMPARISON, PEERS, TRAIN, PDF, DICOM = (
    [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
    for extra in ("scene", "dev", "comparison", "peers", "train", "pdf", "dicom")
)
# Slicer's SuperBuild/External_python-*.cmake at v5.10.0 and v5.12.3
BUNDLED = {
    "5.10": {"numpy": "2.0.2", "scipy": "1.13.1"},
    "5.12": {"numpy": "2.4.6", "scipy": "1.17.1", "SimpleITK": "2.5.5"},
}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_module_lists_equal_the_tree() -> None:
    listed = module_files.listed((MODULE / "CMakeLists.txt").read_text())
    assert listed == module_files.present(MODULE), "run `make module-files`"
    known = module_files.REQUIREMENTS.read_text(encoding="utf-8")
    assert known == module_files.requirements(module_files.PROJECT.read_text(encoding="utf-8")), (
        "run `make module-files`"
    )


def test_a_new_file_changes_the_lists_and_only_them() -> None:
    cmake = (MODULE / "CMakeLists.txt").read_text()
    files = module_files.listed(cmake)
    files["MODULE_PYTHON_SCRIPTS"].append("RegistrationNetLib/new.py")
    changed = module_files.updated(cmake, files)
    assert module_files.listed(changed) == files
    assert set(changed.splitlines()) - set(cmake.splitlines()) == {"  RegistrationNetLib/new.py"}


def test_the_catalogue_and_cmake_say_the_same() -> None:
    """What the Extensions Index compares."""
    cmake = (ROOT / "CMakeLists.txt").read_text()
    (file,) = ROOT.glob("*.json")
    entry = json.loads(file.read_text())
    assert f"project({file.stem})" in cmake
    assert entry["build_dependencies"] == re.findall(r"set\(EXTENSION_DEPENDS ([^)]*)\)", cmake)[0].split()
    module = (MODULE / "RegistrationNet.py").read_text()
    assert f'translate("qSlicerAbstractCoreModule", "{entry["category"]}")' in module


def test_every_script_that_ctest_runs_is_there() -> None:
    registered = {
        (file.parent / script).relative_to(ROOT).as_posix().replace("${MODULE_NAME}", "RegistrationNet")
        for file in (MODULE / "CMakeLists.txt", ROOT / "Testing/Python/CMakeLists.txt")
        for script in re.findall(r"slicer_add_python_unittest\(SCRIPT ([^)\s]+)", file.read_text())
    }
    assert registered == {"RegistrationNet/RegistrationNet.py", "Testing/Python/RegistrationNetInSlicerTest.py"}
    assert all((ROOT / script).exists() for script in registered)
    assert "add_subdirectory(Python)" in (ROOT / "Testing/CMakeLists.txt").read_text()
    assert "add_subdirectory(Testing)" in (ROOT / "CMakeLists.txt").read_text()


def test_wheel_holds_the_library_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    wheel = zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path)))
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    library = MODULE / "RegistrationNetLib"
    tree = {p for p in library.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert names == {path.relative_to(MODULE).as_posix() for path in tree}


def test_program_starts_the_command_line() -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name="registrationnet")
    assert entry.value == "RegistrationNetLib.cli:main"


def test_one_version_everywhere() -> None:
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == RegistrationNetLib.__version__ == metadata.version("registrationnet")


@pytest.mark.parametrize("slicer_version", BUNDLED)
def test_installing_moves_nothing_that_slicer_bundles(slicer_version: str) -> None:
    bundled = BUNDLED[slicer_version]
    refused = [str(need) for need in RUNTIME if need.name in bundled and bundled[need.name] not in need.specifier]
    assert refused == []


def test_every_dependency_is_pinned_within_its_range() -> None:
    pins = pinned()
    needs = RUNTIME + SCENE + DEV + COMPARISON + PEERS + TRAIN + PDF + DICOM
    outside = [str(need) for need in needs if pins.get(canonicalize_name(need.name), "") not in need.specifier]
    assert outside == []


def test_every_imported_library_is_declared() -> None:
    graph = grimp.build_graph("RegistrationNetLib", include_external_packages=True, cache_dir=None)
    imported = {name for name in graph.modules if graph.is_module_squashed(name)} - set(sys.stdlib_module_names)
    # slicer-core brings VTK at the one version it was built with; Qt is the application's, for the panel alone.
    declared = {canonicalize_name(need.name) for need in RUNTIME + SCENE + TRAIN + PDF + DICOM} | {"vtk", "qt", "ctk"}
    homes = metadata.packages_distributions()
    undeclared = {
        name for name in imported if not declared & {canonicalize_name(home) for home in homes.get(name, [name])}
    }
    assert undeclared == set()


def test_no_cuda_package_on_a_machine_without_a_driver() -> None:
    driver = Path("/proc/driver/nvidia/version").exists() or "libcuda.so.1 " in _dynamic_libraries()
    if driver:
        pytest.skip("This machine has an NVIDIA driver.")
    installed = {canonicalize_name(dist.name) for dist in metadata.distributions()}
    assert not {name for name in installed if name.startswith(("nvidia-", "cuda-", "triton"))}


def _dynamic_libraries() -> str:
    if sys.platform != "linux":
        return ""
    return subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
