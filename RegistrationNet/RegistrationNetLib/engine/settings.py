"""Everything a user may choose, one small frozen dataclass per stage; imports nothing heavy.

The command line, the panel and the report are made from these fields, so names and sentences are for clinicians and
scripts alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from RegistrationNetLib.core.errors import SettingsError


@dataclass(frozen=True)
class Knob:
    """What a setting means: one sentence, its range (both ends allowed) and its unit."""

    help: str
    low: float | None = None
    high: float | None = None
    unit: str = ""


class Checked:
    """A settings dataclass that refuses values of the wrong kind or outside their range, naming the field."""

    def __post_init__(self) -> None:
        for name, (kind, knob) in knobs(type(self)).items():
            _check(f"{type(self).__name__.lower()}.{name}", getattr(self, name), kind, knob)


@dataclass(frozen=True)
class Prepare(Checked):
    """Bringing both images to comparable grids and intensities."""

    max_voxels: Annotated[
        int, Knob("Larger images are registered on a coarser grid of at most this many voxels", 20_000, 100_000_000)
    ] = 8_000_000
    ct_low: Annotated[float, Knob("CT values at or below this count as air", -1100, 500, "HU")] = -1000.0
    ct_high: Annotated[float, Knob("CT values at or above this are all treated alike", -500, 4000, "HU")] = 500.0
    percentile: Annotated[
        float, Knob("Intensities beyond this percentile at either end are clipped (not CT)", 0, 5, "%")
    ] = 0.2


@dataclass(frozen=True)
class Align(Checked):
    """Rigid and affine pre-alignment."""

    coarse_mm: Annotated[float, Knob("Voxel size at which starting positions are compared", 2, 30, "mm")] = 9.0
    fine_mm: Annotated[float, Knob("Voxel size of the last adjustment", 0.5, 15, "mm")] = 3.0
    starts: Annotated[int, Knob("Best starting positions that are followed up", 1, 20)] = 5
    orientations: Annotated[
        Literal["headers", "any"],
        Knob(
            "How the moving image may lie: headers is about as its header says, unless that evidently does not fit; "
            "any tries every way to turn it, for headers that may be wrong"
        ),
    ] = "headers"
    max_apart_mm: Annotated[
        float, Knob("Images whose fields of view lie farther apart than this are refused", 0, 10_000, "mm")
    ] = 500.0


@dataclass(frozen=True)
class Predict(Checked):
    """The network's start, where one is asked for."""

    precision: Annotated[
        Literal["auto", "full", "mixed"],
        Knob(
            "Arithmetic of the network: mixed is faster and needs less memory on GPUs and on processors with AVX-512 "
            "BF16 or AMX; auto is mixed on those, but not on Apple's"
        ),
    ] = "auto"


@dataclass(frozen=True)
class Refine(Checked):
    """Deformable refinement on this pair of images."""

    similarity: Annotated[
        Literal["auto", "lncc", "mind"],
        Knob(
            "What makes two images alike: lncc, intensities, for scans of one kind; mind, structure, for scans of two "
            "kinds such as T1 and FLAIR or CT and MR; auto chooses between them"
        ),
    ] = "auto"
    steps_coarse: Annotated[int, Knob("Iterations at each resolution coarser than half", 0, 1000)] = 25
    steps_half: Annotated[int, Knob("Iterations at half the resolution", 0, 1000)] = 30
    steps_full: Annotated[int, Knob("Iterations at full resolution", 0, 1000)] = 8
    steps_finer: Annotated[
        int, Knob("Iterations on voxels finer than the images', where those are larger than about 1.5 mm", 0, 1000)
    ] = 0
    window: Annotated[int, Knob("Half width of the window in which intensities are compared", 1, 8, "voxel")] = 2
    step: Annotated[float, Knob("Largest movement in one iteration", 0.05, 0.6, "voxel")] = 0.6
    force_sigma: Annotated[float, Knob("Smoothing of each movement: larger is smoother", 0.5, 6, "voxel")] = 1.2
    field_sigma: Annotated[float, Knob("Smoothing of the whole deformation: larger is stiffer", 0, 3, "voxel")] = 0.6
    smoother_ct: Annotated[bool, Knob("Use stiffer smoothing for CT, whose noise and air need it")] = True
    symmetric: Annotated[
        bool,
        Knob(
            "The same result whichever of the two images is the fixed one: exchanged, they give exactly the way back; "
            "takes two to three times as long"
        ),
    ] = False
    field_grid: Annotated[
        Literal["half", "full"], Knob("Resolution of the stored deformation; half makes files eight times smaller")
    ] = "full"


