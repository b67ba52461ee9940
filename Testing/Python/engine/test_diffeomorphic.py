"""What is found can be taken back, folds nowhere, leaves alone what is alike, and comes out the same again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.judgement import jacobian
from RegistrationNetLib.core.errors import SettingsError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.inverse import dense_inverse
from RegistrationNetLib.core.mapping import Affine, Displacement, Mapping
from RegistrationNetLib.engine.constraints import Constraints
from RegistrationNetLib.engine.prepare import Prepare, prepare
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.settings import PRESETS, Settings
from RegistrationNetLib.engine.symmetric import even, middle_grid, swapped
from RegistrationNetLib.files.images import read_image
from Testing.Python.engine.anatomy import grid, image

FAST = Settings.preset("fast")
SYMMETRIC = FAST.with_values(refine__symmetric=True)
REAL = {
    "head": ("brain_ixi/t1/IXI012.nii.gz", "brain_ixi/t1/IXI013.nii.gz"),
    "hippocampus": ("hippocampus/images/hippocampus_001.nii.gz", "hippocampus/images/hippocampus_003.nii.gz"),
    "lung": ("lung_ct/baseline.mha", "lung_ct/followup.mha"),
}


@pytest.fixture(
    scope="module",
    params=[*(("phantom", preset) for preset in PRESETS), *((name, "fast") for name in REAL), ("head", "balanced")],
    ids=" ".join,
)
def found(request, coarse_phantom) -> tuple[Image, Mapping]:
    """The fixed image and what a registration of the pair finds."""
    name, preset = request.param
    if name == "phantom":
        pair = coarse_phantom.fixed, coarse_phantom.moving
    else:
        folder = request.getfixturevalue("data_folder")
        fixed, moving = (read_image(folder / file) for file in REAL[name])
        pair = fixed, moving
    return pair[0], register(*pair, Settings.preset(preset)).mapping


def test_there_and_back_ends_where_it_began(found):
    fixed, mapping = found
    inverse, _ = dense_inverse(mapping, fixed.grid)
    mean, most = away(mapping.then(inverse), fixed)
    assert mean < 0.1
    assert most < 0.5


def test_it_folds_nowhere_by_another_tools_measure(found):
    """SimpleITK's determinant, at every voxel of the field as it is stored, whose borders lie beyond the image."""
    (displacement,) = found[1].displacements
    assert float(jacobian(displacement).min()) > 0


@pytest.mark.parametrize(("preset", "symmetric"), [*((preset, False) for preset in PRESETS), ("fast", True)])
def test_identical_images_stay_where_they_are(preset, symmetric):
    settings = Settings.preset(preset).with_values(refine__symmetric=symmetric)
    assert moved(image(grid()), settings) < 1e-3


def test_identical_scans_stay_where_they_are(data_folder):
    assert moved(read_image(data_folder / REAL["hippocampus"][0]), FAST) < 1e-3


def test_the_same_pair_gives_the_same_bits_whatever_came_before(coarse_phantom):
    fixed, moving = coarse_phantom.fixed, coarse_phantom.moving
    alone = bits(register(fixed, moving, FAST).mapping)
    register(moving, fixed, SYMMETRIC)
    assert bits(register(fixed, moving, FAST).mapping) == alone


def test_another_process_and_more_threads_give_the_same_bits(data_folder, tmp_path):
    one, again, two = (
        elsewhere(data_folder, tmp_path / f"{index}.npy", threads) for index, threads in enumerate((1, 1, 2))
    )
    assert np.array_equal(one, again)
    assert np.array_equal(one, two)


@pytest.fixture(scope="module")
def both_ways(coarse_phantom) -> tuple[Mapping, Mapping]:
    fixed, moving = coarse_phantom.fixed, coarse_phantom.moving
    return register(fixed, moving, SYMMETRIC).mapping, register(moving, fixed, SYMMETRIC).mapping


