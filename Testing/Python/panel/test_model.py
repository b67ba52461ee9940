"""Which model is recommended for the chosen volumes, and why, is said below the model, with one button to take it."""

from typing import Any

import pytest

from RegistrationNetLib.panel import model_box
from RegistrationNetLib.scene import volumes
from Testing.Python.panel.cases import Slow

SIDES = {side: [1, 1000] for side in ("left_right_mm", "front_back_mm", "head_foot_mm")}
ANYTHING = {"body": "everything", "modality": "any", **SIDES}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """As if these weights were there."""
    cards: dict[str, Any] = {}
    monkeypatch.setattr(model_box, "trained", lambda: cards)
    return cards


def test_without_a_network_that_fits_none_is_recommended(panel: Any, two: Any, trained: dict[str, Any]) -> None:
    assert panel.ui.recommendLabel.text.startswith("Recommended: none. No network has been trained yet")
    panel.ui.movingSelector.setCurrentNode(None)
    assert panel.ui.recommendLabel.text == ""


def test_the_recommended_model_is_taken_with_one_button(
    panel: Any, two: Any, trained: dict[str, Any], started: list[Slow], module: Any
) -> None:
    ui = panel.ui
    module.widgetRepresentation().show()
    trained["maxca-all"] = "maxca", ANYTHING
    panel.update()
    assert ui.recommendLabel.text.startswith("Recommended: maxca. It was trained on everything, and both volumes")
    assert ui.recommendButton.visible
    ui.recommendButton.click()
    assert ui.modelComboBox.currentText == "maxca"
    assert not ui.recommendButton.visible
    assert "no trained weights" not in ui.modelPurposeLabel.text
    ui.registerButton.click()
    assert (started[0].request.settings.model, started[0].request.settings.weights) == ("maxca", "maxca-all")
    ui.registerButton.click()
    panel.onLook()
    ui.modelComboBox.setCurrentText("udrnet")  # another one, which those weights are not for
    ui.registerButton.click()
    assert (started[1].request.settings.model, started[1].request.settings.weights) == ("udrnet", "")
    assert ui.recommendButton.visible
    assert "It has no trained weights yet, so it is left out." in ui.modelPurposeLabel.text
    ui.registerButton.click()


def test_volumes_are_looked_at_once(
    panel: Any, two: Any, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Any] = []
    glimpse = volumes.glimpse

    def counted(node: Any) -> Any:
        looked.append(node)
        return glimpse(node)

    monkeypatch.setattr(volumes, "glimpse", counted)
    panel.ui.presetComboBox.setCurrentText("fast")
    assert looked == []
    two[0].GetImageData().Modified()
    panel.update()
    assert looked == [two[0]]
