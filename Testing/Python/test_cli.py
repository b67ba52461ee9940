"""The program as a person meets it: what it writes, what it says, and how it ends."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from RegistrationNetLib import api
from RegistrationNetLib.cli import main
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.engine.settings import Align, Prepare, Refine, knobs
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.networks import registry, weights
from RegistrationNetLib.phantom import phantom_pair

WRITTEN = {
    "transform.h5",
    "affine.tfm",
    "inverse.h5",
    "warped.nii.gz",
    "jacobian.nii.gz",
    "preview.png",
    "scene.mrb",
    "report.json",
}


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coarse phantom as files, with labels and landmarks."""
    folder = tmp_path_factory.mktemp("pair")
    phantom = phantom_pair(voxel_mm=4.5)
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        write_image(getattr(phantom, name), folder / f"{name}.nii.gz")
    for name in ("fixed_landmarks", "moving_landmarks"):
        np.savetxt(folder / f"{name}.csv", getattr(phantom, name), delimiter=",", header="x,y,z", comments="")
    return folder


@pytest.fixture(scope="module")
def results(pair: Path) -> Path:
    known = [
        argument
        for kind, suffix in (("labels", "nii.gz"), ("landmarks", "csv"))
        for side in ("fixed", "moving")
        for argument in (f"--{side}-{kind}", pair / f"{side}_{kind}.{suffix}")
    ]
    out = pair / "results"
    status, said = run("register", pair / "fixed.nii.gz", pair / "moving.nii.gz", "-o", out, "--inverse", *known)
    assert status == 0, said
    assert "Overlap of labels" in said
    assert "Landmark error" in said
    return out


def test_register_writes_everything_and_nothing_else(results):
    pytest.importorskip("slicer", reason="scene.mrb needs slicer-core")
    assert {path.name for path in results.iterdir()} == WRITTEN


def test_the_report_tells_inputs_stages_and_quality(results):
    report = json.loads((results / "report.json").read_text())
    assert report["fixed"]["name"] == "fixed.nii.gz"
    assert [s["name"] for s in report["stages"]] == ["read", "prepare", "align", "predict", "refine", "judge", "write"]
    assert report["quality"]["tre_mm"]["after"] < report["quality"]["tre_mm"]["after_align"]
    assert report["inverse"]["largest_error_mm"] >= 0
    assert report["peak_memory_mib"] > 0


