"""Floors on real images, for whoever has them: what may not get worse without somebody noticing."""

import pytest

from RegistrationNetLib import register


def test_a_brain_reaches_its_dice_without_a_fold(data_folder):
    fixed, moving = (data_folder / "brain_oasis" / name for name in ("1000", "1003"))
    result = register(
        f"{fixed}_t1.nii.gz",
        f"{moving}_t1.nii.gz",
        fixed_labels=f"{fixed}_labels.nii.gz",
        moving_labels=f"{moving}_labels.nii.gz",
    )
    assert result.report["quality"]["dice"]["after"] >= 0.65
    assert result.report["jacobian"]["folded_voxels"] == 0


@pytest.mark.parametrize(("fixed", "moving"), [("IXI012", "IXI013"), ("IXI014", "IXI015")])
def test_whole_heads_come_together_without_a_hint(data_folder, fixed, moving):
    folder = data_folder / "brain_ixi"
    result = register(
        folder / "t1" / f"{fixed}.nii.gz",
        folder / "t1" / f"{moving}.nii.gz",
        preset="fast",
        fixed_labels=folder / "labels" / f"{fixed}.nii.gz",
        moving_labels=folder / "labels" / f"{moving}.nii.gz",
    )
    dice = result.report["quality"]["dice"]
    assert dice["after_align"] > 0.35
    assert dice["after"] > dice["after_align"] + 0.05
    assert result.report["jacobian"]["folded_voxels"] == 0


def test_mr_lungs_improve_on_the_affine(data_folder):
    folder = data_folder / "lung_mri"
    result = register(
        folder / "0004H1.nii.gz",
        folder / "0006H1.nii.gz",
        preset="fast",
        fixed_labels=folder / "0004Lobes.nii.gz",
        moving_labels=folder / "0006Lobes.nii.gz",
    )
    dice = result.report["quality"]["dice"]
    assert dice["before"] < dice["after_align"] < dice["after"]
