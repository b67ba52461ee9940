"""One row of a comparison on a paper's data: what is trained on, what is judged by, and how it is told."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from benchmarks import study as studies
from benchmarks.cases import load
from benchmarks.protocol import Protocol, of_labels
from benchmarks.reproduce import QUESTIONS, Row, cells, heading, table
from benchmarks.study import Study, likeness
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.networks import registry, weights
from RegistrationNetLib.phantom import phantom_pair
from RegistrationNetLib.training.train import Trained

METRICS = ("hd95_mm", "folded_percent", "topology_change", "one_minus_mse", "ncc", "tre_mm")
ROW = Row("VoxelMorph", "voxelmorph")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads, prepared as a paper's data are."""
    folder = tmp_path_factory.mktemp("paper")
    phantom = phantom_pair(voxel_mm=6.0)
    for part in ("images", "labels", "landmarks"):
        (folder / part).mkdir()
    for one, image, labels, points in (
        ("b", phantom.fixed, phantom.fixed_labels, phantom.fixed_landmarks),
        ("c", phantom.moving, phantom.moving_labels, phantom.moving_landmarks),
    ):
        shown = (image.data / image.data.max()).astype(np.float32)
        write_image(replace(image, data=shown), folder / f"images/{one}.nii.gz")
        write_image(labels, folder / f"labels/{one}.nii.gz")
        rows = [" ".join(map(str, voxel[::-1])) for voxel in image.grid.to_voxel(points)]
        (folder / f"landmarks/{one}.txt").write_text("\n".join(["index", str(len(rows)), *rows]))
    first, second, *_ = values = sorted(int(value) for value in np.unique(phantom.fixed_labels.data) if value)
    labels = {"two": (first, second), "all": tuple(values)}
    Protocol("paper", ("a", "d", "f"), ("e",), ("b", "c"), (("b", "c"),), labels, METRICS, "landmarks").write(
        folder, 2.5
    )
    return folder


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return Study.of_protocol(folder, steps=7, threads=1)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained network, which moves next to nothing."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "voxelmorph.safetensors"
    said = {"intensity": "percentile", "training_data": "none", "licence": "none", "version": "0"}
    weights.save(file, registry.create("voxelmorph"), spacing=(6.0, 6.0, 6.0), **said)
    return file


@pytest.fixture(scope="module")
def run(study: Study, fresh: Path) -> dict:
    """What a row was trained with, and its results."""
    known: dict = {}

    def trained(settings, where: Path) -> Trained:
        known["settings"] = settings
        where.mkdir(parents=True)
        return Trained(fresh, 1.0, 0.0, 7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "train", trained)
        study.run(ROW, seed=3)
    return known | {"results": study.results(ROW, 3)}


def test_a_row_is_trained_on_the_protocols_scans_for_the_steps_that_are_asked_for(
    study: Study, folder: Path, run: dict
):
    settings = run["settings"]
    assert settings.data.images == str(folder / "images")
    assert settings.data.only.split() == [f"{one}.nii.gz" for one in "adef"]
    assert settings.data.held_back == 1
    assert settings.course.steps == study.steps
    assert (settings.network, settings.seed) == ("voxelmorph", 3)
    assert study.folder(ROW, 3).parent == folder / "results"


def test_a_row_is_judged_on_the_test_pairs_by_all_that_the_protocol_says(folder: Path, run: dict):
    (found,) = run["results"]["pairs"]
    assert set(METRICS) | {"dice", "all", "seconds"} <= set(found)
    assert run["results"]["parameters"] > 1e5
    start = next((folder / "results/pairs").iterdir())
    fixed, moving = (sitk.ReadImage(str(folder / f"images/{one}.nii.gz")) for one in "bc")
    carried = sitk.Resample(moving, fixed, sitk.ReadTransform(str(start / "affine.tfm")), sitk.sitkLinear)
    one, other = (sitk.GetArrayFromImage(image).astype(float) for image in (fixed, carried))
    assert found["ncc"] == pytest.approx(np.corrcoef(one.ravel(), other.ravel())[0, 1], abs=0.01)
    assert found["one_minus_mse"] == pytest.approx(1 - ((one - other) ** 2).mean(), abs=0.003)
    assert found["dice"] != found["all"]


def test_only_the_named_labels_are_judged_by(study: Study):
    case = load(study.pairs[0], study.bench.data)
    chosen = of_labels(case, study.labels["two"])
    for labels in (chosen.reference.fixed_labels, chosen.reference.moving_labels):
        assert set(np.unique(labels.data)) == {0, *study.labels["two"]}
    assert np.array_equal(chosen.reference.fixed_landmarks, case.reference.fixed_landmarks)


def test_likeness_is_that_of_the_warped_moving_image(study: Study):
    case = load(study.pairs[0], study.bench.data)
    same = replace(case, moving=case.fixed)
    assert likeness(same, Mapping()) == pytest.approx({"one_minus_mse": 1.0, "ncc": 1.0}, abs=1e-6)
    reversed_ = replace(case, moving=Image(1 - case.fixed.data, case.fixed.grid))
    assert likeness(reversed_, Mapping())["ncc"] == pytest.approx(-1.0, abs=1e-6)
    away = np.eye(4)
    away[0, 3] = 12.0
    assert likeness(same, Mapping((Affine(away),)))["ncc"] < 0.95


def test_the_table_has_a_column_for_everything_and_says_what_was_not_run(study: Study, run: dict):
    titles = heading(study)
    assert titles[:3] == ["Dice, two", "difference", "Dice, all"]
    assert {"1-MSE", "NCC", "TRE, mm", "HD95, mm", "TC"} <= set(titles)
    known = cells(study, ROW, ROW, [3, 4])
    assert len(known) == len(titles)
    (found,) = run["results"]["pairs"]
    assert known[titles.index("TRE, mm")] == f"{found['tre_mm']:.2f}"
    assert known[titles.index("Dice, all")] == f"{found['all']:.4f}"
    assert known[titles.index("seeds")] == "1"
    said = table(study, QUESTIONS[0], [3])
    assert said.count("not run") == len(QUESTIONS[0].rows) - 1
    assert len({line.count("|") for line in said.splitlines() if line.startswith("|")}) == 1


def test_small_crops_get_small_blocks_and_regions_and_a_papers_own_data_the_networks_own(study: Study):
    ours = replace(study, switches=studies._SMALL)
    row = Row("without attention", "cascaded-blocks", {"attention": False})
    assert ours.made_with(row) == {"block": 24, "attention": False}
    assert study.made_with(row) == {"attention": False}
    assert json.dumps(study.made_with(ROW)) == "{}"
