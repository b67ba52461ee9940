"""iRECIST by the rows of its table and the courses that its authors answer questions with."""

from datetime import date

import pytest

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.lesions.criteria import Course, Followed
from RegistrationNetLib.lesions.irecist import irecist

from .courses import BONE, GONE, LIVER, LUNG, MISSED, NEW, NEW_UNMEASURED, found, targets, visit


def responses(course: Course) -> list[str]:
    return [one.response for one in irecist(course)]


def reasons(course: Course, at: int = -1) -> str:
    return " ".join(irecist(course)[at].reasons)


def test_progression_is_first_unconfirmed_and_says_when_to_look_again():
    (assessment,) = irecist(targets(50, 65))
    assert assessment.response == "iUPD"
    assert assessment.next_between == (date(2024, 3, 25), date(2024, 4, 22))
    assert "To be confirmed between 2024-03-25 and 2024-04-22." in assessment.reasons


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        ((50, 65, 70), ["iUPD", "iCPD"]),  # 5 mm more
        ((50, 65, 69), ["iUPD", "iUPD"]),
        ((50, 65, 69, 71), ["iUPD", "iUPD", "iCPD"]),  # 4 mm and then 2 mm add up
        ((50, 65, 55), ["iUPD", "iSD"]),
        ((50, 65, 35), ["iUPD", "iPR"]),
        ((50, 65, 35, 42), ["iUPD", "iPR", "iUPD"]),  # after the reset, 20 % and 5 mm above the smallest
        ((50, 65, 35, 42, 48), ["iUPD", "iPR", "iUPD", "iCPD"]),
        ((50, 65, 70, 20), ["iUPD", "iCPD", "iCPD"]),  # once confirmed, it stays
        ((50, 35, 45), ["iPR", "iUPD"]),
    ],
)
def test_target_lesions_confirm_or_reset(sums: tuple[float, ...], expected: list[str]):
    assert responses(targets(*sums, weeks=tuple(6 * at for at in range(len(sums))))) == expected


def test_a_reset_says_so():
    assert "the bar is reset" in reasons(targets(50, 65, 35))


@pytest.mark.parametrize(
    ("weeks_later", "expected", "said"),
    [
        (3, "iUPD", "too early"),
        (4, "iCPD", "confirmed 28 days after"),
        (12, "iCPD", "84 days earlier; iRECIST provides for 56"),
    ],
)
def test_confirmation_comes_four_to_eight_weeks_later(weeks_later: float, expected: str, said: str):
    course = targets(50, 65, 75, weeks=(0, 8, 8 + weeks_later))
    assert responses(course)[-1] == expected
    assert said in reasons(course)


def test_an_early_scan_confirms_by_a_further_new_lesion_alone_and_where_it_was_made_for_that():
    def course(new_mm: float | str, **more) -> Course:
        after = visit(10, found("L1", 75), found("X1", new_mm), **more)
        return Course((LIVER, NEW), (visit(0, found("L1", 50)), visit(8, found("L1", 65)), after))

    made_for_it = {"confirms": visit(8).day}
    assert responses(course(9, **made_for_it)) == ["iUPD", "iCPD"]
    assert responses(course(9)) == ["iUPD", "iUPD"]
    assert responses(course(GONE, **made_for_it)) == ["iUPD", "iUPD"]  # growth alone, however much


def test_a_visit_that_leaves_progression_unconfirmed_asks_for_another_and_makes_the_next_one_timely():
    course = targets(50, 65, 69, 71, weeks=(0, 8, 15, 22))
    assert responses(course) == ["iUPD", "iUPD", "iCPD"]
    assert "earlier; iRECIST provides for" not in reasons(course)


def test_progression_that_one_category_began_is_not_confirmed_by_its_merely_lasting():
    """Targets progress though one was not assessed, so that there is no sum to compare the next one with."""
    visits = [visit(6 * at, found("L1", size), found("L2", other)) for at, (size, other) in enumerate(VISITS)]
    assert responses(Course((LIVER, LUNG), tuple(visits))) == ["iUPD", "iUPD"]


VISITS = ((25, 25), (80, MISSED), (80, MISSED))


