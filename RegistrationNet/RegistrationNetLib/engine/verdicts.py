"""What the figures of a report mean: a verdict for each, against its stated limit, in one plain sentence."""

from __future__ import annotations

from typing import Any

from RegistrationNetLib.engine import kept
from RegistrationNetLib.engine.limits import (
    ALIKE,
    DICE,
    LIMITS,
    LITTLE_OVERLAP,
    OVERLAP,
    POOR_DICE,
    TRE_MM,
    UNLIKE,
    VERDICTS,
    VOLUME_TIMES,
    WORST_TRE_MM,
    Check,
    Verdict,
)

Quality = dict[str, Any]

_HELD = {
    "rigid": "They only turn and shift.",
    "kept volume": "Their volume is the fixed image's, beside the affine part.",
    "region": "Nothing changed there.",
    "hints": "The pairs came closer together.",
}


def checks(report: Quality) -> list[Check]:
    """One for each figure of a report, the worst first."""
    rows = [_overlap(report["overlap_percent"]), _similarity(report["similarity"])]
    rows += _jacobian(report["jacobian"])
    rows.append(_consistency(report["settings"]["refine"]["symmetric"], _largest_side(report)))
    if "agreement" in report["alignment"]:
        rows.append(alignment(report["alignment"]))
    for key, value, held, cure in kept.checks(report.get("constraints", {})):
        rows.append(_check(key, value, "good" if held else "look", _HELD[key] if held else cure))
    rows += _measured(report.get("quality", {}), _largest_side(report))
    return sorted(rows, key=_badness, reverse=True)


def overall(rows: list[Check]) -> Check:
    """The worst of all. How consistent the inverse is counts only where it is known: that takes a second registration,
    and says less of the accuracy than landmarks do.
    """
    unknown = [row["name"] for row in rows if row["verdict"] == "cannot tell"]
    counted = [row for row in rows if row["verdict"] != "cannot tell" or row["name"] != LIMITS["consistency"].name]
    worst = max(counted, key=_badness)
    told = sum(row["verdict"] == worst["verdict"] for row in rows)
    several = told > 1
    sentence = {
        "good": "Everything that was measured is as it should be.",
        "cannot tell": "Nothing measured is wrong, but whether the result is right cannot be told from it.",
        "look": f"{f'{told} checks ask' if several else 'One check asks'} for a look before you rely on the result.",
        "bad": f"{f'{told} checks are' if several else 'One check is'} beyond the limit; do not rely on the result.",
    }[worst["verdict"]]
    sentence += f" Not known: {', '.join(unknown)}." if unknown else ""
    value = f"{sum(row['verdict'] == 'good' for row in rows)} of {len(rows)} checks are good"
    return {
        "name": "Overall",
        "value": value,
        "unit": "",
        "verdict": worst["verdict"],
        "threshold": "the worst of all checks",
        "source": "",
        "sentence": sentence,
    }


def alignment(found: Quality) -> Check:
    """On an alignment that was found."""
    high = found["confidence"] == "high"
    return _check(
        "alignment",
        f"{found['confidence']}: {100 * found['agreement']:.0f} % of the starts led to it, "
        f"local correlation {found['similarity']:.2f} in the body",
        "good" if high else "look",
        "The images were found to belong together in one way only."
        if high
        else "Compare the aligned images side by side. Where they do not match, check that both show the same region, "
        "give an initial transform or corresponding points, or have every orientation tried "
        "(--align-orientations any).",
    )


def _overlap(percent: float) -> Check:
    verdict = _graded(percent, OVERLAP, LITTLE_OVERLAP)
    sentence = (
        "The moving image shows the body of the fixed image."
        if verdict == "good"
        else "The moving image does not show all of the fixed image's body; rely on nothing beyond its border."
    )
    return _check("overlap", f"{percent:.0f}", verdict, sentence)


def _similarity(similarity: Quality) -> Check:
    before, after, kind = similarity["before"], similarity["after"], similarity["kind"]
    verdict: Verdict = "bad" if _above(before, after, 3) else _graded(after, ALIKE[kind], UNLIKE[kind])
    across = kind == "mind"
    if verdict == "look" and across:
        verdict = "cannot tell"
    sentence = {
        "good": "The images look alike now, which does not prove that each place is right.",
        "cannot tell": "Images of two kinds look different even where they fit; compare their edges.",
        "look": "Compare the images in the checkerboard; if they do not match, start from a rough alignment.",
        "bad": "The images do not match; start from a rough alignment, and check that both show the same region.",
    }[verdict]
    return _check(f"similarity {kind}", f"{before:.3f} before, {after:.3f} after", verdict, sentence)


