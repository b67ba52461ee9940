"""Lesions are matched by place, size and shape, the reader's word holds, and neither names nor order matter."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from benchmarks.lesion_studies import study
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.lesions.lesion import Lesion, clicked
from RegistrationNetLib.lesions.match import Group, Matching, match
from RegistrationNetLib.lesions.residuals import Residuals
from RegistrationNetLib.lesions.word import Spoken
from Testing.Python.lesions.balls import ball, balls


def chosen(matching: Matching) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    return {(tuple(sorted(group.earlier)), tuple(sorted(group.later))) for group in matching.chosen}


def shifted(*mm: float) -> Mapping:
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return Mapping((Affine(matrix),))


def test_lesions_are_carried_from_the_earlier_to_the_later_world():
    earlier = ball("1", (0, 0, 0)), ball("2", (40, 0, 0))
    later = ball("a", (40, 0, 0)), ball("b", (80, 0, 0))
    assert chosen(match(earlier, later, shifted(40, 0, 0), 1.0)) == {(("1",), ("a",)), (("2",), ("b",))}
    back = chosen(match(earlier, later, shifted(40, 0, 0).inverse(), 1.0))
    assert (("1",), ("a",)) not in back


def test_what_is_gone_and_what_is_new_stay_alone():
    found = match((ball("1", (0, 0, 0)),), (ball("a", (60, 0, 0)),), Mapping(), 1.0)
    assert chosen(found) == {(("1",), ()), ((), ("a",))}
    assert all(group.probability > 0.99 for group in found.chosen)


@pytest.mark.parametrize(("earlier", "later"), [(True, False), (False, True), (False, False)])
def test_a_timepoint_may_have_no_lesions(earlier: bool, later: bool):
    sides = [(ball("1", (0, 0, 0)),) if there else () for there in (earlier, later)]
    found = match(*sides, Mapping(), 1.0)
    assert chosen(found) == ({(("1",), ())} if earlier else {((), ("1",))} if later else set())


def test_two_that_grew_into_one_merged():
    earlier = ball("1", (0, 0, 0)), ball("2", (12, 0, 0), 4), ball("3", (50, 0, 0))
    later = balls("a", ((0, 0, 0), 6.5), ((12, 0, 0), 6)), ball("b", (50, 0, 0))
    assert chosen(match(earlier, later, Mapping(), 1.0)) == {(("1", "2"), ("a",)), (("3",), ("b",))}


def test_one_that_fell_into_two_split():
    later = ball("a", (-6, 0, 0), 4), ball("b", (6, 0, 0), 4), ball("c", (50, 0, 0))
    earlier = balls("1", ((-6, 0, 0), 6), ((6, 0, 0), 6)), ball("2", (50, 0, 0))
    assert chosen(match(earlier, later, Mapping(), 1.0)) == {(("1",), ("a", "b")), (("2",), ("c",))}


def test_one_that_grew_beside_one_that_went_did_not_merge():
    earlier, later = (ball("1", (0, 0, 0)), ball("2", (25, 0, 0), 4)), (ball("a", (0, 0, 0), 7),)
    assert chosen(match(earlier, later, Mapping(), 1.0)) == {(("1",), ("a",)), (("2",), ())}


def test_of_two_at_the_same_distance_the_one_of_like_size_is_taken():
    later = ball("small", (-8, 0, 0), 3), ball("large", (8, 0, 0), 6)
    found = match((ball("1", (0, 0, 0), 6),), later, Mapping(), 4.0)
    assert (("1",), ("large",)) in chosen(found)


def test_a_doubtful_link_says_so_and_names_the_other():
    earlier = ball("1", (-9, 0, 0), 6), ball("2", (9, 0, 0), 6)
    found = match(earlier, (ball("a", (0.3, 0, 0), 3),), Mapping(), 6.0)
    (group,) = (one for one in found.chosen if one.later)
    assert group.earlier == ("2",)
    assert 0.3 < group.probability < 0.7
    assert ("1",) in {other.earlier for other in found.alternatives(group)}
    assert found.probabilities["2", "a"] > found.probabilities["1", "a"] > 0.2


def test_less_is_certain_where_the_registration_is_less_so():
    earlier, later = (ball("1", (0, 0, 0)),), (ball("a", (14, 0, 0)),)
    sure, unsure = (match(earlier, later, Mapping(), mm).probabilities.get(("1", "a"), 0.0) for mm in (0.3, 5.0))
    assert unsure > sure + 0.2


def test_clicks_are_matched_by_place():
    earlier = clicked("1", (0, 0, 0)), clicked("2", (30, 0, 0))
    later = ball("a", (30, 2, 0)), ball("b", (0, 0, 2))
    assert chosen(match(earlier, later, Mapping(), 2.0)) == {(("1",), ("b",)), (("2",), ("a",))}
    assert chosen(match(later, earlier, Mapping(), 2.0)) == {(("b",), ("1",)), (("a",), ("2",))}


def test_a_readers_link_holds_however_improbable_and_takes_the_lesion_from_where_it_was():
    earlier, later = (ball("1", (0, 0, 0)), ball("2", (30, 0, 0))), (ball("a", (0, 0, 0)), ball("b", (300, 0, 0)))
    found = match(earlier, later, Mapping(), 1.0, Spoken(links=frozenset({("1", "b")})))
    assert Group(("1",), ("b",), 1.0, by_reader=True) in found.chosen
    assert chosen(found) == {(("1",), ("b",)), (("2",), ()), ((), ("a",))}


def test_a_readers_unlink_holds_and_what_is_left_is_matched_anew():
    earlier, later = (ball("1", (0, 0, 0)),), (ball("a", (0, 0, 0)), ball("b", (4, 0, 0), 4))
    assert ("1", "a") in match(earlier, later, Mapping(), 2.0).probabilities
    found = match(earlier, later, Mapping(), 2.0, Spoken(unlinks=frozenset({("1", "a")})))
    assert ("1", "a") not in found.probabilities
    assert (("1",), ("b",)) in chosen(found)


def test_a_reader_may_link_several_on_both_sides():
    earlier, later = (ball("1", (0, 0, 0)), ball("2", (20, 0, 0))), (ball("a", (0, 0, 0)), ball("b", (20, 0, 0)))
    links = frozenset({("1", "a"), ("1", "b"), ("2", "b")})
    assert chosen(match(earlier, later, Mapping(), 1.0, Spoken(links=links))) == {(("1", "2"), ("a", "b"))}


def test_between_two_that_fit_exactly_alike_neither_name_nor_order_decides():
    one, two = ball("1", (-7, 0, 0), 3), ball("2", (7, 0, 0), 3)
    later = (ball("a", (0, 0, 0), 1),)
    places = set()
    for earlier in [(one, two), (two, one), (replace(one, name="2"), replace(two, name="1"))]:
        found = match(earlier, later, Mapping(), 5.0)
        (group,) = (group for group in found.chosen if group.later)
        assert len(group.earlier) == 1
        places.add(frozenset(tuple(lesion.center) for lesion in earlier if lesion.name in group.earlier))
    assert len(places) == 1


PATIENT = study(20, seed=1).registered(Residuals().times(4))


@pytest.mark.parametrize("seed", range(4))
def test_neither_the_names_nor_the_order_of_lesions_matter(seed: int):
    random = Random(seed)
    earlier, later = PATIENT.timepoints[:2]

    def outcome(first: list[Lesion], second: list[Lesion], old: dict[str, str], new: dict[str, str]) -> set:
        found = match(first, second, PATIENT.mappings[0], PATIENT.error_mm)
        return {
            (
                frozenset(old[n] for n in group.earlier),
                frozenset(new[n] for n in group.later),
                round(group.probability, 6),
            )
            for group in found.chosen
        }

    def mixed(lesions: tuple[Lesion, ...]) -> tuple[list[Lesion], dict[str, str]]:
        names = [lesion.name for lesion in lesions]
        other = random.sample(names, len(names))
        renamed = [replace(lesion, name=name) for lesion, name in zip(lesions, other, strict=True)]
        return random.sample(renamed, len(renamed)), dict(zip(other, names, strict=True))

    same = {lesion.name: lesion.name for lesion in (*earlier, *later)}
    (first, old), (second, new) = mixed(earlier), mixed(later)
    assert outcome(first, second, old, new) == outcome(list(earlier), list(later), same, same)
