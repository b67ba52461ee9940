"""A folder of small scans with label maps, each stored its own way."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.core.resample import warp
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.phantom import phantom_pair

COUNT = 5


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/ and labels/ of one head in five poses; axes in another order and direction in each."""
    folder = tmp_path_factory.mktemp("scans")
    phantom = phantom_pair(voxel_mm=5.0)
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for number in range(COUNT):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(rng.uniform(-0.15, 0.15, 3)).as_matrix()
        pose[:3, 3] = rng.uniform(-8, 8, 3)
        onto = stored(phantom.fixed.grid, rng)
        for part, image, how in (
            ("images", phantom.fixed, "linear"),
            ("labels", phantom.fixed_labels, "nearest"),
        ):
            moved: Image = warp(image, Mapping((Affine(pose),)), onto, how)
            write_image(moved, folder / part / f"head{number}.nii.gz")
    return folder


def stored(grid: Grid, rng: np.random.Generator) -> Grid:
    """The same field of view, its axes in another order and some of them backwards."""
    order = rng.permutation(3)
    signs = rng.choice((-1, 1), 3)
    shape = np.array(grid.shape)[order]
    directions = grid.directions[:, order] * signs
    corner = grid.center - directions @ (grid.spacing[order] * (shape - 1) / 2)
    return Grid.of(shape, grid.spacing[order], directions, corner)