def test_simpleitk_resamples_the_moving_image_to_the_warped_one(pair, results):
    fixed, moving = (sitk.ReadImage(str(pair / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    transform = sitk.ReadTransform(str(results / "transform.h5"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0)).astype(float)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(results / "warped.nii.gz"))).astype(float)
    border = (theirs == 0) ^ (ours == 0)  # at the very edge of the moving image rounding decides
    assert border.mean() < 1e-3
    assert np.abs(theirs - ours)[~border].max() <= 1  # grey level, of several hundred


def test_the_inverse_file_leads_back(pair, results):
    there, back = (sitk.ReadTransform(str(results / name)) for name in ("transform.h5", "inverse.h5"))
    inverse = json.loads((results / "report.json").read_text())["inverse"]
    assert inverse["within_tolerance_percent"] == 100
    fixed = sitk.ReadImage(str(pair / "fixed.nii.gz"))
    for index in np.random.default_rng(0).integers(0, fixed.GetSize(), size=(500, 3)).tolist():
        point = fixed.TransformIndexToPhysicalPoint(index)
        error = np.linalg.norm(np.subtract(back.TransformPoint(there.TransformPoint(point)), point))
        assert error < inverse["tolerance_mm"]


def test_what_is_asked_to_be_kept_is_said_to_be_kept(pair, tmp_path):
    fixed = phantom_pair(voxel_mm=4.5).fixed
    near = np.linalg.norm(fixed.grid.points() - fixed.grid.center, axis=-1)
    for name, radius in (("bone", 12.0), ("near", 45.0)):
        write_image(Image((near < radius).astype(np.uint8)[None], fixed.grid), tmp_path / f"{name}.nii.gz")
    asked = ("--keep-rigid", tmp_path / "bone.nii.gz", "--region", tmp_path / "near.nii.gz", "--region-margin-mm", 8)
    hints = ("--fixed-hints", pair / "fixed_landmarks.csv", "--moving-hints", pair / "moving_landmarks.csv")
    images = (pair / "fixed.nii.gz", pair / "moving.nii.gz")
    status, said = run("register", *images, "-o", tmp_path / "out", "--preset", "fast", *asked, *hints)
    assert status == 0, said
    assert "ok Parts kept rigid (deviation from rigid) [mm]: 0.00 at most, 1 in all" in said
    assert "ok Largest change outside the region and its margin [mm]: 0.000" in said
    assert "ok Hints (mean distance of the pairs) [mm]: " in said


def test_a_second_run_replaces_the_first_and_leaves_other_files_alone(pair, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    written = []
    for kind in ("rigid", "affine"):
        options = ("-o", tmp_path, "--transform", kind)
        assert run("register", pair / "fixed.nii.gz", pair / "moving.nii.gz", *options)[0] == 0
        written.append((tmp_path / "transform.h5").read_bytes())
    assert written[0] != written[1]
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_each_setting_is_an_option_whose_help_is_its_own_sentence():
    _, said = run("register", "--help")
    for stage, kind in (("prepare", Prepare), ("align", Align), ("refine", Refine)):
        for name, (_, knob) in knobs(kind).items():
            assert f"--{stage}-{name.replace('_', '-')} " in said
            assert knob.help.split(":")[0] in said


def test_what_is_on_or_off_is_said_without_a_value(pair, tmp_path):
    inputs = ("register", pair / "fixed.nii.gz", pair / "moving.nii.gz", "--preset", "fast")
    for flag, asked in (("--refine-symmetric", True), ("--no-refine-smoother-ct", False)):
        status, said = run(*inputs, flag, "-o", tmp_path / flag)
        assert status == 0, said
        settings = json.loads((tmp_path / flag / "report.json").read_text())["settings"]
        assert settings["refine"][flag.partition("refine-")[2].replace("-", "_")] is asked


def test_help_of_every_command_has_a_line_to_paste():
    for command in ("register", "apply", "models"):
        assert f"Example: registrationnet {command}" in run(command, "--help")[1]


def test_help_fits_80_columns_and_names_the_command_that_lists_the_networks():
    said = CliRunner().invoke(main, ["register", "--help"]).output
    assert max(map(len, said.splitlines())) <= 80
    assert re.search(r"--model NAME\s.*'registrationnet\s+models'", said, re.DOTALL)


def test_the_oldest_click_that_is_allowed_will_do():
    oldest = "import click; click.Choice.__class_getitem__ = click.ParamType.__class_getitem__ = None; "
    code = oldest + "from RegistrationNetLib.cli import main; main(['register', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Usage:" in done.stdout, done.stderr


def volume(
    values: np.ndarray, direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1), far: float = 0.0
) -> sitk.Image:
    image = sitk.GetImageFromArray(values, isVector=values.ndim == 4)
    image.SetOrigin((far, 0.0, 0.0))
    image.SetDirection(direction)
    return image


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """name -> (file, a word of the sentence that has to come)."""
    noise = np.random.default_rng(0).normal(100, 20, (12, 14, 16)).astype(np.float32)
    made = {
        "constant.nii.gz": (volume(np.full_like(noise, 3)), "constant"),
        "nan.nii.gz": (volume(np.full_like(noise, np.nan)), "NaN"),
        "flat.nii.gz": (sitk.GetImageFromArray(noise[0]), "2-D"),
        "colour.nii.gz": (volume(np.stack([noise] * 3, axis=-1)), "channels"),
        "far.nii.gz": (volume(noise, far=1500.0), "mm apart"),
    }
    files = {}
    for name, (image, word) in made.items():
        sitk.WriteImage(image, str(folder / name))
        files[name] = (folder / name, word)
    series = [sitk.GetImageFromArray(noise) for _ in range(3)]
    sitk.WriteImage(sitk.JoinSeries(series), str(folder / "time.nii.gz"))
    files["time.nii.gz"] = (folder / "time.nii.gz", "4-D")
    (folder / "empty.nii.gz").touch()
    files["empty.nii.gz"] = (folder / "empty.nii.gz", "empty")
    (folder / "text.nii.gz").write_text("not an image")
    files["text.nii.gz"] = (folder / "text.nii.gz", "text.nii.gz")
    (folder / "cut.nii.gz").write_bytes((folder / "far.nii.gz").read_bytes()[:2000])
    files["cut.nii.gz"] = (folder / "cut.nii.gz", "damaged")
    (folder / "singular.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        b"TransformMatrix = 1 0 0 1 0 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\nDimSize = 4 4 4\n"
        b"ElementType = MET_UCHAR\nElementDataFile = LOCAL\n" + bytes(range(64))
    )
    files["singular.mha"] = (folder / "singular.mha", "singular")
    files["missing.nii.gz"] = (folder / "missing.nii.gz", "does not exist")
    return files


NAMES = [
    *("constant.nii.gz", "nan.nii.gz", "flat.nii.gz", "colour.nii.gz", "far.nii.gz", "time.nii.gz"),
    *("empty.nii.gz", "text.nii.gz", "cut.nii.gz", "singular.mha", "missing.nii.gz"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_bad_input_ends_in_one_sentence_status_2_and_no_output(pair, tmp_path, name, side):
    bad, word = bad_files(tmp_path)[name]
    good = pair / "fixed.nii.gz"
    inputs = (bad, good) if side == "fixed" else (good, bad)
    status, said = run("register", *inputs, "-o", tmp_path / "out")
    assert status == 2, said
    assert word in said
    assert name in said
    assert "Traceback" not in said
    assert said.count("registrationnet:") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "file", "word"),
    [
        ("--fixed-labels", "fixed_labels.nii.gz", "one side"),
        ("--fixed-landmarks", "fixed_landmarks.csv", "one side"),
        ("--initial", "fixed.nii.gz", "fixed.nii.gz"),
        ("--fixed-mask", "nothing.nii.gz", "nothing.nii.gz"),
    ],
)
def test_extras_that_do_not_fit_are_refused(pair, tmp_path, option, file, word):
    status, said = run(
        "register", pair / "fixed.nii.gz", pair / "moving.nii.gz", "-o", tmp_path / "out", option, pair / file
    )
    assert status == 2, said
    assert word in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["labels", "mask"])
