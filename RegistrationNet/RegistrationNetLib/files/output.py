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
    when `folder` is a file or cannot be written to, before anything was computed in vain. What an InputError of the
    block says about the draft is said about `folder`.
    """
    given = _required(folder)
    folder = given.absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{given}' is a file, a folder is needed; name another output folder.")
    made = _missing_parents(folder)
    if made:
        _make(folder, given, made)
    with _written(given):
        draft = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    try:
        with _named(draft, given):
            yield draft
        with _written(given):
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
    path = _required(path)
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; name the output file in it as well.")
    with output_folder(path.parent) as draft, _named(draft / path.name, path):
        yield draft / path.name


def _required(path: str | Path) -> Path:
    if str(path) == "":
        raise InputError("The output has an empty name; name a file or folder.")
    return Path(path)


def _make(folder: Path, given: Path, made: list[Path]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty([path for path in made if path.exists()])
        # Places such as /proc answer that they themselves do not exist.
        why = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
        raise InputError(
            f"'{given}' cannot be made: no folder can be added to '{made[-1].parent}'{why}; name another output folder."
        ) from error


@contextmanager
def _named(draft: Path, given: Path) -> Iterator[None]:
    """Messages name what the user named, not where it is written for the time being."""
    try:
        yield
    except InputError as error:
        if str(draft) not in str(error):
            raise
        raise InputError(str(error).replace(str(draft), str(given))) from error


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
