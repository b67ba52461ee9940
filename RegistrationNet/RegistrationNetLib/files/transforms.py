"""Transform files <-> `Mapping`: ITK's HDF5, text and Matlab files, and images of displacements.

An ITK composite applies its last transform first, a `Mapping` its first; the order is reversed here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from RegistrationNetLib.core.errors import GeometryError, InputError
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping, Step
from RegistrationNetLib.files.bspline import sampled_bspline
from RegistrationNetLib.files.checks import OnNote, log_note, quiet, require_file, told
from RegistrationNetLib.files.geometry import grid_of, to_itk
from RegistrationNetLib.files.suffixes import IMAGES, ends

FIELD_STEP_MM = 2.0**-12
"""Displacements are stored in whole steps of this: 0.0001 mm of rounding halves the file."""

_CHUNK = 1 << 18


def write_transform(mapping: Mapping, path: str | Path) -> None:
    """ITK HDF5 (.h5) that SimpleITK, ITK, ANTs and 3D Slicer read as the same mapping of points, LPS mm.

    Every step is a transform of its own, several of them a composite. Fields are compressed float32 on their own
    grids. Raises InputError for a displacement that exists only as the inverse of another; `dense_inverse` makes it
    plain first.
    """
    steps = mapping.steps or (Affine(np.eye(4)),)
    if any(isinstance(step, Displacement) and step.inverted for step in steps):
        raise InputError(f"'{path}' cannot hold an inverse that is not computed yet; compute it with dense_inverse.")
    try:
        with h5py.File(path, "w") as file:
            _write_text(file, "ITKVersion", "5.4.0")
            _write_text(file, "HDFVersion", h5py.version.hdf5_version)
            group = file.create_group("TransformGroup")
            if len(steps) > 1:
                _write_text(group.create_group("0"), "TransformType", "CompositeTransform_double_3_3")
            for step in reversed(steps):
                _write_step(group.create_group(str(len(group))), step)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror or 'disk error'}); check the folder.") from error


def write_affine(affine: Affine, path: str | Path) -> None:
    """ITK text file (.tfm, .txt) with one affine transform, fixed to moving points, LPS mm."""
    transform = sitk.AffineTransform(affine.matrix[:3, :3].ravel().tolist(), affine.matrix[:3, 3].tolist())
    try:
        sitk.WriteTransform(transform, str(path))
    except RuntimeError as error:
        raise InputError(f"'{path}' cannot be written; check the folder, and name the file .tfm or .txt.") from error


def write_inverse(mapping: Mapping, over: Grid, path: str | Path) -> dict[str, Any]:
    """The inverse (moving to fixed points) as a file of its own, and how good it is, for the report.

    A composed field has no closed inverse, so it is computed (`dense_inverse`) and every voxel of `over`, the fixed
    image's grid, is sent there and back: the errors say how far from its place it ends, mm.
    """
    from RegistrationNetLib.core.inverse import INVERSE_FILE_TOLERANCE_MM, dense_inverse  # needs PyTorch

    inverse, reached = dense_inverse(mapping, over)
    write_transform(inverse, path)
    return {
        "tolerance_mm": INVERSE_FILE_TOLERANCE_MM,
        "within_tolerance_percent": 100 * reached.within,
        "mean_error_mm": reached.mean,
        "largest_error_mm": reached.largest,
    }


def read_transform(path: str | Path, *, on_note: OnNote = log_note) -> Mapping:
    """A transform file or an image of displacements, as a mapping of points, LPS mm.

    Reads .h5, .tfm, .txt and .mat with linear transforms, displacement fields and B-splines, alone or composite, and
    three-channel images of displacements in LPS mm (NIfTI, NRRD, MetaImage). on_note hears how B-splines were sampled.
    Raises InputError naming the file and the cure.
    """
    path = Path(path)
    require_file(path)
    try:
        if ends(path, IMAGES):
            return Mapping((_read_field_image(path),))
        return Mapping(tuple(_steps(_read_itk(path), path, on_note)))
    except GeometryError as error:
        raise InputError(f"'{path}' holds a transform that cannot be inverted ({error}); compute it again.") from error


def _write_step(group: h5py.Group, step: Step) -> None:
    if isinstance(step, Affine):
        _write_text(group, "TransformType", "AffineTransform_double_3_3")
        group["TransformFixedParameters"] = np.zeros(3)  # centre of rotation
        group["TransformParameters"] = np.concatenate([step.matrix[:3, :3].ravel(), step.matrix[:3, 3]])
        return
    size, spacing, origin, direction = to_itk(step.grid)
    _write_text(group, "TransformType", "DisplacementFieldTransform_double_3_3")
    group["TransformFixedParameters"] = np.concatenate([size, origin, spacing, direction]).astype(np.float64)
    values = np.rint(np.moveaxis(step.field, 0, -1).ravel() / np.float32(FIELD_STEP_MM)) * np.float32(FIELD_STEP_MM)
    group.create_dataset(
        "TransformParameters",
        data=values.astype(np.float32),
        chunks=(min(_CHUNK, values.size),),
        shuffle=True,
        compression="gzip",
        compression_opts=1,  # higher levels take several times as long to save a twentieth
    )


def _write_text(group: h5py.Group, name: str, text: str) -> None:
    group.create_dataset(name, data=[text], dtype=h5py.string_dtype("ascii"))


def _read_itk(path: Path) -> sitk.Transform:
    if path.suffix.lower() != ".h5" and b"(Transform " in path.read_bytes()[:4000]:
        raise InputError(
            f"'{path}' is an elastix parameter file, not an ITK transform; let transformix write its field with "
            f"'transformix -def all -tp {path.name} -out FOLDER' and give FOLDER/deformationField.nii.gz."
        )
    try:
        with quiet():
            transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(
            f"'{path}' is damaged or no transform that can be read here; give an ITK transform (.h5, .tfm, .txt, .mat) "
            "or a displacement field (.nii.gz, .nrrd, .mha)."
        ) from error
    if transform.GetDimension() != 3:
        raise InputError(f"'{path}' transforms {transform.GetDimension()}-D points; a 3-D transform is needed.")
    return transform


def _steps(transform: sitk.Transform, path: Path, on_note: OnNote) -> Iterable[Step]:
    """The steps of a transform in the order in which they act on points."""
    name = transform.GetName()
    if name == "CompositeTransform" and not transform.IsLinear():  # of base classes it holds only composites again
        composite = sitk.CompositeTransform(transform)
        for number in reversed(range(composite.GetNumberOfTransforms())):
            yield from _steps(composite.GetNthTransform(number), path, on_note)
    elif name == "DisplacementFieldTransform":
        yield _displacement(sitk.DisplacementFieldTransform(transform).GetDisplacementField(), path)
    elif name == "BSplineTransform":
        yield sampled_bspline(sitk.BSplineTransform(transform), path, on_note)
    elif transform.IsLinear():
        yield Affine(_matrix(transform))
    else:
        raise InputError(f"'{path}' holds a {name}, which is not supported; convert it to a displacement field first.")


def _matrix(transform: sitk.Transform) -> NDArray[np.float64]:
    """The 4x4 matrix of any linear transform, from what it does to four points."""
    shift = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    for axis in range(3):
        matrix[:3, axis] = np.array(transform.TransformPoint(np.eye(3)[axis].tolist())) - shift
    return matrix


def _read_field_image(path: Path) -> Displacement:
    with quiet(), told(path):
        image = sitk.ReadImage(str(path))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
        raise InputError(
            f"'{path}' is no displacement field ({image.GetDimension()}-D, {image.GetNumberOfComponentsPerPixel()} "
            "channels); a transform image is 3-D with three channels, in LPS mm."
        )
    return _displacement(image, path)


def _displacement(image: sitk.Image, path: Path) -> Displacement:
    field = np.moveaxis(sitk.GetArrayFromImage(image), -1, 0).astype(np.float32)
    if not np.isfinite(field).all():
        raise InputError(f"'{path}' holds displacements that are not finite; compute the transform again.")
    return Displacement(field, grid_of(image))