def test_labels_and_masks_of_another_place_are_refused(pair, tmp_path, kind):
    labels = sitk.ReadImage(str(pair / "fixed_labels.nii.gz"))
    labels.SetOrigin([value + 500 for value in labels.GetOrigin()])
    sitk.WriteImage(labels, str(tmp_path / "elsewhere.nii.gz"))
    extras = ["--fixed-" + kind, tmp_path / "elsewhere.nii.gz"]
    if kind == "labels":
        extras += ["--moving-labels", pair / "moving_labels.nii.gz"]
    inputs = (pair / "fixed.nii.gz", pair / "moving.nii.gz")
    status, said = run("register", *inputs, "-o", tmp_path / "out", *extras)
    assert status == 2
    assert "'elsewhere.nii.gz' does not fit 'fixed.nii.gz': 100 %" in said


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(pair, tmp_path):
    (tmp_path / "afile").touch()
    status, said = run("register", "no-such-fixed.nii", "no-such-moving.nii", "-o", tmp_path / "afile")
    assert status == 2
    assert "is a file, a folder is needed" in said


@pytest.mark.parametrize("long", ["sub-01_ses-2026-11-21_acq-highres_T1w_brain_extracted_and_more", "Müller [1] 50%"])
def test_any_file_name_ends_up_in_the_scene(pair, tmp_path, long):
    pytest.importorskip("slicer", reason="scene.mrb needs slicer-core")
    for side in ("fixed", "moving"):
        (tmp_path / f"{long}_{side}.nii.gz").write_bytes((pair / f"{side}.nii.gz").read_bytes())
    inputs = [tmp_path / f"{long}_{side}.nii.gz" for side in ("fixed", "moving")]
    status, said = run("register", *inputs, "-o", tmp_path / "out", "--preset", "fast")
    assert status == 0, said
    assert (tmp_path / "out" / "scene.mrb").exists()


