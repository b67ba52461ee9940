"""audit.jsonl: who followed, outlined, linked or accepted what, when and with which version. Lines are only added."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from getpass import getuser
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.version import __version__
from RegistrationNetLib.files.report import plain
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.study import Study
from RegistrationNetLib.lesions.word import Place, Word

AUDIT = "audit.jsonl"


@dataclass(frozen=True)
class Act:
    """Something that was done. action: followed, outlined, outline changed, outline removed, linked or unlinked;
    accepted, edited or rejected of what was proposed. what: plain values that say what it was done to."""

    action: str
    what: dict[str, Any] = field(default_factory=dict)


def append(folder: str | Path, acts: Iterable[Act], reader: str = "") -> str:
    """Add a line for each act to a folder's audit.jsonl; returns the file's name.

    reader: who did it; the name of who is logged in where it is not given. Raises InputError.
    """
    path = Path(folder) / AUDIT
    common = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "reader": reader or _logged_in(),
        "registrationnet": __version__,
    }
    lines = [json.dumps(plain(common | {"action": act.action} | act.what), ensure_ascii=False) for act in acts]
    try:
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write("".join(f"{line}\n" for line in (*[""] * torn, *lines)))
    except OSError as error:
        raise InputError(f"'{path}' cannot be written to ({error.strerror}); check the folder.") from error
    return AUDIT


def read(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a folder's audit.jsonl, oldest first; a torn one, of a run that was stopped while writing, is left
    out."""
    path = Path(folder) / AUDIT
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [one for one in found if isinstance(one, dict)]


def followed(study: Study, words: Sequence[Word], before: Sequence[dict[str, Any]]) -> list[Act]:
    """What a run adds: what a reader outlined or said since the lines before it, then that it ran."""
    ran = {"scans": [scan.name for scan in study.scans], "images": [scan.image.name for scan in study.scans]}
    return [*_outlined(study, before), *_said(words, before), Act("followed", {**ran, "links": len(words)})]


def _outlined(study: Study, before: Sequence[dict[str, Any]]) -> list[Act]:
    known: dict[tuple[str, str], str] = {}
    for line in before:
        if line.get("action") in ("outlined", "outline changed", "outline removed"):
            known[line["date"], line["lesion"]] = line.get("outline", "")
    drawn = {(scan.name, one.name): _digest(one) for scan in study.scans for one in scan.lesions or ()}
    acts = []
    for node in sorted(drawn.keys() | {node for node, outline in known.items() if outline}):
        was, now = known.get(node, ""), drawn.get(node, "")
        if was != now:
            action = "outline changed" if was and now else "outlined" if now else "outline removed"
            acts.append(Act(action, {"date": node[0], "lesion": node[1], "outline": now}))
    return acts


def _said(words: Sequence[Word], before: Sequence[dict[str, Any]]) -> list[Act]:
    """Of two words about the same places the last one counts."""
    known = {
        json.dumps([line["earlier"], line["later"]]): line["action"]
        for line in before
        if line.get("action") in ("linked", "unlinked")
    }
    now = {json.dumps(sides): (sides, word.same) for word in words for sides in [_sides(word)]}
    acts = []
    for key, ((earlier, later), same) in now.items():
        action = "linked" if same else "unlinked"
        if known.get(key) != action:
            acts.append(Act(action, {"earlier": earlier, "later": later}))
    return acts


def _sides(word: Word) -> tuple[dict[str, Any], dict[str, Any]]:
    return _place(word.earlier), _place(word.later)


def _place(place: Place) -> dict[str, Any]:
    """As exact as links.csv keeps it."""
    return {"date": place.timepoint, "lps_mm": [round(value, 3) + 0.0 for value in place.point_mm]}


def _digest(lesion: Lesion) -> str:
    """The same for the same voxels, in whatever order a file stores them."""
    places = np.unique(lesion.points.round(2) + 0.0, axis=0)
    return sha256(places.tobytes()).hexdigest()[:16]


def _logged_in() -> str:
    try:
        return getuser()
    except (OSError, KeyError):  # containers have users without a name
        return "not known"
