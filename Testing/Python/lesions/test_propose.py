"""An outline by the program where nobody drew one: as large as the lesion there, or none at all."""

from dataclasses import replace

import numpy as np
import pytest

from Python.lesions.heads import Balls, Oracle, timepoint
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.lesions.follow import Tracking, follow
from RegistrationNetLib.lesions.lesion import outlined
from RegistrationNetLib.lesions.study import Study
from RegistrationNetLib.lesions.table import entries

A, B, C, D = (30, -20, 20), (-30, 10, 25), (25, 30, 10), (-25, -30, 10)
BEFORE: Balls = {1: (A, 8), 2: (B, 8), 3: (C, 8)}
AFTER: Balls = {1: (A, 11.5), 2: (B, 6.5)}
"""Three times and half the volume, and gone."""


@pytest.fixture(scope="module")
def tracking() -> Tracking:
    first, second = timepoint(0, BEFORE, voxel_mm=3.0), timepoint(1, AFTER, look=False, voxel_mm=3.0)
    brighter = replace(second.image, data=(1.4 * second.image.data.astype(float)).astype(np.int16))
    plain = np.zeros(first.image.data.shape, np.uint8)
    d, h, w = np.rint(first.image.grid.to_voxel(first.image.grid.center)).astype(int)
    plain[0, d : d + 3, h : h + 3, w : w + 3] = 9  # outlined, but nothing is to be seen there
    lesions = (*(first.lesions or ()), *outlined(Image(plain, first.image.grid)))
    return follow(Study((replace(first, lesions=lesions), replace(second, image=brighter))), Oracle(), local=False)


@pytest.mark.parametrize(("name", "radius"), [("1", 11.5), ("2", 6.5)])
def test_growth_and_shrinkage_are_measured_though_nobody_outlined_them(tracking: Tracking, name: str, radius: float):
    entry = next(one for one in entries(tracking) if one.lesion == name and one.day == tracking.study.scans[1].day)
    assert entry.status == "proposed"
    assert entry.measures.volume_mm3.value == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.1)
    change = tracking.measures[tracking.study.scans[0].name, name].volume_mm3.value
    assert entry.change_from_baseline.value == pytest.approx(entry.measures.volume_mm3.value / change - 1)
    assert "not by a reader" in " ".join(entry.notes)


def test_what_is_not_to_be_seen_any_more_is_not_outlined(tracking: Tracking):
    proposal = tracking.proposals[tracking.study.scans[1].name, "3"]
    assert proposal.lesion is None
    assert "it may be gone" in proposal.said


def test_what_cannot_be_drawn_again_on_the_baseline_is_not_outlined(tracking: Tracking):
    proposal = tracking.proposals[tracking.study.scans[1].name, "9"]
    assert proposal.lesion is None
    assert "as it was on the baseline" in proposal.said
