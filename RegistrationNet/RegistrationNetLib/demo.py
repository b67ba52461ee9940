"""`registrationnet demo`: the whole product on a head whose true deformation is known, or on two files of yours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from RegistrationNetLib import api
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine.result import OnProgress, Reference
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.files.output import output_folder
from RegistrationNetLib.phantom import PhantomPair, phantom_pair, true_error


def run(
    fixed: Path | None, moving: Path | None, output: Path, preset: str, on_progress: OnProgress
) -> tuple[list[str], dict[str, Any], list[str]]:
    """Register and save; gives sentences on the true error (the phantom only), the report, and the files' names."""
    phantom = None
    with output_folder(output) as draft:
        if fixed is not None and moving is not None:
            pair = api.read_pair(fixed, moving)
        else:
            on_progress("read", 0.0, "Drawing the phantom")
            phantom = phantom_pair()
            pair = _as_pair(phantom)
        registration = api.register_pair(pair, Settings.preset(preset), on_progress)
        lines = _truth(registration.mapping, phantom, registration.report) if phantom is not None else []
        on_progress("write", 1.0, "Writing the results")
        written = api.write(registration, pair.fixed, pair.moving, draft)
    scene = f"; open {output / 'scene.mrb'} in 3D Slicer" if "scene.mrb" in written else ""
    return [*lines, f"Look at {output / 'preview.png'}{scene}."], registration.report, written


def _as_pair(phantom: PhantomPair) -> api.Pair:
    reference = Reference(
        phantom.fixed_labels, phantom.moving_labels, phantom.fixed_landmarks, phantom.moving_landmarks
    )
    return api.Pair(phantom.fixed, phantom.moving, reference=reference)


def _truth(mapping: Mapping, phantom: PhantomPair, report: dict[str, Any]) -> list[str]:
    """The true error in words; its figures go into the report too."""
    error = true_error(mapping, phantom)
    report["true_error_mm"] = error
    words = {
        when: "mean {mean:.2f}, median {median:.2f}, 95 % {p95:.2f}, largest {max:.2f}".format(**error[when])
        for when in error
    }
    return [
        "A made-up head with a known deformation was registered; every voxel inside the head is off by, in mm:",
        f"  before: {words['before']}",
        f"  after:  {words['after']}",
    ]
