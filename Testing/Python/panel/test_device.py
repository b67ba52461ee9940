"""Where it would be computed and what that takes is said beside the device, before the click."""

from typing import Any

import pytest

from RegistrationNetLib.engine import job
from RegistrationNetLib.engine.question import Question
from RegistrationNetLib.panel import packages
from Testing.Python.panel.cases import Slow
from Testing.Python.scene.cases import FIXED_GRID, MOVING_GRID


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The enquiries of the panel; each is answered by what is put into it."""
    enquiries: list[Any] = []

    class Enquiry:
        said: tuple[str, bool] | None = None

        def __init__(self, question: Question) -> None:
            self.question = question
            enquiries.append(self)

        def answer(self) -> tuple[str, bool] | None:
            return self.said

    monkeypatch.setattr(job, "Enquiry", Enquiry)
    return enquiries


def test_free_memory_need_and_time_are_said_once_the_worker_answers(asked: list[Any], panel: Any, two: Any) -> None:
    label = panel.ui.deviceNeedLabel
    panel.device.look()
    assert label.text == ""
    asked[-1].said = ("Processor, 21 GB free. This run needs about 0.2 GB and 9 s.", True)
    panel.device.look()
    assert label.text == "Processor, 21 GB free. This run needs about 0.2 GB and 9 s."
    asked[-1].said = ("Processor, 0.1 GB free. Too little for this run.", False)
    panel.device.look()
    assert label.text.startswith("▲ Processor, 0.1 GB free. Too little")
    assert panel.ui.registerButton.enabled  # fewer voxels are compared then


def test_the_question_is_about_what_the_panel_shows(asked: list[Any], panel: Any, two: Any) -> None:
    before = len(asked)
    panel.ui.presetComboBox.setCurrentText("accurate")
    panel.ui.deviceComboBox.setCurrentText("cuda")
    question = asked[-1].question
    assert (question.fixed.shape, question.moving.shape) == (FIXED_GRID.shape, MOVING_GRID.shape)
    assert (question.bytes_per_voxel, question.masked, question.restrained) == (2, False, False)
    assert question.settings.device == "cuda"
    assert question.settings.refine.steps_finer == 8
    assert len(asked) == before + 2
    panel.update()
    assert len(asked) == before + 2  # nothing new to ask


def test_it_is_asked_anew_now_and_then_for_others_take_memory_too(asked: list[Any], panel: Any, two: Any) -> None:
    before = len(asked)
    for _ in range(20):
        panel.device.look()
    assert len(asked) == before + 1
    assert asked[-1].question is asked[-2].question


def test_nothing_is_asked_without_two_volumes_or_pytorch_nor_while_it_computes(
    asked: list[Any], panel: Any, two: Any, started: list[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked[-1].said = ("Processor, 21 GB free.", True)
    panel.device.look()
    panel.ui.movingSelector.setCurrentNode(None)
    assert panel.ui.deviceNeedLabel.text == ""
    before = len(asked)
    panel.ui.movingSelector.setCurrentNode(two[1])
    assert len(asked) == before + 1
    panel.ui.registerButton.click()
    panel.ui.presetComboBox.setCurrentText("fast")
    assert len(asked) == before + 1
    panel.ui.registerButton.click()
    panel.onLook()
    assert len(asked) == before + 2
    monkeypatch.setattr(packages, "missing", lambda: ["torch>=2.4"])
    panel.ui.presetComboBox.setCurrentText("balanced")
    assert len(asked) == before + 2
    assert panel.ui.deviceNeedLabel.text == ""
