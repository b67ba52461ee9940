"""A study followed from its baseline: registered, every lesion carried forward, matched where follow-ups are outlined.

What a lesion measures is always measured on its own scan by its own outline; registrations only find and match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.lesions.candidates import Candidate, candidates
from RegistrationNetLib.lesions.change import distinguishable, relative_change
from RegistrationNetLib.lesions.events import Change, ChangeTest, History, Node, Timepoint, by_volume, history
from RegistrationNetLib.lesions.forward import Forward, carried, forward, whole_outline
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.local import Local, corrected
from RegistrationNetLib.lesions.measure import Measures, measure
from RegistrationNetLib.lesions.propose import Proposal, gain_of, proposed
from RegistrationNetLib.lesions.residuals import Residuals
from RegistrationNetLib.lesions.series import Series, Tell, registered
from RegistrationNetLib.lesions.study import Scan, Study, box_around, label_map, solid
from RegistrationNetLib.lesions.word import Place, Word

_REGISTERED, _LOOKED_AGAIN, _LISTED, _PROPOSED = 0.7, 0.8, 0.85, 0.95
"""Shares of the work that are done after these stages."""
_MEASURED_MM = 15.0
"""Of the image around a lesion, when it is measured."""
_BODY_PLACES = 20_000
"""Of the body, among which loops are followed and grey levels of two scans compared."""


class Engine(Protocol):
    """What registers, so that this layer does not."""

    def register(self, fixed: Image, moving: Image, keep: Image | None, apart: Image | None) -> Mapping:
        """Fixed world -> moving world. keep: a label map of the fixed image, left out of the similarity, that keeps its
        volume. apart: the same of the moving image, only left out."""

    def nudge(self, fixed: Image, moving: Image, mapping: Mapping, hidden: Image, apart: Image | None) -> Affine:
        """See `engine.nearby.nudge`."""

    def body(self, image: Image) -> Image:
        """A mask of the body on the image's grid."""


@dataclass(frozen=True, eq=False)
class Tracking:
    """mappings: baseline world -> each follow-up's, after the second look around lesions. again: what that found, by
    timepoint. forwards: baseline lesions on each follow-up, by timepoint and name. history: of the scans on which
    lesions were outlined or clicked. measures: of each lesion with an outline, by timepoint and name.
    candidates: where each follow-up differs from the baseline, by timepoint. proposals: outlines of baseline lesions by
    the program on scans that nobody outlined, by timepoint and name. protected: lesions were kept out of the
    registration's way.
    """

    study: Study
    series: Series
    mappings: tuple[Mapping, ...]
    again: dict[str, tuple[Local, ...]]
    forwards: dict[Node, Forward]
    history: History
    measures: dict[Node, Measures]
    candidates: dict[str, tuple[Candidate, ...]]
    proposals: dict[Node, Proposal]
    protected: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what a reader should know of the whole."""
        lost = (
            f"A {'link' if word.same else 'unlink'} of {word.earlier.timepoint} and {word.later.timepoint} was not "
            "applied: no lesion lies at one of its places any more. Say it again, or remove it."
            for word in self.history.lost
        )
        return (*self.study.notes, *(loop.in_words() for loop in self.series.loops if not loop.returns), *lost)


def follow(
    study: Study,
    engine: Engine,
    words: Sequence[Word] = (),
    *,
    protect: bool = True,
    local: bool = True,
    tell: Tell = lambda fraction, message: None,
) -> Tracking:
    """words: what a reader said of lesions, which always holds. protect: keep lesions out of the registration's way.
    local: look once more around each lesion."""
    body = engine.body(study.scans[0].image)
    places = _spread(body)
    series = registered(
        study,
        lambda here, there, to_here: _register(study, engine, here, there, to_here, protect),
        places,
        lambda fraction, message: tell(_REGISTERED * fraction, message),
    )
    mappings, again = _looked_again(study, series, engine, local, tell)
    ways = list(zip(study.scans[1:], mappings, strict=True))
    tell(_LOOKED_AGAIN, "Carrying and measuring lesions")
    forwards = {
        (scan.name, lesion.name): forward(lesion, mapping, scan.image.grid, expected_error_mm(series, lesion))
        for scan, mapping in ways
        for lesion in study.baseline
    }
    measures = _measures(study)
    tell(_LISTED, "Looking for what nobody outlined")
    region = body if study.region is None else study.region
    first, lesions = study.scans[0].image, study.baseline
    differing = {
        scan.name: candidates(first, scan.image, mapping, region, lesions, scan.lesions or ()) for scan, mapping in ways
    }
    tell(_PROPOSED, "Outlining lesions where nobody did")
    proposals = {
        (scan.name, name): proposal
        for scan, mapping in ways
        if scan.lesions is None
        for name, proposal in _proposed(study, scan, mapping, forwards, places).items()
    }
    told = _history(study, series, mappings, measures, words)
    return Tracking(study, series, mappings, again, forwards, told, measures, differing, proposals, protect)


def _spread(mask: Image) -> Points:
    """World points of voxels inside, evenly spread over their order, (N, 3)."""
    inside = np.flatnonzero(mask.scalar)
    some = np.unravel_index(inside[:: max(1, len(inside) // _BODY_PLACES)], mask.grid.shape)
    return mask.grid.to_world(np.stack(some, axis=-1))


def _looked_again(
    study: Study, series: Series, engine: Engine, local: bool, tell: Tell
) -> tuple[tuple[Mapping, ...], dict[str, tuple[Local, ...]]]:
    """Mappings after the second look around lesions, and what it found by timepoint."""
    first, *later = study.scans
    mappings: list[Mapping] = []
    again: dict[str, tuple[Local, ...]] = {}
    for number, scan in enumerate(later, 1):
        done = _REGISTERED + (_LOOKED_AGAIN - _REGISTERED) * (number - 1) / len(later)
        tell(done, f"Looking around lesions: {scan.name}")
        lesions, drawn = study.baseline if local else (), _drawn(scan.lesions or (), scan)
        mapping, again[scan.name] = corrected(first.image, scan.image, lesions, series.to(number), engine.nudge, drawn)
        mappings.append(mapping)
    return tuple(mappings), again


def _measures(study: Study) -> dict[Node, Measures]:
    return {
        (scan.name, lesion.name): measured(lesion, scan.image)
        for scan in study.scans
        for lesion in scan.lesions or ()
        if not lesion.clicked
    }


def expected_error_mm(series: Series, lesion: Lesion) -> float:
    """Of a carried baseline lesion's place: what registrations of this kind err on average, and what loops miss."""
    return float(np.hypot(Residuals().mean_mm, series.error_mm(lesion.name)))


