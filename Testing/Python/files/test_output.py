"""A run leaves all of its files or none, and touches no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.files.output import output_file, output_folder


def test_files_appear_together_at_the_end(tmp_path):
    with output_folder(tmp_path / "deep" / "out") as draft:
        (draft / "a.txt").write_text("a")
        (draft / "b.txt").write_text("b")
        assert not (tmp_path / "deep" / "out" / "a.txt").exists()
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == ["a.txt", "b.txt"]


def test_a_failed_run_leaves_nothing_behind(tmp_path):
    def fail() -> None:
        with output_folder(tmp_path / "deep" / "out") as draft:
            (draft / "a.txt").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_keeps_what_was_there(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail() -> None:
        with output_folder(tmp_path) as draft:
            (draft / "a.txt").write_text("new")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_earlier_results_are_replaced_and_foreign_files_stay(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    with output_folder(tmp_path) as draft:
        (draft / "a.txt").write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_or_an_unwritable_place_is_refused_before_anything_is_done(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match="file"), output_folder(place):
            pytest.fail("the work began")


def test_a_folder_in_the_way_of_a_file_moves_no_file(tmp_path):
    (tmp_path / "b.txt").mkdir()

    def write() -> None:
        with output_folder(tmp_path) as draft:
            (draft / "a.txt").write_text("a")
            (draft / "b.txt").write_text("b")

    with pytest.raises(InputError, match=r"b\.txt"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


def test_a_single_file_is_written_the_same_way(tmp_path):
    with output_file(tmp_path / "new" / "a.txt") as draft:
        draft.write_text("a")
        assert draft.name == "a.txt"
    assert (tmp_path / "new" / "a.txt").read_text() == "a"
    with pytest.raises(InputError, match="is a folder"), output_file(tmp_path / "new"):
        pytest.fail("the work began")


def test_messages_name_the_file_that_the_user_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = Image(np.zeros((1, 4, 4, 4), np.uint8), Grid.of((4, 4, 4), (1, 1, 1), np.eye(3), (0, 0, 0)))
    with pytest.raises(InputError) as alone, output_file("new/a.xyz") as draft:
        write_image(image, draft)
    with pytest.raises(InputError) as among, output_folder(tmp_path / "out") as folder:
        write_image(image, folder / "a.xyz")
    assert str(alone.value).startswith("'new/a.xyz' cannot be written")
    assert str(among.value).startswith(f"'{tmp_path / 'out' / 'a.xyz'}' cannot be written")
    assert not any(".unfinished" in str(caught.value) for caught in (alone, among))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", [output_file, output_folder])
def test_an_empty_name_is_not_the_current_folder(output):
    with pytest.raises(InputError, match="empty name"), output(""):
        pytest.fail("the work began")


def test_a_place_that_takes_no_folders_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught, output_folder(tmp_path / "file" / "a" / "b"):
        pytest.fail("the work began")
    assert f"no folder can be added to '{tmp_path / 'file'}' (Not a directory)" in str(caught.value)
    if not Path("/proc/self").exists():
        pytest.skip("This system has no /proc.")
    with pytest.raises(InputError, match="no folder can be added to '/proc';"), output_folder("/proc/nowhere"):
        pytest.fail("the work began")
