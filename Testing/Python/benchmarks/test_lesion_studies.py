"""Made-up studies keep what is said of them: sizes, gaps, events, and errors like those that were measured."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.lesion_studies import BOX_MM, Study, study
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.lesions.lesion import Lesion
from RegistrationNetLib.lesions.residuals import Residuals


@pytest.fixture(scope="module")
def patient() -> Study:
    return study(40, seed=5)


def named(lesions: tuple[Lesion, ...]) -> dict[str, Lesion]:
    return {lesion.name: lesion for lesion in lesions}


def diameter_mm(lesion: Lesion) -> float:
    return float((6 * lesion.volume_mm3 / np.pi) ** (1 / 3))


def points(count: int = 4000) -> Points:
    return np.random.default_rng(0).uniform(0, BOX_MM, (count, 3))


def test_the_same_seed_gives_the_same_study_and_another_one_another(patient: Study):
    again, other = study(40, seed=5), study(40, seed=6)
    assert all(
        np.array_equal(one.points, two.points)
        for first, second in zip(patient.timepoints, again.timepoints, strict=True)
        for one, two in zip(first, second, strict=True)
    )
    assert patient.fates == again.fates
    assert not np.array_equal(patient.timepoints[0][0].points, other.timepoints[0][0].points)


def test_every_lesion_is_accounted_for_once_on_either_side_of_each_step(patient: Study):
    for step, fates in enumerate(patient.fates):
        for side, time in (("earlier", step), ("later", step + 1)):
            told = Counter(name for fate in fates for name in getattr(fate, side))
            assert told == Counter(lesion.name for lesion in patient.timepoints[time])


def test_all_events_happen(patient: Study):
    happened = {fate.kind for seed in (5, 6) for step in study(40, seed).fates for fate in step}
    wanted = {"stable", "grown", "shrunk", "resolved", "new", "merged", "split", "reappeared"}
    assert happened == wanted


def test_lesions_are_3_to_30_mm_at_first():
    sizes = [diameter_mm(lesion) for lesion in study(60, seed=3).timepoints[0]]
    assert 2.3 < min(sizes) < 4  # voxels of up to 3 mm, so that little is left of 3 mm
    assert 20 < max(sizes) < 32


def test_outlines_of_a_timepoint_do_not_overlap(patient: Study):
    for lesions in patient.timepoints:
        lattice = Counter(tuple(place) for lesion in lesions for place in lesion.points.round(3))
        shared = sum(count - 1 for count in lattice.values())
        assert shared <= 0.001 * len(lattice)


def test_the_true_mapping_carries_what_is_stable_onto_itself_and_its_inverse_does_not(patient: Study):
    def apart(forward: bool) -> float:
        before, after = map(named, patient.timepoints[:2])
        mapping = patient.mappings[0] if forward else patient.mappings[0].inverse()
        pairs = [(before[f.earlier[0]], after[f.later[0]]) for f in patient.fates[0] if f.kind == "stable"]
        return float(np.median(tre(mapping([one.center for one, _ in pairs]), [two.center for _, two in pairs])))

    assert apart(forward=True) < 0.8
    assert apart(forward=False) > 6


def test_what_grew_or_shrank_did_so_as_is_said(patient: Study):
    for step, fates in enumerate(patient.fates):
        before, after = map(named, patient.timepoints[step : step + 2])
        for fate in fates:
            if fate.kind == "shrunk":
                assert after[fate.later[0]].volume_mm3 < before[fate.earlier[0]].volume_mm3
            if fate.kind == "split":
                assert sum(after[name].volume_mm3 for name in fate.later) < before[fate.earlier[0]].volume_mm3
            if fate.kind == "merged":
                assert after[fate.later[0]].volume_mm3 > sum(before[name].volume_mm3 for name in fate.earlier)


@pytest.mark.parametrize("level", [1.0, 4.0])
def test_errors_have_the_size_and_the_reach_that_they_are_asked_to_have(level: float):
    residuals = Residuals().times(level)
    here = points()
    fields = [residuals.drawn(np.random.default_rng(seed), BOX_MM) for seed in range(6)]
    mm = np.concatenate([np.linalg.norm(field.at(here), axis=1) for field in fields])
    assert mm.mean() == pytest.approx(residuals.mean_mm, rel=0.15)
    assert np.median(mm) == pytest.approx(1.538 * residuals.scale_mm, rel=0.15)  # of r, three normal components
    length = residuals.length_mm
    for apart, alike in ((0.2 * length, 0.9), (4 * length, 0.15)):
        cosines = [
            (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
            for a, b in ((field.at(here), field.at(here + np.array([apart, 0, 0]))) for field in fields)
        ]
        assert np.mean(cosines) > alike if apart < length else abs(np.mean(cosines)) < alike


def test_larger_errors_are_the_same_field_times_a_number(patient: Study):
    truth, here = patient.mappings[0], points(200)
    once, twice = (patient.registered(Residuals().times(level)).mappings[0](here) - truth(here) for level in (1, 2))
    np.testing.assert_allclose(twice, 2 * once, atol=1e-4)
