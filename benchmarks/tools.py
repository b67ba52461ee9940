"""The methods that are compared, each from two images to one displacement field.

`python -m benchmarks.tools NAME FOLDER` runs one of them in this process, from fixed.mha and moving.mha in FOLDER to
NAME.mha (displacements in LPS mm on the fixed image's grid), and writes what it took to NAME.took.json. Timed is the
registration alone: not the start of Python, nor imports, nor reading the images, nor bringing the result onto the fixed
image's grid and writing it. (ANTs writes and returns files of its own, within the timed part.) Memory is the process's
peak.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk

from RegistrationNetLib.core import version as own_version
from RegistrationNetLib.engine.memory import peak_memory_mib
from RegistrationNetLib.engine.settings import PRESETS, Prepare, Refine, Settings

_LIBRARY = Path(own_version.__file__).parents[1]

Run = Callable[[], Any]
"""The registration itself; what is timed."""


@dataclass(frozen=True)
class Job:
    """A registration that is ready to run, and what makes its result an image of displacements."""

    run: Run
    field: Callable[[Any], sitk.Image]


@dataclass(frozen=True)
class Tool:
    """title: as the table calls it. package and module: what is installed, and what is imported of it.

    job: fixed and moving image, float32 on one grid, and how many threads to use -> Job.
    """

    title: str
    package: str
    module: str
    job: Callable[[sitk.Image, sitk.Image, int], Job]


def nothing(fixed: sitk.Image, moving: sitk.Image, threads: int) -> Job:
    """The affine alignment alone."""
    return Job(lambda: np.zeros((*fixed.GetSize()[::-1], 3)), lambda zeros: _vectors(zeros, fixed))


def ours(
    refinement: Refine | None, fixed: sitk.Image, moving: sitk.Image, threads: int, trained: Path | None = None
) -> Job:
    """From preparation to the field as it is stored, by a network's start and refinement, from an alignment at hand.

    trained: file of weights, None for no network; without refinement its start is the result.
    """
    import torch

    from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
    from RegistrationNetLib.engine.devices import flushed_denormals
    from RegistrationNetLib.engine.mend import extend
    from RegistrationNetLib.engine.predict import chosen, predicted_start
    from RegistrationNetLib.engine.prepare import prepare
    from RegistrationNetLib.engine.refine import refine
    from RegistrationNetLib.files.geometry import grid_of, image_from_sitk

    torch.set_num_threads(threads)
    images = image_from_sitk(fixed, "fixed"), image_from_sitk(moving, "moving")
    model = None if trained is None else chosen(Settings(weights=str(trained)))
    aligned, cpu = Affine(np.eye(4)), torch.device("cpu")

    def run() -> Any:
        with flushed_denormals():
            prepared = prepare(*images, Prepare())
            start = None if model is None else predicted_start(model, prepared, aligned, cpu)
            if refinement is None:
                return extend(start, prepared.fixed_grid)
            return extend(*refine(prepared, aligned, start, refinement, cpu))

    def field(found: Displacement) -> sitk.Image:
        displacement = Mapping((found,)).on(grid_of(fixed))
        return _vectors(np.moveaxis(displacement.field, 0, -1), fixed)

    return Job(run, field)


def greedy(radius: int, iterations: str, fixed: sitk.Image, moving: sitk.Image, threads: int) -> Job:
    """Local correlation, greedy's own smoothing; its field is kept as it is, not rounded to tenths of a voxel."""
    from picsl_greedy import Greedy3D

    tool = Greedy3D()
    window = "x".join([str(radius)] * 3)
    command = f"-d 3 -i fixed moving -m NCC {window} -n {iterations} -wp 0 -threads {threads} -o field"

    def run() -> sitk.Image:
        quiet = io.StringIO()
        tool.execute(command, out=quiet, err=quiet, fixed=fixed, moving=moving, field=None)
        return tool["field"]

    return Job(run, lambda field: field)


