"""What the figures of a registration are held against: every threshold, in numbers and in words, with its source.

TG-132 is the report of AAPM's task group 132 on image registration (Brock et al., Medical Physics 44(7), 2017,
e43-e76, doi:10.1002/mp.12256); its Table III gives tolerances. Where it gives none, a threshold is our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from RegistrationNetLib.engine import trust

Verdict = Literal["good", "cannot tell", "look", "bad"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""From the best to the worst."""

Check = dict[str, str]
"""name, value, unit, verdict, threshold, source, sentence: all words."""

OVERLAP, LITTLE_OVERLAP = 90.0, 25.0  # % of the fixed body
ALIKE = {"lncc": 0.5, "mind": 0.4}  # similarity of scans that fit
UNLIKE = {"lncc": 0.35, "mind": 0.2}  # of scans that do not
VOLUME_TIMES = 3.0  # local volume change beyond which a look at the map is due
TRE_MM, WORST_TRE_MM = 3.0, 5.0  # mean of the landmarks, any of them
DICE, POOR_DICE = 0.8, 0.5
RIGID_MM, VOLUME_PERCENT = 0.1, 0.25  # what is as good as kept

_TG = "TG-132, Table III"
_OURS = "our own; TG-132 gives none"


@dataclass(frozen=True)
class Limit:
    """name: of the check; unit: of its value; threshold: in words; source: who says so."""

    name: str
    unit: str
    threshold: str
    source: str


LIMITS = {
    "overlap": Limit(
        "Overlap of the images",
        "%",
        f"good from {OVERLAP:.0f} % of the fixed image's body, bad below {LITTLE_OVERLAP:.0f} %",
        _OURS,
    ),
    "alignment": Limit(
        "Affine alignment found",
        "",
        f"good where it is high: local correlation at least {trust.ALIKE:g}, {100 * trust.AGREEMENT:.0f} % of the "
        f"starts agree or the next best place is {100 * trust.MARGIN:.0f} % worse, and no direction is stretched more "
        f"than {trust.STRETCH:g} times",
        _OURS,
    ),
    "similarity lncc": Limit(
        "Similarity inside the body (local correlation)",
        "0 to 1",
        f"good from {ALIKE['lncc']:g}, bad below {UNLIKE['lncc']:g} or where it fell",
        "our own; TG-132 warns that similarity is no measure of accuracy",
    ),
    "similarity mind": Limit(
        "Similarity inside the body (structure, across contrasts)",
        "0 to 1",
        f"good from {ALIKE['mind']:g}, bad below {UNLIKE['mind']:g} or where it fell; between, it cannot tell",
        "our own; TG-132 warns that similarity is no measure of accuracy",
    ),
    "folding": Limit(
        "Folded voxels inside the body",
        "voxels",
        "good at none, bad at any (Jacobian determinant of 0 or less)",
        f"{_TG}: no negative values",
    ),
    "jacobian": Limit(
        "Local volume change, deformable part (Jacobian determinant)",
        "times",
        f"good between 1/{VOLUME_TIMES:g} and {VOLUME_TIMES:g}; a look beyond",
        f"{_TG}: as the clinical case lets expect; the factor is our own",
    ),
    "volume": Limit(
        "Volume change in all, with the affine part",
        "times",
        f"good with a mean between 1/{VOLUME_TIMES:g} and {VOLUME_TIMES:g}; a look beyond",
        f"{_TG}: as the clinical case lets expect; the factor is our own",
    ),
    "consistency": Limit(
        "Inverse consistency",
        "mm",
        "at most the largest side of a voxel",
        f"{_TG}: maximum voxel dimension (about 2 to 3 mm)",
    ),
    "accuracy": Limit(
        "Accuracy against something known",
        "",
        "cannot tell without landmarks or labels on both images",
        "TG-132, which asks for such a measurement beside a look at the images",
    ),
    "tre": Limit(
        "Landmark error (mean TRE)",
        "mm",
        f"good up to the largest side of a voxel, bad above that and {TRE_MM:g} mm, or where it grew; a look where any "
        f"landmark is off by more than {WORST_TRE_MM:g} mm",
        f"{_TG}: maximum voxel dimension (about 2 to 3 mm); {WORST_TRE_MM:g} mm at most is its aim for phantoms",
    ),
    "dice": Limit(
        "Overlap of labels (mean Dice)",
        "",
        f"good where each label reaches {DICE:g}, bad with a mean below {POOR_DICE:g} or where it fell",
        f"{_TG}: within the uncertainty of contouring (about 0.8 to 0.9); {POOR_DICE:g} is our own",
    ),
    "hd95": Limit(
        "Distance of label borders (HD95)",
        "mm",
        "good where it did not grow; a look otherwise",
        "our own; TG-132 gives a tolerance for the mean distance only",
    ),
    "rigid": Limit("Parts kept rigid (deviation from rigid)", "mm", f"good up to {RIGID_MM:g} mm", _OURS),
    "kept volume": Limit("Parts kept at their volume (change)", "%", f"good up to {VOLUME_PERCENT:g} %", _OURS),
    "region": Limit("Largest change outside the region and its margin", "mm", "good at 0 mm", _OURS),
    "hints": Limit(
        "Hints (mean distance of the pairs)", "mm", "good where it did not grow and no pair is left out", _OURS
    ),
}


def with_unit(check: Check) -> str:
    """What a check is called where its unit has no column."""
    return f"{check['name']} [{check['unit']}]" if check["unit"] else check["name"]
