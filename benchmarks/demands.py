"""What a benchmark is asked for, beside what it measured: met or missed, in words and as the status it ends with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Demand:
    """what: is asked for; measured: the figure, in words; met: None where there is no figure.

    decides: whether missing it makes the benchmark fail.
    """

    what: str
    measured: str
    met: bool | None
    decides: bool = True

    @property
    def verdict(self) -> str:
        return {True: "met", False: "missed", None: "not measured"}[self.met]


def at_least(what: str, value: float | None, least: float, form: str = "{:.2f}") -> Demand:
    """form: how the value is written."""
    return Demand(what, _written(value, form), None if value is None else bool(value >= least))


def at_most(what: str, value: float | None, most: float, form: str = "{:.2f}", decides: bool = True) -> Demand:
    """form: how the value is written."""
    return Demand(what, _written(value, form), None if value is None else bool(value <= most), decides)


def table(demands: Iterable[Demand]) -> str:
    """In Markdown."""
    rows = [f"| {demand.what} | {demand.measured} | {demand.verdict} |" for demand in demands]
    return "\n".join(["| asked for | measured | |", "|---|---|---|", *rows])


def meet(demands: Iterable[Demand]) -> None:
    """Raises SystemExit naming what decides and was missed, or has no figure."""
    missed = [f"{demand.what} ({demand.measured or demand.verdict})" for demand in demands if not _passes(demand)]
    if missed:
        raise SystemExit(f"Not met: {'; '.join(missed)}.")


def _passes(demand: Demand) -> bool:
    return not demand.decides or demand.met is True


def _written(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
