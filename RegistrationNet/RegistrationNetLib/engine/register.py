"""The one entry of the engine: two images in the world to one mapping between them."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from RegistrationNetLib.core.errors import Cancelled, InputError, SettingsError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.core.version import __version__
from RegistrationNetLib.engine import devices, judge, kept, symmetric, verdicts
from RegistrationNetLib.engine.align import align
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.features import Agreement, Similarity, coarse_grid, decided
from RegistrationNetLib.engine.hints import Hints, guided
from RegistrationNetLib.engine.hold import Restraint
from RegistrationNetLib.engine.memory import peak_memory_mib
from RegistrationNetLib.engine.mend import extend
from RegistrationNetLib.engine.parts import without_kept_volume
from RegistrationNetLib.engine.plan import Task, within_memory
from RegistrationNetLib.engine.predict import Model, chosen, predicted_start, require_precision
from RegistrationNetLib.engine.prepare import Prepared, foreground, prepare
from RegistrationNetLib.engine.refine import refine
from RegistrationNetLib.engine.result import NOBODY, IsCancelled, OnProgress, Reference, Registration, Watch
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.engine.trust import CLEARLY

STAGES = {"prepare": 0.05, "align": 0.2, "predict": 0.3, "refine": 0.85, "judge": 1.0}
"""Each stage and the fraction of the whole that is done at its end."""

_LIBRARIES = ("torch", "numpy", "scipy")


def register(
    fixed: Image,
    moving: Image,
    settings: Settings | None = None,
    *,
    initial: Mapping | None = None,
    fixed_mask: Image | None = None,
    moving_mask: Image | None = None,
    constraints: Constraints | None = None,
    reference: Reference | None = None,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
    watch: Watch = NOBODY,
) -> Registration:
    """Find the mapping from fixed to moving world points; pure and reentrant.

    initial: fixed world -> moving world; where the search starts. Its deformable part, if any, is kept as it is behind
    what is found.
    masks: nonzero where the similarity may look.
    constraints: what the deformation must respect.
    reference: labels or landmarks, used to judge the result and never to find it.
    watch: who looks on while the deformation is refined.
    Raises InputError, GeometryError, SettingsError, WeightsError or DeviceError; Cancelled once `cancelled()` is true.
    """
    settings = settings or Settings()
    device = devices.choose(settings.device)
    constraints = constraints or Constraints()
    model = chosen(settings)  # what cannot be used is refused before anything is computed
    _require_possible(constraints, settings, initial)
    if settings.refine.symmetric:
        _require_even(constraints, model, initial)
    require_precision(settings.predict.precision, device)
    masks = fixed_mask, moving_mask
    masked = any(mask is not None for mask in (*masks, constraints.volume))
    labelled = reference is not None and reference.fixed_labels is not None
    task = Task(fixed, moving, model, masked, labelled, constraints.on_deformation)

    def compute(settings: Settings, device: torch.device) -> Registration:
        run = _Run(on_progress or (lambda stage, fraction, message: None), cancelled or (lambda: False), watch)
        return _register(task, settings, initial, masks, constraints, reference, device, run)

    with devices.free_threads():
        return within_memory(task, settings, device, compute)


def _require_possible(constraints: Constraints, settings: Settings, initial: Mapping | None) -> None:
    """Raises InputError for what this kind of registration cannot keep."""
    if constraints.on_deformation and settings.transform != "deformable":
        raise InputError(
            f"A region, or parts that are kept, need a deformable registration, not a {settings.transform} one. Choose "
            "deformable, or leave them out."
        )
    if (constraints.rigid or constraints.volume) and initial is not None and initial.displacements:
        raise InputError(
            "Parts cannot be kept rigid or of their volume behind an initial transform that deforms. Give its affine "
            "part alone, or leave it out."
        )


def _require_even(constraints: Constraints, model: Model, initial: Mapping | None) -> None:
    """Raises SettingsError for what belongs to one of the images alone, and so cannot be treated alike for both."""
    one_sided = {
        "a region, parts that are kept, or hints": constraints.on_deformation or constraints.hints is not None,
        "a network's start": model.network is not None,
        "an initial transform that deforms": initial is not None and bool(initial.displacements),
    }
    for name, given in one_sided.items():
        if given:
            raise SettingsError(
                f"A symmetric registration treats both images alike, which {name} cannot be. Leave that out, or "
                "turn the symmetric mode off (--no-refine-symmetric)."
            )


class _Run:
    """The clock, the caller's ears and the stop button of one registration."""

    def __init__(self, on_progress: OnProgress, cancelled: IsCancelled, watch: Watch) -> None:
        self.on_progress, self.cancelled, self.watch = on_progress, cancelled, watch
        self.stages: list[dict[str, Any]] = []
        self.started = time.perf_counter()
        self._stage_started = self.started

    def enter(self, stage: str, message: str) -> Callable[[float], None]:
        """Begin a stage; the callable it gives takes the fraction of the stage that is done, and stops on request."""
        names = list(STAGES)
        begin = STAGES[names[names.index(stage) - 1]] if stage != names[0] else 0.0
        self._stage_started = time.perf_counter()

        def advance(fraction: float) -> None:
            if self.cancelled():
                raise Cancelled
            self.on_progress(stage, begin + fraction * (STAGES[stage] - begin), message)

        advance(0.0)
        self.stages.append({"name": stage, "seconds": 0.0, "similarity": None})
        return advance

    def leave(self, similarity: float | None = None) -> None:
        seconds = round(time.perf_counter() - self._stage_started, 3)
        self.stages[-1] |= {"seconds": seconds, "similarity": similarity}