def test_the_demo_prints_the_true_error_and_writes_its_pictures(tmp_path, monkeypatch):
    coarse = phantom_pair(voxel_mm=3.5)
    monkeypatch.setattr("RegistrationNetLib.demo.phantom_pair", lambda: coarse)
    status, said = run("demo", "-o", tmp_path / "demo")
    assert status == 0, said
    assert "every voxel inside the head is off by" in said
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert report["true_error_mm"]["after"]["median"] < 0.2 * report["true_error_mm"]["before"]["median"]
    assert (tmp_path / "demo" / "preview.png").stat().st_size > 100_000


def test_the_demo_takes_two_files_or_none(pair, tmp_path):
    inputs = (pair / "fixed.nii.gz", pair / "moving.nii.gz")
    status, said = run("demo", *inputs, "-o", tmp_path / "demo", "--preset", "fast")
    assert status == 0, said
    assert "made-up head" not in said
    assert run("demo", inputs[0])[0] == 2


def test_landmarks_outside_their_image_are_refused_with_the_usual_cause(pair, tmp_path):
    points = np.loadtxt(pair / "fixed_landmarks.csv", delimiter=",", skiprows=1) + np.array([500, 0, 0])
    np.savetxt(tmp_path / "far.csv", points, delimiter=",", header="x,y,z", comments="")
    status, said = run(
        *("register", pair / "fixed.nii.gz", pair / "moving.nii.gz", "-o", tmp_path / "out"),
        *("--fixed-landmarks", tmp_path / "far.csv", "--moving-landmarks", pair / "moving_landmarks.csv"),
    )
    assert status == 2
    assert "outside 'fixed.nii.gz'" in said


def test_a_few_broken_voxels_are_replaced_and_said_so(pair, tmp_path):
    image = sitk.ReadImage(str(pair / "moving.nii.gz"), sitk.sitkFloat32)
    values = sitk.GetArrayFromImage(image)
    values[3, 4, 5], values[6, 7, 8] = np.nan, np.inf
    broken = sitk.GetImageFromArray(values)
    broken.CopyInformation(image)
    sitk.WriteImage(broken, str(tmp_path / "broken.nii.gz"))
    out = tmp_path / "out"
    status, said = run("register", pair / "fixed.nii.gz", tmp_path / "broken.nii.gz", "-o", out, "--transform", "rigid")
    assert status == 0
    assert "2 NaN or infinite voxels" in said
    assert any("2 NaN" in note for note in json.loads((out / "report.json").read_text())["notes"])


def test_one_call_takes_paths_and_simpleitk_images_alike(pair):
    paths = pair / "fixed.nii.gz", str(pair / "moving.nii.gz")
    images = [sitk.ReadImage(str(path)) for path in paths]
    one, other = (api.register(*inputs, preset="fast", transform="rigid") for inputs in (paths, images))
    np.testing.assert_array_equal(one.mapping.affine.matrix, other.mapping.affine.matrix)
    assert type(one) is type(other)


