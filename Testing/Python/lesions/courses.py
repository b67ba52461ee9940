"""Patients written down in a line: findings, visits and courses for the tests of response criteria."""

from datetime import date, timedelta

from RegistrationNetLib.lesions.criteria import Course, Finding, Followed, Visit
from RegistrationNetLib.lesions.estimate import exactly

START = date(2024, 1, 1)
GONE, TINY, MISSED = "gone", "too small", "not assessed"


def visit(week: float, *findings: Finding, **more) -> Visit:
    return Visit(START + timedelta(weeks=week), findings, **more)


def found(lesion: str, size: float | str, **more) -> Finding:
    """A size in mm (longest and short axis alike), or a state in words."""
    if isinstance(size, str):
        return Finding(lesion, size, **more)
    return Finding(lesion, longest_mm=exactly(size), short_axis_mm=exactly(size), **more)


def targets(*sums: float, weeks: tuple[float, ...] | None = None) -> Course:
    """One target lesion of the liver, so many mm at each visit, every 8 weeks."""
    weeks = weeks or tuple(8 * at for at in range(len(sums)))
    visits = tuple(visit(week, found("L1", size)) for week, size in zip(weeks, sums, strict=True))
    return Course((LIVER,), visits)


LIVER = Followed("L1", "target", "liver", False)
LUNG = Followed("L2", "target", "lung", False)
NODE = Followed("N1", "target", "nodes", True)
BONE = Followed("B1", "non-target", "bone", False)
SMALL_NODE = Followed("N2", "non-target", "nodes", True)
NEW = Followed("X1", "target", "lung", False)
NEW_UNMEASURED = Followed("X2", "non-target", "bone", False)