def _register(
    task: Task,
    settings: Settings,
    initial: Mapping | None,
    masks: tuple[Image | None, Image | None],
    constraints: Constraints,
    reference: Reference | None,
    device: torch.device,
    run: _Run,
) -> Registration:
    fixed, moving, model = task.fixed, task.moving, task.model
    run.enter("prepare", "Preparing the images")
    deformed = initial is not None and bool(initial.displacements)
    behind = initial if initial is not None and deformed else Mapping()
    start = initial.affine if initial is not None and not deformed else None
    seen_mask = None if masks[1] is None else _through(behind, fixed, masks[1])
    restraint, pairs = Restraint.of(constraints, fixed.grid), constraints.hints
    hints = None if pairs is None else Hints.of(pairs[0], behind.inverse()(pairs[1]))
    shown = without_kept_volume(constraints, fixed.grid, masks[0])
    prepared = prepare(fixed, _through(behind, fixed, moving), settings.prepare, shown, seen_mask)
    prepared.notes.extend([] if hints is None else hints.notes())
    even = settings.refine.symmetric
    if even:
        prepared = symmetric.even(prepared)
    body, body_name = _body(fixed, prepared, masks[0], reference)
    alike: Similarity | Agreement = Similarity(prepared, _weight(body, fixed, prepared.fixed_grid))
    header = Mapping((start,) if start is not None else ())
    before = alike(header)
    run.leave(before)

    advance = run.enter("align", f"Finding the {'rigid' if settings.transform == 'rigid' else 'affine'} alignment")
    kind = "rigid" if settings.transform == "rigid" else "affine"
    with devices.flushed_denormals():
        if constraints.region is not None and initial is not None:  # whose surroundings are to stay
            affine = header.affine
        elif hints is not None:
            affine, hints = guided(prepared, hints, settings, start, alike, partial(_weight, body, fixed), advance)
        else:
            affine = (symmetric.align_both if even else align)(prepared, settings.align, kind, start, advance)
    refining = (symmetric.decided if even else decided)(prepared, affine, settings.refine)
    if refining.similarity == "mind":
        task.require_room(replace(settings, refine=refining), device)
        grid = coarse_grid(prepared, refining)
        alike = Agreement(prepared, grid, _weight(body, fixed, grid))
        before = run.stages[0]["similarity"] = alike(header)
    alignment, reached = affine, alike(Mapping((affine,)))
    worse = reached <= before if hints is None else reached < before - CLEARLY
    if even:
        both_ways = symmetric.alike(prepared, refining)
        worse = both_ways(affine) <= both_ways(header.affine)
    if worse:
        affine, reached = header.affine, before
        prepared.notes.append("The images fit best as they were given, so the affine alignment was left out.")
    run.leave(reached)

    found = aligned = Mapping((affine,))
    network = {"name": model.name, "used": False, "note": "A linear transform needs no network."}
    if settings.transform == "deformable":
        with devices.flushed_denormals():
            chosen_settings = replace(settings, refine=refining)
            restraint = replace(restraint, hints=hints)
            found, used = _deform(prepared, affine, chosen_settings, model, restraint, device, alike, run)
        network |= {"used": used, "note": model.note}

    run.enter("judge", "Measuring the result")
    mapping = found.then(behind)
    warped = warp(moving, mapping, fixed.grid)
    jacobian = judge.jacobian_image(mapping, fixed)
    after = run.stages[-2]["similarity"]
    report: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "device": devices.describe(device),
        "fixed": {"name": fixed.name, **fixed.grid.describe()},
        "moving": {"name": moving.name, **moving.grid.describe()},
        "settings": settings.to_dict(),
        "model": network,
        "stages": run.stages,
        "similarity": {"kind": alike.kind, "measure": alike.measure, "before": before, "after": after},
        "overlap_percent": judge.overlap_percent(mapping, moving.grid, body, fixed.grid),
        "jacobian": judge.jacobian_report(jacobian, mapping, body, body_name),
        "alignment": judge.alignment_report(alignment, affine, fixed.grid),
        "displacement_mm": judge.displacement_report(mapping, fixed, body),
        "notes": prepared.notes,
    }
    asked = kept.report(restraint, mapping, aligned.then(behind), jacobian)
    if pairs is not None:
        trusted = np.zeros(len(pairs[0]), bool) if hints is None else hints.trusted
        stages = {"before": initial or Mapping(), "after_align": aligned.then(behind), "after": mapping}
        asked["hints"], notes = kept.hints_report(pairs, trusted, stages)
        report["notes"] += notes
    if asked:
        report["constraints"] = asked
    if reference is not None:
        stages = {"before": initial or Mapping(), "after_align": aligned.then(behind), "after": mapping}
        report["quality"] = judge.reference_report(reference, stages)
    report["checks"] = verdicts.checks(report)
    report["overall"] = verdicts.overall(report["checks"])
    run.leave(after)
    report |= {"peak_memory_mib": peak_memory_mib(), "seconds_total": round(time.perf_counter() - run.started, 3)}
    run.on_progress("judge", 1.0, "Done")
    return Registration(mapping, warped, jacobian, report)


