"""Fields for every setting, made from the settings themselves, so that the panel and the command line cannot drift."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import ctk
import qt

from RegistrationNetLib.engine.settings import STAGES, Knob, Settings, knobs

_DECIMALS = {1000.0: 0, 20.0: 1}
"""Width of a range -> digits behind the point of what is at least as wide; two for narrower ones."""
_WIDEST = 1e9
TITLES = {"prepare": "Preparing", "align": "Aligning", "predict": "Network", "refine": "Refining"}

LABELS = {
    "max_voxels": "Most voxels compared",
    "ct_low": "CT: air up to",
    "ct_high": "CT: bone from",
    "percentile": "Brightness cut off",
    "coarse_mm": "Voxels of the first search",
    "fine_mm": "Voxels of the last search",
    "starts": "Starting positions tried",
    "orientations": "Orientations tried",
    "max_apart_mm": "Refuse if farther apart than",
    "precision": "Arithmetic",
    "similarity": "What makes volumes alike",
    "steps_coarse": "Iterations, coarse voxels",
    "steps_half": "Iterations, half resolution",
    "steps_full": "Iterations, full resolution",
    "steps_finer": "Iterations, finer voxels",
    "window": "Size of the window compared",
    "step": "Largest movement at once",
    "force_sigma": "Smoothness of movements",
    "field_sigma": "Stiffness",
    "smoother_ct": "Stiffer for CT",
    "symmetric": "Same result both ways",
    "field_grid": "Resolution of the transform",
}
"""What a setting is called where its name says little to a clinician."""


class Advanced:
    """Fields in a layout. on_change: called with what differs from the preset, as JSON, when a user changed it."""

    def __init__(self, layout: Any, on_change: Callable[[str], None]) -> None:
        self._on_change, self._fields, self._preset = on_change, {}, Settings()
        self._writing = False
        for stage, kind in STAGES.items():
            button = ctk.ctkCollapsibleButton()
            button.text = TITLES[stage]
            button.collapsed = True
            form = qt.QFormLayout(button)
            for name, (value_type, knob) in knobs(kind).items():
                field = _Field.of(value_type, knob, self._changed)
                field.widget.toolTip = f"{knob.help}."
                form.addRow(f"{LABELS.get(name) or name.replace('_', ' ').capitalize()}:", field.widget)
                self._fields[f"{stage}__{name}"] = field
            layout.addWidget(button)

    def show(self, preset: str, changes: str) -> None:
        """A preset, and what differs from it (JSON)."""
        self._preset = Settings.preset(preset)
        shown = settings(preset, changes)
        self._writing = True
        for name, field in self._fields.items():
            field.write(_value(shown, name))
        self._writing = False

    def _changed(self, *_: Any) -> None:
        if self._writing:
            return
        values = {name: field.read() for name, field in self._fields.items()}
        self._on_change(json.dumps({name: v for name, v in values.items() if v != _value(self._preset, name)}))


def settings(preset: str, changes: str) -> Settings:
    """A preset with changes (JSON). Raises SettingsError for what is none of a setting."""
    return Settings.preset(preset).with_values(**json.loads(changes or "{}"))


def chosen(parameters: Any) -> Settings:
    """What the panel's parameters ask for. Weights that were chosen for another model do not count."""
    model, weights = parameters.model, parameters.weights
    return settings(parameters.preset, parameters.advanced).with_values(
        transform=parameters.transform,
        model=model,
        weights=weights if f"{weights}-".startswith(f"{model}-") else "",
        device=parameters.device,
    )


def _value(shown: Settings, name: str) -> Any:
    stage, _, knob = name.partition("__")
    return getattr(getattr(shown, stage), knob)


class _Field:
    """A widget for one setting, and how to read and write it."""

    def __init__(self, widget: Any, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self.widget, self.read, self.write = widget, read, write

    @classmethod
    def of(cls, kind: Any, knob: Knob, changed: Callable[..., None]) -> _Field:
        if get_origin(kind) is Literal:
            box = qt.QComboBox()
            box.addItems(list(get_args(kind)))
            box.connect("currentTextChanged(QString)", changed)
            return cls(box, lambda: box.currentText, box.setCurrentText)
        if kind is bool:
            check = qt.QCheckBox()
            check.connect("toggled(bool)", changed)
            return cls(check, lambda: check.checked, check.setChecked)
        spin = qt.QSpinBox() if kind is int else qt.QDoubleSpinBox()
        low, high = (-_WIDEST if knob.low is None else knob.low), (_WIDEST if knob.high is None else knob.high)
        if kind is float:
            spin.decimals = next((digits for width, digits in _DECIMALS.items() if high - low >= width), 2)
        spin.minimum, spin.maximum = kind(low), kind(high)
        spin.suffix = f" {knob.unit}" if knob.unit else ""
        spin.connect("valueChanged(int)" if kind is int else "valueChanged(double)", changed)
        return cls(spin, lambda: kind(spin.value), lambda value: spin.setValue(kind(value)))