def ants(
    metric: str,
    radius_or_bins: int,
    iterations: tuple[int, ...],
    fixed: sitk.Image,
    moving: sitk.Image,
    threads: int,
) -> Job:
    """SyN alone, from where the images lie: without a start of its own it would first move their centres together."""
    from ants import from_numpy, registration

    def converted(image: sitk.Image) -> Any:
        direction = np.reshape(image.GetDirection(), (3, 3))
        return from_numpy(sitk.GetArrayFromImage(image).T, image.GetOrigin(), image.GetSpacing(), direction)

    images = converted(fixed), converted(moving)

    def run() -> str:
        found = registration(
            *images,
            type_of_transform="SyNOnly",
            initial_transform="identity",
            syn_metric=metric,
            syn_sampling=radius_or_bins,
            reg_iterations=iterations,
        )
        return next(path for path in found["fwdtransforms"] if path.endswith(".nii.gz"))

    return Job(run, sitk.ReadImage)


def elastix(changes: dict[str, str], fixed: sitk.Image, moving: sitk.Image, threads: int) -> Job:
    """B-splines with the parameters that elastix has for them, some of them changed."""
    import itk

    images = _itk(fixed), _itk(moving)
    parameters = itk.ParameterObject.New()
    known = parameters.GetDefaultParameterMap("bspline", 4)
    parameters.AddParameterMap({**known, **{name: values.split() for name, values in changes.items()}})

    def run() -> Any:
        return itk.elastix_registration_method(*images, parameter_object=parameters, number_of_threads=threads)[1]

    def field(found: Any) -> sitk.Image:
        with TemporaryDirectory() as folder:  # else it leaves a copy where one happens to be
            whole = itk.transformix_deformation_field(images[1], found, output_directory=folder)
            return _vectors(itk.array_from_image(whole), fixed)

    return Job(run, field)


def diffeomorphic_demons(fixed: sitk.Image, moving: sitk.Image, threads: int) -> Job:
    """Diffeomorphic demons on images of matched histograms, at a quarter, half and full resolution."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)

    def run() -> sitk.Image:
        matched = sitk.HistogramMatching(moving, fixed, 256, 15, thresholdAtMeanIntensity=True)
        field = sitk.Image(fixed.GetSize(), sitk.sitkVectorFloat64, 3)
        field.CopyInformation(fixed)
        for shrink, iterations in ((4, 100), (2, 100), (1, 50)):
            level = [_shrunk(image, shrink) for image in (fixed, matched)]
            demons = sitk.DiffeomorphicDemonsRegistrationFilter()
            demons.SetNumberOfIterations(iterations)
            demons.SetStandardDeviations(1.5)
            field = demons.Execute(*level, sitk.Resample(field, level[0], useNearestNeighborExtrapolator=True))
        return field

    return Job(run, lambda field: field)


def convex_adam(fixed: sitk.Image, moving: sitk.Image, threads: int) -> Job:
    """On MIND features, with its own defaults; it speaks of voxels along the arrays' axes."""
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    from RegistrationNetLib.core.resample import to_displacement
    from RegistrationNetLib.files.geometry import grid_of

    torch.set_num_threads(threads)
    arrays = [sitk.GetArrayFromImage(image) for image in (fixed, moving)]

    def field(voxels: np.ndarray) -> sitk.Image:
        displacement = to_displacement(torch.from_numpy(voxels).movedim(-1, 0)[None], grid_of(fixed))
        return _vectors(np.moveaxis(displacement.field, 0, -1), fixed)

    return Job(lambda: convex_adam_pt(*arrays, device=torch.device("cpu"), dtype=torch.float32), field)


_ELASTIX = {"UseMultiThreadingForMetrics": "false"}
"""On several threads its sum of two metrics ended in a crash (itk-elastix 0.25.4), whatever the images."""
_OWN, _GREEDY, _ANTS = (
    ("registrationnet", "RegistrationNetLib"),
    ("picsl-greedy", "picsl_greedy"),
    ("antspyx", "ants"),
)

