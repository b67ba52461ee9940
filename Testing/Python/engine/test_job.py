"""A registration in a process of its own: same result, cancellable at any moment, and a crash is only a sentence."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from RegistrationNetLib.core.errors import Cancelled, InputError, MissingPackage, RegistrationError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine import job as jobs
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.job import Job, warm_up
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.request import Request
from RegistrationNetLib.engine.result import Watch
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.engine.worker import serve

FAST = Settings.preset("fast")
LIBRARY = str(Path(jobs.__file__).parents[2])


@pytest.fixture
def request_(coarse_phantom):
    return Request(coarse_phantom.fixed, coarse_phantom.moving, FAST)


def folder_of(job: Job) -> Path:
    return job._folder


def test_the_result_is_that_of_the_engine_and_nothing_is_left_on_disk(request_, coarse_phantom):
    seen = []
    job = Job(request_, lambda *line: seen.append(line))
    result = job.wait()
    here = register(coarse_phantom.fixed, coarse_phantom.moving, FAST)
    points = coarse_phantom.fixed_landmarks
    np.testing.assert_allclose(result.mapping(points), here.mapping(points), atol=1e-3)
    np.testing.assert_array_equal(result.warped.data.shape, here.warped.data.shape)
    assert seen[0][0] == "prepare"
    assert seen[-1][1] == 1.0
    assert job.done
    assert not folder_of(job).exists()


def test_who_looks_on_sees_the_similarity_rise_and_the_moving_image_come_nearer(request_, coarse_phantom):
    values, previews = [], []
    Job(request_, watch=Watch(lambda *value: values.append(value), previews.append)).wait()
    sizes = [size for size, _ in values]
    assert sizes == sorted(sizes, reverse=True)  # from coarse to fine
    assert len(set(sizes)) >= 2
    for size in set(sizes):
        at = [value for one, value in values if one == size]
        assert at[-1] > at[0]
    assert len(previews) == len(set(sizes)) - 1
    for image in previews:
        assert 0 <= image.data.min() < image.data.max() <= 1
    fixed = warp(coarse_phantom.fixed, Mapping(), previews[-1].grid)
    moving = warp(coarse_phantom.moving, Mapping(), previews[-1].grid)
    alike = [np.corrcoef(fixed.data.ravel(), image.data.ravel())[0, 1] for image in (moving, previews[-1])]
    assert alike[1] > alike[0]


def test_constraints_hold_in_the_other_process_too(request_, coarse_phantom):
    head = replace(coarse_phantom.fixed_labels, data=(coarse_phantom.fixed_labels.data == 5).astype(np.uint8))
    asked = Constraints(volume=head, hints=(coarse_phantom.fixed_landmarks, coarse_phantom.moving_landmarks))
    reached = Job(replace(request_, constraints=asked)).wait().report["constraints"]
    assert reached["hints"]["pairs"] == len(coarse_phantom.fixed_landmarks)
    assert {part["part"].split("'")[1] for part in reached["volume"]} == {head.name}


ENDLESS = FAST.with_values(refine__steps_half=1000)


def test_cancel_returns_at_once_and_ends_in_cancelled_leaving_nothing(request_):
    seen = []
    job = Job(replace(request_, settings=ENDLESS), lambda *line: seen.append(line))
    while not seen:
        job.poll()
    job.cancel()
    before = len(seen)
    with pytest.raises(Cancelled):
        job.wait()
    assert job.done
    assert len(seen) == before  # nothing is heard of it any more
    assert not folder_of(job).exists()


def test_a_worker_that_does_not_stop_is_killed_and_the_next_registration_runs(request_, monkeypatch):
    monkeypatch.setattr(jobs, "KILL_AFTER_S", 0.0)  # no time to stop by itself
    monkeypatch.setattr(jobs, "CANCEL", "not what it looks for")
    job = Job(replace(request_, settings=ENDLESS))
    worker = job._worker
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait()
    assert not worker.lives
    assert not worker.folder.exists()
    assert Job(request_).wait().report["checks"]


def test_the_next_registration_finds_a_worker_at_hand(request_):
    first = Job(request_)
    first.wait()
    second = Job(request_)
    assert second._worker is first._worker
    third = Job(request_)  # while that one computes
    assert third._worker is not first._worker
    for job in (second, third):
        job.wait()
    assert len(jobs._idle) == 1
    assert sum(worker.folder.exists() for worker in (second._worker, third._worker)) == 1


def test_a_worker_leaves_when_it_is_not_asked_or_its_parent_or_folder_is_gone(tmp_path):
    serve(tmp_path, os.getpid(), idle_s=0.1)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    serve(tmp_path, gone.pid)
    serve(tmp_path / "removed", os.getpid())


def test_one_that_is_warmed_up_is_the_one_that_works(request_, monkeypatch):
    monkeypatch.setattr(jobs, "_idle", [])
    warm_up()
    warm_up()
    (ready,) = jobs._idle
    job = Job(request_)
    assert job._worker is ready
    job.wait()
    ready.leave()


def test_an_error_of_the_engine_arrives_as_it_was_raised(request_):
    flat = Image(np.zeros_like(request_.moving.data), request_.moving.grid, name="flat.nii")
    with pytest.raises(InputError, match=r"flat\.nii"):
        Job(replace(request_, moving=flat)).wait()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_crash_is_a_sentence_with_the_exit_status(request_):
    job = Job(replace(request_, settings=ENDLESS))
    time.sleep(0.2)
    job._worker.kill()
    with pytest.raises(RegistrationError, match=r"ended unexpectedly \(exit status -9\)"):
        job.wait()
    assert not folder_of(job).exists()


def test_a_missing_package_is_named_with_its_cure(request_, monkeypatch, tmp_path):
    """As in a Slicer into which PyTorch was not installed yet."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(jobs, "python_path", lambda: os.pathsep.join([str(tmp_path), LIBRARY]))
    monkeypatch.setattr(jobs, "_idle", [])
    with pytest.raises(MissingPackage, match=r"'torch' is missing.*press Install"):
        Job(request_).wait()


def test_a_job_that_cannot_start_leaves_nothing(request_, monkeypatch, tmp_path):
    def folder(prefix: str) -> str:
        (tmp_path / prefix).mkdir()
        return str(tmp_path / prefix)

    monkeypatch.setattr("tempfile.mkdtemp", folder)
    monkeypatch.setattr(jobs, "python", lambda: str(tmp_path / "no-such-python"))
    monkeypatch.setattr(jobs, "_idle", [])
    with pytest.raises(FileNotFoundError, match="no-such-python"):
        Job(request_)
    assert list(tmp_path.iterdir()) == []
