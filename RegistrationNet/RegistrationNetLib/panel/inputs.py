"""What is wrong or missing among the chosen nodes, said beside the field before anything is computed. Knows no Qt."""

from __future__ import annotations

from typing import Any

from RegistrationNetLib.scene import outputs, transforms, volumes

PAIRS = {"Hints": "guiding points", "Landmarks": "measuring points", "Labels": "structures"}
"""Fields that need both sides, and what they are called."""


def problems(parameters: Any) -> dict[str, str]:
    """A sentence for each field that keeps the registration from starting: fixed, moving, initial, extra, output."""
    found = {
        "fixed": _volume(parameters.fixed, "fixed"),
        "moving": _volume(parameters.moving, "moving") or _same(parameters),
        "initial": _initial(parameters),
        "extra": _extra(parameters),
    }
    if not (found["fixed"] or found["moving"]):
        into = parameters.outputTransform, parameters.outputVolume
        found["output"] = outputs.problem(*into, parameters.fixed, parameters.moving)
    return {field: sentence for field, sentence in found.items() if sentence}


def _volume(node: Any, side: str) -> str:
    return f"Choose the {side} volume." if node is None else volumes.problem(node)


def _same(parameters: Any) -> str:
    if parameters.fixed is not None and parameters.fixed is parameters.moving:
        return f"'{parameters.moving.GetName()}' is chosen twice. Choose two different volumes."
    return ""


def _initial(parameters: Any) -> str:
    initial, moving = parameters.initial, parameters.moving
    if moving is None or not transforms.is_applied(initial, moving):
        return ""
    return (
        f"'{initial.GetName()}' is already applied to '{moving.GetName()}', so it would count twice. Choose none to "
        "start from where the volumes lie."
    )


def _extra(parameters: Any) -> str:
    for what, words in PAIRS.items():
        fixed, moving = (getattr(parameters, side + what) for side in ("fixed", "moving"))
        sentence = _unpaired(fixed, moving, words, counted=what != "Labels")
        if sentence:
            return sentence
    held = parameters.keepRigid or parameters.keepVolume or parameters.region
    if held is not None and parameters.transform != "deformable":
        return "Regions and kept parts are for a deformable registration. Choose deformable, or leave them out."
    return ""


def refining(parameters: Any) -> str:
    """What keeps a result from being refined, in a sentence; empty where nothing does."""
    fixed, moving = parameters.fixedRefinePoints, parameters.movingRefinePoints
    if fixed is moving is parameters.refineRegion is None:
        return "Choose a region where the result is wrong, or points."
    return _unpaired(fixed, moving, "points to refine by", counted=True)


def _unpaired(fixed: Any, moving: Any, words: str, counted: bool) -> str:
    if (fixed is None) != (moving is None):
        lacking = "fixed" if fixed is None else "moving"
        return f"The {words} are chosen on one volume only. Choose those on the {lacking} volume too, or none."
    if fixed is not None and counted:
        counts = [node.GetNumberOfControlPoints() for node in (fixed, moving)]
        if counts[0] != counts[1] or not counts[0]:
            return (
                f"'{fixed.GetName()}' has {counts[0]} points and '{moving.GetName()}' has {counts[1]}. They belong "
                "together in order: place as many on both volumes, at least one."
            )
    return ""
