"""RECIST 1.1, by the cases of its tables and the sums a reader would add up by hand."""

from datetime import date

import pytest

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.lesions.best import best_response
from RegistrationNetLib.lesions.criteria import Course, Finding, Followed
from RegistrationNetLib.lesions.estimate import Estimate
from RegistrationNetLib.lesions.recist import measurability, overall, recist

from .courses import BONE, GONE, LIVER, LUNG, MISSED, NEW, NODE, SMALL_NODE, TINY, found, targets, visit


def responses(course: Course) -> list[str]:
    return [one.response for one in recist(course)]


def reasons(course: Course) -> str:
    return " ".join(recist(course)[-1].reasons)


def test_progression_is_spelled_out_with_the_smallest_sum_and_its_date():
    course = targets(60, 45, 56)
    assert responses(course) == ["SD", "PD"]
    assert recist(course)[-1].reasons[0] == (
        "The sum of diameters is 56 mm, 24.4 % and 11 mm above the smallest so far (45 mm on 2024-02-26): progression."
    )


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        ((100, 70), "PR"),  # exactly 30 % below the baseline
        ((100, 70.1), "SD"),
        ((100, 120), "PD"),  # exactly 20 % above
        ((100, 119.9), "SD"),
        ((20, 24.9), "SD"),  # 24.5 % above, but less than 5 mm
        ((20, 25), "PD"),
        ((100, 50, 61), "PD"),  # against the smallest, though still 39 % below the baseline
        ((100, 50, 59), "PR"),  # 18 % above the smallest
        ((100, 50, 70.5), "PD"),
        ((100, 60, 71.5), "SD"),  # 19 % above the smallest, no longer 30 % below the baseline
    ],
)
def test_target_lesions_against_baseline_and_smallest_sum(sums: tuple[float, ...], expected: str):
    assert responses(targets(*sums))[-1] == expected


def test_nodes_count_by_their_short_axis_and_are_normal_below_ten_millimetres():
    def course(short_mm: float) -> Course:
        node = Finding("N1", longest_mm=Estimate(40, 40, 40), short_axis_mm=Estimate(short_mm, short_mm, short_mm))
        return Course((LIVER, NODE), (visit(0, found("L1", 30), found("N1", 20)), visit(8, found("L1", GONE), node)))

    assert responses(course(9.9)) == ["CR"]
    assert recist(course(9.9))[0].total.value == pytest.approx(9.9)
    assert responses(course(10)) == ["PR"]


def test_what_is_too_small_to_measure_counts_five_millimetres_and_is_not_gone():
    course = Course(
        (LIVER, LUNG),
        (visit(0, found("L1", 20), found("L2", 30)), visit(8, found("L1", TINY), found("L2", GONE))),
    )
    assert recist(course)[0].total.value == 5
    assert responses(course) == ["PR"]


def test_a_missing_target_is_not_evaluable_unless_the_others_alone_show_progression():
    def course(rest_mm: float) -> Course:
        return Course(
            (LIVER, LUNG),
            (visit(0, found("L1", 25), found("L2", 25)), visit(8, found("L1", rest_mm), found("L2", MISSED))),
        )

    assert responses(course(30)) == ["NE"]
    assert "'L2' was not assessed" in reasons(course(30))
    assert responses(course(80)) == ["PD"]


def test_a_new_lesion_is_progression_whatever_shrinks():
    course = Course((LIVER, NEW), (visit(0, found("L1", 50)), visit(8, found("L1", 10), found("X1", 6))))
    assert responses(course) == ["PD"]
    assert recist(course)[0].new == ("X1",)
    assert "New: 'X1'." in reasons(course)


def test_a_lesion_that_comes_back_after_complete_response_is_progression():
    course = Course((LIVER,), (visit(0, found("L1", 50)), visit(8, found("L1", GONE)), visit(16, found("L1", 4))))
    assert responses(course) == ["CR", "PD"]


def others(size: float | str, target: float | str = 50, **more) -> Course:
    return Course(
        (LIVER, BONE),
        (visit(0, found("L1", 50), found("B1", 20)), visit(8, found("L1", target), found("B1", size, **more))),
    )


def test_non_target_lesions_stop_a_complete_response_and_show_progression_when_the_reader_says_so():
    assert responses(others(GONE, GONE)) == ["CR"]
    assert responses(others(20, GONE)) == ["PR"]
    assert responses(others(MISSED, GONE)) == ["PR"]
    assert responses(others(40)) == ["SD"]  # no diameter decides for non-target lesions
    assert responses(others(40, progression=True)) == ["PD"]


def test_a_pathological_non_target_node_and_abnormal_markers_stop_a_complete_response():
    def course(node_mm: float, **more) -> Course:
        return Course(
            (LIVER, SMALL_NODE),
            (visit(0, found("L1", 50), found("N2", 12)), visit(8, found("L1", GONE), found("N2", node_mm), **more)),
        )

    assert responses(course(9)) == ["CR"]
    assert responses(course(11)) == ["PR"]
    assert responses(course(9, markers_normal=False)) == ["PR"]


