"""Statements about a result checked on mappings whose Jacobian, overlap and error are known on paper."""

from dataclasses import replace

import numpy as np
import pytest

from RegistrationNetLib.core import resample, spatial
from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.engine import judge, verdicts
from RegistrationNetLib.engine.result import Reference
from RegistrationNetLib.engine.trust import Alignment, Trust

ANGLE = np.deg2rad(25)
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
GRID = Grid.of((14, 18, 22), (2.0, 1.0, 0.7), TURN[:, [2, 1, 0]], (5.0, -8.0, 20.0))
FIXED = Image(np.zeros((1, *GRID.shape), np.float32), GRID, name="fixed")
INSIDE = np.zeros(GRID.shape, bool)
INSIDE[3:-3, 3:-3, 3:-3] = True


def stretched(factor: float) -> Displacement:
    """u(x) = (factor - 1) x along world x: every volume is multiplied by `factor`."""
    field = np.zeros((3, *GRID.shape), np.float32)
    field[0] = (factor - 1) * GRID.points()[..., 0]
    return Displacement(field, GRID)


def scaling(factor: float) -> Affine:
    return Affine(np.diag([factor, factor, factor, 1.0]))


def test_a_uniform_stretch_has_that_jacobian_whatever_the_affine():
    mapping = Mapping((stretched(1.2), scaling(0.8)))
    jacobian = judge.jacobian_image(mapping, FIXED)
    np.testing.assert_allclose(jacobian.scalar[INSIDE], 1.2, atol=1e-4)
    report = judge.jacobian_report(jacobian, mapping, INSIDE, "here")
    assert report["affine_determinant"] == pytest.approx(0.8**3)
    assert report["total_mean"] == pytest.approx(1.2 * 0.8**3, rel=1e-4)
    assert report["folded_voxels"] == 0


def test_a_mirrored_field_is_counted_as_folded_everywhere():
    mapping = Mapping((stretched(-0.5),))
    report = judge.jacobian_report(judge.jacobian_image(mapping, FIXED), mapping, INSIDE, "here")
    assert report["folded_percent"] == 100


def test_working_in_slabs_changes_no_figure(monkeypatch):
    field = np.random.default_rng(0).normal(0, 0.3, (3, *GRID.shape)).astype(np.float32)
    mapping = Mapping((Displacement(field, GRID), scaling(0.8)))
    whole = spatial.jacobian_determinant(resample.field_on(mapping, GRID))[0, 0].numpy() / 0.8**3
    lengths = np.linalg.norm(field[:, INSIDE], axis=0)
    for slices in (1, 3, 5):
        monkeypatch.setattr(resample, "_SLAB_VOXELS", slices * GRID.shape[1] * GRID.shape[2])
        np.testing.assert_allclose(judge.jacobian_image(mapping, FIXED).scalar, whole, atol=1e-5)
        report = judge.displacement_report(mapping, FIXED, INSIDE)
        expected = {"mean": lengths.mean(), "p95": np.percentile(lengths, 95), "max": lengths.max()}
        assert report == pytest.approx(expected, abs=1e-5)


def test_displacement_lengths_are_those_of_the_deformable_part_in_mm():
    shift = np.zeros((3, *GRID.shape), np.float32)
    shift[1], shift[2] = 3.0, 4.0
    report = judge.displacement_report(Mapping((Displacement(shift, GRID), scaling(2.0))), FIXED, INSIDE)
    assert report == pytest.approx({"mean": 5, "p95": 5, "max": 5}, abs=1e-3)