def _jacobian(jacobian: Quality) -> list[Check]:
    folded = jacobian["folded_voxels"] > 0
    least, most, mean = jacobian["min"], jacobian["max"], jacobian["total_mean"]
    plausible = least > 1 / VOLUME_TIMES and most < VOLUME_TIMES
    sized = 1 / VOLUME_TIMES < mean < VOLUME_TIMES
    return [
        _check(
            "folding",
            f"{jacobian['folded_voxels']} ({jacobian['folded_percent']:.3f} %)",
            "bad" if folded else "good",
            "Do not measure where the Jacobian map shows the warning colour; raise the smoothing."
            if folded
            else "No tissue is folded onto itself.",
        ),
        _check(
            "jacobian",
            f"{least:.2f} to {most:.2f}, SD of log {jacobian['sd_log']:.2f}",
            "good" if plausible else "look",
            "No place grows or shrinks more than anatomy may."
            if plausible
            else "Such changes are rarely anatomy within one patient; look at the Jacobian map where it is darkest.",
        ),
        _check(
            "volume",
            f"{jacobian['total_min']:.2f} to {jacobian['total_max']:.2f}, mean {mean:.2f}",
            "good" if sized else "look",
            "On the whole both images show the body in a similar size."
            if sized
            else "The affine part scales the whole; check that both images show the same region.",
        ),
    ]


def _consistency(symmetric: bool, side_mm: float) -> Check:
    """Of the way there and back by two registrations. The inverse of one mapping is exact, so that it says nothing."""
    if symmetric:
        return _check("consistency", "by construction", "good", "Exchanging both images gives the inverse.", side_mm)
    return _check(
        "consistency",
        "not measured",
        "cannot tell",
        "It takes a registration of both ways: turn on 'Same result both ways' among the advanced settings "
        "(--refine-symmetric).",
        side_mm,
    )


def _measured(quality: Quality, side_mm: float) -> list[Check]:
    """What labels and landmarks say; that there are none, where there are none."""
    rows = [_landmarks(quality["tre_mm"], side_mm)] if "tre_mm" in quality else []
    if "dice" in quality:
        rows.append(_dice(quality["dice"]))
        if None not in (quality["hd95_mm"]["before"], quality["hd95_mm"]["after"]):
            rows.append(_borders(quality["hd95_mm"]))
    return rows or [
        _check(
            "accuracy",
            "not measured",
            "cannot tell",
            "Mark the same landmarks or structures on both images, and it is measured in millimetres.",
        )
    ]


def _landmarks(error: Quality, side_mm: float) -> Check:
    before, after, worst = error["before"], error["after"], error["max_after"]
    grew = _above(after, before, 2)
    verdict: Verdict = "bad" if grew else _graded(-after, -side_mm, -max(side_mm, TRE_MM))
    if verdict == "good" and worst > WORST_TRE_MM:
        verdict = "look"
    sentence = {
        "good": "The landmarks meet to about a voxel.",
        "look": "Look where the landmarks are farthest apart, and refine there.",
        "bad": "The landmarks fit worse than before." if grew else "The landmarks are too far apart.",
    }[verdict]
    value = f"{before:.2f} before, {after:.2f} after (largest {worst:.2f})"
    return _check("tre", value, verdict, sentence, side_mm)


def _dice(dice: Quality) -> Check:
    before, after = dice["before"], dice["after"]
    label, least = min(dice["per_label"].items(), key=lambda entry: entry[1])
    fell = _above(before, after, 3)
    verdict: Verdict = "bad" if fell or after < POOR_DICE else "good" if least >= DICE else "look"
    sentence = {
        "good": "Every structure lies where it should.",
        "look": f"Look at label {label}, which fits least; small structures overlap little even where they fit.",
        "bad": "The labels fit worse than before." if fell else "The labels do not fit.",
    }[verdict]
    value = f"{before:.3f} before, {after:.3f} after, {dice['labels']} labels (lowest {least:.3f})"
    return _check("dice", value, verdict, sentence)


def _borders(distance: Quality) -> Check:
    before, after = distance["before"], distance["after"]
    held = not _above(after, before, 2)
    sentence = "The borders came closer." if held else "Some borders moved apart."
    return _check("hd95", f"{before:.2f} before, {after:.2f} after", "good" if held else "look", sentence)


def _graded(value: float, good: float, bad: float) -> Verdict:
    """More is better."""
    return "good" if value >= good else "look" if value >= bad else "bad"


def _above(one: float, other: float, digits: int) -> bool:
    """As far as the digits show that are told."""
    return round(one, digits) > round(other, digits)


def _check(key: str, value: str, verdict: Verdict, sentence: str, side_mm: float | None = None) -> Check:
    """side_mm: the largest side of a voxel, where the threshold is made from it."""
    limit = LIMITS[key]
    return {
        "name": limit.name,
        "value": value,
        "unit": limit.unit,
        "verdict": verdict,
        "threshold": limit.threshold + ("" if side_mm is None else f" (here {side_mm:.2g} mm)"),
        "source": limit.source,
        "sentence": sentence,
    }


def _largest_side(report: Quality) -> float:
    """Of a voxel of either image, mm."""
    return float(max(*report["fixed"]["spacing_mm"], *report["moving"]["spacing_mm"]))


def _badness(row: Check) -> int:
    return [*VERDICTS].index(row["verdict"])  # type: ignore[arg-type]
