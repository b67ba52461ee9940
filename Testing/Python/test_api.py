"""The one call for scripts: any kind of input, one kind of result, and mistakes answered in a sentence."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from RegistrationNetLib import register, save
from RegistrationNetLib.api import _marked
from RegistrationNetLib.core.errors import InputError, SettingsError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine.result import Registration
from RegistrationNetLib.files.geometry import image_to_sitk
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.phantom import PhantomPair, phantom_pair

RIGID = {"preset": "fast", "transform": "rigid"}


@pytest.fixture(scope="module")
def phantom() -> PhantomPair:
    return phantom_pair(voxel_mm=5)


@pytest.fixture(scope="module")
def by_image(phantom: PhantomPair) -> Registration:
    return register(phantom.fixed, phantom.moving, **RIGID)


def test_paths_simpleitk_images_and_images_give_the_same(phantom, by_image, tmp_path):
    sides = {"fixed": phantom.fixed, "moving": phantom.moving}
    for name, image in sides.items():
        write_image(image, tmp_path / f"{name}.nrrd")
    by_path = register(tmp_path / "fixed.nrrd", str(tmp_path / "moving.nrrd"), **RIGID)
    by_sitk = register(*(image_to_sitk(image) for image in sides.values()), **RIGID)
    for other, within in ((by_sitk, 0.0), (by_path, 0.02)):  # mm; the last digits of a file's directions are cut
        assert type(other) is type(by_image) is Registration
        points = phantom.fixed.grid.corners()
        np.testing.assert_allclose(other.mapping(points), by_image.mapping(points), rtol=0, atol=within)
    assert by_path.report["fixed"]["path"] == str(tmp_path / "fixed.nrrd")
    assert by_image.report["fixed"]["path"] is None


def test_save_writes_what_the_report_totals(phantom, by_image, tmp_path):
    for _ in range(2):  # saving twice counts writing once
        save(by_image, phantom.fixed, phantom.moving, tmp_path / "out")
    names = [stage["name"] for stage in by_image.report["stages"]]
    assert names == ["read", "prepare", "align", "judge", "write"]
    assert by_image.report["seconds_total"] == pytest.approx(sum(s["seconds"] for s in by_image.report["stages"]))
    assert sitk.ReadTransform(str(tmp_path / "out" / "transform.h5")).GetDimension() == 3


def test_a_mask_may_be_all_ones_and_labels_must_be_whole_numbers(phantom):
    fixed, moving = image_to_sitk(phantom.fixed), image_to_sitk(phantom.moving)
    everywhere = sitk.Cast(fixed * 0 + 1, sitk.sitkUInt8)
    assert register(fixed, moving, fixed_mask=everywhere, **RIGID).report["jacobian"]["body"] == "fixed mask"
    halves = sitk.Cast(image_to_sitk(phantom.fixed_labels), sitk.sitkFloat32) + 0.5
    with pytest.raises(InputError, match="no label map"):
        register(fixed, moving, fixed_labels=halves, moving_labels=image_to_sitk(phantom.moving_labels), **RIGID)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"fixed": None}, InputError, "fixed image is of type NoneType"),
        ({"fixed_mask": np.zeros(3)}, InputError, "fixed mask is of type ndarray"),
        ({"fixed_landmarks": [[1, 2]], "moving_landmarks": [[1, 2]]}, InputError, r"shape \(1, 2\)"),
        ({"foo": 1}, SettingsError, "no setting 'foo'"),
        ({"refine__foo": 1}, SettingsError, "no setting 'refine__foo'"),
        ({"refine__steps_full": -3}, SettingsError, "steps_full is -3"),
        ({"preset": "best"}, SettingsError, "no preset 'best'"),
        ({"initial": Path("nowhere.h5")}, InputError, "nowhere"),
        ({"keep_rigid": np.zeros(3)}, InputError, "keep-rigid labels is of type ndarray"),
        ({"region_margin_mm": -1.0}, InputError, "margin around the region is -1 mm"),
        ({"fixed_hints": [[0.0, 0.0, 0.0]]}, InputError, "Only one side's hints were given"),
        ({"fixed_hints": [[999.0, 0, 0]], "moving_hints": [[0.0, 0, 0]]}, InputError, "1 of 1 hints lie outside"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(phantom, wrong, error, words):
    call: dict[str, Any] = {"fixed": phantom.fixed, "moving": phantom.moving, **wrong}
    with pytest.raises(error, match=words):
        register(**call)


def test_constraints_are_given_as_files_and_reported(phantom, tmp_path):
    """Labels of another patient are refused, as with masks."""
    labels = phantom.fixed_labels
    lesion = np.linalg.norm(labels.grid.points() - labels.grid.center, axis=-1) < 12
    region = np.linalg.norm(labels.grid.points() - labels.grid.center, axis=-1) < 40
    for name, marked in (("lesion", lesion), ("region", region)):
        write_image(Image(marked.astype(np.uint8)[None], labels.grid, name=name), tmp_path / f"{name}.nii.gz")
    for side in ("fixed", "moving"):
        points = getattr(phantom, f"{side}_landmarks")
        np.savetxt(tmp_path / f"{side}.csv", points, delimiter=",", header="x,y,z", comments="")
    asked = {"keep_volume": tmp_path / "lesion.nii.gz", "region": tmp_path / "region.nii.gz"}
    hints = {f"{side}_hints": tmp_path / f"{side}.csv" for side in ("fixed", "moving")}
    result = register(phantom.fixed, phantom.moving, preset="fast", **asked, **hints)
    reached = result.report["constraints"]
    assert reached["volume"][0]["part"] == "'lesion.nii.gz'"
    assert reached["region"] == {"margin_mm": 10.0, "largest_change_outside_mm": 0.0}
    assert reached["hints"]["pairs"] == len(phantom.fixed_landmarks)
    assert "quality" not in result.report  # hints guide, landmarks measure
    other = replace(labels, grid=labels.grid.padded((400, 0, 0), (-400, 0, 0)), name="other.nii")
    with pytest.raises(InputError, match=r"'other\.nii' does not fit"):
        register(phantom.fixed, phantom.moving, region=other)


def test_whether_a_mask_fits_is_told_from_a_part_of_its_voxels():
    """All of those of a whole body, as points, would take gigabytes; of a small one none is left out."""
    body = np.zeros((200, 150, 120), np.uint8)
    body[20:180, 10:140, 5:100] = 1
    marked = _marked(body)
    assert 1000 < len(marked) < body.sum() / 3
    assert body[tuple(marked.T)].all()
    np.testing.assert_allclose(marked.mean(0), np.argwhere(body).mean(0), atol=1.5)
    spot = np.zeros_like(body)
    spot[77, 33, 55:58] = 1
    np.testing.assert_array_equal(_marked(spot), np.argwhere(spot))