@pytest.mark.parametrize(
    ("target", "other", "new", "expected"),
    [
        ("CR", "CR", False, "CR"),
        ("CR", "non-CR/non-PD", False, "PR"),
        ("CR", "NE", False, "PR"),
        ("PR", "NE", False, "PR"),
        ("SD", "non-CR/non-PD", False, "SD"),
        ("NE", "non-CR/non-PD", False, "NE"),
        ("PD", "CR", False, "PD"),
        ("CR", "PD", False, "PD"),
        ("CR", "CR", True, "PD"),
        ("", "CR", False, "CR"),
        ("", "non-CR/non-PD", False, "non-CR/non-PD"),
        ("", "NE", False, "NE"),
        ("", "PD", True, "PD"),
    ],
)
def test_the_tables_of_overall_response(target: str, other: str, new: bool, expected: str):
    assert overall(target, other, new) == expected


@pytest.mark.parametrize(
    ("sums", "weeks", "confirmed", "expected"),
    [
        ((100, 60, 60), (0, 8, 12), True, "PR"),
        ((100, 60, 60), (0, 8, 11), True, "SD"),  # three weeks do not confirm
        ((100, 60, 60), (0, 8, 11), False, "PR"),
        ((100, 60, 100), (0, 8, 16), True, "SD"),
        ((100, 90), (0, 4), True, "NE"),  # stable, but too soon
        ((100, 90), (0, 6), True, "SD"),
        ((100, 130, 50), (0, 8, 16), False, "PD"),  # nothing counts after progression
    ],
)
def test_best_response_with_and_without_confirmation(sums, weeks, confirmed: bool, expected: str):
    course = targets(*sums, weeks=weeks)
    assert best_response(course, recist(course), confirmed)[0] == expected


def test_a_change_within_the_measuring_error_is_said_to_be_none():
    def course(half_mm: float) -> Course:
        sizes = [Estimate(size, size - half_mm, size + half_mm) for size in (20.0, 25.5)]
        return Course((LIVER,), tuple(visit(8 * at, Finding("L1", longest_mm=size)) for at, size in enumerate(sizes)))

    assert responses(course(5)) == ["PD"]
    assert "(95 % interval -2 to +13 mm) is not distinguishable from no change" in reasons(course(5))
    assert "distinguishable" not in reasons(course(2))


def test_all_that_is_missing_is_asked_for_by_name_at_once():
    course = Course(
        (Followed("A"), Followed("B", "target", None, False), Followed("C", "target", "liver", None)),
        (visit(0, found("A", 10), Finding("B"), found("C", 10)),),
    )
    with pytest.raises(InputError) as error:
        recist(course)
    for asked in (
        "RECIST 1.1 also needs",
        "whether 'A' is a target or a non-target lesion",
        "the organ of target lesion 'B'",
        "whether 'C' is a lymph node",
        "the longest diameter of 'B' on 2024-01-01",
    ):
        assert asked in str(error.value)


def test_no_more_than_five_targets_and_two_an_organ():
    def course(organs: str) -> Course:
        lesions = tuple(Followed(f"T{at}", "target", organ, False) for at, organ in enumerate(organs))
        return Course(lesions, (visit(0, *(found(one.name, 20) for one in lesions)),))

    assert recist(course("aabbc")) == ()
    with pytest.raises(InputError, match="at most 2 target lesions an organ; in 'a' are 'T0', 'T1' and 'T2'"):
        recist(course("aaab"))
    with pytest.raises(InputError, match="at most 5 target lesions; these are 6"):
        recist(course("aabbcc"))


def test_sizes_that_do_not_fit_a_role_are_pointed_out():
    course = Course((LIVER, NODE, SMALL_NODE), (visit(0, found("L1", 9), found("N1", 14), found("N2", 8)),))
    said = " ".join(measurability(course))
    assert "'L1' measures 9 mm" in said
    assert "'N1' measures 14 mm; a target node's short axis is at least 15 mm" in said
    assert "'N2' has a short axis of 8 mm: below 10 mm, normal" in said


def test_visits_out_of_order_and_unknown_lesions_are_refused():
    with pytest.raises(InputError, match="earliest first"):
        Course((LIVER,), (visit(8, found("L1", 1)), visit(0, found("L1", 1))))
    with pytest.raises(InputError, match="'L9', but no such lesion"):
        Course((LIVER,), (visit(0, found("L9", 1)),))
    assert date(2024, 2, 26) == visit(8).day


