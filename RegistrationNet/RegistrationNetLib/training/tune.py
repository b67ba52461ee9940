"""Going on with trained weights on a user's own images: what their card says, and a short course."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from RegistrationNetLib.core.errors import SettingsError
from RegistrationNetLib.networks import weights
from RegistrationNetLib.training.settings import Change, Course, Data, Train

_COURSE = Course(steps=2000, minutes=10.0, rate=1e-4, check_every=100)
_LABELS = 1.0  # weight of labels where some are given


def tuned(
    settings: Train | None,
    *,
    network: str | None = None,
    start: str | Path | None = None,
    images: Path | None = None,
    labels: Path | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    device: str | None = None,
) -> Train:
    """The settings of a training with what the command line says in place of some; without settings, those for going
    on with the weights `start`. Raises SettingsError where it is not said what is to be learnt; WeightsError.
    """
    file = None if start is None else weights.named(str(start))
    if settings is None:
        if file is None or images is None:
            raise SettingsError("Name a configuration file, or both --from WEIGHTS and --images FOLDER.")
        card = weights.read_card(file)
        settings = Train(
            network=card.network,
            switches=dict(card.config),
            name=f"{file.stem}-tuned",
            training_data=f"{card.training_data}; then images of the user's",
            licence=card.licence,
            data=Data(kind="images", images=str(images.absolute()), spacing_mm=_spacing(card)),
            change=Change(turn_degrees=5, scale=0.05, shift_mm=5, contrast=0.1),
            course=_COURSE,
        )
    if images is not None:
        settings = replace(settings, data=replace(settings.data, kind="images", images=str(images.absolute())))
    if labels is not None:
        settings = replace(settings, data=replace(settings.data, labels=str(labels.absolute())))
        settings = replace(settings, loss=replace(settings.loss, labels=settings.loss.labels or _LABELS))
    if network is not None:
        settings = replace(settings, network=network)
    if file is not None:
        settings = replace(settings, start=str(file.absolute()))
    if steps is not None:
        settings = replace(settings, course=replace(settings.course, steps=steps, minutes=0.0))
    if minutes is not None:
        settings = replace(settings, course=replace(settings.course, minutes=minutes))
    return settings if device is None else replace(settings, device=device)


def _spacing(card: weights.Card) -> float:
    """Of a card's voxels; 1 mm where it was trained at the images' own."""
    return 1.0 if card.spacing is None else float(card.spacing[0])
