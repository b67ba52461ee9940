"""Refining a result where it is wrong, in a region or around pairs of points, and nowhere else.

The earlier result stays; the new one is its mapping with a correction before it that is zero elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid, Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine.constraints import MARGIN_MM, Constraints, around
from RegistrationNetLib.engine.job import Job
from RegistrationNetLib.engine.request import Request
from RegistrationNetLib.engine.result import NOBODY, OnProgress, Watch
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.scene import job, marks, runs, volumes
from RegistrationNetLib.scene.runtime import slicer


def refine_result(
    transform: Any,
    *,
    region: Any = None,
    fixed_points: Any = None,
    moving_points: Any = None,
    margin_mm: float = MARGIN_MM,
    settings: Settings | None = None,
    fixed_mask: Any = None,
    moving_mask: Any = None,
    fixed_labels: Any = None,
    moving_labels: Any = None,
    fixed_landmarks: Any = None,
    moving_landmarks: Any = None,
    on_progress: OnProgress | None = None,
    watch: Watch = NOBODY,
    start: job.Start = Job,
) -> job.SceneJob:
    """A refinement of the result of a run, given its transform, under way: call `poll` and then `result`.

    region: segmentation, label map or ROI on the fixed volume; farther than the margin from it nothing changes. Without
    one it is what lies within 20 mm of the fixed points.
    fixed_points, moving_points: point lists, in the same order, of what belongs together: on the fixed volume, and on
    the warped one, where this result shows it now.
    settings: those of the run where not given; always deformable, without network and symmetric mode.
    masks, labels, landmarks: as for `register_nodes`; the moving ones lie where the moving volume was registered.
    Raises as `register_nodes`.
    """
    nodes = runs.pair(transform)
    for node, side in zip(nodes, ("fixed", "moving"), strict=True):
        if node is None:
            raise InputError(f"The {side} volume of '{transform.GetName()}' is no longer in the scene. Load it again.")
    fixed, parent = volumes.image_of(nodes[0]), _parent_of_run(transform)
    mapping = job.mapping_of(transform, fixed)
    assert mapping is not None
    points = job.pairs(fixed_points, moving_points, "points")
    where = _where(region, points, fixed.grid)
    request = Request(
        fixed,
        volumes.image_under(nodes[1], parent),
        (settings or Settings.from_dict(runs.settings_of(transform))).with_values(
            transform="deformable", model="none", refine__symmetric=False
        ),
        initial=mapping,
        fixed_mask=job.marked(fixed_mask, "The fixed mask"),
        moving_mask=job.marked(moving_mask, "The moving mask"),
        constraints=Constraints(region=where, margin_mm=margin_mm, hints=_hints(points, mapping)),
        reference=job.reference_of(fixed_labels, moving_labels, fixed_landmarks, moving_landmarks),
    )
    return job.begin(request, nodes, parent, on_progress, watch, start, transform)


def _parent_of_run(transform: Any) -> Any | None:
    """A transform node, in no scene, with what the moving volume was under when it was registered; None for nothing."""
    own = runs.member(transform, "own transform")
    if own is None:
        return None
    alone = slicer.vtkMRMLTransformNode()
    alone.CopyContent(own)
    return alone


def _where(region: Any | None, points: tuple[Points, Points] | None, grid: Grid) -> Image:
    if region is None and points is None:
        raise InputError("Choose a region, or points on both volumes, to say where the result is wrong.")
    if region is None:
        assert points is not None
        return around(points[0], grid)
    drawn = marks.region_of(region, grid, "The region to refine")
    off = [] if points is None else np.flatnonzero(~_inside(drawn, points[0])).tolist()
    if off:
        raise InputError(
            f"Point {', '.join(str(index + 1) for index in off)} lies outside the region '{drawn.name}', where nothing "
            "may change. Draw the region around it, or choose no region."
        )
    return drawn


def _inside(region: Image, points: Points) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each point, (N, 3) LPS mm, lies in a voxel of the region."""
    voxel = np.clip(np.rint(region.grid.to_voxel(points)).astype(int), 0, np.array(region.grid.shape) - 1)
    return np.asarray((region.scalar[tuple(voxel.T)] > 0) & region.grid.contains(points))


def _hints(points: tuple[Points, Points] | None, mapping: Mapping) -> tuple[Points, Points] | None:
    """The moving points where the moving image has them, from where the result shows them."""
    return None if points is None else (points[0], mapping(points[1]))