def test_images_exchanged_give_the_inverse(coarse_phantom, both_ways):
    there, back = both_ways
    mean, most = away(there.then(back), coarse_phantom.fixed)
    assert mean < 0.1
    assert most < 0.5
    unmoved, _ = away(Mapping((there.affine,)).then(back), coarse_phantom.fixed)
    assert mean < 0.2 * unmoved  # it is a deformation that is taken back
    assert np.abs(there.affine.matrix @ back.affine.matrix - np.eye(4)).max() < 1e-6


def test_the_middle_is_the_same_from_either_side():
    """Fields of view, voxels and orientations that differ; the middle belongs to neither image."""
    turned = np.eye(4)
    turned[:3, :3] = [[0, -1.1, 0], [1, 0, 0], [0, 0, 0.9]]
    turned[:3, 3] = (20, -5, 3)
    pair = even(prepare(image(grid(4.0, 60.0)), image(grid(2.0, 48.0, (3, 0, 0))), Prepare()))
    other = even(prepare(image(grid(2.0, 48.0, (3, 0, 0))), image(grid(4.0, 60.0)), Prepare()))
    assert torch.equal(pair.fixed, other.moving)
    assert torch.equal(pair.moving, other.fixed)
    half = Affine(turned)
    one = middle_grid(pair, half.inverse(), half)
    assert one.isclose(middle_grid(swapped(pair), half, half.inverse()), atol_mm=1e-6)


@pytest.mark.parametrize("what", ["hints", "deformation"])
def test_what_belongs_to_one_image_alone_is_refused(coarse_phantom, what):
    fixed, moving = coarse_phantom.fixed, coarse_phantom.moving
    given = {
        "hints": {"constraints": Constraints(hints=(np.zeros((4, 3)), np.ones((4, 3))))},
        "deformation": {"initial": Mapping((Displacement(np.zeros((3, 4, 4, 4), np.float32), grid(30.0)),))},
    }
    with pytest.raises(SettingsError, match="--no-refine-symmetric"):
        register(fixed, moving, SYMMETRIC, **given[what])


def inside(fixed: Image) -> NDArray[np.bool_]:
    """Brighter than the mean: the body, about."""
    return fixed.scalar > fixed.scalar.mean()


def away(mapping: Mapping, fixed: Image) -> tuple[float, float]:
    """How far points of the body end from where they were, fixed voxels: the mean and the 99th percentile."""
    points = fixed.grid.points()[inside(fixed)]
    error = np.linalg.norm(mapping(points) - points, axis=1) / fixed.grid.spacing.min()
    return float(error.mean()), float(np.percentile(error, 99))


def moved(same: Image, settings: Settings) -> float:
    """By how much of a voxel an image moves onto itself, at most."""
    points = same.grid.points()
    shift = register(same, same, settings).mapping(points) - points
    return float(np.linalg.norm(shift, axis=-1).max() / same.grid.spacing.min())


def bits(mapping: Mapping) -> list[bytes]:
    return [step.matrix.tobytes() if isinstance(step, Affine) else step.field.tobytes() for step in mapping.steps]


_ELSEWHERE = """
import sys, numpy as np, torch
from RegistrationNetLib.engine.register import register
from RegistrationNetLib.engine.settings import Settings
from RegistrationNetLib.files.images import read_image
fixed, moving = (read_image(name) for name in sys.argv[1:3])
torch.set_num_threads(int(sys.argv[4]))
found = register(fixed, moving, Settings.preset("fast")).mapping
moved = found(fixed.grid.points()) / fixed.grid.spacing.min()
np.save(sys.argv[3], np.concatenate([found.affine.matrix.ravel(), moved.ravel()]))
"""


def elsewhere(data_folder: Path, file: Path, threads: int) -> NDArray[np.float64]:
    """The affine part of what a process of its own, of so many threads, finds for a real pair, and where the whole
    takes the voxels, in voxels.
    """
    names = [str(data_folder / name) for name in REAL["head"]]
    # Threads that wait asleep: on a busy machine they would else spin on each other.
    calm = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _ELSEWHERE, *names, str(file), str(threads)]
    subprocess.run(command, check=True, env=os.environ | calm)
    return np.asarray(np.load(file))
