"""Affine pre-alignment without a hint: every shift of many turns, the best followed up on ever finer voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.errors import GeometryError
from RegistrationNetLib.core.mapping import Affine
from RegistrationNetLib.core.slabs import at_once, spread
from RegistrationNetLib.engine.pose import LEAST_OVERLAP, Pair, optimise
from RegistrationNetLib.engine.prepare import Prepared
from RegistrationNetLib.engine.settings import Align
from RegistrationNetLib.engine.sweep import Found, all_turns, near_turns, sweep
from RegistrationNetLib.engine.trust import CLEARLY, Alignment, Trust

Progress = Callable[[float], None]
"""Takes the fraction of the stage that is done; raises Cancelled where the user asked to stop."""

_FARTHEST_DEGREES, _STEP_DEGREES, _STEP_ALL_DEGREES = 66.0, 26.0, 45.0
_FEWEST_ALONG = 5  # voxels along the longest axis of the smaller field of view
_COARSE_VOXELS = 12_000  # in which starts are followed
_STARTS_APART, _ENDS_APART = 0.4, 0.1  # of the image's radius; what is closer leads to, or is, the same place
_SAME_APART = 0.25  # ends no farther apart agree
_FINALISTS = 3
_LEAST_LOSS = 1e-6  # what may divide
_FITS = 0.34  # 1 - LNCC of a rigid map; heads and chests reach 0.04 to 0.32 upright, 0.36 to 0.7 turned wrongly
_PROMISING = 0.8  # of the best score near the header; other orientations below it are not followed
_CLEARLY_BETTER = 0.8  # of the loss; so much less makes another orientation believed against the headers
_NOTED_TURN_DEGREES = 60.0
_LARGEST_STRETCH = 2.0  # along any direction; people and organs do not differ by more


@at_once()
def align(
    prepared: Prepared,
    settings: Align,
    kind: str,
    start: Affine | None = None,
    progress: Progress = lambda fraction: None,
    only: bool = False,
) -> Alignment:
    """The rigid or affine map (`kind`) from fixed world to moving world that makes the images most alike; to the last
    bit the same on any number of threads.

    start: a known rough alignment. Where it leads is preferred, unless the images fit clearly better elsewhere; nothing
    else is looked for if `only`.
    Adds a sentence to `prepared.notes` where an affine was not to be had, the start was not followed, or the headers'
    orientation seems wrong.
    Raises GeometryError where the images lie too far apart or end up without overlap or hugely scaled.
    """
    if start is None:
        _refuse_far(prepared, settings.max_apart_mm)
    with torch.inference_mode(False), torch.enable_grad():
        levels = _Levels.of(prepared, settings)
        if only and start is not None:
            places = _ends(levels, [], [start], 0, lambda fraction: progress(0.7 * fraction))
        else:
            places = _places(levels, settings, start, lambda fraction: progress(0.7 * fraction))
        affine = _followed(levels, places[0].affine, kind, progress)
        progress(1.0)
        trust = _trust(levels, places, affine)
    turn = _turn_degrees(affine.matrix[:3, :3])
    if start is None and turn > _NOTED_TURN_DEGREES:
        prepared.notes.append(
            f"The headers say otherwise, but {prepared.names[1]} fits best turned by {turn:.0f} degrees; "
            "check left and right."
        )
    return Alignment(affine.matrix, trust)


@dataclass(frozen=True, eq=False)
class _Levels:
    """The pair on ever finer voxels; the coarsest compares whole images, the others windows, which show detail."""

    prepared: Prepared
    coarse: Pair
    finer: Pair
    fine: Pair

    @classmethod
    def of(cls, prepared: Prepared, settings: Align) -> _Levels:
        grids = prepared.fixed_grid, prepared.moving_grid
        longest = min(max(np.array(grid.shape) * grid.spacing) for grid in grids)
        least = (grids[0].voxels * grids[0].voxel_volume / _COARSE_VOXELS) ** (1 / 3)
        wanted = max(settings.coarse_mm, least), (settings.coarse_mm * settings.fine_mm) ** 0.5, settings.fine_mm
        # Finer where a small field of view would be left with hardly a voxel.
        sizes = [min(size, float(longest) / _FEWEST_ALONG) for size in wanted]
        pairs = spread((0, 1, 2), lambda level: Pair.of(prepared, sizes[level], local=level > 0))
        return cls(prepared, *pairs)


@dataclass(frozen=True, eq=False)
class _Place:
    """Where followed starts ended: the best of them, its loss on finer voxels, and their share of all."""

    affine: Affine
    loss: float
    agreement: float


def _places(levels: _Levels, settings: Align, start: Affine | None, progress: Progress) -> list[_Place]:
    """Where the images fit, best first: where a start leads, if there is one, or, which is then noted, elsewhere if
    they fit clearly better there.
    """
    if start is None:
        return _found(levels, settings, np.inf, progress)
    given = _ends(levels, [], [start], 0, lambda fraction: progress(0.2 * fraction))[0]
    found = _found(levels, settings, given.loss, lambda fraction: progress(0.2 + 0.8 * fraction))
    same = [place for place in found if _same(place.affine, given.affine, levels.coarse)]
    if found[0].loss >= given.loss - CLEARLY:
        agreement = max((place.agreement for place in same), default=0.0)
        return [replace(given, agreement=agreement), *(place for place in found if place not in same)]
    if found[0] not in same:
        levels.prepared.notes.append(
            "The initial transform was not followed: the images fit clearly better where it does not lead. Check that "
            "it belongs to them and takes points of the fixed image to the moving one, not back."
        )
    return found


def _found(levels: _Levels, settings: Align, known: float, progress: Progress) -> list[_Place]:
    """Where the images fit, best first: about as the headers say, or turned otherwise if that is asked or evident, and
    no place is known, by its loss, where they fit.
    """
    asked = settings.orientations == "any"
    turns = all_turns(_STEP_ALL_DEGREES) if asked else near_turns(_FARTHEST_DEGREES, _STEP_DEGREES)
    found = sweep(levels.prepared, turns, lambda fraction: progress(0.2 * fraction))
    header = [Affine(np.eye(4))]
    places = _ends(levels, found, header, settings.starts, lambda fraction: progress(0.2 + 0.3 * fraction))
    if not asked and min(places[0].loss, known) > _FITS:
        turns = [turn for turn in all_turns(_STEP_ALL_DEGREES) if _turn_degrees(turn) > _FARTHEST_DEGREES]
        swept = sweep(levels.prepared, turns, lambda fraction: progress(0.5 + 0.2 * fraction))
        least = _PROMISING * max((one.score for one in found), default=0.0)
        promising = [one for one in swept if one.score >= least]
        others = _ends(levels, promising, [], settings.starts, lambda fraction: progress(0.7 + 0.3 * fraction))
        if others and others[0].loss < _CLEARLY_BETTER * places[0].loss:
            return others
    return places


def _ends(levels: _Levels, found: Sequence[Found], given: list[Affine], most: int, progress: Progress) -> list[_Place]:
    """The places to which the best of what a sweep found and the given poses lead; best first."""
    coarse, finer = levels.coarse, levels.finer
    starts = [*_distinct((one.affine for one in found), coarse, _STARTS_APART, most), *given]
    followed = lambda fraction: progress(0.7 * fraction)  # noqa: E731
    ends = spread(starts, lambda pose: optimise(coarse, pose, "rigid", 40), followed)
    finalists = _distinct(_best_first(ends, finer), coarse, _ENDS_APART, _FINALISTS)
    finals = _best_first(spread(finalists, lambda pose: optimise(finer, pose, "rigid", 25)), finer)
    places = []
    for pose in _distinct(finals, coarse, _ENDS_APART, _FINALISTS):
        agreement = float(np.mean([_same(pose, end, coarse) for end in ends]))
        places.append(_Place(pose, finer.loss(pose), agreement))
    return places


def _best_first(poses: Sequence[Affine], pair: Pair) -> list[Affine]:
    order = np.argsort(spread(poses, pair.loss), kind="stable")
    return [poses[index] for index in order]


def _same(one: Affine, other: Affine, pair: Pair) -> bool:
    return len(_distinct([one, other], pair, _SAME_APART, 2)) == 1


def _distinct(poses: Iterable[Affine], pair: Pair, apart: float, most: int) -> list[Affine]:
    """The first `most` poses that lie farther than `apart` (of the image's radius) from those before them."""
    points = pair.grid.center + pair.radius * np.concatenate([np.eye(3), -np.eye(3)])
    kept: list[Affine] = []
    for pose in poses:
        if all(np.linalg.norm(pose(points) - other(points), axis=1).mean() > apart * pair.radius for other in kept):
            kept.append(pose)
        if len(kept) == most:
            break
    return kept


def _followed(levels: _Levels, rough: Affine, kind: str, progress: Progress) -> Affine:
    """The rigid pose adjusted on ever finer voxels; rigidly where no affine map is plausible, which is noted."""
    affine = _adjusted(levels, rough, kind, progress)
    names = " and ".join(levels.prepared.names)
    trouble = _trouble(affine, levels.finer, names)
    if trouble and kind == "affine":
        affine = _adjusted(levels, rough, "rigid", progress=lambda fraction: progress(1.0))
        trouble = _trouble(affine, levels.finer, names)
        if not trouble:
            levels.prepared.notes.append(
                f"No plausible affine alignment of {names} was found; they were aligned rigidly."
            )
    if trouble:
        raise GeometryError(trouble)
    return affine


def _adjusted(levels: _Levels, pose: Affine, kind: str, progress: Progress) -> Affine:
    pose = optimise(levels.finer, pose, kind, 40)
    progress(0.85)
    return optimise(levels.fine, pose, kind, 25)


def _trust(levels: _Levels, places: list[_Place], affine: Affine) -> Trust:
    best, *rivals = places
    next_best = max(min((place.loss for place in rivals), default=np.inf), _LEAST_LOSS)
    return Trust(
        similarity=levels.fine.similarity_in_body(affine),
        agreement=best.agreement,
        margin=max(0.0, 1 - best.loss / next_best),
        overlap=levels.fine.overlap(affine),
        stretch=_stretch(affine),
    )


def _stretch(affine: Affine) -> float:
    """The largest factor by which a direction grows or shrinks."""
    scales = np.linalg.svd(affine.matrix[:3, :3], compute_uv=False)
    return float(max(scales.max(), 1 / scales.min()))


def _turn_degrees(linear: NDArray[np.float64]) -> float:
    """The angle of the rotation nearest to a matrix."""
    left, _, right = np.linalg.svd(linear)
    return float(np.rad2deg(Rotation.from_matrix(left @ right).magnitude()))


def _refuse_far(prepared: Prepared, limit: float) -> None:
    """By the headers, how far the two fields of view (as boxes along the world's axes) lie from touching."""
    f, m = prepared.fixed_grid.corners(), prepared.moving_grid.corners()
    gap = float(np.linalg.norm(np.maximum(0, np.maximum(f.min(0) - m.max(0), m.min(0) - f.max(0)))))
    if gap > limit:
        raise GeometryError(
            f"{' and '.join(prepared.names)} lie {gap:.0f} mm apart by their headers, more than {limit:.0f} mm: they "
            "may not belong together. Check the files, or give an initial transform that brings them together."
        )


def _trouble(affine: Affine, pair: Pair, names: str) -> str:
    """What makes a map unusable, as a sentence; empty where nothing does."""
    scales = np.linalg.svd(affine.matrix[:3, :3], compute_uv=False)
    if _stretch(affine) > _LARGEST_STRETCH:
        return (
            f"Aligning {names} would need scaling by {scales.min():.2f} to {scales.max():.2f}, more than bodies "
            "differ. Check that both images show the same region, or choose rigid, or give an initial transform."
        )
    overlap = pair.overlap(affine)
    if overlap < LEAST_OVERLAP / 2:
        return (
            f"After alignment {names} share only {100 * overlap:.0f} % of what they could. "
            "Check that both show the same region, or give an initial transform."
        )
    return ""
