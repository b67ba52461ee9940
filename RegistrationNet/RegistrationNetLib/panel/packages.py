"""What has to be installed into Slicer's Python before anything can be computed, and installing it. Knows no Qt.

PyTorch is chosen for the computer's GPU by light-the-torch, as Slicer's PyTorch extension does, but in a process of its
own, so that the window stays alive and it can be cancelled; and under constraints, so that nothing moves that is there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import invalidate_caches, metadata, util
from pathlib import Path
from typing import Any

from RegistrationNetLib.engine.interpreter import python

REQUIREMENTS = Path(__file__).parents[2] / "Resources" / "requirements.txt"
"""Made from pyproject.toml by `make module-files`."""
_MODULES = {"pillow": "PIL", "pynrrd": "nrrd"}
"""What is imported of a package, where that is not its name."""
_TORCH = "torch"
_BUILDS = "light-the-torch>=0.5"
_SIZES = "about 0.3 GB to download, 1 GB on disk; with an NVIDIA GPU about 3 GB and 7 GB"
_NEW_GROUP = 0x200  # of processes, on Windows
_LAST = "Installing collected packages"
"""What pip says when it has everything and begins to write; stopping then would leave halves behind."""
_CURES = {
    r"NewConnectionError|ConnectionError|Max retries|name resolution|ProxyError|timed out|getaddrinfo": (
        "The package index cannot be reached. Connect this computer to the internet, or ask your IT department to let "
        "Slicer through, then try again."
    ),
    r"No space left|Errno 28|not enough space": "The disk is full. Make room, then try again.",
    r"Permission denied|Errno 13|Access is denied|Read-only": (
        "Slicer's folder may not be written. Install Slicer where you may write, for example in your own folder, then "
        "try again."
    ),
    r"ResolutionImpossible|conflicting dependencies": (
        "What is needed does not go with packages that Slicer or another extension has brought; nothing was changed. "
        "Update Slicer and its extensions, then try again."
    ),
    r"No matching distribution|Could not find a version": (
        "There is no build of a needed package for this computer and Slicer's Python. PyTorch 2.4 and later has none "
        "for Macs with an Intel processor; otherwise update Slicer."
    ),
}
"""What stands in pip's output -> what to say of it."""


def missing(file: Path = REQUIREMENTS) -> list[str]:
    """The requirements of a file that this Python lacks, as they stand there. Imports none of them."""
    lines = file.read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line and not line.startswith("#") and not _is_there(line)]


def _is_there(requirement: str) -> bool:
    """Slicer builds some packages itself, without a word of their version; of those that it may lack, that is known,
    unless their installation was broken off."""
    name, _, least = requirement.partition(">=")
    if util.find_spec(_MODULES.get(name, name)) is None:
        return False
    try:
        return name != _TORCH or _numbers(metadata.version(name)) >= _numbers(least)
    except metadata.PackageNotFoundError:
        return False


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3]]


def offer(lacking: Sequence[str]) -> str:
    """What to say to a user of what is missing; empty where nothing is."""
    names = [requirement.partition(">=")[0] for requirement in lacking]
    if _TORCH in names:
        return f"RegistrationNet computes with PyTorch, which has to be installed once ({_SIZES})."
    return f"Small packages have to be installed once: {', '.join(names)}." if names else ""


def constraints() -> list[str]:
    """Lines for pip that keep every package of this Python at its version."""
    known = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    return sorted(f"{name}=={version}" for name, version in known.items() if name and "+" not in version)


def commands(lacking: Sequence[str], constraint_file: Path) -> list[list[str]]:
    """Which pip has to be run to install these requirements, one after the other."""
    plain = [each for each in lacking if not each.startswith(_TORCH)]
    tool = [_BUILDS] if len(plain) < len(lacking) else []
    options = ["--constraint", str(constraint_file), "--no-input", "--disable-pip-version-check", "--prefer-binary"]
    pip = [[python(), "-m", "pip", "install", *options, *plain, *tool]] if plain or tool else []
    torch = [each for each in lacking if each.startswith(_TORCH)]
    return pip + ([[python(), "-m", "light_the_torch", "install", *options, *torch]] if torch else [])


class Installation:
    """Call `look` now and then. fraction: of the whole, 0 to 1; sentence: what to say of it; failure: why, in words."""

    def __init__(self, lacking: Sequence[str]) -> None:
        self.fraction, self.sentence, self.failure = 0.0, "Starting", ""
        self.cancelled = False
        self._folder = Path(tempfile.mkdtemp(prefix="registrationnet-install-"))
        self._log, kept = self._folder / "log.txt", self._folder / "constraints.txt"
        kept.write_text("\n".join(constraints()), encoding="utf-8")
        self._left = commands(lacking, kept)
        self._count = len(self._left)
        self._process = self._begun()

    def look(self) -> bool:
        """True when it has ended: done, with a `failure`, or cancelled."""
        if self._process.poll() is None:
            self._tell(self._said())
            return False
        if self.cancelled:
            return self._end("Cancelled. What was complete stays; the rest can be installed later.")
        if self._process.returncode:
            self.failure = why(self._said())
            return self._end(self.failure)
        if self._left:
            self._process = self._begun()
            return False
        self.fraction = 1.0
        return self._end("Everything is installed.")

    def cancel(self) -> None:
        """Returns at once; go on looking until it has ended. What is being written is written to its end."""
        self.cancelled, self.sentence, self._left = True, "Cancelling", []
        if not _writes(self._said()):
            _kill(self._process)

    def _begun(self) -> subprocess.Popen[bytes]:
        """The next of the commands."""
        # A group of its own, so that pip goes with what it has started.
        apart: dict[str, Any] = (
            {"creationflags": _NEW_GROUP} if sys.platform == "win32" else {"start_new_session": True}
        )
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PIP_PROGRESS_BAR": "off"}
        with self._log.open("wb") as log:
            return subprocess.Popen(
                self._left.pop(0), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, **apart
            )

    def _said(self) -> list[str]:
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()

    def _tell(self, said: Sequence[str]) -> None:
        if self.cancelled:
            return
        done = self._count - len(self._left) - 1 + (0.9 if _writes(said) else _progress(said))
        self.fraction, self.sentence = done / self._count, _doing(said)

    def _end(self, sentence: str) -> bool:
        self.sentence = sentence
        invalidate_caches()  # else this Python would not see what is new
        shutil.rmtree(self._folder, ignore_errors=True)
        return True


def why(said: Sequence[str]) -> str:
    """What pip's output means to a user, and the cure."""
    text = "\n".join(said)
    known = (cure for sign, cure in _CURES.items() if re.search(sign, text, re.IGNORECASE))
    errors = [line for line in said if line.strip()]
    return next(known, f"The installation did not succeed; its last words: {errors[-1] if errors else 'none'}")


def _writes(said: Sequence[str]) -> bool:
    return any(line.startswith(_LAST) for line in said)


def _progress(said: Sequence[str]) -> float:
    """Of the downloads, 0 to 0.8: pip does not say how many are to come."""
    return 0.8 * (1 - 0.8 ** sum("Downloading" in line for line in said))


def _doing(said: Sequence[str]) -> str:
    if _writes(said):
        return "Writing the packages (this cannot be interrupted)"
    found = [match for line in said if (match := re.search(r"Downloading (?:\S*/)?([\w.]+)-\S+ \((.+?)\)", line))]
    return f"Downloading {found[-1][1]} ({found[-1][2]})" if found else "Looking for packages that fit"


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
    elif process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