@dataclass(frozen=True)
class Settings(Checked):
    """One registration."""

    transform: Annotated[Literal["rigid", "affine", "deformable"], Knob("How freely the moving image may move")] = (
        "deformable"
    )
    model: Annotated[str, Knob("Network that predicts a starting deformation, or none")] = "none"
    weights: Annotated[
        str, Knob("Trained weights to use in place of the model's own: a name that is listed, or a file")
    ] = ""
    device: Annotated[str, Knob("Where to compute: auto, cpu, cuda, cuda:N or mps")] = "auto"
    prepare: Prepare = field(default_factory=Prepare)
    align: Align = field(default_factory=Align)
    predict: Predict = field(default_factory=Predict)
    refine: Refine = field(default_factory=Refine)

    @classmethod
    def preset(cls, name: str) -> Self:
        """`fast`, `balanced` or `accurate`: points on the curve of time against accuracy.

        Raises SettingsError for any other name.
        """
        if name not in PRESETS:
            raise SettingsError(f"There is no preset '{name}'; choose one of {', '.join(PRESETS)}.")
        return cls(refine=PRESETS[name])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The reverse of `to_dict`; what is left out keeps its default.

        Raises SettingsError naming an unknown or invalid setting.
        """
        return build(cls, values, "settings", STAGES)

    def with_values(self, **values: Any) -> Self:
        """A copy with some fields replaced; a stage's field is named `stage__field`, e.g. refine__steps_full=4."""
        out = self
        for name, value in values.items():
            stage, _, knob = name.partition("__")
            if stage not in _names_of(out) or (knob and knob not in _names_of(getattr(out, stage))):
                raise SettingsError(f"There is no setting '{name}'; a stage's field is named as in refine__steps_full.")
            out = replace(out, **{stage: replace(getattr(out, stage), **{knob: value}) if knob else value})
        return out


def knobs(kind: type) -> dict[str, tuple[Any, Knob]]:
    """The documented fields of a settings class: name -> (type, Knob), in order."""
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for item in fields(kind):
        hint = hints[item.name]
        if get_origin(hint) is Annotated:
            value_type, knob = get_args(hint)
            found[item.name] = (value_type, knob)
    return found


def _names_of(settings: Any) -> set[str]:
    """Names of the fields of a settings object; none for a plain value."""
    return {item.name for item in fields(settings)} if is_dataclass(settings) else set()


def _check(name: str, value: Any, kind: Any, knob: Knob) -> None:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise SettingsError(f"{name} is '{value}'; choose one of {', '.join(get_args(kind))}.")
        return
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise SettingsError(f"{name} is {value!r}; it must be of type {kind.__name__}.")
    low, high = knob.low, knob.high
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        raise SettingsError(f"{name} is {value}; it must lie between {low:g} and {high:g} {knob.unit}".rstrip() + ".")


def build(kind: Any, values: Any, where: str, parts: Mapping[str, type] | None = None) -> Any:
    """A settings class from plain values, and those of its fields that are settings classes too, by name, from theirs.

    Raises SettingsError, naming `where`, for unknown ones.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"'{where}' must be a table of settings, not {values!r}.")
    unknown = set(values) - {item.name for item in fields(kind)}
    if unknown:
        raise SettingsError(f"Unknown setting {', '.join(sorted(map(str, unknown)))} in '{where}'.")
    inner = parts or {}
    return kind(**{n: build(inner[n], value, n) if n in inner else value for n, value in values.items()})


STAGES = {"prepare": Prepare, "align": Align, "predict": Predict, "refine": Refine}
"""The stages that have settings, in the order in which they run."""

PRESETS = {
    "fast": Refine(steps_coarse=20, steps_half=12, steps_full=2),
    "balanced": Refine(),
    "accurate": Refine(steps_coarse=40, steps_half=60, steps_full=16, steps_finer=8),
}
