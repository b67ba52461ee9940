"""Events over time, the identity of lesions, and the reader's word, whatever labels a re-run gives."""

from dataclasses import replace

import numpy as np
import pytest

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.lesions.events import Change, Event, History, Timepoint, by_volume, history
from RegistrationNetLib.lesions.lesion import Lesion, clicked
from RegistrationNetLib.lesions.word import Place, Word
from Testing.Python.lesions.balls import ball, balls

HERE, AWAY, FAR = (0, 0, 0), (40, 0, 0), (0, 60, 0)


def told(*lesions: tuple[Lesion, ...], **options) -> History:
    times = [Timepoint(f"t{number}", found) for number, found in enumerate(lesions)]
    steps = len(times) - 1
    return history(times, [Mapping()] * steps, [1.0] * steps, **options)


def kinds(found: History) -> list[str]:
    return sorted(event.kind for event in found.events)


@pytest.mark.parametrize(
    ("later", "kind"), [(ball("x", HERE, 5), "stable"), (ball("x", HERE, 7), "grown"), (ball("x", HERE, 4), "shrunk")]
)
def test_the_volume_tells_grown_from_shrunk(later: Lesion, kind: str):
    assert kinds(told((ball("1", HERE, 5),), (later,))) == [kind]


def test_another_test_of_change_takes_its_place():
    def never(earlier: Lesion, later: Lesion) -> Change:
        return "stable"

    assert kinds(told((ball("1", HERE, 5),), (ball("x", HERE, 7),), changed=never)) == ["stable"]


def test_of_a_click_no_change_is_claimed():
    assert by_volume(clicked("1", HERE), ball("x", HERE)) == "present"
    assert by_volume(ball("x", HERE), clicked("1", HERE)) == "present"


def test_new_and_resolved_lesions_are_told():
    assert kinds(told((ball("1", HERE),), (ball("1", AWAY),))) == ["new", "resolved"]


def test_merging_and_splitting_are_told_with_names_that_say_from_what():
    apart = ball("1", HERE), ball("2", (12, 0, 0), 4)
    together = balls("9", (HERE, 6.5), ((12, 0, 0), 6))
    found = told(apart, (together,), (ball("4", HERE, 4.5), ball("5", (12, 0, 0), 4)))
    assert [event.kind for event in found.events] == ["merged", "split"]
    assert found.names["t1", "9"] == "1+2"
    assert {found.names["t2", "4"], found.names["t2", "5"]} == {"1+2a", "1+2b"}


def test_what_comes_back_has_its_name_again():
    other = ball("7", FAR)
    found = told((ball("1", HERE), other), (other,), (ball("3", (1, 0, 0)), other))
    assert kinds(found) == ["reappeared", "resolved", "stable", "stable"]
    (event,) = (event for event in found.events if event.kind == "reappeared")
    assert event.earlier == (("t0", "1"),)
    assert event.later == (("t2", "3"),)
    assert found.names["t2", "3"] == found.names["t0", "1"]


def test_what_comes_back_is_carried_through_all_steps_between():
    matrix = np.eye(4)
    matrix[0, 3] = 20.0
    step = Mapping((Affine(matrix),))
    times = [
        Timepoint("a", (ball("1", HERE), ball("2", FAR))),
        Timepoint("b", (ball("2", (20, 60, 0)),)),
        Timepoint("c", (ball("1", (40, 0, 0)), ball("2", (40, 60, 0)))),
    ]
    found = history(times, [step, step], [1.0, 1.0])
    assert kinds(found) == ["reappeared", "resolved", "stable", "stable"]


def test_a_lesion_whose_place_the_later_image_does_not_show_is_not_called_resolved():
    grid = Grid.of((40, 40, 40), (1, 1, 1), np.eye(3), (-20, -20, -20))
    times = [Timepoint("a", (ball("1", HERE), ball("2", AWAY))), Timepoint("b", (), grid)]
    found = history(times, [Mapping()], [1.0])
    assert {(event.earlier[0][1], event.kind) for event in found.events} == {("1", "resolved"), ("2", "outside")}


FIRST = ball("1", HERE), ball("2", AWAY)
SECOND = ball("1", HERE), ball("2", AWAY)
LINK = Word(Place.of(FIRST[0], "t0"), Place.of(SECOND[1], "t1"), same=True)
UNLINK = Word(Place.of(FIRST[0], "t0"), Place.of(SECOND[0], "t1"), same=False)


def event_of(found: History, name: str) -> Event:
    (event,) = (event for event in found.events if ("t0", name) in event.earlier)
    return event


def test_a_readers_link_survives_other_labels_another_order_and_a_redrawn_outline():
    found = told(FIRST, SECOND, words=[LINK])
    assert event_of(found, "1").later == (("t1", "2"),)
    assert event_of(found, "1").by_reader
    redrawn = ball("8", (41, 1, 0), 6), ball("2", HERE)
    again = told(tuple(replace(one, name=f"9{one.name}") for one in reversed(FIRST)), redrawn, words=[LINK])
    assert event_of(again, "91").later == (("t1", "8"),)


def test_a_readers_unlink_survives_too_and_of_two_words_the_last_holds():
    assert event_of(told(FIRST, SECOND, words=[UNLINK]), "1").kind == "resolved"
    agreed = replace(UNLINK, same=True)
    assert event_of(told(FIRST, SECOND, words=[UNLINK, agreed]), "1").later == (("t1", "1"),)
    assert event_of(told(FIRST, SECOND, words=[agreed, UNLINK]), "1").kind == "resolved"


def test_a_word_whose_lesion_is_gone_is_reported_and_never_guessed():
    found = told(FIRST, SECOND[:1], words=[LINK])
    assert found.lost == (LINK,)
    assert event_of(found, "1").later == (("t1", "1"),)


def test_a_readers_link_over_a_timepoint_says_that_the_lesion_was_gone_in_between():
    third = (ball("5", (1, 0, 0)), ball("6", AWAY))  # where SECOND has another
    word = Word(Place.of(FIRST[0], "t0"), Place.of(third[0], "t2"), same=True)
    found = told(FIRST, SECOND, third, words=[word])
    (event,) = (event for event in found.events if event.kind == "reappeared")
    assert (event.earlier, event.later, event.by_reader) == ((("t0", "1"),), (("t2", "5"),), True)
    assert [one.kind for one in found.events if ("t0", "1") in one.earlier] == ["resolved", "reappeared"]
    assert [one.kind for one in found.events if ("t2", "5") in one.later] == ["reappeared"]


def test_what_comes_back_is_one_lesion_and_the_one_that_was_seen_last():
    found = told(FIRST[:1], SECOND[:1], (), (ball("3", HERE),), words=[UNLINK])
    (event,) = (event for event in found.events if event.kind == "reappeared")
    assert event.earlier == (("t1", "1"),)


def test_names_do_not_depend_on_labels_or_order_and_known_ones_are_kept():
    low, high = ball("1", (0, 0, -50)), ball("2", (0, 0, 50))
    assert told((low, high)).names == {("t0", "2"): "1", ("t0", "1"): "2"}
    assert told((replace(high, name="a"), replace(low, name="b"))).names == {("t0", "a"): "1", ("t0", "b"): "2"}
    known = [(Place.of(low, "t0"), "1"), (Place.of(high, "t0"), "2")]
    assert told((low,), known=[(Place.of(high, "t0"), "1")]).names == {("t0", "1"): "2"}  # nobody else's name
    above = ball("9", (0, 0, 90))
    found = told((above, low, high), known=known)
    assert found.names == {("t0", "1"): "1", ("t0", "2"): "2", ("t0", "9"): "3"}