def _deform(
    prepared: Prepared,
    affine: Affine,
    settings: Settings,
    model: Model,
    restraint: Restraint,
    device: torch.device,
    alike: Similarity | Agreement,
    run: _Run,
) -> tuple[Mapping, bool]:
    """The network's field, refined on this pair, before the affine; and whether the network was of use."""
    run.enter("predict", "Starting without a network" if model.network is None else "Asking the network for a start")
    reached, used = run.stages[-2]["similarity"], False
    field = None if restraint.hints is None else restraint.hints.start(prepared.fixed_grid, affine)
    if model.network is not None:
        found = predicted_start(model, prepared, affine, device, settings.predict.precision)
        predicted = alike(Mapping((extend(found.cpu(), prepared.fixed_grid), affine)))
        used = predicted >= reached  # not if it is no number
        if used:
            field, reached = found, predicted
        else:
            prepared.notes.append(f"The start that {model.name} predicted made the images less alike; it was left out.")
    run.leave(reached)

    advance = run.enter("refine", "Refining the deformation on this pair")
    if settings.refine.symmetric:
        refined, grid = symmetric.refine(prepared, affine, settings.refine, device, advance, run.watch)
    else:
        refined, grid = refine(prepared, affine, field, settings.refine, device, advance, restraint, run.watch)
    mapping = Mapping((extend(refined, grid), affine))
    run.leave(alike(mapping))
    return mapping, used


def _body(
    fixed: Image, prepared: Prepared, mask: Image | None, reference: Reference | None
) -> tuple[NDArray[np.bool_], str]:
    """Where statements about the result are made, on the fixed grid, (D, H, W)."""
    labels = reference.fixed_labels if reference is not None else None
    for given, name in ((mask, "fixed mask"), (labels, "fixed labels")):
        if given is not None:
            return _inside(given, fixed.grid), name
    body = Image(foreground(prepared.fixed)[None].astype(np.uint8), prepared.fixed_grid)
    return _inside(body, fixed.grid), "foreground by Otsu's threshold"


def _weight(body: NDArray[np.bool_], fixed: Image, grid: Grid) -> Tensor:
    """The body at the voxels of `grid`, (1, 1, D, H, W), 1 or 0."""
    inside = _inside(Image(body[None].astype(np.uint8), fixed.grid), grid)
    return torch.from_numpy(inside.astype(np.float32))[None, None]


def _inside(mask: Image, grid: Grid) -> NDArray[np.bool_]:
    """Where a mask or label map is above 0, at the voxels of `grid`, (D, H, W)."""
    return np.asarray(warp(mask, Mapping(), grid, "nearest").scalar > 0)


def _through(behind: Mapping, fixed: Image, image: Image) -> Image:
    """The moving side as seen through the deformable start that was given, if any, around the fixed image."""
    if not behind.steps:
        return image
    margin = [max(8, n // 8) for n in fixed.grid.shape]
    return warp(image, behind, fixed.grid.padded(margin, margin))


def _versions() -> dict[str, str]:
    own = {"registrationnet": __version__, "python": platform.python_version()}
    return own | {name: metadata.version(name) for name in _LIBRARIES}
