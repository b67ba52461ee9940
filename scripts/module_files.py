"""Keep the file lists in the module's CMakeLists.txt equal to its folder: Slicer packages only what is listed."""

import re
from pathlib import Path

MODULE = Path(__file__).parents[1] / "RegistrationNet"
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


def _block(name: str, cmake: str) -> re.Match[str]:
    found = re.search(rf"set\({name}\b([^)]*)\)", cmake)
    if found is None:
        raise ValueError(f"CMakeLists.txt has no set({name} ...): put the empty list back, then run this again.")
    return found


if __name__ == "__main__":
    path = MODULE / "CMakeLists.txt"
    path.write_text(updated(path.read_text(), present()))
