"""audit.jsonl: says who did what, and never loses a line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from Python.lesions.heads import Balls, timepoint
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.version import __version__
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.study import Study
from RegistrationNetLib.lesions.word import Place, Word
from RegistrationNetLib.reporting.audit import AUDIT, Act, append, followed, read

A, B = (30, -20, 20), (-30, 10, 25)
FIRST: Balls = {1: (A, 10), 2: (B, 10)}


@pytest.fixture(scope="module")
def study() -> Study:
    return Study((timepoint(0, FIRST, voxel_mm=6.0), timepoint(1, FIRST, voxel_mm=6.0)))


def said(folder: Path, study: Study, words: tuple[Word, ...] = (), reader: str = "Dr Test") -> list[str]:
    """The actions that a run adds."""
    before = len(read(folder))
    append(folder, followed(study, words, read(folder)), reader)
    return [line["action"] for line in read(folder)[before:]]


def link(study: Study, same: bool) -> Word:
    earlier, later = (Place.of(scan.lesions[0], scan.name) for scan in study.scans)
    return Word(earlier, later, same)


def test_a_run_adds_what_was_outlined_and_a_rerun_only_that_it_ran(study: Study, tmp_path: Path):
    assert said(tmp_path, study) == ["outlined"] * 4 + ["followed"]
    kept = (tmp_path / AUDIT).read_bytes()
    assert said(tmp_path, study, reader="Dr Other") == ["followed"]
    assert (tmp_path / AUDIT).read_bytes().startswith(kept)
    first, *_, last = read(tmp_path)
    assert (first["reader"], last["reader"]) == ("Dr Test", "Dr Other")
    assert first["registrationnet"] == __version__
    assert first["time"] <= last["time"]
    assert first["time"].endswith("+00:00")


def test_links_are_told_once_and_so_is_taking_them_back(study: Study, tmp_path: Path):
    said(tmp_path, study)
    assert said(tmp_path, study, (link(study, True),)) == ["linked", "followed"]
    assert said(tmp_path, study, (link(study, True),)) == ["followed"]
    assert said(tmp_path, study, (link(study, True), link(study, False))) == ["unlinked", "followed"]
    assert said(tmp_path, study, (link(study, True), link(study, False))) == ["followed"]
    (told,) = (line for line in read(tmp_path) if line["action"] == "linked")
    assert told["earlier"]["date"] == study.scans[0].name
    assert told["earlier"]["lps_mm"] == pytest.approx(Place.of(study.scans[0].lesions[0], "").point_mm, abs=1e-3)


def test_an_outline_that_was_changed_or_removed_is_told_and_one_stored_otherwise_is_not(study: Study, tmp_path: Path):
    said(tmp_path, study)
    first, second = study.scans
    one, two = second.lesions
    again = tuple(Lesion(lesion.name, stored_backwards(lesion.outline)) for lesion in (one, two))
    backwards = replace(second, image=stored_backwards(second.image), lesions=again)
    assert said(tmp_path, Study((first, backwards))) == ["followed"]
    more = Lesion(one.name, replace(one.outline, data=np.ones_like(one.outline.data)))
    assert said(tmp_path, Study((first, replace(second, lesions=(more,))))) == [
        *("outline changed", "outline removed", "followed")
    ]
    changed = read(tmp_path)[-3]
    assert (changed["date"], changed["lesion"]) == (second.name, one.name)


def stored_backwards(image: Image) -> Image:
    """The same voxels, the first axis running the other way."""
    grid = image.grid
    matrix = grid.voxel_to_world.copy()
    matrix[:3, 3] = grid.to_world((grid.shape[0] - 1, 0, 0))
    matrix[:3, 0] *= -1
    return Image(image.data[:, ::-1], Grid(grid.shape, matrix), name=image.name)


def test_a_torn_line_stays_and_loses_no_other(study: Study, tmp_path: Path):
    said(tmp_path, study)
    path = tmp_path / AUDIT
    torn = path.read_bytes() + b'{"time": "20'
    path.write_bytes(torn)
    assert said(tmp_path, study) == ["followed"]
    assert path.read_bytes().startswith(torn)


def test_who_is_logged_in_stands_for_a_reader_who_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOGNAME", "somebody")
    append(tmp_path, [Act("accepted", {"date": "2024-03-01", "lesion": "1"})])
    (line,) = read(tmp_path)
    assert (line["reader"], line["action"], line["lesion"]) == ("somebody", "accepted", "1")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be written to"):
        append(tmp_path / "nowhere", [])