def test_labels_that_coincide_under_the_mapping_have_full_overlap():
    labels = np.zeros((1, *GRID.shape), np.uint8)
    labels[0, 4:9, 5:12, 6:15] = 4
    fixed = Image(labels, GRID, name="fixed labels")
    matrix = np.eye(4)
    matrix[:3, 3] = GRID.voxel_to_world[:3, :3] @ [3, 0, 0]
    moved = Image(labels, Grid(GRID.shape, matrix @ GRID.voxel_to_world), name="moving labels")
    report = judge.reference_report(Reference(fixed, moved), {"before": Mapping(), "after": Mapping((Affine(matrix),))})
    assert report["dice"]["after"] == 1
    assert report["dice"]["before"] == pytest.approx(2 * 2 / 10)  # two of five slices remain
    assert report["hd95_mm"] == pytest.approx({"labels": 1, "before": 3 * 2.0, "after": 0}, abs=1e-6)


def test_landmark_errors_are_given_before_and_after():
    points = np.array([[0.0, 0, 0], [10, 0, 0]])
    report = judge.landmark_report(points, points * 1.1, {"before": Mapping(), "after": Mapping((scaling(1.1),))})
    assert report["tre_mm"]["before"] == pytest.approx(0.5)
    assert report["tre_mm"]["max_after"] == pytest.approx(0, abs=1e-9)


def test_overlap_is_the_share_of_the_body_that_the_moving_image_shows():
    """Whatever the fields of view beside the body, and however fine the places are that are looked at."""
    shift = np.eye(4)
    shift[:3, 3] = GRID.voxel_to_world[:3, :3] @ [0, 0, 8]
    body = np.zeros(GRID.shape, bool)
    body[:, :, 2:18] = True
    for mapping, percent in ((Mapping(), 100), (Mapping((Affine(shift),)), 75)):
        assert judge.overlap_percent(mapping, GRID, body, GRID) == pytest.approx(percent)
    assert judge.overlap_percent(Mapping(), GRID, np.zeros(GRID.shape, bool), GRID) == 0


def test_label_maps_without_a_common_label_are_refused_by_name():
    one, other = np.ones((1, *GRID.shape), int), np.full((1, *GRID.shape), 2)
    with pytest.raises(InputError, match=r"left.*right"):
        judge.label_report(Image(one, GRID, name="left"), Image(other, GRID, name="right"), {"after": Mapping()})


def test_one_sided_or_unequal_reference_is_refused():
    with pytest.raises(InputError, match="one side"):
        Reference(fixed_labels=FIXED)
    with pytest.raises(InputError, match=r"3 fixed .* 2 moving"):
        Reference(fixed_landmarks=np.zeros((3, 3)), moving_landmarks=np.zeros((2, 3)))


SURE = Trust(similarity=0.7, agreement=0.8, margin=0.5, overlap=0.9, stretch=1.1)


def test_an_alignment_is_trusted_or_doubted_in_words_and_with_a_cure_where_doubted():
    report = judge.alignment_report(Alignment(scaling(1.1).matrix, SURE), scaling(1.1), GRID)
    assert report["confidence"] == "high"
    assert verdicts.alignment(report)["verdict"] == "good"
    doubted = judge.alignment_report(Alignment(np.eye(4), replace(SURE, similarity=0.2)), scaling(1.0), GRID)
    check = verdicts.alignment(doubted)
    assert check["verdict"] == "look"
    assert "initial transform" in check["sentence"]


def test_what_was_given_instead_of_what_was_found_is_doubted_unless_it_is_the_same():
    found = Alignment(np.eye(4), SURE)
    shifted = np.eye(4)
    shifted[0, 3] = 2
    assert judge.alignment_report(found, Affine(shifted), GRID)["confidence"] == "high"
    shifted[0, 3] = 20
    assert judge.alignment_report(found, Affine(shifted), GRID)["confidence"] == "low"
    assert judge.alignment_report(Affine(shifted), Affine(shifted), GRID) == {"confidence": "given"}


@pytest.mark.parametrize(
    "weakness", [{"similarity": 0.3}, {"agreement": 0.2, "margin": 0.1}, {"stretch": 1.8}], ids=str
)
def test_each_kind_of_evidence_can_be_missing(weakness):
    assert SURE.high
    assert not replace(SURE, **weakness).high
