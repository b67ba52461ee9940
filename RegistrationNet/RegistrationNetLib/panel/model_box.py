"""The lines below the model: what the chosen one is for, and which one fits these volumes, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from RegistrationNetLib.engine.recommend import Recommendation, Seen, look, recommend
from RegistrationNetLib.networks import registry, weights
from RegistrationNetLib.scene import volumes


class ModelBox:
    """on_take: called with a network and its weights when the user takes the recommendation."""

    def __init__(self, ui: Any, on_take: Callable[[str, str], None]) -> None:
        self.ui, self._on_take = ui, on_take
        self._looked: dict[Any, Seen] = {}
        self._found: Recommendation | None = None
        ui.recommendButton.connect("clicked(bool)", self.take)

    def show(self, parameters: Any, ready: bool) -> None:
        """ready: whether both volumes can be looked at."""
        _say(self.ui.modelPurposeLabel, "" if parameters.model == "none" else purpose(parameters.model))
        self._found = self._recommended(parameters.fixed, parameters.moving) if ready else None
        _say(self.ui.recommendLabel, f"Recommended: {self._found.reason}" if self._found else "")
        self.ui.recommendButton.visible = self._found is not None and self._found.model != parameters.model

    def _recommended(self, fixed: Any, moving: Any) -> Recommendation:
        seen = {_key(node): self._looked.get(_key(node)) or _look(node) for node in (fixed, moving)}
        self._looked = seen
        return recommend(seen[_key(fixed)], seen[_key(moving)], trained())

    def take(self) -> None:
        if self._found is not None:
            self._on_take(self._found.model, self._found.weights)


def purpose(model: str) -> str:
    """What a network is for, and whether it can be of use yet."""
    said = registry.entry(model).purpose
    usable = any(network == model for network, _ in trained().values())
    return said if usable else f"{said} It has no trained weights yet, so it is left out."


def trained() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name of weights -> their network and what they are for."""
    cards = {name: weights.glance(file) for name, file in weights.shipped().items()}
    return {name: (card.network, card.purpose) for name, card in cards.items()}


def _key(node: Any) -> Any:
    """What changes with what a volume shows."""
    return node.GetID(), node.GetImageData().GetMTime(), volumes.local_grid(node).voxel_to_world.tobytes()


def _look(node: Any) -> Seen:
    return look(volumes.glimpse(node), volumes.modality(node))


def _say(label: Any, sentence: str) -> None:
    label.text = sentence
    label.visible = bool(sentence)
