"""Figures with their 95 % intervals as words, the same on every page."""

from __future__ import annotations

from math import isfinite

from RegistrationNetLib.lesions.change import distinguishable
from RegistrationNetLib.lesions.estimate import Estimate

_MINUS = "\u2212"
_WHOLE = 99.95
"""From here on digits behind the point say nothing."""


def figure(estimate: Estimate | None) -> str:
    """12.3 (11.0 to 13.9); empty where there is none."""
    if estimate is None:
        return ""
    return f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)})"


def percent(change: Estimate | None) -> str:
    """+35 % (+20 to +52) of a relative change, and whether it can be told from none."""
    if change is None:
        return ""
    value, low, high = (_signed(100 * part) for part in (change.value, change.low, change.high))
    doubt = "" if distinguishable(change) else ", not distinguishable from no change"
    return f"{value} % ({low} to {high}){doubt}"


def doubling(days: Estimate | None) -> str:
    """45.3 (36.3 to 59.4), or that it halves in so many."""
    if days is None or days.value > 0:
        return figure(days)
    return f"halves in {figure(Estimate(-days.value, -days.high, -days.low))}"


def number(value: float) -> str:
    """One digit behind the point, from a hundred on none."""
    if not isfinite(value):
        return f"{_MINUS if value < 0 else ''}\u221e"
    return (f"{value:.0f}" if abs(value) >= _WHOLE else f"{value:.1f}").replace("-", _MINUS)


def _signed(value: float) -> str:
    whole = round(value) if isfinite(value) else value
    return f"{'+' if whole > 0 else ''}{number(whole) if not isfinite(value) else f'{whole:d}'.replace('-', _MINUS)}"
