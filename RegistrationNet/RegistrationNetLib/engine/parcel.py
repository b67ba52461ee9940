"""Images and mappings as plain files in a folder: how two processes hand them to each other without pickling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.result import Reference, Registration

_MARKED = ("rigid", "volume", "region")


def write_json(path: Path, value: Any) -> None:
    """Complete or not there at all: the reader may look at any moment."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(value))
    draft.replace(path)


def put_image(folder: Path, stem: str, image: Image | None) -> None:
    if image is None:
        return
    np.save(folder / f"{stem}.npy", np.ascontiguousarray(image.data))
    write_json(
        folder / f"{stem}.json",
        {"grid": plain_grid(image.grid), "background": image.background, "name": image.name},
    )


def get_image(folder: Path, stem: str) -> Image | None:
    if not (folder / f"{stem}.json").exists():
        return None
    header = json.loads((folder / f"{stem}.json").read_text())
    data = np.load(folder / f"{stem}.npy", allow_pickle=False)
    return Image(data, as_grid(header["grid"]), header["background"], header["name"])


def put_mapping(folder: Path, stem: str, mapping: Mapping | None) -> None:
    if mapping is None:
        return
    steps: list[dict[str, Any]] = []
    for index, step in enumerate(mapping.steps):
        if isinstance(step, Affine):
            steps.append({"affine": step.matrix.tolist()})
        else:
            np.save(folder / f"{stem}-{index}.npy", step.field)
            steps.append({"grid": plain_grid(step.grid), "inverted": step.inverted})
    write_json(folder / f"{stem}.json", steps)


def get_mapping(folder: Path, stem: str) -> Mapping | None:
    if not (folder / f"{stem}.json").exists():
        return None
    steps: list[Affine | Displacement] = []
    for index, step in enumerate(json.loads((folder / f"{stem}.json").read_text())):
        if "affine" in step:
            steps.append(Affine(np.array(step["affine"])))
        else:
            field = np.load(folder / f"{stem}-{index}.npy", allow_pickle=False)
            steps.append(Displacement(field, as_grid(step["grid"]), step["inverted"]))
    return Mapping(tuple(steps))


def put_constraints(folder: Path, constraints: Constraints) -> None:
    for name in _MARKED:
        put_image(folder, name, getattr(constraints, name))
    hints = None if constraints.hints is None else [points.tolist() for points in constraints.hints]
    write_json(folder / "constraints.json", {"margin_mm": constraints.margin_mm, "hints": hints})


def get_constraints(folder: Path) -> Constraints:
    rest = json.loads((folder / "constraints.json").read_text())
    hints = None if rest["hints"] is None else (np.array(rest["hints"][0]), np.array(rest["hints"][1]))
    images = {name: get_image(folder, name) for name in _MARKED}
    return Constraints(**images, margin_mm=rest["margin_mm"], hints=hints)


def put_reference(folder: Path, reference: Reference | None) -> None:
    if reference is None:
        return
    for side in ("fixed", "moving"):
        put_image(folder, f"reference_{side}_labels", getattr(reference, f"{side}_labels"))
    points = [reference.fixed_landmarks, reference.moving_landmarks]
    write_json(folder / "reference.json", [None if one is None else np.asarray(one).tolist() for one in points])


def get_reference(folder: Path) -> Reference | None:
    if not (folder / "reference.json").exists():
        return None
    points = [None if one is None else np.array(one) for one in json.loads((folder / "reference.json").read_text())]
    fixed, moving = (get_image(folder, f"reference_{side}_labels") for side in ("fixed", "moving"))
    return Reference(fixed, moving, *points)


def put_registration(folder: Path, registration: Registration) -> None:
    put_mapping(folder, "mapping", registration.mapping)
    put_image(folder, "warped", registration.warped)
    put_image(folder, "jacobian", registration.jacobian)
    write_json(folder / "report.json", registration.report)


def get_registration(folder: Path) -> Registration:
    mapping, warped, jacobian = (
        get_mapping(folder, "mapping"),
        get_image(folder, "warped"),
        get_image(folder, "jacobian"),
    )
    if mapping is None or warped is None or jacobian is None:
        raise FileNotFoundError(f"No complete registration in {folder}.")
    return Registration(mapping, warped, jacobian, json.loads((folder / "report.json").read_text()))


def plain_grid(grid: Grid) -> dict[str, Any]:
    """Plain JSON values."""
    return {"shape": list(grid.shape), "voxel_to_world": grid.voxel_to_world.tolist()}


def as_grid(value: dict[str, Any]) -> Grid:
    """The reverse of `plain_grid`."""
    return Grid((value["shape"][0], value["shape"][1], value["shape"][2]), np.array(value["voxel_to_world"]))
