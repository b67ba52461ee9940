"""Keep what the module carries into Slicer up to date: the file lists in its CMakeLists.txt, as Slicer packages only
what is listed, and what Slicer's Python needs, as pyproject.toml does not come along."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
MODULE = Path(__file__).parents[1] / "RegistrationNet"
REQUIREMENTS = MODULE / "Resources" / "requirements.txt"
LISTS = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")


def present(module: Path = MODULE) -> dict[str, list[str]]:
    """The module's scripts and resources as they lie in the folder, relative to it, sorted."""
    files = [
        path.relative_to(module).as_posix()
        for path in sorted(module.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    ]
    scripts = [name for name in files if name.endswith(".py")]
    return dict(zip(LISTS, (scripts, [name for name in files if name not in scripts]), strict=True))


def listed(cmake: str) -> dict[str, list[str]]:
    """The same lists as CMakeLists.txt has them."""
    return {name: _block(name, cmake).group(1).split() for name in LISTS}


def updated(cmake: str, files: dict[str, list[str]]) -> str:
    """The text of CMakeLists.txt with its lists replaced."""
    for name, entries in files.items():
        block = _block(name, cmake)
        lines = "".join(f"  {entry}\n" for entry in entries)
        cmake = f"{cmake[: block.start()]}set({name}\n{lines}  ){cmake[block.end() :]}"
    return cmake


def requirements(project: str) -> str:
    """What the project depends on (text of pyproject.toml), one to a line."""
    return "\n".join(
        ["# From pyproject.toml, by `make module-files`.", *tomllib.loads(project)["project"]["dependencies"], ""]
    )


def _block(name: str, cmake: str) -> re.Match[str]:
    found = re.search(rf"set\({name}\b([^)]*)\)", cmake)
    if found is None:
        raise ValueError(f"CMakeLists.txt has no set({name} ...): put the empty list back, then run this again.")
    return found


if __name__ == "__main__":
    REQUIREMENTS.write_text(requirements(PROJECT.read_text(encoding="utf-8")), encoding="utf-8")
    path = MODULE / "CMakeLists.txt"
    path.write_text(updated(path.read_text(), present()))