def measured(lesion: Lesion, image: Image) -> Measures:
    """On the native scan; only what is around the lesion is looked at."""
    box = box_around(lesion.points, image.grid, _MEASURED_MM)
    start = np.rint(image.grid.to_voxel(box.to_world((0, 0, 0)))).astype(int)
    part = tuple(slice(first, first + n) for first, n in zip(start, box.shape, strict=True))
    here = Image(image.data[(slice(None), *part)], box, image.background, image.name)
    inside = Lesion(lesion.name, label_map((lesion,), box))
    return measure(whole_outline(inside), here)


def _register(study: Study, engine: Engine, here: int, there: int, to_here: Mapping, protect: bool) -> Mapping:
    fixed, moving = study.scans[here], study.scans[there]
    keep, apart = (None, None)
    if protect:
        keep = _drawn(_known(study, fixed, to_here), fixed)
        apart = _drawn(moving.lesions or (), moving)
    return engine.register(fixed.image, moving.image, keep, apart)


def _known(study: Study, scan: Scan, to_it: Mapping) -> Sequence[Lesion]:
    """Where lesions are on a scan: as outlined there, else as carried."""
    if scan.lesions is not None:
        return scan.lesions
    brought = (carried(one, to_it, scan.image.grid) for one in study.baseline)
    return [one for one in brought if one is not None]


def _drawn(lesions: Sequence[Lesion], scan: Scan) -> Image | None:
    if not lesions:
        return None
    return label_map([solid(one) for one in lesions], scan.image.grid, f"lesions of {scan.name}")


def _proposed(
    study: Study, scan: Scan, mapping: Mapping, forwards: dict[Node, Forward], places: Points
) -> dict[str, Proposal]:
    """Of each baseline lesion with an outline whose place the scan shows, by name."""
    first = study.scans[0].image
    gain = gain_of(first, scan.image, mapping, places)
    carried_there = {one.name: forwards[scan.name, one.name].lesion for one in study.baseline}
    there = {name: one for name, one in carried_there.items() if one is not None}
    found = {}
    for lesion in study.baseline:
        if lesion.clicked or lesion.name not in there:
            continue
        others = [one for one in study.baseline if one is not lesion]
        others_there = [one for name, one in there.items() if name != lesion.name]
        brought = there[lesion.name]
        found[lesion.name] = proposed(first, lesion, scan.image, mapping, brought, (others, others_there), gain)
    return found


def _history(
    study: Study, series: Series, mappings: Sequence[Mapping], measures: dict[Node, Measures], words: Sequence[Word]
) -> History:
    seen = [number for number, scan in enumerate(study.scans) if scan.lesions is not None]
    times = [Timepoint(scan.name, scan.lesions or (), scan.image.grid) for scan in (study.scans[n] for n in seen)]
    steps = list(pairwise(seen))
    ways = [mappings[there - 1] if here == 0 else series.between(here, there) for here, there in steps]
    errors = [
        [
            expected_error_mm(series, one) if here == 0 else Residuals().mean_mm
            for one in study.scans[here].lesions or ()
        ]
        for here, _ in steps
    ]
    places = [(Place.of(one, study.scans[0].name), one.name) for one in study.baseline]
    labels = [(place, study.about(study.scans[0].name, name).label) for place, name in places]
    known = [*labels, *places]  # a label is no new lesion's name, though its lesion has another
    return history(times, ways, errors, words, _tested(study, measures), known)


def _tested(study: Study, measures: dict[Node, Measures]) -> ChangeTest:
    """A change by a quarter, and one that can be told from none."""
    nodes = {id(one): (scan.name, one.name) for scan in study.scans for one in scan.lesions or ()}

    def changed(earlier: Lesion, later: Lesion) -> Change:
        kind = by_volume(earlier, later)
        if kind not in ("grown", "shrunk"):
            return kind
        before, after = (measures[nodes[id(one)]].volume_mm3 for one in (earlier, later))
        return kind if distinguishable(relative_change(before, after)) else "stable"

    return changed
