"""Results appear all at once or not at all: they are written beside their place and moved there at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from RegistrationNetLib.core.errors import InputError


@contextmanager
def output_folder(folder: str | Path) -> Iterator[Path]:
    """A draft folder whose files are moved into `folder` when the block ends well, and dropped when it does not.

    Files of the same names from an earlier run are replaced, others there stay untouched. Raises InputError at once
    when `folder` is a file or cannot be written to, before anything was computed in vain.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file, a folder is needed; name another output folder.")
    made = _missing_parents(folder)
    with _written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    try:
        yield draft
        with _written(folder):
            _check_replaceable(draft, folder)
            for path in sorted(draft.iterdir()):
                path.replace(folder / path.name)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        _remove_empty(made)
        raise
    shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def output_file(path: str | Path) -> Iterator[Path]:
    """A draft of the same name whose file takes the place of `path` when the block ends well; see `output_folder`."""
    path = Path(path).absolute()
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; name the output file in it as well.")
    with output_folder(path.parent) as draft:
        yield draft / path.name


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"'{folder}' cannot be written to ({error.strerror}); name another output folder.") from error


def _check_replaceable(draft: Path, folder: Path) -> None:
    """Before the first file moves, so that none moves when one cannot."""
    for path in draft.iterdir():
        if (folder / path.name).is_dir():
            raise InputError(f"'{folder / path.name}' is a folder where a file is to be written; rename it.")


def _missing_parents(folder: Path) -> list[Path]:
    """The folders that have to be made, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for path in folders:
        try:
            path.rmdir()
        except OSError:
            return
