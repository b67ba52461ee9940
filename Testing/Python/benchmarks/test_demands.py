"""A demand that was missed, or that nothing was measured for, is said and ends a benchmark with an error."""

import pytest

from benchmarks.demands import Demand, at_least, at_most, meet, table


@pytest.mark.parametrize(
    ("demand", "verdict"),
    [
        (at_least("more", 2.0, 2.0), "met"),
        (at_least("more", 1.9, 2.0), "missed"),
        (at_least("more", float("nan"), 2.0), "missed"),
        (at_most("less", 2.0, 2.0), "met"),
        (at_most("less", 2.1, 2.0), "missed"),
        (at_most("less", float("nan"), 2.0), "missed"),
        (at_most("less", None, 2.0), "not measured"),
    ],
)
def test_a_limit_is_met_missed_or_not_measured(demand: Demand, verdict: str):
    assert demand.verdict == verdict
    assert f"| {verdict} |" in table([demand])
    if verdict != "met":
        with pytest.raises(SystemExit, match=demand.what):
            meet([at_least("other", 1.0, 0.0), demand])


def test_what_is_met_or_does_not_decide_ends_well():
    meet([at_least("more", 2.0, 1.0), at_most("seconds", 9.0, 5.0, decides=False)])
