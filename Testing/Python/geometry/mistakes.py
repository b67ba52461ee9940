"""Ways to spoil geometry on purpose, for the test that shows each being caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from Testing.Python.geometry import checks

RAS = np.array((-1, -1, 1), np.float32).reshape(3, 1, 1, 1)


@dataclass(frozen=True)
class Mistake:
    """`where` (several names of one function) is replaced by what `wrong` makes of it; `check` must then fail."""

    name: str
    where: tuple[str, ...]
    wrong: Callable[[Any], Any]
    check: str


def moved(grid: Grid, voxels: float) -> Grid:
    return Grid(grid.shape, np.c_[grid.voxel_to_world[:, :3], grid.voxel_to_world @ (voxels, voxels, voxels, 1)])


def turned(grid: Grid, columns: np.ndarray | list[float]) -> Grid:
    return Grid(grid.shape, grid.voxel_to_world @ np.diag((*columns, 1)))


def swapped(grid: Grid) -> Grid:
    return Grid(grid.shape, grid.voxel_to_world[:, [0, 2, 1, 3]])


def grid_to(change: Callable[[Grid], Grid]) -> Callable[[Any], Any]:
    """The grid is spoilt before the function sees it."""
    return lambda original: lambda grid, *rest: original(change(grid), *rest)


def grid_from(change: Callable[[Grid], Grid]) -> Callable[[Any], Any]:
    """The grid is spoilt after the function made it."""
    return lambda original: lambda *given, **named: change(original(*given, **named))


def field_to(change: Callable[[Displacement], np.ndarray]) -> Callable[[Any], Any]:
    """The vectors of a displacement are spoilt before the function, whose last argument it is, sees them."""

    def wrong(original: Any) -> Any:
        def spoilt(*given: Any) -> Any:
            step = given[-1]
            if isinstance(step, Displacement):
                step = replace(step, field=np.ascontiguousarray(change(step), np.float32))
            return original(*given[:-1], step)

        return spoilt

    return wrong


def matrix_to(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    """The matrix of an affine is spoilt before the function, whose last argument it is, sees it."""

    def wrong(original: Any) -> Any:
        def spoilt(*given: Any) -> Any:
            step = Affine(change(given[-1].matrix)) if isinstance(given[-1], Affine) else given[-1]
            return original(*given[:-1], step)

        return spoilt

    return wrong


def backwards(original: Any) -> Any:
    return lambda mapping, *rest: original(Mapping(mapping.steps[::-1]), *rest)


def axes_mixed(step: Displacement) -> np.ndarray:
    """The values of (d, h, w) written as if they came in the order (w, h, d)."""
    return step.field.transpose(0, 3, 2, 1).reshape(step.field.shape)


def over_spacing(step: Displacement) -> np.ndarray:
    return step.field / step.grid.spacing.reshape(3, 1, 1, 1)


def node_to_parent(original: Any) -> Any:
    def wrong(transform: Any, name: str) -> Any:
        node = original(transform, name)
        node.SetAndObserveTransformToParent(transform)
        return node

    return wrong


def half_voxel_sampling(original: Any) -> Any:
    return lambda volume, positions, *how, **named: original(volume, positions + 0.5, *how, **named)


def wrong_order(then: Any) -> Any:
    return lambda self, other: Mapping(other.steps + self.steps)


def check_notices(mistake: Mistake, module: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    check, case = getattr(module, mistake.check), checks.known_case()
    check(case, folder)  # the control: without the mistake all is well
    spoilt = mistake.wrong(found(mistake.where[0]))
    for name in mistake.where:
        monkeypatch.setattr(name, spoilt)
    with pytest.raises(AssertionError, match=r".+"):
        check(case, folder)


def found(name: str) -> Any:
    """The function or method of that name."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            return attrgetter(".".join(parts[count:]))(import_module(".".join(parts[:count])))
        except ModuleNotFoundError:
            continue
    raise LookupError(name)
