"""`registrationnet track` as a person meets it: from files to tables, with what a reader says kept."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from Python.lesions.heads import FIRST, Balls, Oracle, carried, scan
from Python.reporting.studies import REGISTRATION
from RegistrationNetLib import tracking
from RegistrationNetLib.cli import main
from RegistrationNetLib.core.errors import Cancelled
from RegistrationNetLib.files.images import read_labels, write_image
from RegistrationNetLib.files.transforms import read_transform
from RegistrationNetLib.lesions.table import header

A, B, C, D = (30, -20, 20), (-30, 10, 25), (25, 30, 10), (-28, -30, 0)
LESIONS: tuple[Balls, Balls] = ({1: (A, 10), 2: (B, 10), 3: (C, 10)}, {5: (A, 14), 2: (B, 10), 4: (D, 10)})


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def rows(folder: Path, name: str = "lesions.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans, 60 days apart, of voxels of 5 mm."""
    folder = tmp_path_factory.mktemp("study")
    for time, balls in enumerate(LESIONS):
        for image, kind in zip(scan(time, balls, 5.0), ("head", "lesions"), strict=True):
            write_image(image, folder / f"{kind}{time}.nii.gz")
    table = ["date,image,outlines", f"{FIRST},head0.nii.gz,lesions0.nii.gz", "2024-03-01,head1.nii.gz,lesions1.nii.gz"]
    (folder / "study.csv").write_text("\n".join(table))
    return folder


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    """No time is spent on registering."""
    oracle = Oracle()

    def computed(self, fixed, moving, keep, apart):
        named = (replace(image, name=image.name.partition(".")[0]) for image in (fixed, moving))
        return oracle.register(*named, keep, apart), REGISTRATION | {"asked": len(oracle.heard)}

    monkeypatch.setattr(tracking.Registrations, "computed", computed)
    return oracle