def test_no_sentence_contradicts_its_category():
    assert reasons(targets(20, 24.9)).startswith(
        "The sum of diameters is 24.9 mm, 24.5 % and 4.9 mm above the smallest so far (20 mm on 2024-01-01; "
        "progression takes 20 % and 5 mm): stable disease."
    )
    assert reasons(targets(100, 60, 71.5)).startswith(
        "The sum of diameters is 71.5 mm, 28.5 % below the baseline (100 mm; a partial response takes 30 %), and "
        "19.2 % and 11.5 mm above the smallest so far (60 mm on 2024-02-26; progression takes 20 % and 5 mm): "
        "stable disease."
    )
    assert reasons(targets(100, 50, 59)).startswith(
        "The sum of diameters is 59 mm, 41 % below the baseline (100 mm), and 18 % and 9 mm above the smallest so far "
        "(50 mm on 2024-02-26; progression takes 20 % and 5 mm): partial response."
    )
    assert reasons(targets(50, 50)).startswith("The sum of diameters is 50 mm, as at the baseline (50 mm): stable")


def test_what_came_before_is_recalled():
    assert "There was a partial response on 2024-02-26, and there has been no progression since." in reasons(
        targets(100, 60, 71.5)
    )
    assert reasons(targets(100, 130, 60)).endswith("partial response (PR), after progression on 2024-02-26.")


def test_the_doubt_of_a_partial_response_is_about_the_baseline():
    def course(half_mm: float) -> Course:
        sizes = [Estimate(size, size - half_mm, size + half_mm) for size in (10.0, 6.0)]
        return Course((LIVER,), tuple(visit(8 * at, Finding("L1", longest_mm=size)) for at, size in enumerate(sizes)))

    assert "The difference of -4 mm from the baseline (95 % interval -8 to +0 mm)" in reasons(course(3))
    assert "distinguishable" not in reasons(course(1))


@pytest.mark.parametrize(
    ("short_mm", "expected", "said"),
    [
        (9.9, "SD", "stable"),
        (10, "PD", "has a short axis of 10 mm; below 15 mm it may not be disease"),
        (15, "PD", "New"),
    ],
)
def test_a_new_node_counts_from_ten_millimetres(short_mm: float, expected: str, said: str):
    new = Followed("N9", node=True)
    course = Course((LIVER, new), (visit(0, found("L1", 50)), visit(8, found("L1", 50), found("N9", short_mm))))
    assert responses(course) == [expected]
    assert said in reasons(course)
    assert ("may not be disease" in reasons(course)) == (10 <= short_mm < 15)


def returning(lesion: Followed, liver: float | str, *sizes: float | str) -> list[str]:
    """A lesion of 20 mm with a target of the liver that is so large from the second visit on."""
    visits = [visit(0, found("L1", 50), found(lesion.name, 20))]
    visits += [visit(8 * at, found("L1", liver), found(lesion.name, size)) for at, size in enumerate(sizes, 1)]
    return responses(Course((LIVER, lesion), tuple(visits)))


@pytest.mark.parametrize(
    ("lesion", "liver", "sizes", "expected"),
    [
        (BONE, GONE, (GONE, 5), ["CR", "PD"]),  # after a complete response whatever is back is progression
        (BONE, GONE, (GONE, MISSED, 5), ["CR", "PR", "PR"]),  # not at the previous assessment
        (BONE, 30, (GONE, 5), ["PR", "PR"]),  # what is back while disease remains counts by its size alone
        (LUNG, GONE, (GONE, 4), ["CR", "PD"]),
        (LUNG, 30, (GONE, 4), ["PR", "PR"]),  # 34 mm are 13 % above 30
        (LUNG, 30, (GONE, 6), ["PR", "PD"]),  # 36 mm are 20 %
        (NODE, GONE, (9, 9.5), ["CR", "CR"]),
        (NODE, GONE, (9, 10), ["CR", "PD"]),
        (SMALL_NODE, GONE, (9, 12), ["CR", "PR"]),  # a non-target node's return is for the reader to call
    ],
)
def test_lesions_that_come_back(lesion: Followed, liver: float | str, sizes: tuple, expected: list[str]):
    assert returning(lesion, liver, *sizes) == expected


def test_markers_above_normal_stop_a_complete_response_without_non_target_lesions_too():
    def course(**more) -> Course:
        return Course((LIVER,), (visit(0, found("L1", 50)), visit(8, found("L1", GONE), **more)))

    assert responses(course()) == responses(course(markers_normal=True)) == ["CR"]
    assert responses(course(markers_normal=False)) == ["PR"]
    assert "Tumour markers are not normal: no complete response." in reasons(course(markers_normal=False))


def test_nodes_are_one_organ_wherever_they_are():
    lesions = tuple(Followed(f"N{at}", "target", organ, True) for at, organ in enumerate(("neck", "axilla", "groin")))
    with pytest.raises(InputError, match="at most 2 target lesions an organ; in 'lymph nodes' are 'N0', 'N1' and 'N2'"):
        recist(Course(lesions, (visit(0, *(found(one.name, 20) for one in lesions)),)))


@pytest.mark.parametrize("state", [GONE, TINY, MISSED])
def test_a_target_without_a_size_at_baseline_is_asked_for(state: str):
    with pytest.raises(InputError, match="the longest diameter of 'L1' on 2024-01-01"):
        recist(Course((LIVER,), (visit(0, found("L1", state)), visit(8, found("L1", 20)))))
