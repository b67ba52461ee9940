"""A registration in a process of its own: the caller's stays responsive, free of PyTorch, and safe from a crash.

Caller and worker share a folder: arrays as .npy, `progress.jsonl` appended line by line, a file `cancel` as the
request to stop, and at the end either `report.json` (written last) or `error.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from RegistrationNetLib.core import errors
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine import parcel
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.result import OnProgress, Registration
from RegistrationNetLib.engine.settings import Settings

KILL_AFTER_S = 1.0
_POLL_S = 0.02


@dataclass(frozen=True, eq=False)
class Request:
    """Everything a registration needs; see `engine.register.register`."""

    fixed: Image
    moving: Image
    settings: Settings
    initial: Mapping | None = None
    fixed_mask: Image | None = None
    moving_mask: Image | None = None
    constraints: Constraints = field(default_factory=Constraints)


class Job:
    """A registration under way. `poll` now and then, or `wait`; `cancel` at any moment."""

    def __init__(self, request: Request, on_progress: OnProgress | None = None) -> None:
        self._on_progress = on_progress
        self._folder = Path(tempfile.mkdtemp(prefix="registrationnet-"))
        self._lines_seen = 0
        self._cancelled = False
        try:
            _put_request(self._folder, request)
            self._log = (self._folder / "log.txt").open("wb")
            self._process = subprocess.Popen(
                [_python(), "-m", "RegistrationNetLib.engine.worker", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": _python_path()},
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # no console window on Windows
            )
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @property
    def done(self) -> bool:
        return self._process.poll() is not None

    def poll(self) -> bool:
        """Hand on the progress made since the last call; True when the worker has ended."""
        ended = self.done
        progress = self._folder / "progress.jsonl"
        if self._on_progress and progress.exists():
            lines = progress.read_text().split("\n")[:-1]
            for line in lines[self._lines_seen :]:
                self._on_progress(*json.loads(line))
            self._lines_seen = len(lines)
        return ended

    def wait(self) -> Registration:
        """The result, once it is there. Raises what the worker raised, Cancelled, or RegistrationError for a crash."""
        try:
            while not self.poll():
                time.sleep(_POLL_S)
            return self._result()
        finally:
            self._clean()

    def cancel(self) -> None:
        """Ask the worker to stop, and kill it when it does not within KILL_AFTER_S."""
        self._cancelled = True
        with contextlib.suppress(FileNotFoundError):
            (self._folder / "cancel").touch()
        try:
            self._process.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._clean()

    def _result(self) -> Registration:
        if self._cancelled:
            raise errors.Cancelled
        failure = self._folder / "error.json"
        if failure.exists():
            kind, message = json.loads(failure.read_text())
            if kind == "Cancelled":
                raise errors.Cancelled
            raise getattr(errors, kind, errors.RegistrationError)(message)
        if self._process.returncode != 0:
            raise errors.RegistrationError(
                f"The registration process ended unexpectedly (exit status {self._process.returncode}); your scene "
                f"is unchanged. Its last words: {self._last_words()}"
            )
        return parcel.get_registration(self._folder)

    def _last_words(self) -> str:
        lines = (self._folder / "log.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "none (it may have run out of memory)."

    def _clean(self) -> None:
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _python() -> str:
    """Slicer's own interpreter inside Slicer (its sys.executable is the application), else this one."""
    return shutil.which("PythonSlicer") or sys.executable


def _python_path() -> str:
    here = str(Path(__file__).parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def _put_request(folder: Path, request: Request) -> None:
    parcel.put_image(folder, "fixed", request.fixed)
    parcel.put_image(folder, "moving", request.moving)
    parcel.put_image(folder, "fixed_mask", request.fixed_mask)
    parcel.put_image(folder, "moving_mask", request.moving_mask)
    parcel.put_mapping(folder, "initial", request.initial)
    parcel.put_constraints(folder, request.constraints)
    parcel.write_json(folder / "settings.json", request.settings.to_dict())


def _get_request(folder: Path) -> Request:
    fixed, moving = parcel.get_image(folder, "fixed"), parcel.get_image(folder, "moving")
    if fixed is None or moving is None:
        raise FileNotFoundError(f"No request in {folder}.")
    return Request(
        fixed,
        moving,
        Settings.from_dict(json.loads((folder / "settings.json").read_text())),
        parcel.get_mapping(folder, "initial"),
        parcel.get_image(folder, "fixed_mask"),
        parcel.get_image(folder, "moving_mask"),
        parcel.get_constraints(folder),
    )


def _work(folder: Path) -> None:
    from RegistrationNetLib.engine.register import register

    request = _get_request(folder)
    with (folder / "progress.jsonl").open("a") as progress:

        def report(stage: str, fraction: float, message: str) -> None:
            progress.write(json.dumps([stage, fraction, message]) + "\n")
            progress.flush()

        registration = register(
            request.fixed,
            request.moving,
            request.settings,
            initial=request.initial,
            fixed_mask=request.fixed_mask,
            moving_mask=request.moving_mask,
            constraints=request.constraints,
            on_progress=report,
            cancelled=(folder / "cancel").exists,
        )
    parcel.put_registration(folder, registration)


def main() -> None:
    folder = Path(sys.argv[1])
    try:
        _work(folder)
    except errors.RegistrationError as error:
        parcel.write_json(folder / "error.json", [type(error).__name__, str(error)])
    except MemoryError:
        message = "There is not enough memory for these images. Close other programs or use a smaller region."
        parcel.write_json(folder / "error.json", ["DeviceError", message])
    except Exception:
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