TOOLS = {
    "affine": Tool("affine alone", *_OWN, nothing),
    "fast": Tool("RegistrationNet fast", *_OWN, partial(ours, PRESETS["fast"])),
    "balanced": Tool("RegistrationNet balanced", *_OWN, partial(ours, PRESETS["balanced"])),
    "accurate": Tool("RegistrationNet accurate", *_OWN, partial(ours, PRESETS["accurate"])),
    "greedy": Tool("greedy NCC 2x2x2, 100x50x10", *_GREEDY, partial(greedy, 2, "100x50x10")),
    "greedy-long": Tool("greedy NCC 2x2x2, 100x100x50", *_GREEDY, partial(greedy, 2, "100x100x50")),
    "greedy-wide": Tool("greedy NCC 4x4x4, 100x100x50x10", *_GREEDY, partial(greedy, 4, "100x100x50x10")),
    "greedy-wide-long": Tool("greedy NCC 4x4x4, 100x100x100x50", *_GREEDY, partial(greedy, 4, "100x100x100x50")),
    "ants": Tool("ANTs SyN MI, 40x20x0", *_ANTS, partial(ants, "mattes", 32, (40, 20, 0))),
    "ants-cc": Tool("ANTs SyN CC, 40x20x0", *_ANTS, partial(ants, "CC", 4, (40, 20, 0))),
    "ants-cc-long": Tool("ANTs SyN CC, 100x70x20", *_ANTS, partial(ants, "CC", 4, (100, 70, 20))),
    "elastix": Tool("elastix B-spline, metrics on one thread", "itk-elastix", "itk", partial(elastix, _ELASTIX)),
    "demons": Tool("SimpleITK demons", "SimpleITK", "SimpleITK", diffeomorphic_demons),
    "convexadam": Tool("ConvexAdam MIND", "convexAdam", "convexAdam", convex_adam),
}


def _itk(image: sitk.Image) -> Any:
    """The same image for ITK's own Python."""
    import itk

    out = itk.image_from_array(sitk.GetArrayFromImage(image))
    out.SetSpacing(image.GetSpacing())
    out.SetOrigin(image.GetOrigin())
    out.SetDirection(itk.matrix_from_array(np.reshape(image.GetDirection(), (3, 3))))
    return out


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    """Smoothed and taken at every so-manieth voxel."""
    if factor == 1:
        return image
    sigmas = [0.5 * factor * spacing for spacing in image.GetSpacing()]
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, sigmas), [factor] * 3)


def _vectors(mm: np.ndarray, like: sitk.Image) -> sitk.Image:
    """(D, H, W, 3) displacements, LPS mm -> an image on the grid of `like`."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(mm, np.float32), isVector=True)
    image.CopyInformation(like)
    return image


def measured(job: Job) -> tuple[sitk.Image, dict[str, float]]:
    """The field, and the seconds and the memory that it took."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    result = job.run()
    took = {"seconds": time.perf_counter() - wall, "cpu_seconds": _cpu_seconds() - cpu, "mib": peak_memory_mib()}
    return job.field(result), took


def _cpu_seconds() -> float:
    """User and system time of this process and of those it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def version(tool: Tool) -> str:
    """The package's; of ourselves also a digest of what computes, since that changes between releases."""
    number = metadata.version(tool.package)
    if tool.module != _OWN[1]:
        return number
    return f"{number}+{digest(sorted(path for part in ('core', 'engine') for path in (_LIBRARY / part).glob('*.py')))}"


def digest(files: Iterable[Path]) -> str:
    """Of what the files hold, one after the other."""
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=TOOLS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    fixed, moving = (sitk.ReadImage(str(asked.folder / f"{side}.mha")) for side in ("fixed", "moving"))
    tool = TOOLS[asked.name]
    field, took = measured(tool.job(fixed, moving, asked.threads))
    sitk.WriteImage(sitk.Cast(field, sitk.sitkVectorFloat32), str(asked.folder / f"{asked.name}.mha"))
    (asked.folder / f"{asked.name}.took.json").write_text(json.dumps(took), encoding="utf-8")


if __name__ == "__main__":
    main()
