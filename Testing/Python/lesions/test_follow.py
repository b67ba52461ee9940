"""A study followed from its baseline: what became of each lesion, where it was carried to, and what it measures."""

from dataclasses import replace

import numpy as np
import pytest

from Python.lesions.heads import Balls, Oracle, carried, timepoint
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.follow import Tracking, follow
from RegistrationNetLib.lesions.lesion import clicked, outlined
from RegistrationNetLib.lesions.study import About, Scan, Study, label_map
from RegistrationNetLib.lesions.table import Entry, cells, entries, header
from RegistrationNetLib.lesions.word import Place, Word

A, B, C, D = (30, -20, 20), (-30, 10, 25), (25, 30, 10), (-28, -30, 0)
FIRST: Balls = {1: (A, 9), 2: (B, 9), 3: (C, 9)}
SECOND: Balls = {7: (A, 12), 2: (B, 9), 4: (D, 8)}
VOXEL = 5.0


def study(*balls: Balls | None) -> Study:
    """Scans whose lesions these are; of None nobody outlined them, but they are as at first."""
    return Study(tuple(timepoint(k, one or FIRST, one is not None, VOXEL) for k, one in enumerate(balls)))


def table(tracking: Tracking) -> dict[tuple[str, int], Entry]:
    """By name and number of the scan."""
    days = [scan.day for scan in tracking.study.scans]
    return {(one.lesion, days.index(one.day)): one for one in entries(tracking)}


def statuses(tracking: Tracking) -> dict[tuple[str, int], str]:
    return {place: one.status for place, one in table(tracking).items()}


@pytest.fixture(scope="module")
def three() -> Tracking:
    return follow(study(FIRST, SECOND, FIRST), Oracle())


def test_each_lesion_is_told_at_each_scan_under_one_name(three: Tracking):
    assert statuses(three) == {
        **{(name, 0): "baseline" for name in "123"},
        **dict(zip([(name, 1) for name in "1234"], ("grown", "stable", "resolved", "new"), strict=True)),
        **dict(zip([(name, 2) for name in "1234"], ("shrunk", "stable", "reappeared", "resolved"), strict=True)),
    }
    assert table(three)["1", 1].label == "7"


def test_a_lesion_that_stays_away_is_gone():
    only_one: Balls = {1: FIRST[1]}
    found = statuses(follow(study(FIRST, only_one, only_one), Oracle(), local=False))
    assert [found["3", 1], found["3", 2]] == ["resolved", "gone"]


def test_volumes_are_those_of_the_outlines_on_their_own_scans(three: Tracking):
    for (_, time), one in table(three).items():
        if one.measures is not None:
            scan = three.study.scans[time]
            label = next(lesion for lesion in scan.lesions or () if lesion.name == one.label)
            assert one.measures.volume_mm3.value == pytest.approx(label.volume_mm3)
    change = table(three)["1", 1].change
    assert change is not None
    assert (12 / 9) ** 3 - 1 in change


def test_what_merged_and_what_split_is_told_with_all_its_parts():
    near: Balls = {1: (A, 9), 2: ((30, -2, 20), 8)}
    one: Balls = {1: (A, 11), 2: ((30, -11, 20), 6), 3: ((30, -2, 20), 10)}
    scans = study(near, one, near).scans
    whole = replace(scans[1].lesions[0], outline=_joined(scans[1]))
    followed = follow(Study((scans[0], replace(scans[1], lesions=(whole,)), scans[2])), Oracle(), local=False)
    found = table(followed)
    assert [found["1+2", 1].status, found["1+2a", 2].status, found["1+2b", 2].status] == ["merged", "split", "split"]
    parts = sum(found[name, 0].measures.volume_mm3.value for name in "12")
    assert found["1+2", 1].change.value == pytest.approx(whole.volume_mm3 / parts - 1)
    again = sum(found[name, 2].measures.volume_mm3.value for name in ("1+2a", "1+2b"))
    assert found["1+2a", 2].change_from_baseline.value == pytest.approx(again / parts - 1)


def _joined(scan: Scan) -> Image:
    """All its lesions as one."""
    labels = label_map(scan.lesions or (), scan.image.grid)
    return replace(labels, data=(labels.data > 0).astype(np.uint8))


def test_where_nobody_looked_outlines_are_carried_and_nothing_is_claimed():
    tracking = follow(study(FIRST, None), Oracle(), local=False)
    for lesion in tracking.study.baseline:
        one = table(tracking)[lesion.name, 1]
        place = tracking.forwards[tracking.study.scans[1].name, lesion.name]
        assert (one.status, one.measures, one.change) == ("carried", None, None)
        true = carried(lesion.center, 0, 1)
        np.testing.assert_allclose(place.center, true, atol=0.05)
        np.testing.assert_allclose(place.moved_mm, true - lesion.center, atol=0.05)
        np.testing.assert_allclose(place.lesion.center, true, atol=0.3 * VOXEL)
        assert place.lesion.volume_mm3 == pytest.approx(lesion.volume_mm3, rel=0.15)
        assert place.jacobian.inside.value == pytest.approx(1, abs=0.02)


def test_where_somebody_looked_and_found_none_all_are_resolved():
    scans = study(FIRST, None).scans
    found = statuses(follow(Study((scans[0], replace(scans[1], lesions=()))), Oracle(), local=False))
    assert {found[name, 1] for name in "123"} == {"resolved"}