@pytest.fixture(scope="module")
def tracked(study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("tracked")
    code, said = run("track", study / "study.csv", "-o", folder, "--preset", "fast")
    assert code == 0, said
    return folder, said


def test_from_files_to_what_became_of_each_lesion(tracked: tuple[Path, str]):
    folder, said = tracked
    assert {path.name for path in folder.iterdir()} == {
        *("lesions.csv", "candidates.csv", "study.json", "report.html", "audit.jsonl"),
        *("2024-01-01_to_2024-03-01.h5", "carried_2024-03-01.nii.gz", "registrations"),
    }
    assert list(rows(folder)[0]) == header()
    found = {(row["lesion"], row["date"][5:7]): row["status"] for row in rows(folder)}
    assert found == {
        **{(name, "01"): "baseline" for name in "123"},
        ("1", "03"): "grown",
        ("2", "03"): "stable",
        ("3", "03"): "resolved",
        ("4", "03"): "new",
    }
    assert "2024-03-01: 1 grown, 1 stable, 1 resolved, 1 new" in said


def test_carried_outlines_and_transforms_lie_where_the_lesions_are(study: Path, tracked: tuple[Path, str]):
    labels, drawn = (
        read_labels(path) for path in (tracked[0] / "carried_2024-03-01.nii.gz", study / "lesions0.nii.gz")
    )
    mapping = read_transform(tracked[0] / "2024-01-01_to_2024-03-01.h5")
    for label in (1, 2, 3):
        center = drawn.grid.to_world(np.argwhere(drawn.scalar == label)).mean(axis=0)
        there = labels.grid.to_world(np.argwhere(labels.scalar == label)).mean(axis=0)
        true = carried(center, 0, 1)
        assert np.linalg.norm(mapping(center) - true) < 2
        assert np.linalg.norm(there - true) < 2.5
        row = next(row for row in rows(tracked[0]) if (row["lesion"], row["date"][5:7]) == (str(label), "03"))
        np.testing.assert_allclose([float(row[f"carried_{axis}"]) for axis in "xyz"], mapping(center), atol=1e-3)


def test_the_study_says_how_it_was_made(tracked: tuple[Path, str]):
    said = json.loads((tracked[0] / "study.json").read_text())
    assert said["settings"]["refine"]["steps_full"] == 2
    assert said["loops"][0]["through"] == ["2024-01-01", "2024-03-01"]
    assert len(said["registrations"]) == 2
    assert said["registrations"][0]["versions"]["registrationnet"] == said["version"]
    assert [point["outlined"] for point in said["timepoints"]] == [["1", "2", "3"], ["2", "4", "5"]]


def test_a_readers_links_win_and_survive_a_rerun_in_the_same_folder(study: Path, tmp_path: Path, known: Oracle):
    links = tmp_path / "said.csv"
    links.write_text("earlier_date,earlier,later_date,later,same\n2024-01-01,3,2024-03-01,4,yes\n")
    out = tmp_path / "out"
    for more in (["--links", links], []):
        assert run("track", study, "-o", out, "--no-local", *more)[0] == 0
        row = next(row for row in rows(out) if row["label"] == "4")
        assert (row["lesion"], row["by_reader"], row["probability"]) == ("3", "yes", "1")
    links.write_text("earlier_date,earlier,later_date,later,same\n2024-01-01,3,2024-03-01,4,no\n")
    assert run("track", study, "-o", out, "--no-local", "--links", links)[0] == 0  # taken back: the last word counts
    assert next(row for row in rows(out) if row["label"] == "4")["status"] == "new"


def test_the_same_table_on_every_rerun(study: Path, tmp_path: Path, known: Oracle):
    said = []
    for name in ("one", "two", "two"):
        assert run("track", study, "-o", tmp_path / name)[0] == 0
        said.append([(tmp_path / name / table).read_text() for table in ("lesions.csv", "candidates.csv")])
    assert said[0] == said[1] == said[2]
    assert len(known.heard) == 4  # two registrations in either folder, and none again


def test_a_stopped_run_goes_on_and_what_changed_is_registered_again(study: Path, tmp_path: Path, known: Oracle):
    def stop() -> bool:
        return len(known.heard) == 1

    with pytest.raises(Cancelled):
        tracking.track(study, keep_in=tmp_path, cancelled=stop)
    tracking.track(study, keep_in=tmp_path, local=False)
    assert [asked for asked, _, _ in known.heard] == ["01", "10"]
    tracking.track(study, keep_in=tmp_path, local=False, preset="fast")
    assert [asked for asked, _, _ in known.heard[2:]] == ["01", "10"]
    for path in tmp_path.glob("*.h5"):
        path.write_bytes(path.read_bytes()[:100])
    tracking.track(study, keep_in=tmp_path, local=False, protect=False)
    assert len(known.heard) == 6


def test_criteria_are_judged_and_ask_before_the_work_begins(study: Path, tmp_path: Path, known: Oracle):
    code, said = run("track", study, "-o", tmp_path / "out", "--criteria", "recist")
    assert (code, (tmp_path / "out").exists()) == (2, False)
    assert "whether '1' is a target or a non-target lesion" in said
    about = "lesion,organ,role,node\n1,liver,target,no\n2,lung,target,no\n3,lung,non-target,no\n"
    (study / "about.csv").write_text(about)
    table = (study / "study.csv").read_text().splitlines()
    described = study / "described.csv"
    described.write_text("\n".join([f"{table[0]},lesions", f"{table[1]},about.csv", f"{table[2]},"]))
    code, said = run("track", described, "-o", tmp_path / "out", "--criteria", "recist", "--no-local")
    assert code == 0
    assert "recist: The sum of diameters is" in said
    assert "New: '4'. Overall: progression (PD)." in said
    (response,) = json.loads((tmp_path / "out" / "study.json").read_text())["response"]
    assert (response["response"], response["criterion"]) == ("PD", "recist")


def test_the_report_is_written_and_the_reader_named(study: Path, tmp_path: Path, known: None):
    for reader in ("Dr One", "Dr Two"):
        assert run("track", study, "-o", tmp_path / "out", "--no-local", "--reader", reader)[0] == 0
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(row["status"] in report for row in rows(tmp_path / "out"))
    lines = [json.loads(line) for line in (tmp_path / "out" / "audit.jsonl").read_text().splitlines()]
    assert [line["reader"] for line in lines if line["action"] == "followed"] == ["Dr One", "Dr Two"]


def test_a_pdf_that_cannot_be_written_is_refused_before_the_work_begins(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "reportlab", None)
    code, said = run("track", study, "-o", tmp_path / "out", "--pdf")
    assert (code, (tmp_path / "out").exists()) == (2, False)
    assert "pip install 'registrationnet[pdf]'" in said


def test_what_cannot_be_used_ends_with_one_sentence(study: Path, tmp_path: Path):
    code, said = run("track", study / "head0.nii.gz", "-o", tmp_path / "out")
    assert code == 2
    assert said.endswith("is not a text file; save the table as CSV in UTF-8.")
    code, said = run("track", study / "nothing.csv", "-o", tmp_path / "out")
    assert (code, "'" in said, "does not exist" in said) == (2, True, True)


def test_the_changed_lesions_of_a_real_patient_are_among_the_candidates(data_folder: Path):
    """Registered coarsely here; benchmarks/lesion_tracking.py does it at full resolution."""
    from benchmarks.lesion_tracking import changed, ms_study, shares

    study = ms_study(data_folder)
    found = tracking.track(study, preset="fast", prepare__max_voxels=150_000).tracking
    told = shares(changed(data_folder, study.scans[0].image.grid), found.candidates[study.scans[1].name])
    assert told.rank_of_largest == 1
    assert told.volume > 0.6
