"""A registration in a process of its own: same result, cancellable at any moment, and a crash is only a sentence."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from RegistrationNetLib.core.errors import Cancelled, InputError, RegistrationError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.engine.worker import Job, Request

FAST = Settings.preset("fast")


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


def test_constraints_hold_in_the_other_process_too(request_, coarse_phantom):
    head = replace(coarse_phantom.fixed_labels, data=(coarse_phantom.fixed_labels.data == 5).astype(np.uint8))
    asked = Constraints(volume=head, hints=(coarse_phantom.fixed_landmarks, coarse_phantom.moving_landmarks))
    reached = Job(replace(request_, constraints=asked)).wait().report["constraints"]
    assert reached["hints"]["pairs"] == len(coarse_phantom.fixed_landmarks)
    assert {part["part"].split("'")[1] for part in reached["volume"]} == {head.name}


def test_cancel_ends_the_process_and_leaves_nothing(request_):
    job = Job(replace(request_, settings=FAST.with_values(refine__steps_half=1000)))
    time.sleep(0.5)
    started = time.monotonic()
    job.cancel()
    assert job.done
    assert time.monotonic() - started < 30  # generous: a timing must not decide; that it ends must
    with pytest.raises(Cancelled):
        job.wait()
    assert not folder_of(job).exists()


def test_an_error_of_the_engine_arrives_as_it_was_raised(request_):
    flat = Image(np.zeros_like(request_.moving.data), request_.moving.grid, name="flat.nii")
    with pytest.raises(InputError, match=r"flat\.nii"):
        Job(replace(request_, moving=flat)).wait()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_crash_is_a_sentence_with_the_exit_status(request_):
    job = Job(replace(request_, settings=FAST.with_values(refine__steps_half=1000)))
    time.sleep(0.2)
    job._process.send_signal(signal.SIGKILL)
    with pytest.raises(RegistrationError, match=r"ended unexpectedly \(exit status -9\)"):
        job.wait()
    assert not folder_of(job).exists()


def test_a_job_that_cannot_start_leaves_nothing(request_, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "tempfile.mkdtemp", lambda prefix: str(tmp_path / "job") if not (tmp_path / "job").mkdir() else ""
    )
    monkeypatch.setattr("RegistrationNetLib.engine.worker._python", lambda: str(tmp_path / "no-such-python"))
    with pytest.raises(OSError):  # noqa: PT011
        Job(request_)
    assert not (tmp_path / "job").exists()