def with_new(*sizes: float | str, target: tuple[float, ...] | None = None) -> Course:
    """A new measured lesion at the visits after the baseline; the target stays at 50 mm unless told."""
    target = target or (50,) * (len(sizes) + 1)
    visits = [visit(0, found("L1", target[0]))]
    for at, size in enumerate(sizes, 1):
        visits.append(visit(6 * at, found("L1", target[at]), found("X1", size)))
    return Course((LIVER, NEW), tuple(visits))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((10, 15), ["iUPD", "iCPD"]),  # 5 mm more
        ((10, 14), ["iUPD", "iUPD"]),
        ((10, 14, 15), ["iUPD", "iUPD", "iCPD"]),
        ((10, GONE), ["iUPD", "iSD"]),
        ((10, GONE, 10), ["iUPD", "iSD", "iSD"]),  # seen before: it makes no progression by being there
    ],
)
def test_new_lesions_confirm_by_growing(sizes: tuple[float | str, ...], expected: list[str]):
    assert responses(with_new(*sizes)) == expected


def test_a_new_lesion_does_not_stop_a_partial_response_but_a_complete_one():
    assert responses(with_new(10, 10, target=(50, 50, 30))) == ["iUPD", "iPR"]
    gone = Course(
        (LIVER, NEW),
        (
            visit(0, found("L1", 50)),
            visit(6, found("L1", 50), found("X1", 10)),
            visit(12, found("L1", GONE), found("X1", 10)),
        ),
    )
    assert responses(gone) == ["iUPD", "iPR"]
    assert "New lesion 'X1' is still there: no complete response." in reasons(gone)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ((50, 30, 30, 30), ["iPR", "iUPD", "iUPD"]),  # the response was there before the new lesion and has not gone on
        ((50, 30, 30, 26), ["iPR", "iUPD", "iUPD"]),  # 4 mm
        ((50, 30, 30, 25), ["iPR", "iUPD", "iPR"]),
        ((50, 50, 50, 35), ["iSD", "iUPD", "iPR"]),
    ],
)
def test_only_shrinking_after_a_new_lesion_outweighs_it(target: tuple[float, ...], expected: list[str]):
    course = with_new(GONE, 10, 10, target=target)
    assert responses(course) == expected


def test_new_lesions_after_a_reset_make_progression_by_twenty_percent_and_five_millimetres():
    course = with_new(10, 10, 15, 20, target=(50, 50, 30, 30, 30))
    assert responses(course) == ["iUPD", "iPR", "iUPD", "iCPD"]


def test_a_further_new_lesion_confirms():
    course = Course(
        (LIVER, NEW, NEW_UNMEASURED),
        (
            visit(0, found("L1", 50)),
            visit(6, found("L1", 50), found("X1", 10)),
            visit(12, found("L1", 50), found("X1", 10), found("X2", 5)),
        ),
    )
    assert responses(course) == ["iUPD", "iCPD"]
    assert "A further new lesion has appeared: 'X2'." in reasons(course)


def other(**last) -> Course:
    return Course(
        (LIVER, BONE),
        (
            visit(0, found("L1", 50), found("B1", 20)),
            visit(6, found("L1", 50), found("B1", 30, progression=True)),
            visit(12, found("L1", 50), found("B1", 30, **last)),
        ),
    )


def test_non_target_progression_confirms_by_any_further_growth():
    assert responses(other(progression=True, larger=True)) == ["iUPD", "iCPD"]
    assert responses(other(larger=True)) == ["iUPD", "iCPD"]  # need not be unequivocal again
    assert responses(other(progression=True, larger=False)) == ["iUPD", "iUPD"]
    assert responses(other(larger=False)) == ["iUPD", "iSD"]


def test_progression_elsewhere_confirms():
    course = Course(
        (LIVER, BONE),
        (
            visit(0, found("L1", 50), found("B1", 20)),
            visit(6, found("L1", 65), found("B1", 20)),
            visit(12, found("L1", 65), found("B1", 30, progression=True)),
        ),
    )
    assert responses(course) == ["iUPD", "iCPD"]
    assert "Non-target lesions now meet the definition of progression too." in reasons(course)


def test_a_missing_target_leaves_progression_pending():
    course = Course(
        (LIVER,),
        (
            visit(0, found("L1", 50)),
            visit(6, found("L1", 65)),
            visit(12, found("L1", MISSED)),
            visit(18, found("L1", 70)),
        ),
    )
    assert responses(course) == ["iUPD", "NE", "iCPD"]


def test_what_only_irecist_needs_is_asked_for_by_it_alone():
    course = Course((LIVER, Followed("X1")), (visit(0, found("L1", 50)), visit(6, found("L1", 50), found("X1", 9))))
    with pytest.raises(InputError, match="iRECIST also needs whether new lesion 'X1' is measured"):
        irecist(course)
    with pytest.raises(InputError, match="iRECIST also needs whether 'B1' on 2024-03-25 is larger"):
        irecist(other(progression=True))
