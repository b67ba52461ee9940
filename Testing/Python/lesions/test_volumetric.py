"""Volumes judged by the thresholds of a sphere that follows RECIST's diameters."""

from math import pi

import pytest

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.lesions.criteria import Course, Finding, Followed
from RegistrationNetLib.lesions.estimate import Estimate, exactly
from RegistrationNetLib.lesions.recist import recist
from RegistrationNetLib.lesions.volumetric import volumetric

from .courses import GONE, MISSED, TINY, found, targets, visit

ONE = Followed("L1", "target")


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


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        ((1000, 343), "PR"),  # 0.7^3: exactly 65.7 % below
        ((1000, 344), "SD"),
        ((1000, 1728), "PD"),  # 1.2^3: exactly 72.8 % above
        ((1000, 1727), "SD"),
        ((1000, 200, 345.6), "PD"),  # 72.8 % above the smallest, though 65 % below the baseline
        ((1000, 200, 340), "PR"),
        ((1000, GONE, 1), "PD"),  # any volume is more than none
        ((1000, MISSED), "NE"),
        ((1000, MISSED, 300), "PR"),
    ],
)
def test_thresholds_by_hand(volumes: tuple[float | str, ...], expected: str):
    assert responses(*volumes)[-1] == expected


def test_a_new_lesion_is_progression_but_a_new_node_of_normal_size_is_not():
    def response(node_mm: float) -> str:
        visits = (visit(0, finding(1000)), visit(8, finding(100), found("N9", node_mm)))
        return volumetric(Course((ONE, Followed("N9", node=True)), visits))[0].response

    assert (response(9), response(12)) == ("PR", "PD")


def test_reasons_name_the_sum_the_share_and_the_date():
    assert volumetric(course(1000, 500, 900))[-1].reasons[0] == (
        "The sum of volumes is 900 mm3, 80 % above the smallest so far (500 mm3 on 2024-02-26): progression."
    )
    assert "300 mm3, 70 % below the baseline (1000 mm3): partial" in volumetric(course(1000, 300))[-1].reasons[0]
    assert volumetric(course(1000, 500, 600))[-1].reasons[0] == (
        "The sum of volumes is 600 mm3, 40 % below the baseline (1000 mm3; a partial response takes 65.7 %), and 20 % "
        "above the smallest so far (500 mm3 on 2024-02-26; progression takes 72.8 %): stable disease."
    )
    assert volumetric(course(1000, MISSED))[-1].reasons[0] == (
        "Target lesion 'L1' was not assessed: the sum of volumes is not known."
    )


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
        volumetric(Course((Followed("L1"),), (visit(0, Finding("L1", volume_mm3=exactly(9))),)))