def test_what_a_scan_does_not_show_is_outside_of_it_not_gone():
    first, second = study(FIRST, None).scans
    slices = second.image.grid.shape[0]
    feet = Image(second.image.data[:, : slices // 2], second.image.grid.padded((0, 0, 0), (slices // 2 - slices, 0, 0)))
    cut = replace(second, image=replace(feet, name=second.image.name))
    for lesions in (None, ()):
        tracking = follow(Study((first, replace(cut, lesions=lesions))), Oracle(), local=False)
        assert {statuses(tracking)[name, 1] for name in "123"} == {"outside"}


def test_lesions_are_kept_out_of_every_registration_unless_asked():
    engine = Oracle()
    follow(study(FIRST, SECOND), engine, protect=False, local=False)
    assert [one for one in engine.heard if one[1:] != (None, None)] == []
    engine = Oracle()
    followed = follow(study(FIRST, None, SECOND), engine, local=False)
    assert [asked for asked, _, _ in engine.heard] == ["01", "02", "12"]
    marked = [(keep is not None, apart is not None) for _, keep, apart in engine.heard]
    assert marked == [(True, False), (True, True), (True, True)]
    keep = engine.heard[2][1]  # on a scan that nobody outlined: what was carried there
    for lesion in followed.study.baseline:
        assert keep.scalar[tuple(np.rint(keep.grid.to_voxel(carried(lesion.center, 0, 1))).astype(int))] > 0


def test_a_click_is_carried_and_of_its_size_nothing_is_said():
    scans = study(FIRST, SECOND).scans
    points = (clicked("here", scans[0].lesions[0].center), *scans[0].lesions[1:])
    one = table(follow(Study((replace(scans[0], lesions=points), scans[1])), Oracle()))["here", 1]
    assert (one.status, one.change) == ("present", None)


def test_a_change_that_cannot_be_told_from_none_is_no_growth():
    scans = study(FIRST, FIRST).scans
    of_8, of_11 = (_blocks(scan, voxels) for scan, voxels in zip(scans, (8, 11), strict=True))
    one = table(follow(Study((of_8, of_11)), Oracle(), local=False))["1", 1]
    assert one.change.value == pytest.approx(3 / 8)
    assert 0 in one.change
    assert one.status == "stable"


def _blocks(scan: Scan, voxels: int) -> Scan:
    """With one lesion of so many voxels: a cube of 2, and a part of its next slice."""
    labels = np.zeros((1, *scan.image.grid.shape), np.uint8)
    d, h, w = np.rint(scan.image.grid.to_voxel(scan.lesions[0].center)).astype(int)
    labels[0, d : d + 2, h : h + 2, w : w + 2] = 1
    labels[0, d + 2, h : h + 2, w : w + 2].flat[: voxels - 8] = 1
    return replace(scan, lesions=outlined(Image(labels, scan.image.grid)))


def test_the_readers_word_wins_and_holds_whatever_labels_a_rerun_gives(three: Tracking):
    first, second = three.study.scans[:2]
    third, fourth = first.lesions[2], next(one for one in second.lesions if one.name == "4")
    places = Place.of(third, first.name), Place.of(fourth, second.name)
    relabelled = replace(second, lesions=tuple(replace(one, name=f"x{one.name}") for one in second.lesions))
    for scan in (second, relabelled):
        tracking = follow(Study((first, scan)), Oracle(), [Word(*places, same=True)], local=False)
        one = table(tracking)["3", 1]
        assert (one.label[-1], one.event.by_reader, one.event.probability) == ("4", True, 1.0)


def test_what_a_reader_said_of_a_lesion_goes_with_it():
    scans = study(FIRST, SECOND, FIRST).scans
    about = {"liver": About("1", "metastasis", "liver", "target", False)}
    named = replace(scans[0].lesions[0], name="liver")
    first = replace(scans[0], lesions=(named, *scans[0].lesions[1:]), about=about)
    found = table(follow(Study((first, *scans[1:])), Oracle(), local=False))
    assert found["liver", 2].about.organ == "liver"
    assert found["liver", 0].label == "1"
    assert ("1", 1) not in found  # a label is no other lesion's name


def test_a_place_where_registrations_disagree_is_flagged():
    scans = study(FIRST, None, None)
    wrong = {(0, 2): (6.0, scans.baseline[1].center)}
    tracking = follow(scans, Oracle(errs=wrong), local=False)
    flagged = {place for place, one in table(tracking).items() if "disagree" in " ".join(one.notes)}
    assert flagged == {("2", 1), ("2", 2)}
    errors = {name: tracking.forwards[scans.scans[2].name, name].error_mm for name in "123"}
    assert errors["2"] > 5 > 2 > max(errors["1"], errors["3"])


def test_a_rows_cells_are_all_columns_of_the_table(three: Tracking):
    for one in entries(three):
        assert set(cells(one)) <= set(header())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda scans: scans[:1], "two or more scans"),
        (lambda scans: (scans[0], replace(scans[1], day=scans[0].day)), "Two scans are of 2024-01-01"),
        (lambda scans: scans[::-1], "put the earliest first"),
    ],
)
def test_a_study_needs_two_dates_in_order(change, said):
    with pytest.raises(InputError, match=said):
        Study(change(study(FIRST, SECOND).scans))


def test_outlines_of_another_grid_are_refused():
    one, other = study(FIRST, SECOND).scans
    with pytest.raises(InputError, match="was not drawn on the voxels of 'head 0'"):
        replace(one, lesions=other.lesions)
