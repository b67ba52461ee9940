"""What a registration would need is known from sizes alone, and told by the worker while it waits."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine import devices, forecast, plan
from RegistrationNetLib.engine import job as jobs
from RegistrationNetLib.engine.predict import Model
from RegistrationNetLib.engine.question import Question
from RegistrationNetLib.engine.settings import Settings

BALANCED = Settings.preset("balanced").with_values(device="cpu")
CPU, NONE = torch.device("cpu"), Model("none", "")
GIB = 2**30


def grid(size: int) -> Grid:
    return Grid.of((size, size, size), (1, 1, 1), np.eye(3), (0, 0, 0))


def question(size: int = 64, settings: Settings = BALANCED, **more: bool) -> Question:
    return Question(grid(size), grid(size), settings, **more)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """GiB that are free, by kind of device."""
    gib = {"cpu": 8.0, "cuda": 4.0}
    monkeypatch.setattr(devices, "free_bytes", lambda device: round(gib[device.type] * GIB))
    monkeypatch.setattr(forecast, "speed", lambda device: 1.0)
    return gib


def test_a_question_survives_the_way_to_another_process() -> None:
    asked = question(masked=True, restrained=True)
    found = Question.from_dict(json.loads(json.dumps(asked.to_dict())))
    assert found.to_dict() == asked.to_dict()
    assert found.fixed.isclose(asked.fixed)
    assert found.settings == asked.settings


def test_a_sentence_names_device_free_memory_need_and_time(free: dict[str, float]) -> None:
    found = forecast.forecast(question(200))
    need = plan.Task(*(Image(np.zeros((1, 200, 200, 200), np.int16), grid(200)) for _ in range(2)), NONE)
    gib = need.need(BALANCED, CPU).here / GIB
    assert found.enough
    assert found.said == f"Processor, 8.0 GB free. This run needs about {gib:.1f} GB and 25 s."


@pytest.mark.parametrize(
    ("gib", "said"), [(0.6, "it will use the processor and compare fewer voxels."), (0.01, "Close other programs")]
)
def test_too_little_memory_is_said_with_what_will_be_done(free: dict[str, float], gib: float, said: str) -> None:
    free["cpu"] = gib
    found = forecast.forecast(question(200))
    assert not found.enough
    assert "Too little for this run, which needs about 1." in found.said
    assert said in found.said


def test_a_full_graphics_card_hands_over_to_the_processor(
    free: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "choose", lambda name: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    asked = question(200, BALANCED.with_values(device="cuda"))
    assert forecast.forecast(asked).said.startswith("NVIDIA H200, 4.0 GB free. This run needs about 0.8 GB and ")
    free["cuda"] = 0.1
    found = forecast.forecast(asked)
    assert "needs about 0.8 GB: it will use the processor." in found.said
    assert not found.enough


def test_what_cannot_be_computed_is_said_at_once() -> None:
    for wrong in ({"device": "cuda:17"}, {"weights": "none.safetensors"}):
        found = forecast.forecast(question(settings=BALANCED.with_values(**wrong)))
        assert not found.enough
        assert "cuda:17" in found.said or "none.safetensors" in found.said


def test_more_voxels_iterations_and_directions_take_longer(free: dict[str, float]) -> None:
    seconds = [
        forecast.seconds_of(asked, CPU, NONE)
        for asked in (
            question(100, BALANCED.with_values(transform="rigid")),
            question(100, Settings.preset("fast")),
            question(100),
            question(100, BALANCED.with_values(refine__symmetric=True)),
            question(200),
        )
    ]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) == len(seconds)


def test_times_and_sizes_are_said_as_roughly_as_they_are_known() -> None:
    assert [forecast.in_seconds(s) for s in (0.2, 7.4, 17, 43, 61, 119, 170)] == [
        "1 s",
        "7 s",
        "15 s",
        "45 s",
        "60 s",
        "120 s",
        "3 min",
    ]
    assert [forecast.in_gib(gib * GIB) for gib in (0.24, 9.9, 10.2, 139)] == ["0.2 GB", "9.9 GB", "10 GB", "139 GB"]


def test_the_worker_that_waits_answers_the_newest_question_and_none_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_idle", [])
    assert jobs.Enquiry(question()).answer() is None  # nobody to ask
    jobs.warm_up()
    (worker,) = jobs._idle
    try:
        older, newer = jobs.Enquiry(question()), jobs.Enquiry(question(200, BALANCED.with_values(device="cuda:17")))
        begun = time.monotonic()
        while newer.answer() is None and time.monotonic() - begun < 60:
            time.sleep(0.05)
        said, enough = newer.answer()
        assert "There is no device 'cuda:17'" in said
        assert not enough
        assert older.answer() is None
    finally:
        worker.leave()
