"""A registration in a process of its own: the caller's stays responsive, free of PyTorch, and safe from a crash.

Workers are kept for the next registration, which then starts at once; `warm_up` has one ready for the first.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import psutil

from RegistrationNetLib.core import errors
from RegistrationNetLib.engine import parcel
from RegistrationNetLib.engine.interpreter import python, python_path
from RegistrationNetLib.engine.question import Question
from RegistrationNetLib.engine.request import Request, put_request
from RegistrationNetLib.engine.result import NOBODY, OnProgress, Registration, Watch
from RegistrationNetLib.engine.worker import (
    ANSWER,
    ASK,
    CANCEL,
    ENDED,
    ERROR,
    MISSING,
    NEXT,
    PID,
    POLL_S,
    PROGRESS,
    SIMILARITY,
    get_preview,
)

KILL_AFTER_S = 1.0


class Job:
    """A registration under way. `poll` now and then, or `wait`; `cancel` at any moment."""

    def __init__(self, request: Request, on_progress: OnProgress | None = None, watch: Watch = NOBODY) -> None:
        self._on_progress, self._watch = on_progress, watch
        self._folder = Path(tempfile.mkdtemp(prefix="registrationnet-"))
        self._seen: Counter[str] = Counter()
        self._kill_at: float | None = None
        try:
            put_request(self._folder, request)
            self._worker = _taken()
            parcel.write_json(self._worker.folder / NEXT, str(self._folder))
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @property
    def done(self) -> bool:
        return not self._folder.exists() or (self._folder / ENDED).exists() or not self._worker.lives

    def poll(self) -> bool:
        """Hand on what there is to see since the last call; True when the computation has ended. A worker that was
        asked to stop, and did not within KILL_AFTER_S, is killed here."""
        ended = self.done
        if not ended and self._kill_at is not None and time.monotonic() > self._kill_at:
            self._worker.kill()
            warm_up()
        if self._kill_at is None:
            self._hand_on(PROGRESS, self._on_progress)
            self._hand_on(SIMILARITY, self._watch.similarity)
            self._show_previews()
        return ended

    def _hand_on(self, file: str, to: Callable[..., None] | None) -> None:
        """New lines of a file, each the arguments of a call."""
        if to is not None and (self._folder / file).exists():
            lines = (self._folder / file).read_text().split("\n")[:-1]
            for line in lines[self._seen[file] :]:
                to(*json.loads(line))
            self._seen[file] = len(lines)

    def _show_previews(self) -> None:
        while self._watch.preview is not None and (image := get_preview(self._folder, self._seen["previews"])):
            self._seen["previews"] += 1
            self._watch.preview(image)

    def wait(self) -> Registration:
        """The result, once it is there. Raises what the worker raised, Cancelled, or RegistrationError for a crash."""
        try:
            while not self.poll():
                time.sleep(POLL_S)
            return self._result()
        finally:
            self._clean()

    def cancel(self) -> None:
        """Ask the worker to stop; returns at once. Go on with `poll`, or `wait`, which raises Cancelled."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + KILL_AFTER_S
            with contextlib.suppress(FileNotFoundError):
                (self._folder / CANCEL).touch()

    def _result(self) -> Registration:
        if self._kill_at is not None:
            raise errors.Cancelled
        failure = self._folder / ERROR
        if failure.exists():
            kind, message = json.loads(failure.read_text())
            raise getattr(errors, kind, errors.RegistrationError)(*([] if kind == "Cancelled" else [message]))
        if (missing := self._worker.missing()) is not None:
            raise errors.MissingPackage(
                f"The Python package '{missing}' is missing. In Slicer, open the module RegistrationNet and press "
                "Install; elsewhere install it with pip. Then try again."
            )
        if not (self._folder / ENDED).exists():
            raise errors.RegistrationError(
                f"The registration process ended unexpectedly (exit status {self._worker.status}); your scene is "
                f"unchanged. Its last words: {self._worker.last_words()}"
            )
        return parcel.get_registration(self._folder)

    def _clean(self) -> None:
        _give_back(self._worker, fit=(self._folder / ENDED).exists())
        shutil.rmtree(self._folder, ignore_errors=True)


def warm_up() -> None:
    """Have a worker ready, in the background, so that the next registration starts at once."""
    with _lock:
        if not any(worker.lives for worker in _idle):
            _idle.append(_Worker())


class Enquiry:
    """What a registration would need, asked of the worker that stands ready. It answers when it has time; where none
    stands ready there is no answer."""

    _numbers = count()

    def __init__(self, question: Question) -> None:
        self._number = next(self._numbers)
        with _lock:
            self._worker = next((worker for worker in _idle if worker.lives), None)
        if self._worker is not None:
            parcel.write_json(self._worker.folder / ASK, [self._number, question.to_dict()])

    def answer(self) -> tuple[str, bool] | None:
        """A sentence, and whether there is room for the registration as asked; None while there is no answer."""
        if self._worker is None or not (self._worker.folder / ANSWER).exists():
            return None
        number, said, enough = json.loads((self._worker.folder / ANSWER).read_text())
        return (said, enough) if number == self._number else None


class _Worker:
    """A process that waits for requests. folder: where it looks for them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="registrationnet-worker-"))
        try:
            self._log = (self.folder / "log.txt").open("wb")
            self._process = subprocess.Popen(
                [python(), "-m", "RegistrationNetLib.engine.worker", str(self.folder), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": python_path()},
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # no console window on Windows
            )
        except BaseException:
            self._remove()
            raise

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def kill(self) -> None:
        """Also where a launcher stands between."""
        with contextlib.suppress(FileNotFoundError, psutil.Error):
            psutil.Process(json.loads((self.folder / PID).read_text())).kill()
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """For good, with all that it wrote."""
        if self.lives:
            self.kill()
        self._remove()

    def missing(self) -> str | None:
        """The package without which it could not begin."""
        file = self.folder / MISSING
        return str(json.loads(file.read_text())) if file.exists() else None

    def last_words(self) -> str:
        lines = (self.folder / "log.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "none (it may have run out of memory)."

    def _remove(self) -> None:
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_idle: list[_Worker] = []
_lock = threading.Lock()


def _taken() -> _Worker:
    """An idle worker that lives, or a new one."""
    with _lock:
        while _idle:
            worker = _idle.pop()
            if worker.lives:
                return worker
            worker.leave()
    return _Worker()


def _give_back(worker: _Worker, fit: bool) -> None:
    """One is kept; those beyond it, or that did not end well, leave."""
    with _lock:
        if fit and worker.lives and not _idle:
            _idle.append(worker)
        elif worker not in _idle:
            worker.leave()


@atexit.register
def _leave_all() -> None:
    with _lock:
        while _idle:
            _idle.pop().leave()
