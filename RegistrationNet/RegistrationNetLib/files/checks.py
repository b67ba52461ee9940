"""What every reader of this folder shares: is the file there, what was said about it, and ITK's errors in our words."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from RegistrationNetLib.core.errors import GeometryError, InputError

OnNote = Callable[[str], None]
"""Called with one sentence for everything that was corrected while reading."""


def log_note(sentence: str) -> None:
    """The `OnNote` of callers that have none of their own."""
    logging.getLogger(__name__).warning(sentence)


def require_file(path: Path) -> None:
    if not path.exists():
        raise InputError(f"'{path}' does not exist; check the path.")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"'{path}' is empty (0 bytes); copy or export it again.")
    if not os.access(path, os.R_OK):
        raise InputError(f"'{path}' may not be read; check its permissions.")


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what ITK's libraries print about a damaged file away from the terminal, where our own sentence stands.

    They print past Python, so file descriptor 2 is caught; what was printed is passed on when reading succeeds.
    """
    try:
        terminal = os.dup(2)
    except OSError:  # no standard error, as in a windowed application
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
        caught.seek(0)
        sys.stderr.write(caught.read().decode(errors="replace"))


@contextmanager
def told(path: Path) -> Iterator[None]:
    """SimpleITK's exceptions as a sentence with the cure."""
    try:
        yield
    except GeometryError as error:
        raise InputError(singular(path)) from error
    except RuntimeError as error:
        text = str(error)
        if any(word in text for word in ("orthonormal", "determinant", "spacing", "space directions")):
            raise InputError(singular(path)) from error
        if "Unable to determine ImageIO" in text:
            raise InputError(
                f"'{path}' is not an image SimpleITK can read; give NIfTI, NRRD, MetaImage or a DICOM folder."
            ) from error
        raise InputError(damaged(path, "its voxels cannot be read")) from error


def singular(name: str | Path) -> str:
    return (
        f"'{name}' has an unusable geometry (its direction matrix is singular or sheared, or a spacing is 0); "
        "export it again, or repair its header."
    )


def damaged(path: Path, why: str) -> str:
    return f"'{path}' is damaged or incomplete ({why}); copy or export it again."


def reason(error: Exception) -> str:
    """The last line of an ITK exception, which says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("ITK ERROR: ").rstrip(".")[:160] if lines else type(error).__name__
