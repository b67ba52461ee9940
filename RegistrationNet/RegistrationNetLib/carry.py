"""`registrationnet apply`: things of one image carried into the space of the other through a saved transform."""

from __future__ import annotations

from pathlib import Path

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.files import points as point_files
from RegistrationNetLib.files.suffixes import FOREIGN_SURFACES, IMAGES, SEGMENTATIONS, SURFACES, ends

KINDS = {
    "points": point_files.SUFFIXES,
    "a surface": SURFACES,
    "a segmentation": SEGMENTATIONS,  # before images, which have the same last ending
    "an image": IMAGES,
}


def carry(
    transform: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    reference: str | Path | None = None,
    inverse: bool = False,
    interpolation: str = "auto",
    points_in: str = "lps",
    series: str | None = None,
    reference_series: str | None = None,
) -> str:
    """Carry a file from moving to fixed space, or with `inverse` from fixed to moving space; says what was done.

    Images, label maps and segmentations are sampled on `reference` (an image of the space they are carried to; by
    default, from moving to fixed, the warped image beside the transform). Points and surfaces are moved.
    interpolation: "linear", "nearest", or "auto", which takes nearest for label maps.
    points_in: of a CSV file, "lps", "ras" or "voxel"; for voxels, `reference` is the image they were picked in.
    series, reference_series: which series of a DICOM folder `source` or `reference` is.
    Raises InputError naming the file and the cure; `output` is then not written.
    """
    from RegistrationNetLib.files.output import output_file
    from RegistrationNetLib.files.transforms import read_transform

    source = Path(source)
    with output_file(output) as draft:
        kind = _kind(source)
        _require_name(output, kind)
        _require_series_used(kind, series, reference, reference_series)
        # `pull` looks up, for a point of the space things are carried to, where it comes from.
        pull = read_transform(transform).inverse() if inverse else read_transform(transform)
        if kind == "points":
            grid = None if reference is None else _grid(reference, reference_series)
            return _points(source, draft, pull, points_in, grid)
        if kind == "a surface":
            return _surface(source, draft, pull)
        onto = _onto(Path(transform), reference, inverse, reference_series)
        if kind == "a segmentation":
            return _segmentation(source, draft, pull, onto)
        return _image(source, draft, pull, onto, interpolation, series)


def _kind(source: Path) -> str:
    """One of KINDS; what no other kind claims is left to SimpleITK."""
    if ends(source, FOREIGN_SURFACES):
        raise InputError(f"'{source}' is a surface in a format that is not read; save it as {', '.join(SURFACES)}.")
    claimed = (kind for kind, suffixes in KINDS.items() if ends(source, suffixes) and not source.is_dir())
    return next(claimed, "an image")


def _require_name(output: str | Path, kind: str) -> None:
    """The ending decides the format, and another kind of file under this name would deceive every program."""
    meant = next((name for name, suffixes in KINDS.items() if ends(output, suffixes)), None)
    if meant != kind:
        raise InputError(f"'{output}' is no file name for {kind}; let it end in {', '.join(KINDS[kind])}.")


def _require_series_used(
    kind: str, series: str | None, reference: str | Path | None, reference_series: str | None
) -> None:
    if series is not None and kind != "an image":
        raise InputError(f"The input is {kind} and has no DICOM series {series}; leave --series out.")
    if reference_series is not None and reference is None:
        raise InputError("--reference-series chooses in a DICOM folder; name the folder with --reference.")


def _points(source: Path, draft: Path, pull: Mapping, points_in: str, grid: Grid | None) -> str:
    """Points go the other way than sampling: a structure at p comes to lie where `pull` looks up p."""
    points = point_files.read_points(source, points_in=points_in, grid=grid)
    point_files.write_points(points.moved(pull.inverse()), draft)
    return f"{len(points.points)} points were carried."


def _surface(source: Path, draft: Path, pull: Mapping) -> str:
    from RegistrationNetLib.scene.surfaces import carry_surface

    carry_surface(source, pull.inverse(), draft)
    return f"The surface '{source.name}' was carried."


def _segmentation(source: Path, draft: Path, pull: Mapping, onto: Grid) -> str:
    from RegistrationNetLib.core.resample import warp
    from RegistrationNetLib.files.segmentations import carry_segmentation

    plain = _plain(pull)
    names = carry_segmentation(source, draft, lambda layer: warp(layer, plain, onto, "nearest"))
    return f"{len(names)} segments were carried: {', '.join(names)}."


def _image(source: Path, draft: Path, pull: Mapping, onto: Grid, interpolation: str, series: str | None) -> str:
    from RegistrationNetLib.core.resample import warp
    from RegistrationNetLib.files.images import read_volume, write_image

    how = _judged(source, series) if interpolation == "auto" else interpolation
    image = read_volume(source, series=series, interpolation=how)
    write_image(warp(image, _plain(pull), onto, how), draft)
    kind = "label map (nearest neighbour, no new values)" if how == "nearest" else "image (linear interpolation)"
    return f"'{source.name}' was carried as {kind}."


def _judged(source: Path, series: str | None) -> str:
    """The interpolation that the file's values ask for. Raises InputError where they leave it open."""
    from RegistrationNetLib.files.images import read_volume
    from RegistrationNetLib.files.label_maps import is_label_map

    # A sheared grid is straightened without mixing values, and what is corrected is said by the reading that counts.
    labels = is_label_map(read_volume(source, series=series, interpolation="nearest", on_note=lambda _: None))
    if labels is None:
        raise InputError(
            f"'{source}' may be a label map or an image, its values do not tell; say --interpolation nearest for "
            "labels or --interpolation linear for grey values."
        )
    return "nearest" if labels else "linear"


def _plain(pull: Mapping) -> Mapping:
    """Inverted fields as dense ones: sampling an image asks for millions of points."""
    if not any(step.inverted for step in pull.displacements):
        return pull
    from RegistrationNetLib.core.inverse import dense_inverse

    return dense_inverse(pull.inverse(), pull.displacements[-1].grid)[0]


def _onto(transform: Path, reference: str | Path | None, inverse: bool, series: str | None) -> Grid:
    warped = transform.parent / "warped.nii.gz"
    if reference is None and (inverse or not warped.exists()):
        space = "the moving image" if inverse else "the fixed image"
        raise InputError(f"Say with --reference on whose grid the result should lie: {space}, as a rule.")
    return _grid(warped if reference is None else reference, series)


def _grid(reference: str | Path, series: str | None) -> Grid:
    from RegistrationNetLib.files.images import read_volume

    return read_volume(reference, series=series).grid
