"""Followed studies to report: heads whose registration is known, so that no time is spent on it."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from Python.lesions.heads import FIRST, Balls, Oracle, timepoint
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.lesions.follow import follow
from RegistrationNetLib.lesions.lesion import outlined
from RegistrationNetLib.lesions.study import Scan, Study
from RegistrationNetLib.tracking import Tracked

A, B, C, D, E, F = (30, -20, 20), (-30, 10, 25), (25, 30, 10), (-28, -30, 0), (0, -45, 30), (0, -24, 30)
EVENTS: tuple[Balls | None, ...] = (
    {1: (A, 9), 2: (B, 9), 3: (C, 9), 4: (E, 8), 5: (F, 8)},
    None,
    {1: (A, 13), 2: (B, 9), 4: ((0, -34, 30), 17), 6: (D, 8)},
)
VOXEL = 5.0
REGISTRATION = {
    "fixed": {"name": "head 0"},
    "moving": {"name": "head 1"},
    "versions": {"registrationnet": "0.2.0", "python": "3.11"},
    "device": "cpu",
    "similarity": {"measure": "correlation", "before": 0.3, "after": 0.8},
    "overall": {"verdict": "look", "value": "8 of 9 checks are good", "sentence": "One check asks for a look."},
}


def told(study: Study) -> Tracked:
    """Followed by an engine that knows the truth."""
    return Tracked(follow(study, Oracle(), local=False), (), Settings.preset("fast"), (REGISTRATION,), {})


def events(patient: str = "P1", names: dict[str, str] | None = None) -> Tracked:
    """Grown, stable, resolved, new and merged; nobody looked at the middle scan. names: of lesions of the baseline."""
    scans = [timepoint(k, one or {}, one is not None, VOXEL) for k, one in enumerate(EVENTS)]
    first = tuple(replace(one, name=(names or {}).get(one.name, one.name)) for one in scans[0].lesions or ())
    return told(Study((replace(scans[0], lesions=first), *scans[1:]), patient))


class Still(Oracle):
    """An engine for scans between which nothing moved."""

    def register(self, fixed: Image, moving: Image, keep: Image | None, apart: Image | None) -> Mapping:
        return Mapping()


def ball(grid: Grid, center: tuple[float, float, float], radius: float, day: date = FIRST) -> Scan:
    """A bright ball and its outline on any lattice."""
    far = np.linalg.norm(grid.points() - center, axis=-1)
    image = np.where(far <= radius, 800, 200 + grid.points()[..., 0]).astype(np.float32)
    labels = Image((far <= radius).astype(np.uint8)[None], grid)
    return Scan(day, Image(image[None], grid, name=f"ball of {day}"), outlined(labels))


def balls(grids: list[Grid], center: tuple[float, float, float], radius: float) -> Tracked:
    scans = tuple(ball(grid, center, radius, FIRST + timedelta(days=30 * k)) for k, grid in enumerate(grids))
    tracking = follow(Study(scans), Still(), local=False)
    return Tracked(tracking, (), Settings(), (), {})
