"""A preset lies on the curve of time against accuracy, or it is said what is both faster and better."""

from benchmarks.front import Point, schedules, verdict
from RegistrationNetLib.engine.settings import PRESETS


def curve(**presets: Point) -> dict:
    """Every schedule as good and slow as the next, but for these presets."""
    alike = {name: {"brains": Point(0.7, 0.3, 5.0)} for name in schedules()}
    return alike | {name: {"brains": point} for name in alike for preset, point in presets.items() if preset in name}


def test_a_preset_that_another_schedule_outdoes_is_said_not_to_lie_on_the_curve():
    said = verdict("balanced", curve(balanced=Point(0.69, 0.3, 6.0), fast=Point(0.68, 0.3, 1.0)))
    assert "`balanced` does not lie on the curve" in said
    assert "**accurate** on brains (0.7000; 0.300; 5.00 s)" in said
    assert "**fast**" not in said


def test_a_preset_that_is_the_better_or_the_faster_lies_on_the_curve():
    for preset in PRESETS:
        for point in (Point(0.71, 0.3, 9.0), Point(0.5, 0.3, 1.0), Point(0.7, 0.3, 5.0)):
            assert "no other schedule here is both" in verdict(preset, curve(**{preset: point}))
