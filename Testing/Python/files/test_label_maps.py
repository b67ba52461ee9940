"""Label maps and images are told apart on real files, and what is neither for sure is left open."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.files.images import read_volume
from RegistrationNetLib.files.label_maps import is_label_map

LABELS = (
    *("brain_ixi/labels/IXI012.nii.gz", "brain_oasis/1000_labels.nii.gz", "abdomen_ct/seg_hist.nii.gz"),
    *("lung_ct/baseline_mask.mha", "lung_ct/followup_segmentation.mha", "lung_mri/0004Lobes.nii.gz"),
    *("longitudinal_ms/patient01/gt.nii.gz", "hippocampus/labels/hippocampus_001.nii.gz"),
)
IMAGES = (
    *("brain_ixi/t1/IXI012.nii.gz", "brain_oasis/1000_t1.nii.gz", "abdomen_ct/ct.nii.gz", "lung_ct/baseline.mha"),
    *("lung_mri/0004H1.nii.gz", "stroke_multimodal/T1.nii.gz", "stroke_multimodal/T2.nii.gz"),
    *("multimodal_t1_pd/PD.nii.gz", "longitudinal_ms/patient01/study1_FLAIR.nii.gz"),
    "hippocampus/images/hippocampus_001.nii.gz",
)


def volume(values: np.ndarray) -> Image:
    return Image(values[None], Grid.of(values.shape, (1, 1, 1), np.eye(3), (0, 0, 0)))


@pytest.mark.parametrize(("names", "labels"), [(LABELS, True), (IMAGES, False)])
def test_real_files_are_told_apart(names, labels):
    folder = os.environ.get("REGISTRATIONNET_DATA")
    if not folder:
        pytest.skip("REGISTRATIONNET_DATA names no folder of images")
    there = [Path(folder, name) for name in names if Path(folder, name).exists()]
    assert there
    assert {path.name: is_label_map(read_volume(path)) for path in there} == {path.name: labels for path in there}


def test_fractions_are_never_labels():
    values = np.zeros((8, 8, 8), np.float32)
    values[2:6, 2:6, 2:6] = 1
    assert is_label_map(volume(values)) is True
    values[3, 3, 3] = 0.5
    assert is_label_map(volume(values)) is False


@pytest.mark.parametrize("background", [0, -1024, 7])
def test_the_answer_does_not_depend_on_the_background(background):
    rng = np.random.default_rng(0)
    noise = np.full((30, 30, 30), background, np.int16)
    noise[5:20, 5:20, 5:20] = rng.integers(100, 400, (15, 15, 15))
    boxes = np.full((30, 30, 30), background, np.int16)
    boxes[3:12, 3:12, 3:12], boxes[12:20, 3:20, 3:20], boxes[25, 25, 25] = 40, 1000, 300
    assert is_label_map(volume(noise)) is False
    assert is_label_map(volume(boxes)) is True


def test_a_few_values_in_disorder_and_fine_grained_labels_are_left_open():
    rng = np.random.default_rng(0)
    assert is_label_map(volume(rng.integers(0, 8, (20, 20, 20)).astype(np.uint8))) is None
    vessel = np.zeros((40, 40, 40), np.int16)
    vessel[:, 20, 20:22] = rng.integers(100, 400, (40, 2))
    assert is_label_map(volume(vessel)) is None
