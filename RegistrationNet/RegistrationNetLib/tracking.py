"""Lesions followed over a series of scans, in one call: `track("STUDY.csv")`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from RegistrationNetLib.core.errors import Cancelled, InputError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.result import IsCancelled, OnProgress
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.lesions.follow import Tracking, follow
from RegistrationNetLib.lesions.study import Study

if TYPE_CHECKING:
    from RegistrationNetLib.lesions.criteria import Assessment
    from RegistrationNetLib.lesions.table import Entry
    from RegistrationNetLib.lesions.word import Word
    from RegistrationNetLib.reporting.written import Format


@dataclass(frozen=True, eq=False)
class Tracked:
    """A study followed. tracking: mappings, carried outlines, measures and events; words: what the reader said;
    registrations: of each, in plain values, what it was between and how well it went; settings: theirs. assessments: of
    each follow-up that was outlined, by each criterion that was asked for; missing: what criteria could not judge for
    want of."""

    tracking: Tracking
    words: tuple[Word, ...]
    settings: Settings
    registrations: tuple[dict[str, Any], ...]
    assessments: dict[str, tuple[Assessment, ...]]
    missing: tuple[str, ...] = ()

    @property
    def table(self) -> list[Entry]:
        """One entry for each lesion on each scan: what lesions.csv holds."""
        from RegistrationNetLib.lesions.table import entries

        return entries(self.tracking)


def track(
    study: str | Path | Study,
    *,
    preset: str = "balanced",
    settings: Settings | None = None,
    protect: bool = True,
    local: bool = True,
    links: Sequence[str | Path | Word] = (),
    criteria: Sequence[str] = (),
    on_progress: OnProgress | None = None,
    keep_in: str | Path | None = None,
    cancelled: IsCancelled | None = None,
    **choices: Any,
) -> Tracked:
    """Follow the lesions of a study over its scans.

    study: a table of scans (STUDY.csv), a folder of them, or a `Study`; docs/lesions-tracking.md says what they hold.
    preset, settings, choices: of the registrations, as for `register`.
    protect: leave lesions out of what makes scans alike and keep their volume, so that growth is not hidden.
    local: look once more around each lesion.
    links: what a reader said of lesions, which always holds: tables, or words; the last one about two lesions counts.
    criteria: "recist", "irecist", "volumetric": which judge the course.
    keep_in: folder in which registrations are kept as they are made, and found by a later run on the same scans,
    outlines and settings.
    Raises InputError naming the row or file and the cure; Cancelled once `cancelled()` is true.
    """
    from RegistrationNetLib.files.links import read_links
    from RegistrationNetLib.files.studies import read_study
    from RegistrationNetLib.lesions.course import CRITERIA, ask_early, course

    chosen = (settings or Settings.preset(preset)).with_values(**choices)
    heard = on_progress or (lambda stage, fraction, message: None)
    heard("read", 0.0, "Reading the scans")
    read = study if isinstance(study, Study) else read_study(study)
    ask_early(read, criteria)
    words = [word for link in links for word in (read_links(link, read) if isinstance(link, str | Path) else [link])]
    engine = Registrations(chosen, cancelled or (lambda: False), None if keep_in is None else Path(keep_in))

    def tell(fraction: float, message: str) -> None:
        if engine.cancelled():
            raise Cancelled
        heard(message, fraction, message)

    tracking = follow(read, engine, words, protect=protect, local=local, tell=tell)
    assessments, notes = {}, []
    for name in criteria:
        try:
            assessments[name] = CRITERIA[name](course(tracking))
        except InputError as error:  # what only follow-ups have shown to be missing is no reason to lose the rest
            notes.append(str(error))
    return Tracked(tracking, tuple(words), chosen, tuple(engine.reports), assessments, tuple(notes))


def save(tracked: Tracked, folder: str | Path, reports: Sequence[Format] = (), reader: str = "") -> list[str]:
    """Write lesions.csv, study.json, the carried outlines, the transforms, links.csv and report.html into a folder, all
    or none, and add to its audit.jsonl; returns their names.

    reports: "pdf", "dicom": what else to write. reader: who outlined and linked, for the audit trail and DICOM.
    Raises MissingPackage or InputError for what cannot be written.
    """
    from RegistrationNetLib.files.output import output_folder
    from RegistrationNetLib.files.tracking import write_tracking
    from RegistrationNetLib.reporting import audit
    from RegistrationNetLib.reporting.written import check_formats, write_reports

    check_formats(tracked.tracking.study, reports)
    with output_folder(folder) as draft:
        write_tracking(tracked.tracking, tracked.words, _report(tracked), draft)
        write_reports(tracked, reports, draft, reader)
        names = sorted(path.name for path in draft.iterdir())
    acts = audit.followed(tracked.tracking.study, tracked.words, audit.read(folder))
    return [*names, audit.append(folder, acts, reader)]


def summary(tracked: Tracked) -> list[str]:
    """What a person wants to read after a run: notes, and what became of how many lesions at each scan."""
    found = [(one.day, one.status) for one in tracked.table]
    lines = [f"Note: {note}" for note in (*tracked.tracking.notes, *tracked.missing)]
    for scan in tracked.tracking.study.scans:
        counts = Counter(status for day, status in found if day == scan.day)
        nothing = "nobody outlined it" if scan.lesions is None else "no lesions"
        told = ", ".join(f"{count} {status}" for status, count in counts.items()) or nothing
        differing = len(tracked.tracking.candidates.get(scan.name, ()))
        look = f"; {differing} places to look at in candidates.csv" if differing else ""
        lines.append(f"  {scan.name}: {told}{look}")
        lines += [f"    {name}: {' '.join(one.reasons)}" for name, one in _judged(tracked) if one.day == scan.day]
    return lines


def _judged(tracked: Tracked) -> list[tuple[str, Assessment]]:
    return [(name, one) for name, found in tracked.assessments.items() for one in found]


def _report(tracked: Tracked) -> dict[str, Any]:
    """What study.json says of how it was made, and of the response."""
    judged = [
        {
            "criterion": name,
            "date": one.day.isoformat(),
            "response": one.response,
            "target": one.target,
            "non_target": one.non_target,
            "new": one.new,
            "total": None if one.total is None else asdict(one.total),
            "reasons": one.reasons,
        }
        for name, one in _judged(tracked)
    ]
    settings = tracked.settings.to_dict()
    return {
        "settings": settings,
        "registrations": list(tracked.registrations),
        "response": judged,
        "missing": list(tracked.missing),
    }


@dataclass(frozen=True, eq=False)
class Registrations:
    """The engine, as `lesions.follow` asks for it."""

    settings: Settings
    cancelled: IsCancelled
    keep_in: Path | None = None
    reports: list[dict[str, Any]] = field(default_factory=list)

    def register(self, fixed: Image, moving: Image, keep: Image | None, apart: Image | None) -> Mapping:
        """As kept from an earlier run, or anew."""
        from RegistrationNetLib.files.shelf import kept, key_of, put

        if self.keep_in is None:
            mapping, report = self.computed(fixed, moving, keep, apart)
        else:
            key = key_of((fixed, moving, keep, apart), self.settings.to_dict())
            found = kept(self.keep_in, key)
            mapping, report = found or put(self.keep_in, key, *self.computed(fixed, moving, keep, apart))
        self.reports.append(report)
        return mapping

    def computed(
        self, fixed: Image, moving: Image, keep: Image | None, apart: Image | None
    ) -> tuple[Mapping, dict[str, Any]]:
        """What cannot be kept of its volume (in linear or symmetric registrations) is only left out."""
        from RegistrationNetLib.engine.register import register

        bends = self.settings.transform == "deformable" and not self.settings.refine.symmetric
        found = register(
            fixed,
            moving,
            self.settings,
            fixed_mask=None if bends or keep is None else _outside(keep),
            moving_mask=None if apart is None else _outside(apart),
            constraints=Constraints(volume=keep if bends else None),
            cancelled=self.cancelled,
        )
        told = ("fixed", "moving", "versions", "device", "similarity", "jacobian", "overall", "notes", "seconds_total")
        return found.mapping, {name: found.report[name] for name in told}

    def nudge(self, fixed: Image, moving: Image, mapping: Mapping, hidden: Image, apart: Image | None) -> Affine:
        from RegistrationNetLib.engine.nearby import nudge

        return nudge(fixed, moving, mapping, hidden, apart)

    def body(self, image: Image) -> Image:
        from RegistrationNetLib.engine.prepare import foreground

        low, high = np.percentile(image.scalar, (0.2, 99.8))
        values = np.clip((image.scalar - low) / max(high - low, 1e-9), 0, 1)
        return Image(foreground(values)[None].astype(np.uint8), image.grid, name=f"body of {image.name}")


def _outside(labels: Image) -> Image:
    return Image((labels.data == 0).astype(np.uint8), labels.grid, name=labels.name)
