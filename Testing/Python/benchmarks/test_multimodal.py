"""What is asked of two contrasts is asked of the measure that is taken where neither is chosen."""

import pytest

from benchmarks.multimodal import Outcome, demand

GOOD, BAD = (0.9, 0.0, 0.2, 5.0), (1.6, 0.0, 0.2, 5.0)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([Outcome(5.0, 4.0, BAD, GOOD, "mind")], "met"),
        ([Outcome(5.0, 4.0, GOOD, BAD, "lncc")], "met"),
        ([Outcome(5.0, 4.0, GOOD, BAD, "mind")], "missed"),
        ([Outcome(5.0, 4.0, BAD, GOOD, "mind"), Outcome(5.0, 4.0, BAD, GOOD, "lncc")], "missed"),
    ],
)
def test_the_error_of_what_auto_takes_decides(outcomes: list[Outcome], verdict: str):
    assert demand("T2 onto T1", outcomes).verdict == verdict
