"""Registering two volume nodes of a scene: the call for Slicer's Python console, scripts and the panel.

The computation runs in a process of its own; the scene is touched once, by the thread that asks for the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Protocol, overload

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Points
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine.constraints import MARGIN_MM, Constraints
from RegistrationNetLib.engine.job import Job
from RegistrationNetLib.engine.request import Request
from RegistrationNetLib.engine.result import NOBODY, OnProgress, Reference, Registration, Watch
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.scene import marks, outputs, transforms, volumes
from RegistrationNetLib.scene.results import Outputs, SceneResult, place


class RunningJob(Protocol):
    """What is needed of a job; see `engine.job.Job`."""

    @property
    def done(self) -> bool: ...
    def poll(self) -> bool: ...
    def wait(self) -> Registration: ...
    def cancel(self) -> None: ...


Start = Callable[[Request, OnProgress | None, Watch], RunningJob]


class SceneJob:
    """A registration of two nodes under way. Nothing in the scene changes before `result` is called."""

    def __init__(
        self,
        job: RunningJob,
        fixed: Any,
        moving: Any,
        parent: Any | None,
        similarity: list[tuple[float, float]],
        earlier: Any | None = None,
        into: Outputs | None = None,
    ) -> None:
        """parent: transform node under which the moving volume is registered.
        similarity: filled while the job runs, with voxel size (mm) and similarity of each iteration.
        earlier: transform of the result that this one refines.
        into: nodes that take the result; one that is gone by then is made anew.
        """
        self._job, self._similarity, self._earlier, self._into = job, similarity, earlier, into
        self._fixed, self._moving = fixed, moving
        self._moving_from_world = None if parent is None else transforms.from_world(parent)
        self._warp_again = volumes.is_labels(moving) or not volumes.lies_on_lattice(moving, parent)
        self._result: SceneResult | None = None

    @property
    def done(self) -> bool:
        """True when the computation has ended, well or not; `result` then returns at once."""
        return self._result is not None or self._job.done

    def poll(self) -> bool:
        """Hand progress to `on_progress`; True when the computation has ended. Call it now and then, from a timer."""
        return self._result is not None or self._job.poll()

    def cancel(self) -> None:
        """Ask the computation to stop, and return; the scene stays as it is, and `result` raises Cancelled."""
        self._job.cancel()

    def result(self) -> SceneResult:
        """Wait for the computation and put its result into the scene, once; call it from the main thread.

        Raises what the registration raised, Cancelled, or InputError when a volume is gone; the scene is then
        unchanged.
        """
        if self._result is None:
            registration = self._job.wait()
            require_in_scene(self._fixed)
            require_in_scene(self._moving)
            if self._warp_again:
                registration = self._from_own_voxels(registration)
            self._result = place(
                self._fixed,
                self._moving,
                registration,
                self._moving_from_world,
                self._similarity,
                self._earlier,
                self._into,
            )
        return self._result

    def _from_own_voxels(self, registration: Registration) -> Registration:
        """With nothing interpolated twice where the volume was resampled, and no new values where it holds labels."""
        onto = registration.warped.grid
        warped = volumes.warped_from(self._moving, self._moving_from_world, registration.mapping, onto)
        return replace(registration, warped=warped)


@overload
def register_nodes(
    fixed_node: Any,
    moving_node: Any,
    *,
    preset: str = ...,
    settings: Settings | None = ...,
    model: str | None = ...,
    initial_transform: Any = ...,
    fixed_mask: Any = ...,
    moving_mask: Any = ...,
    keep_rigid: Any = ...,
    keep_volume: Any = ...,
    region: Any = ...,
    region_margin_mm: float = ...,
    fixed_hints: Any = ...,
    moving_hints: Any = ...,
    fixed_labels: Any = ...,
    moving_labels: Any = ...,
    fixed_landmarks: Any = ...,
    moving_landmarks: Any = ...,
    output_transform: Any = ...,
    output_volume: Any = ...,
    wait: Literal[True] = ...,
    on_progress: OnProgress | None = ...,
    watch: Watch = ...,
    start: Start = ...,
) -> SceneResult: ...


@overload
def register_nodes(
    fixed_node: Any,
    moving_node: Any,
    *,
    preset: str = ...,
    settings: Settings | None = ...,
    model: str | None = ...,
    initial_transform: Any = ...,
    fixed_mask: Any = ...,
    moving_mask: Any = ...,
    keep_rigid: Any = ...,
    keep_volume: Any = ...,
    region: Any = ...,
    region_margin_mm: float = ...,
    fixed_hints: Any = ...,
    moving_hints: Any = ...,
    fixed_labels: Any = ...,
    moving_labels: Any = ...,
    fixed_landmarks: Any = ...,
    moving_landmarks: Any = ...,
    output_transform: Any = ...,
    output_volume: Any = ...,
    wait: Literal[False],
    on_progress: OnProgress | None = ...,
    watch: Watch = ...,
    start: Start = ...,
) -> SceneJob: ...


def register_nodes(
    fixed_node: Any,
    moving_node: Any,
    *,
    preset: str = "balanced",
    settings: Settings | None = None,
    model: str | None = None,
    initial_transform: Any = None,
    fixed_mask: Any = None,
    moving_mask: Any = None,
    keep_rigid: Any = None,
    keep_volume: Any = None,
    region: Any = None,
    region_margin_mm: float = MARGIN_MM,
    fixed_hints: Any = None,
    moving_hints: Any = None,
    fixed_labels: Any = None,
    moving_labels: Any = None,
    fixed_landmarks: Any = None,
    moving_landmarks: Any = None,
    output_transform: Any = None,
    output_volume: Any = None,
    wait: bool = True,
    on_progress: OnProgress | None = None,
    watch: Watch = NOBODY,
    start: Start = Job,
) -> SceneResult | SceneJob:
    """Register two volume nodes as they lie in the world, parent transforms included.

    The moving volume is put under the result and lands on the fixed one. Its own parent transform P, if any, is left
    alone with everything else under it: the volume goes under a copy of P that is under the result.

    preset: "fast", "balanced" or "accurate"; settings, where given, replace it.
    model: network that predicts a start, or "none"; replaces the settings' own.
    initial_transform: transform node that would bring the moving volume near the fixed one (not yet applied to it).
    fixed_mask, moving_mask: segmentation, label map or volume nodes, nonzero where the similarity may look.
    keep_rigid, keep_volume, region: such nodes on the fixed volume; each piece of a segment or label only turns and
    shifts, or keeps its volume; outside the region and its margin nothing is deformed.
    fixed_hints, moving_hints: point lists that guide the registration, in the same order.
    fixed_labels, moving_labels: segmentations or label maps, and fixed_landmarks, moving_landmarks: point lists, that
    only measure the result; segments belong together by name, labels by value, points by order.
    output_transform, output_volume: a transform and a volume node (for a label map such a one) that take the result in
    place of new ones; what they held comes back when the result is removed.
    wait: False returns at once with a SceneJob (`cancel`, `done`, `poll`, `result`).
    on_progress: called with stage, fraction 0..1 and a sentence, in the calling thread.
    watch: who looks on while the deformation is refined, in the calling thread too.
    Raises InputError, GeometryError, SettingsError, WeightsError, DeviceError, Cancelled; the scene is then unchanged.
    """
    _require_pair(fixed_node, moving_node)
    _require_not_applied(initial_transform, moving_node)
    into = _outputs(output_transform, output_volume, fixed_node, moving_node)
    chosen = settings or Settings.preset(preset)
    fixed = _image(fixed_node)
    request = Request(
        fixed,
        _image(moving_node),
        chosen if model is None else chosen.with_values(model=model),
        initial=mapping_of(initial_transform, fixed),
        fixed_mask=marked(fixed_mask, "The fixed mask"),
        moving_mask=marked(moving_mask, "The moving mask"),
        constraints=Constraints(
            marked(keep_rigid, "The part to keep rigid"),
            marked(keep_volume, "The part whose volume is kept"),
            marked(region, "The region of interest"),
            region_margin_mm,
            pairs(fixed_hints, moving_hints, "hints"),
        ),
        reference=reference_of(fixed_labels, moving_labels, fixed_landmarks, moving_landmarks),
    )
    parent = moving_node.GetParentTransformNode()
    job = begin(request, (fixed_node, moving_node), parent, on_progress, watch, start, into=into)
    return job.result() if wait else job


def begin(
    request: Request,
    nodes: tuple[Any, Any],
    parent: Any | None,
    on_progress: OnProgress | None,
    watch: Watch,
    start: Start,
    earlier: Any | None = None,
    into: Outputs | None = None,
) -> SceneJob:
    """A job under way for a fixed and a moving node; parent, earlier, into: as for `SceneJob`."""
    similarity: list[tuple[float, float]] = []
    underway = start(request, on_progress, _noting(watch, similarity))
    return SceneJob(underway, *nodes, parent, similarity, earlier, into)


def _outputs(transform: Any | None, volume: Any | None, fixed: Any, moving: Any) -> Outputs:
    for node in (transform, volume):
        if node is not None:
            require_in_scene(node)
    why = outputs.problem(transform, volume, fixed, moving)
    if why:
        raise InputError(why)
    return Outputs(transform, volume)


def _noting(watch: Watch, values: list[tuple[float, float]]) -> Watch:
    """The same watch, whose similarities are noted too."""

    def similarity(voxel_mm: float, value: float) -> None:
        values.append((voxel_mm, value))
        if watch.similarity is not None:
            watch.similarity(voxel_mm, value)

    return replace(watch, similarity=similarity)


def _image(node: Any) -> Image:
    image = volumes.image_of(node)
    lowest, highest = image.data.min(), image.data.max()
    if lowest == highest:
        raise InputError(
            f"The volume '{image.name}' is constant (every voxel is {float(lowest):g}), so nothing in it can be "
            "registered. Choose another volume."
        )
    return image


def marked(node: Any | None, role: str) -> Image | None:
    if node is None:
        return None
    require_in_scene(node)
    return marks.labels_of(node, role)


def pairs(fixed: Any | None, moving: Any | None, what: str) -> tuple[Points, Points] | None:
    if not _both(fixed, moving, what, "point list"):
        return None
    return marks.points_of(fixed, f"The fixed {what}"), marks.points_of(moving, f"The moving {what}")


def reference_of(fixed_labels: Any, moving_labels: Any, fixed_points: Any, moving_points: Any) -> Reference | None:
    points = pairs(fixed_points, moving_points, "landmarks")
    labels = None
    if _both(fixed_labels, moving_labels, "labels", "segmentation or label map"):
        labels = marks.paired_labels(fixed_labels, moving_labels)
    return None if labels is None is points else Reference(*(labels or (None, None)), *(points or (None, None)))


def _both(fixed: Any | None, moving: Any | None, what: str, kind: str) -> bool:
    if (fixed is None) != (moving is None):
        raise InputError(f"Only one side's {what} were chosen. Choose a {kind} for both volumes, or for neither.")
    for node in (fixed, moving):
        if node is not None:
            require_in_scene(node)
    return fixed is not None


def mapping_of(initial: Any | None, fixed: Image) -> Mapping | None:
    return None if initial is None else transforms.from_vtk(transforms.from_world(initial), fixed.grid)


def _require_pair(fixed: Any, moving: Any) -> None:
    _require_volume(fixed, "The fixed image")
    _require_volume(moving, "The moving image")
    if fixed is moving:
        raise InputError(f"'{fixed.GetName()}' is both the fixed and the moving volume. Choose two different volumes.")


def _require_volume(node: Any, role: str) -> None:
    if node is None or not node.IsA("vtkMRMLVolumeNode"):
        what = "missing" if node is None else f"'{node.GetName()}', which is no volume"
        raise InputError(
            f"{role} is {what}. Choose a scalar volume or a label map; export a segmentation to one first."
        )
    require_in_scene(node)


def require_in_scene(node: Any) -> None:
    if node.GetScene() is None:
        raise InputError(f"'{node.GetName()}' is no longer in the scene. Load it again and register again.")


def _require_not_applied(initial: Any | None, moving: Any) -> None:
    """A start that already moves the volume would be counted twice."""
    if initial is not None and transforms.is_applied(initial, moving):
        raise InputError(
            f"The initial transform '{initial.GetName()}' is already applied to '{moving.GetName()}', so it would "
            "count twice. Leave the initial transform empty."
        )
