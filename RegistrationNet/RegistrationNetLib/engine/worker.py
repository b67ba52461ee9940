"""The process that computes registrations for another: `python -m RegistrationNetLib.engine.worker FOLDER PARENT`.

Whoever asks writes the folder of a request into `FOLDER/next.json` and gets there: `progress.jsonl` and
`similarity.jsonl`, line by line, `preview-0`, `preview-1` ..., and in the end what was found or `error.json`, then
`ended`. A file `cancel` asks to stop. From the second request on
PyTorch, the network and the GPU's context are loaded already. The worker leaves when its parent or its folder is gone,
or after a while without a request. A package that it lacks it names in `FOLDER/missing.json`. In between it answers
what a registration would need: `FOLDER/ask.json` holds a number and a question, `FOLDER/answer.json` the number, a
sentence and whether there is room.

Files, not pipes: Slicer starts Python through a launcher, which need not hand on what is written to it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import psutil

from RegistrationNetLib.core import errors
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine import parcel
from RegistrationNetLib.engine.question import Question
from RegistrationNetLib.engine.request import get_request
from RegistrationNetLib.engine.result import Watch

NEXT, CANCEL, ERROR, ENDED, PID = "next.json", "cancel", "error.json", "ended", "pid.json"
PROGRESS, SIMILARITY, MISSING = "progress.jsonl", "similarity.jsonl", "missing.json"
ASK, ANSWER = "ask.json", "answer.json"
POLL_S = 0.02
_IDLE_S = 600.0
_LOOK_S = 1.0
"""How often it is looked whether the parent still lives."""


def put_preview(order: Path, number: int, image: Image) -> None:
    parcel.put_image(order, f"preview-{number}", image)


def get_preview(order: Path, number: int) -> Image | None:
    """None while there is none of this number, from 0."""
    return parcel.get_image(order, f"preview-{number}")


def serve(folder: Path, parent: int, idle_s: float = _IDLE_S) -> None:
    """Answer one request after the other."""
    asked = looked = time.monotonic()
    while time.monotonic() - asked < idle_s:
        order, question = _once(folder / NEXT), _once(folder / ASK)
        if question is not None:
            _foretell(folder, *question)
        if order is not None:
            _answer(Path(order), parent)
            asked = time.monotonic()
        elif time.monotonic() - looked > _LOOK_S:
            if not (folder.exists() and psutil.pid_exists(parent)):
                return
            looked = time.monotonic()
        time.sleep(POLL_S)


def _once(file: Path) -> Any:
    """What stands in it, which is gone then; None where there is none."""
    try:
        found = json.loads(file.read_text())
        file.unlink()
    except FileNotFoundError:
        return None
    return found


def _foretell(folder: Path, number: int, question: dict[str, Any]) -> None:
    """A question that cannot be answered is not: it stands in the way of no registration."""
    from RegistrationNetLib.engine.forecast import forecast

    try:
        found = forecast(Question.from_dict(question))
    except Exception:
        traceback.print_exc()
    else:
        parcel.write_json(folder / ANSWER, [number, found.said, found.enough])


def _answer(order: Path, parent: int) -> None:
    try:
        _compute(order, parent)
    except errors.RegistrationError as error:
        parcel.write_json(order / ERROR, [type(error).__name__, str(error)])
    except MemoryError:
        message = "There is not enough memory for these images. Close other programs or use a smaller region."
        parcel.write_json(order / ERROR, ["DeviceError", message])
    except Exception as error:
        traceback.print_exc()
        message = (
            f"The registration failed unexpectedly ({type(error).__name__}: {error}); nothing was changed. Please tell "
            "its developers, with this sentence."
        )
        parcel.write_json(order / ERROR, ["RegistrationError", message])
        (order / ENDED).touch()
        sys.exit(1)  # what it left behind is not to be trusted
    _let_go()
    (order / ENDED).touch()


def _compute(order: Path, parent: int) -> None:
    from RegistrationNetLib.engine.register import register

    def cancelled() -> bool:
        return (order / CANCEL).exists() or not psutil.pid_exists(parent)

    request, previews = get_request(order), count()
    with (order / PROGRESS).open("a") as progress, (order / SIMILARITY).open("a") as similarity:

        def report(*line: str | float, to: TextIO = progress) -> None:
            to.write(json.dumps(line) + "\n")
            to.flush()

        registration = register(
            request.fixed,
            request.moving,
            request.settings,
            initial=request.initial,
            fixed_mask=request.fixed_mask,
            moving_mask=request.moving_mask,
            constraints=request.constraints,
            reference=request.reference,
            on_progress=report,
            cancelled=cancelled,
            watch=Watch(partial(report, to=similarity), lambda image: put_preview(order, next(previews), image)),
        )
    parcel.put_registration(order, registration)


def _let_go() -> None:
    """Of the memory that the next request may need, and other programs meanwhile."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def main() -> None:
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    parcel.write_json(folder / PID, os.getpid())
    try:
        import RegistrationNetLib.engine.register  # noqa: F401  (takes seconds, which pass before anything is asked)
    except ModuleNotFoundError as error:
        parcel.write_json(folder / MISSING, error.name)
        raise
    serve(folder, parent)


if __name__ == "__main__":
    main()
