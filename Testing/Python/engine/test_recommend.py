"""Which network is recommended follows from what both images show and what its card says; when in doubt, none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine.recommend import Seen, look, recommend
from RegistrationNetLib.files.images import read_image
from RegistrationNetLib.training.settings import Train

HEAD = {
    "body": "whole heads",
    "modality": "any",
    "left_right_mm": [110, 185],
    "front_back_mm": [145, 225],
    "head_foot_mm": [105, 260],
}
LUNG = HEAD | {"body": "lungs", "modality": "CT", "left_right_mm": [200, 400], "head_foot_mm": [200, 400]}
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {"udrnet-lung": ("udrnet", LUNG), "caml": ("caml", HEAD)}
A_HEAD, A_CHEST = Seen("", (144.0, 200.0, 204.0)), Seen("CT", (330.0, 220.0, 300.0))


def box(turn: Any, low: float = 0.0) -> Image:
    """A bright box of 60 x 90 x 120 mm (left-right, front-back, head-foot) in a larger field of view, turned."""
    grid = Grid.of((40, 40, 40), (4, 4, 4), Rotation.from_rotvec(turn).as_matrix(), (0, 0, 0))
    inside = np.all(np.abs(grid.points() - grid.center) <= (30, 45, 60), axis=-1)
    noise = np.random.default_rng(0).normal(0, 1, grid.shape)
    return Image((np.where(inside, 100.0, low) + noise)[None], grid)


@given(st.tuples(*[st.floats(-0.6, 0.6)] * 3))
def test_sides_are_those_of_the_body_in_the_world_however_the_voxels_lie(turn: tuple[float, float, float]) -> None:
    seen = look(box(turn))
    assert seen.sides is not None
    np.testing.assert_allclose(seen.sides, (60, 90, 120), atol=8)


def test_air_tells_ct_and_what_is_known_from_dicom_counts_more() -> None:
    assert look(box((0, 0, 0))).modality == ""
    assert look(box((0, 0, 0), low=-1000)).modality == "CT"
    assert look(box((0, 0, 0), low=-1000), "PT").modality == "PT"


def test_an_image_of_one_value_shows_nothing() -> None:
    flat = Image(np.full((1, 8, 8, 8), 7.0), Grid.of((8, 8, 8), (1, 1, 1), np.eye(3), (0, 0, 0)))
    assert look(flat).sides is None


def test_the_network_for_what_both_show_is_recommended_with_its_reason() -> None:
    found = recommend(A_HEAD, A_HEAD, TRAINED)
    assert (found.model, found.weights) == ("caml", "caml")
    assert "trained on whole heads" in found.reason
    assert "144 x 200 x 204 mm" in found.reason
    found = recommend(A_CHEST, A_CHEST, TRAINED)
    assert (found.model, found.weights) == ("udrnet", "udrnet-lung")


@pytest.mark.parametrize(
    ("fixed", "moving", "trained", "why"),
    [
        (A_HEAD, A_HEAD, {}, "No network has been trained yet"),
        (A_HEAD, A_CHEST, TRAINED, "No network was trained on"),
        (A_CHEST, A_HEAD, TRAINED, "CT, 330 x 220 x 300 mm"),
        (Seen("", A_CHEST.sides), Seen("", A_CHEST.sides), TRAINED, "No network was trained on"),
        (Seen("", None), A_HEAD, TRAINED, "cannot be told"),
        (A_HEAD, A_HEAD, {"caml": ("caml", {})}, "No network was trained on"),
        (A_HEAD, A_HEAD, {"caml": ("caml", {"body": "whole heads"})}, "No network was trained on"),
    ],
)
def test_it_is_none_with_the_reason_where_nothing_fits(
    fixed: Seen, moving: Seen, trained: dict[str, Any], why: str
) -> None:
    found = recommend(fixed, moving, trained)
    assert (found.model, found.weights) == ("none", "")
    assert why in found.reason


def test_a_card_for_mr_takes_what_is_not_known_to_be_of_another_kind() -> None:
    trained = {"caml": ("caml", HEAD | {"modality": "MR"})}
    kinds = {kind: recommend(*[Seen(kind, A_HEAD.sides)] * 2, trained).model for kind in ("MR", "", "CT")}
    assert kinds == {"MR": "caml", "": "caml", "CT": "none"}


def test_recipes_say_what_their_networks_are_for_and_real_scans_are_told_apart(data_folder: Path) -> None:
    files = sorted((Path(__file__).parents[3] / "recipes").glob("*.toml"), key=lambda file: file.stem)
    recipes = {file.stem: Train.read(file) for file in files}
    trained = {name: (recipe.network, recipe.purpose) for name, recipe in recipes.items()}
    expected = {
        "brain_ixi/t1/IXI012.nii.gz": "brain-any",
        "brain_oasis/1000_t1.nii.gz": "",  # a brain without its head
        "multimodal_t1_pd/PD.nii.gz": "brain-any",
        "hippocampus/images/hippocampus_001.nii.gz": "hippocampus",
        "lung_ct/baseline.mha": "",
        "lung_mri/0004H1.nii.gz": "",
        "abdomen_ct/ct.nii.gz": "",
    }
    seen = {name: look(read_image(data_folder / name)) for name in expected}
    found = {name: recommend(one, one, trained).weights for name, one in seen.items()}
    assert found == expected
