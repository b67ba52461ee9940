"""Image files <-> `Image`: everything SimpleITK reads, checked, so that what is wrong is said in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import affine_transform

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.image import Image, background_of
from RegistrationNetLib.files.checks import OnNote, damaged, log_note, quiet, reason, require_file, singular, told
from RegistrationNetLib.files.dicom import read_dicom_folder
from RegistrationNetLib.files.geometry import image_from_sitk, image_to_sitk, is_orthogonal, orthogonal_cover
from RegistrationNetLib.files.nifti import broken_voxels, is_truncated_nifti


def read_image(path: str | Path, *, series: int | str | None = None, on_note: OnNote = log_note) -> Image:
    """A grey-value volume fit for registration, in its own pixel type; a folder is read as DICOM.

    series: which series of a DICOM folder, by its number in the list the refusal shows, or by its UID.
    on_note: hears what was corrected (NaN voxels replaced, gantry tilt straightened); logged by default.
    Raises InputError naming the file and the cure.
    """
    image = read_volume(path, series=series, on_note=on_note)
    _require_contrast(image, str(path))
    return image


def read_labels(path: str | Path, *, series: int | str | None = None, on_note: OnNote = log_note) -> Image:
    """A label map: whole numbers, background 0, at least one voxel labelled. Raises InputError."""
    return _as_labels(read_volume(path, series=series, on_note=on_note, interpolation="nearest"), str(path))


def read_mask(path: str | Path, *, series: int | str | None = None, on_note: OnNote = log_note) -> Image:
    """A mask as 0 and 1 (uint8): any value above 0 is inside. Raises InputError, also when nothing is inside."""
    return _as_mask(read_volume(path, series=series, on_note=on_note, interpolation="nearest"), str(path))


def read_volume(
    path: str | Path,
    *,
    series: int | str | None = None,
    on_note: OnNote = log_note,
    interpolation: str = "linear",
) -> Image:
    """Any 3-D single-channel volume, finite and on a grid with right angles; see `read_image`.

    interpolation: "linear", or "nearest" for labels, used only where a sheared grid has to be straightened.
    """
    path = Path(path)
    require_file(path)
    if path.is_dir():
        image = read_dicom_folder(path, series=series)
    elif series is not None:
        raise InputError(
            f"'{path}' is a single file, so there is no series {series} to choose in it; leave the series out, or give "
            "the DICOM folder."
        )
    else:
        with quiet():
            image = _read_file(path)
    return _clean(image, str(path), on_note, interpolation)


def image_of(image: sitk.Image, name: str, on_note: OnNote = log_note) -> Image:
    """A SimpleITK image as `Image`, checked like a file: 3-D, one channel, finite, not constant. Raises InputError."""
    checked = _volume_of(image, name, on_note, "linear")
    _require_contrast(checked, name)
    return checked


def labels_of(image: sitk.Image, name: str, on_note: OnNote = log_note) -> Image:
    """A SimpleITK label map, checked as by `read_labels`."""
    return _as_labels(_volume_of(image, name, on_note, "nearest"), name)


def mask_of(image: sitk.Image, name: str, on_note: OnNote = log_note) -> Image:
    """A SimpleITK mask, checked as by `read_mask`."""
    return _as_mask(_volume_of(image, name, on_note, "nearest"), name)


def write_image(image: Image, path: str | Path) -> None:
    """Any format SimpleITK writes, compressed, in the image's own pixel type. Raises InputError."""
    try:
        sitk.WriteImage(image_to_sitk(image), str(path), useCompression=True)
    except RuntimeError as error:
        raise InputError(
            f"'{path}' cannot be written ({reason(error)}); check the folder and use .nii.gz, .nrrd or .mha."
        ) from error


def _volume_of(image: sitk.Image, name: str, on_note: OnNote, interpolation: str) -> Image:
    _check_layout(
        name, image.GetSize(), image.GetNumberOfComponentsPerPixel(), image.GetPixelIDTypeAsString(), image.GetSpacing()
    )
    return _clean(image_from_sitk(image, name), name, on_note, interpolation)


def _as_labels(image: Image, name: str) -> Image:
    _require_whole_numbers(image, name)
    if not image.data.any():
        raise InputError(f"'{name}' labels no voxel (every value is 0); check that it is the right label map.")
    return replace(image, background=0.0)


def _as_mask(image: Image, name: str) -> Image:
    inside = np.greater(image.data, 0).astype(np.uint8)
    if not inside.any():
        raise InputError(f"The mask '{name}' is empty (no value above 0); draw the region to use, or leave it out.")
    return replace(image, data=inside, background=0.0)


