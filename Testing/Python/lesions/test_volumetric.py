"""Volumes judged by the thresholds of a sphere that follows RECIST's diameters."""

from math import pi

import pytest

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.lesions.criteria import Course, Finding, Lesion
from RegistrationNetLib.lesions.estimate import Estimate, exactly
from RegistrationNetLib.lesions.recist import recist
from RegistrationNetLib.lesions.volumetric import volumetric

from .courses import GONE, TINY, targets, visit

ONE = Lesion("L1", "target")


def course(*volumes: float | str | Estimate) -> Course:
    return Course((ONE,), tuple(visit(8 * at, finding(one)) for at, one in enumerate(volumes)))


def finding(volume: float | str | Estimate) -> Finding:
    if isinstance(volume, str):
        return Finding("L1", volume)
    return Finding("L1", volume_mm3=volume if isinstance(volume, Estimate) else exactly(volume))


def responses(*volumes: float | str) -> list[str]:
    return [one.response for one in volumetric(course(*volumes))]


@pytest.mark.parametrize("diameters", [(20, 13.9), (20, 14.1), (40, 47.9), (40, 48.1), (40, 30, 36.1), (40, 30, 35.9)])
def test_spheres_are_judged_as_recist_judges_their_diameters(diameters: tuple[float, ...]):
    volumes = [pi / 6 * diameter**3 for diameter in diameters]
    assert responses(*volumes) == [one.response for one in recist(targets(*diameters))]


def test_reasons_name_the_sum_the_share_and_the_date():
    assert volumetric(course(1000, 500, 900))[-1].reasons[0] == (
        "The sum of volumes is 900 mm3, 80 % above the smallest so far (500 mm3 on 2024-02-26): progression."
    )
    assert "300 mm3, 70 % below the baseline (1000 mm3)" in volumetric(course(1000, 300))[-1].reasons[0]


def test_gone_is_complete_and_too_small_is_a_sphere_of_five_millimetres():
    assert responses(1000, GONE) == ["CR"]
    assert responses(1000, TINY) == ["PR"]
    assert volumetric(course(1000, TINY))[0].total.value == pytest.approx(65.45, abs=0.01)


def test_a_change_within_the_measuring_error_is_said_to_be_none():
    said = " ".join(volumetric(course(Estimate(100, 50, 170), Estimate(180, 100, 300)))[0].reasons)
    assert "not distinguishable from no change" in said


def test_only_volumes_and_roles_are_asked_for():
    with pytest.raises(InputError, match="needs the volume of 'L1' on 2024-02-26"):
        volumetric(Course((ONE,), (visit(0, Finding("L1", volume_mm3=exactly(9))), visit(8, Finding("L1")))))
    with pytest.raises(InputError, match="RECIST by volume also needs whether 'L1' is a target"):
        volumetric(Course((Lesion("L1"),), (visit(0, Finding("L1", volume_mm3=exactly(9))),)))
