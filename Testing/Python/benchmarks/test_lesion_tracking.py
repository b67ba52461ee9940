"""What the benchmark of tracking counts as found."""

import numpy as np

from benchmarks.lesion_tracking import Shares, shares
from Python.lesions.balls import ball
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.candidates import Candidate

GRID = Grid.of((30, 30, 30), (1, 1, 1), np.eye(3)[:, ::-1], (0, 0, 0))


def at(center: tuple[float, float, float], radius: float) -> Candidate:
    outline = ball("candidate", center, radius)
    return Candidate(outline, outline.center, outline.center, 5.0)


def test_a_piece_is_found_where_a_candidate_lies_and_the_largest_by_its_rank():
    mask = np.zeros((1, 30, 30, 30), np.uint8)
    mask[0, 4:8, 4:8, 4:8] = 1  # 64 voxels
    mask[0, 20:22, 20:22, 20:22] = 1  # 8 voxels
    image = Image(mask, GRID)
    nowhere, largest, smaller = at((15, 3, 25), 2), at((5.5, 5.5, 5.5), 4), at((20.5, 20.5, 20.5), 3)
    assert shares(image, [nowhere, largest]) == Shares(2, 1, 2, 1, 64 / 72)
    assert shares(image, [largest, smaller]) == Shares(2, 2, 1, 2, 1.0)
    assert shares(image, [nowhere]) == Shares(1, 0, 0, 0, 0.0)
