"""A tracked study as criteria see it: each lesion measured, merged, gone or not assessed at each scan."""

from dataclasses import replace

import pytest

from Python.lesions.heads import Balls, Oracle, timepoint
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.lesions.course import CRITERIA, ask_early, course
from RegistrationNetLib.lesions.follow import follow
from RegistrationNetLib.lesions.study import About, Study, label_map

A, B, C, D = (30, -20, 20), (-30, 10, 25), (25, 30, 10), (-28, -30, 0)
FIRST: Balls = {1: (A, 10), 2: (B, 9), 3: (C, 9)}
SECOND: Balls = {1: (A, 14), 2: (B, 9), 4: (D, 8)}
ABOUT = {
    "1": About(organ="lung", role="target", node=False),
    "2": About(organ="liver", role="target", node=False),
    "3": About(organ="liver", role="non-target", node=False),
}


def study(*balls: Balls | None, about: dict[str, About] = ABOUT) -> Study:
    scans = [timepoint(k, one or FIRST, one is not None, 5.0) for k, one in enumerate(balls)]
    return Study((replace(scans[0], about=about), *scans[1:]))


@pytest.fixture(scope="module")
def judged() -> Study:
    return study(FIRST, None, SECOND)


def test_findings_are_those_of_outlined_scans(judged: Study):
    tracking = follow(judged, Oracle(), local=False)
    found = course(tracking)
    assert [visit.day for visit in found.visits] == [judged.scans[0].day, judged.scans[2].day]
    states = {lesion.name: found.visits[1].of(lesion).state for lesion in found.lesions}
    assert states == {"1": "measured", "2": "measured", "3": "gone", "4": "measured"}
    assert [one.name for one in found.new] == ["4"]
    one = found.visits[1].of(found.lesions[0])
    assert one.longest_mm.value == tracking.measures[judged.scans[2].name, "1"].longest_mm.value
    (assessment,) = CRITERIA["recist"](found)
    assert (assessment.response, assessment.new) == ("PD", ("4",))
    assert assessment.total.value == pytest.approx(
        sum(tracking.measures[judged.scans[2].name, name].longest_mm.value for name in "12")
    )


def test_what_merged_is_measured_once_for_the_largest():
    apart: Balls = {1: (A, 10), 2: ((30, -1, 20), 8)}
    together: Balls = {1: (A, 12), 2: ((30, -10, 20), 8), 3: ((30, -1, 20), 10)}
    first, second = study(apart, together, about={}).scans
    labels = label_map(second.lesions or (), second.image.grid)
    whole = replace(labels, data=(labels.data > 0).astype("uint8"))
    merged = replace(second, lesions=(replace(second.lesions[0], outline=whole),))
    found = course(follow(Study((first, merged)), Oracle(), local=False))
    assert [found.visits[1].of(lesion).state for lesion in found.lesions] == ["measured", "merged"]


def test_a_criterion_asks_before_anything_is_registered():
    ask_early(study(FIRST, SECOND), ["recist", "volumetric"])
    ask_early(study(FIRST, SECOND, about={}), [])
    with pytest.raises(InputError, match="whether '1' is a target or a non-target lesion"):
        ask_early(study(FIRST, SECOND, about={}), ["recist"])
