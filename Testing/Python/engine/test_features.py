"""Scans of two kinds: chosen for comparison by structure, and brought together where correlation leads astray."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from benchmarks.truth import smooth_field
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.core.metrics import tre
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.engine.features import Agreement, Similarity, coarse_grid, compared, decided
from RegistrationNetLib.engine.levels import levels
from RegistrationNetLib.engine.mend import extend
from RegistrationNetLib.engine.prepare import Prepared, prepare
from RegistrationNetLib.engine.refine import refine
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.settings import Prepare, Refine, Settings
from RegistrationNetLib.files.images import read_image

CPU = torch.device("cpu")
IDENTITY = Affine(np.eye(4))
REFINE = Refine()
T1, T2 = (0.25, 0.5, 0.75, 1.0), (1.0, 0.7, 0.5, 0.3)  # of four tissues; air is dark in both
CT = (-0.09, 0.02, 0.06, 0.3)  # thousands of HU
GRID = Grid.of((48, 48, 48), (2.5, 2.5, 2.5), np.eye(3), (-58.75, -58.75, -58.75))
TRUTH = Mapping((smooth_field(GRID, seed=1, peak_mm=8, sigma_mm=22),))
INSIDE = np.linalg.norm(GRID.points() / [46, 50, 42], axis=-1) < 1


def scan(brightness: tuple[float, ...], seed: int, air: float = 0.0) -> Image:
    """A body of cells, each of one of four tissues, in air."""
    rng = np.random.default_rng(0)
    middles = rng.uniform(-60, 60, (1000, 3))
    tissue = rng.integers(0, 4, len(middles))[cKDTree(middles).query(GRID.points())[1]]
    clean = gaussian_filter(np.where(INSIDE, np.array(brightness)[tissue], air), 0.6)
    noise = np.random.default_rng(seed).standard_normal(GRID.shape)
    return Image((1000 * clean + 10 * noise).astype(np.float32)[None], GRID, 1000 * air, "cells")


FIXED = warp(scan(T1, 1), TRUTH, GRID)
POINTS = GRID.points()[warp(Image(INSIDE[None].astype(np.uint8), GRID), TRUTH, GRID, "nearest").scalar > 0]


def pair(brightness: tuple[float, ...]) -> Prepared:
    """T1 through the truth, and the same body as it is, with other brightness."""
    return prepare(FIXED, scan(brightness, 2), Prepare())


def off(found: Mapping | Displacement) -> float:
    """Mean distance from the truth inside the body, mm."""
    return float(tre(found(POINTS), TRUTH(POINTS)).mean())


def test_structure_finds_the_truth_between_two_kinds_where_correlation_goes_astray():
    prepared = pair(T2)
    by_intensity, by_structure = (
        off(extend(*refine(prepared, IDENTITY, None, replace(REFINE, similarity=kind), CPU)))
        for kind in ("lncc", "mind")
    )
    assert by_intensity > 0.8 * off(Mapping())
    assert by_structure < 0.5 * off(Mapping())


def test_what_is_compared_is_chosen_by_what_the_images_show():
    one, two = pair(T1), pair(T2)
    assert decided(one, IDENTITY, REFINE).similarity == "lncc"
    assert decided(replace(one, moving=1 - one.moving), IDENTITY, REFINE).similarity == "lncc"  # inverted: one sign
    assert not one.notes
    assert decided(two, IDENTITY, REFINE).similarity == "mind"
    assert "different kinds" in two.notes[-1]
    assert decided(two, IDENTITY, replace(REFINE, similarity="lncc")).similarity == "lncc"


@pytest.mark.parametrize(("fixed", "moving"), [(scan(T1, 1), scan(CT, 2, -1.0)), (scan(CT, 1, -1.0), scan(T2, 2))])
def test_ct_and_mr_are_brought_together(fixed, moving):
    """From the header on: the affine too is found across kinds."""
    fixed = warp(fixed, TRUTH, GRID)
    settings = Settings.preset("balanced")
    found = register(fixed, moving, settings)
    correlated = register(fixed, moving, settings.with_values(refine__similarity="lncc"))
    assert any("different kinds" in note for note in found.report["notes"])
    assert off(found.mapping) < 0.8 * off(correlated.mapping)
    assert off(found.mapping) < 0.62 * off(Mapping((found.mapping.affine,)))


def test_treating_both_images_alike_costs_little_accuracy():
    moving = scan(T1, 2)
    plain, even = (
        off(register(FIXED, moving, Settings().with_values(refine__symmetric=symmetric)).mapping)
        for symmetric in (False, True)
    )
    assert plain < 0.2 * off(Mapping())
    assert even < 0.25 * off(Mapping())


def test_ct_and_another_kind_are_compared_by_structure():
    assert decided(replace(pair(T1), modality="mixed"), IDENTITY, REFINE).similarity == "mind"


def test_the_way_the_moving_image_is_stored_does_not_matter():
    prepared = pair(T2)
    grid = prepared.moving_grid
    columns = grid.voxel_to_world
    turned = np.eye(4)
    turned[:3, :3] = np.stack([columns[:3, 2], -columns[:3, 0], columns[:3, 1]], axis=1)
    turned[:3, 3] = grid.to_world((grid.shape[0] - 1, 0, 0))
    stored = Grid((grid.shape[2], grid.shape[0], grid.shape[1]), turned)
    moving = prepared.moving.permute(0, 1, 4, 2, 3).flip(3)
    other = replace(prepared, moving=moving, moving_grid=stored)
    plan = levels(prepared, REFINE)[0]
    mind = replace(REFINE, similarity="mind")
    here, there = (compared(pair, IDENTITY, plan, mind, CPU) for pair in (prepared, other))
    torch.testing.assert_close(here.moving.values.volume, there.moving.values.volume, atol=1e-3, rtol=0)
    assert torch.equal(here.moving.mask.volume, there.moving.mask.volume)


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_structure_sees_nothing_of_what_a_mask_hides(side):
    prepared = pair(T2)
    seen = torch.ones_like(getattr(prepared, side))
    seen[..., :16, :] = 0
    masked = replace(prepared, **{f"{side}_mask": seen})
    garbage = torch.where(seen > 0, getattr(prepared, side), torch.rand_like(seen))
    few = Refine(similarity="mind", steps_coarse=3, steps_half=3, steps_full=3)
    clean, broken = (refine(pair, IDENTITY, None, few, CPU)[0] for pair in (masked, replace(masked, **{side: garbage})))
    # Samplers let in about a ten-thousandth of what lies next in memory, at the border of the volume.
    torch.testing.assert_close(clean, broken, atol=5e-4, rtol=0)
    assert float(clean.abs().max()) > 0


def test_the_report_says_what_was_compared_and_calls_a_good_result_good():
    report = register(FIXED, scan(T2, 2)).report
    assert report["similarity"]["kind"] == "mind"
    assert "structure" in report["similarity"]["measure"]
    assert report["similarity"]["before"] < report["similarity"]["after"]
    (check,) = [check for check in report["checks"] if check["name"].startswith("Similarity")]
    assert check["verdict"] == "good"
    assert any("different kinds" in note for note in report["notes"])


def test_contrasts_of_a_real_head_come_together(data_folder):
    scans = [read_image(data_folder / f"stroke_multimodal/{name}.nii.gz") for name in ("T1", "FLAIR")]
    half = scans[0].grid.resampled([n // 2 for n in scans[0].grid.shape])
    fixed, moving = (warp(scan, Mapping(), half) for scan in scans)
    truth = Mapping((smooth_field(half, seed=2, peak_mm=10, sigma_mm=20),))
    warped = warp(fixed, truth, half)
    prepared = prepare(warped, moving, Prepare())
    found = extend(*refine(prepared, IDENTITY, None, replace(REFINE, steps_full=20), CPU))
    head = half.points()[warped.scalar > 0]
    assert "different kinds" in "".join(prepared.notes)
    assert tre(found(head), truth(head)).mean() < 1.2


@pytest.mark.parametrize("measure", ["lncc", "mind"])
def test_a_slab_is_as_alike_as_the_whole_and_a_sliver_is_not(measure):
    """What the moving image does not show says nothing against the alignment, but little of it says little for it."""
    whole, fixed = scan(T1, 2), scan(T1, 1)

    def alike(slices: int) -> float:
        cut = (48 - slices) // 2
        shown = Image(whole.data[:, cut : 48 - cut], GRID.padded((-cut, 0, 0), (-cut, 0, 0)), name="slab")
        prepared = prepare(fixed, shown, Prepare())
        grid = GRID if measure == "lncc" else coarse_grid(prepared, REFINE)
        weight = torch.from_numpy(warp(Image(INSIDE[None].astype(np.float32), GRID), Mapping(), grid).data)[None]
        of = Similarity(prepared, weight) if measure == "lncc" else Agreement(prepared, grid, weight)
        return of(Mapping())

    entire, slab, sliver = alike(48), alike(26), alike(4)
    assert slab > 0.9 * entire  # windows at its border see its end
    assert sliver < 0.6 * entire