def _read_file(path: Path) -> Image:
    _check_header(path)
    if is_truncated_nifti(path):
        raise InputError(damaged(path, "it ends too early"))
    with told(path):
        image = image_from_sitk(sitk.ReadImage(str(path)), path.name)
    broken = broken_voxels(path, image.grid.voxels)
    if broken is None:
        return image
    return replace(image, data=np.where(broken.reshape(image.data.shape), np.nan, image.data).astype(image.data.dtype))


def _check_header(path: Path) -> None:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with told(path):
        reader.ReadImageInformation()
    pixel_type = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    is_dicom = reader.HasMetaDataKey("0008|0016")
    if is_dicom and len(reader.GetSize()) == 3 and reader.GetSize()[2] == 1:
        raise InputError(f"'{path}' is one slice of a DICOM series; give the folder '{path.parent}' instead.")
    _check_layout(str(path), reader.GetSize(), reader.GetNumberOfComponents(), pixel_type, reader.GetSpacing())
    direction = np.reshape(reader.GetDirection(), (3, 3))
    if not np.isfinite(direction).all() or abs(np.linalg.det(direction)) < 1e-3:
        raise InputError(singular(path))


def _check_layout(
    name: str, size: tuple[int, ...], components: int, pixel_type: str, spacing: tuple[float, ...]
) -> None:
    shape = " x ".join(str(n) for n in size)
    if len(size) > 3:
        raise InputError(f"'{name}' is {len(size)}-D ({shape}), a volume is needed; extract one 3-D volume first.")
    if components != 1 or "complex" in pixel_type:
        what = "holds complex numbers" if "complex" in pixel_type else f"has {components} channels"
        raise InputError(f"'{name}' {what}, one grey value per voxel is needed; extract one channel first.")
    if len(size) < 3 or min(size) < 2:
        raise InputError(f"'{name}' is a 2-D image ({shape}), a volume is needed; give the whole 3-D image.")
    if not np.isfinite(spacing).all() or min(spacing) <= 0:
        raise InputError(singular(name))


def _clean(image: Image, name: str, on_note: OnNote, interpolation: str) -> Image:
    """Finite values, a background and right angles, with a note for whatever was changed."""
    finite = np.isfinite(image.data)
    bad = image.data.size - np.count_nonzero(finite)
    if bad == image.data.size:
        raise InputError(f"'{name}' holds no finite value (all voxels are NaN or infinite); export it again.")
    background = background_of(image.data[finite] if bad else image.data)
    if bad:
        on_note(
            f"'{name}': {bad} NaN or infinite voxels ({100 * bad / image.data.size:.2g} %) were replaced by the "
            f"background value {background:g}."
        )
        image = replace(image, data=np.where(finite, image.data, background).astype(image.data.dtype))
    image = replace(image, background=background)
    if is_orthogonal(image.grid):
        return image
    on_note(f"'{name}': {_shear_words(image)}, so it was resampled onto a grid with right angles.")
    return _straightened(image, order=0 if interpolation == "nearest" else 1)


def _shear_words(image: Image) -> str:
    d, h, w = image.grid.directions.T
    normal = np.cross(h, w)
    tilt = np.degrees(np.arccos(min(1.0, abs(normal @ d) / float(np.linalg.norm(normal)))))
    return f"its slices are stacked at a slant of {tilt:.1f} degrees (gantry tilt)"


def _straightened(image: Image, order: int) -> Image:
    """The image on `orthogonal_cover` of its sheared grid."""
    onto = orthogonal_cover(image.grid)
    matrix = image.grid.world_to_voxel @ onto.voxel_to_world
    data = affine_transform(
        image.scalar.astype(np.float32 if order else image.data.dtype),
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=onto.shape,
        order=order,
        mode="grid-constant",  # the outermost slices lie on the border, which rounding must not lose
        cval=image.background,
    )
    if np.issubdtype(image.data.dtype, np.integer):
        data = np.rint(data)
    return replace(image, data=data.astype(image.data.dtype)[None], grid=onto)


def _require_contrast(image: Image, name: str) -> None:
    lowest, highest = image.data.min(), image.data.max()
    if lowest == highest:
        raise InputError(
            f"'{name}' is constant (every voxel is {float(lowest):g}), so nothing in it can be registered; "
            "check that it is the right file."
        )


def _require_whole_numbers(image: Image, name: str) -> None:
    if np.issubdtype(image.data.dtype, np.integer):
        return
    fractional = image.data != np.rint(image.data)
    if fractional.any():
        example = float(image.data[fractional][0])
        raise InputError(
            f"'{name}' is no label map: {np.count_nonzero(fractional)} voxels hold fractions such as {example:g}; "
            "give whole numbers, resampled by nearest neighbour."
        )
