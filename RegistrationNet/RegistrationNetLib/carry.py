"""`registrationnet apply`: things of one image carried into the space of the other through a saved transform."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Mapping

POINTS = (".csv", ".mrk.json", ".fcsv", ".txt", ".pts")
SURFACES = (".stl", ".vtk", ".vtp", ".ply")
SEGMENTATIONS = (".seg.nrrd", ".seg.nhdr")


def carry(
    transform: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    reference: str | Path | None = None,
    inverse: bool = False,
    interpolation: str = "auto",
    points_in: str = "lps",
) -> str:
    """Carry a file from moving to fixed space, or with `inverse` from fixed to moving space; says what was done.

    Images, label maps and segmentations are sampled on `reference` (an image of the space they are carried to; by
    default, from moving to fixed, the warped image beside the transform). Points and surfaces are moved.
    interpolation: "linear", "nearest", or "auto", which takes nearest for label maps.
    Raises InputError naming the file and the cure; `output` is then not written.
    """
    from RegistrationNetLib.files.output import output_file
    from RegistrationNetLib.files.transforms import read_transform

    source, output = Path(source), Path(output)
    # `pull` looks up, for a point of the space things are carried to, where it comes from.
    pull = read_transform(transform).inverse() if inverse else read_transform(transform)
    with output_file(output) as draft:
        if _ends(source, POINTS):
            return _points(source, draft, pull, points_in, reference)
        if _ends(source, SURFACES):
            return _surface(source, draft, pull)
        onto = _onto(Path(transform), reference, inverse)
        if _ends(source, SEGMENTATIONS):
            return _segmentation(source, draft, pull, onto)
        return _image(source, draft, pull, onto, interpolation)


def _points(source: Path, draft: Path, pull: Mapping, points_in: str, reference: str | Path | None) -> str:
    """Points go the other way than sampling: a structure at p comes to lie where `pull` looks up p."""
    from RegistrationNetLib.files.images import read_volume
    from RegistrationNetLib.files.points import read_points, write_points

    grid = None if reference is None else read_volume(reference).grid
    points = read_points(source, points_in=points_in, grid=grid)
    write_points(points.moved(pull.inverse()), draft)
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


def _image(source: Path, draft: Path, pull: Mapping, onto: Grid, interpolation: str) -> str:
    from RegistrationNetLib.core.resample import warp
    from RegistrationNetLib.files.images import read_volume, write_image

    nearest = interpolation == "nearest" or (interpolation == "auto" and looks_like_labels(read_volume(source)))
    how = "nearest" if nearest else "linear"
    image = read_volume(source, interpolation=how)
    write_image(warp(image, _plain(pull), onto, how), draft)
    kind = "label map (nearest neighbour, no new values)" if nearest else "image (linear interpolation)"
    return f"'{source.name}' was carried as {kind}."


def looks_like_labels(image: Image) -> bool:
    """Whole numbers in areas of one value: most labelled voxels equal their neighbour, which noise never does."""
    values = image.scalar
    if not np.issubdtype(values.dtype, np.integer) and (values != np.rint(values)).any():
        return False
    labelled = values[:, :, 1:] != 0
    same = (values[:, :, 1:] == values[:, :, :-1]) & labelled
    return bool(same.sum() > 0.5 * max(1, labelled.sum()))


def _plain(pull: Mapping) -> Mapping:
    """Inverted fields as dense ones: sampling an image asks for millions of points."""
    if not any(step.inverted for step in pull.displacements):
        return pull
    from RegistrationNetLib.core.inverse import dense_inverse

    return dense_inverse(pull.inverse(), pull.displacements[-1].grid)[0]


def _onto(transform: Path, reference: str | Path | None, inverse: bool) -> Grid:
    from RegistrationNetLib.files.images import read_volume

    warped = transform.parent / "warped.nii.gz"
    if reference is None and (inverse or not warped.exists()):
        space = "the moving image" if inverse else "the fixed image"
        raise InputError(f"Say with --reference on whose grid the result should lie: {space}, as a rule.")
    return read_volume(warped if reference is None else reference).grid


def _ends(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)