def test_register_asks_the_named_network_with_the_given_weights(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    about = {"spacing": None, "intensity": "percentiles", "training_data": "none", "licence": "CC0-1.0", "version": "1"}
    weights.save(Path("mine.safetensors"), registry.create("udrnet"), **about)
    inputs = (pair / "fixed.nii.gz", pair / "moving.nii.gz", "-o", "out", "--preset", "fast")
    status, said = run("register", *inputs, "--model", "udrnet", "--weights", "mine.safetensors")
    assert status == 0, said
    assert "udrnet predicted the start from its weights 'mine'." in said
    assert json.loads(Path("out/report.json").read_text())["model"]["name"] == "udrnet"
    status, said = run("register", *inputs, "--model", "voxelmorph", "--weights", "mine.safetensors")
    assert status == 2
    assert "'mine.safetensors' holds weights of udrnet, not of voxelmorph" in said


def test_a_network_file_that_fails_ends_in_one_sentence(tmp_path):
    (tmp_path / "mine.py").write_text("import torch\nclass Mine(torch.nn.Module)\n    pass\n")
    status, said = run("models", f"{tmp_path}/mine.py:Mine")
    assert status == 2
    assert said.endswith("registrationnet: 'mine.py' cannot be used: SyntaxError in line 2 (expected ':').")


def test_models_prints_a_table_that_fits_80_columns():
    result = CliRunner().invoke(main, ["models", "voxelmorph", "udrnet", "--size", "20x24x28", "--device", "cpu"])
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    said = " ".join(result.stdout.split())
    for name, million in (("udrnet", "0.9"), ("voxelmorph", "0.3")):
        assert f"{name} {million} 0.0" in said
        assert registry.entry(name).purpose.split()[0] in said
        assert registry.entry(name).paper.split(",")[0] in said
    assert "images of 20x24x28 voxels on cpu" in said
    assert result.stderr.split("\n")[:2] == ["Estimating voxelmorph ...", "Estimating udrnet ..."]


def test_models_prints_json_with_the_documented_keys():
    result = CliRunner().invoke(main, ["models", "voxelmorph", "--json", "--size", "20x24x28", "--device", "cpu"])
    document = json.loads(result.stdout)
    assert list(document) == ["size", "device", "models"]
    assert document["size"] == [20, 24, 28]
    assert document["device"].startswith("cpu")
    (model,) = document["models"]
    assert model["parameters"] == 327_331
    page = (Path(__file__).parents[2] / "docs" / "networks" / "README.md").read_text(encoding="utf-8")
    about, table = page.split("--json` prints")[1].split("| key | what it is |")
    assert re.findall(r"`(size|device|models)`", about) == list(document)
    rows = re.findall(r"^\|(.*?)\|", table.split("\n## ")[0], re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == list(model)


def test_models_shows_dashes_and_the_cure_for_what_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "einops", None)
    status, said = run("models", "unetr", "--size", "20x24x28")
    assert status == 0
    assert "unetr - - - none yet" in said
    assert 'pip install "registrationnet[comparison]"' in said


def test_models_lists_purposes_and_papers_without_PyTorch():
    code = "import sys; sys.modules['torch'] = None; from RegistrationNetLib.cli import main; main(['models'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"{name} " in done.stdout for name in registry.names())
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.count(" - ") >= 3 * len(registry.names())
    assert "PyTorch is not installed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["unet"], "no network 'unet'"),
        (["voxelmorph", "--size", "20x24"], "three numbers of voxels"),
        (["voxelmorph", "--size", "0x24x20"], "three numbers of voxels"),
        (["voxelmorph", "--size", "large"], "write it as 160x192x224"),
        (["voxelmorph", "--device", "abacus"], "no device 'abacus'"),
        (["none.py:Net"], "existing file"),
    ],
)
def test_models_refuses_what_is_not_there_in_a_sentence(arguments, words):
    status, said = run("models", *arguments)
    assert status == 2
    assert words in said
    assert "Traceback" not in said
