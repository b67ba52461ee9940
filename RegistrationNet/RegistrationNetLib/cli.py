"""The command line: parse, call one library function, say what was written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click

from RegistrationNetLib.core.errors import RegistrationError
from RegistrationNetLib.core.version import __version__
from RegistrationNetLib.engine.constraints import MARGIN_MM
from RegistrationNetLib.engine.result import OnProgress
from RegistrationNetLib.engine.settings import PRESETS, STAGES, Knob, Settings, knobs
from RegistrationNetLib.networks import registry
from RegistrationNetLib.networks.weights import shipped

if TYPE_CHECKING:
    from RegistrationNetLib.engine.models import Model

Command = TypeVar("Command", bound=Callable[..., Any])


class Named(click.Path):
    """A path; the empty one, which would mean the current folder, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; name a file or folder.", param, ctx)
        return super().convert(value, param, ctx)


class ModelName(click.Choice):  # not Choice[str]: click 8.1's types take no parameters
    """A network of the list, or a file and a class of one's own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if registry.OWN in value else super().convert(value, param, ctx)


class Size(click.ParamType):
    """Voxels along the three axes, as 160x192x224."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parts = value if isinstance(value, tuple) else value.split("x")
        try:
            return tuple(int(part) for part in parts)
        except ValueError:
            self.fail(f"'{value}' is no size; write it as 160x192x224.", param, ctx)


PATH = Named(path_type=Path)
POINTS_IN = click.Choice(["lps", "ras", "voxel"])
PRESET = click.option(
    "--preset", type=click.Choice(list(PRESETS)), default="balanced", show_default=True, help="Speed or accuracy."
)

COMPUTED = 0.85
"""Share of the bar that is done when the results are computed and only writing is left."""


class Sentences(click.Group):
    """Commands that end with one sentence and exit status 2 where an input cannot be used."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RegistrationError as error:
            click.echo(f"registrationnet: {error}", err=True)
            ctx.exit(2)


def _click_type(value_type: Any) -> Any:
    return click.Choice(get_args(value_type)) if get_origin(value_type) is Literal else value_type


def _help(knob: Knob, default: Any) -> str:
    default = ("off", "on")[default] if isinstance(default, bool) else default
    unit = f" {knob.unit}" if knob.unit else ""
    limits = f"; {knob.low:g} to {knob.high:g}" if knob.low is not None and knob.high is not None else ""
    return f"{knob.help}. [default: {default}{unit}{limits}]"


def advanced(command: Command) -> Command:
    """One option for each setting of each stage, made from the settings themselves so that help cannot drift."""
    for stage, kind in reversed(STAGES.items()):
        for name, (value_type, knob) in reversed(knobs(kind).items()):
            flag = f"{stage}-{name.replace('_', '-')}"
            command = click.option(
                f"--{flag}/--no-{flag}" if value_type is bool else f"--{flag}",
                f"{stage}__{name}",
                type=_click_type(value_type),
                default=None,
                help=_help(knob, getattr(kind(), name)),
            )(command)
    return command


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="registrationnet")
def main() -> None:
    """Deformable registration of 3D medical images. For research use only, not for diagnosis."""


@main.command()
@click.argument("fixed", type=PATH)
@click.argument("moving", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Folder for the results; made if it is not there.")
@PRESET
@click.option(
    "--model",
    type=ModelName(["none", *registry.names()]),
    metavar="NAME",
    default="none",
    show_default=True,
    help="Network that predicts a starting deformation: a name that 'registrationnet models' lists, or a network of "
    "your own, as my_network.py:MyNet; none: refinement alone.",
)
@click.option(
    "--weights",
    help="Trained weights to use: a name that 'registrationnet models' lists, or a file (.safetensors). "
    "[default: the model's own]",
)
@click.option(
    "--transform",
    type=click.Choice(["rigid", "affine", "deformable"]),
    default="deformable",
    show_default=True,
    help="How freely the moving image may move.",
)
@click.option("--initial", type=PATH, help="Transform file (fixed to moving points) from which to start.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--inverse", is_flag=True, help="Write inverse.h5 too, for programs that cannot invert a field.")
@click.option("--fixed-mask", type=PATH, help="Where in the fixed image the similarity may look (nonzero voxels).")
@click.option("--moving-mask", type=PATH, help="The same for the moving image.")
@click.option(
    "--keep-rigid",
    type=PATH,
    help="Mask or label map of the fixed image; each piece of it only turns and shifts (a bone, an implant).",
)
@click.option(
    "--keep-volume",
    type=PATH,
    help="The same for what keeps its volume, beside the affine's scaling of the whole (a lesion that is measured).",
)
@click.option("--region", type=PATH, help="Mask of the fixed image; only what it marks is deformed.")
@click.option(
    "--region-margin-mm",
    type=float,
    default=MARGIN_MM,
    show_default=True,
    help="Around the region, where the deformation fades; beyond it all stays as the affine or --initial has it.",
)
@click.option(
    "--fixed-hints",
    type=PATH,
    help="Points in the fixed image that guide the registration (CSV, .mrk.json, .fcsv, .txt); landmarks only measure.",
)
@click.option("--moving-hints", type=PATH, help="The same points in the moving image, in the same order.")
@click.option("--fixed-labels", type=PATH, help="Label map of the fixed image, to measure Dice and HD95.")
@click.option("--moving-labels", type=PATH, help="Label map of the moving image.")
@click.option(
    "--fixed-landmarks", type=PATH, help="Points in the fixed image (CSV, .mrk.json, .fcsv, .txt), to measure TRE."
)
@click.option("--moving-landmarks", type=PATH, help="The same points in the moving image, in the same order.")
@click.option("--points-in", type=POINTS_IN, default="lps", show_default=True, help="Coordinates of CSV points.")
@click.option("--fixed-series", help="Which series of a fixed DICOM folder (number from the list, or UID).")
@click.option("--moving-series", help="Which series of a moving DICOM folder.")
@advanced
def register(
    output: Path, preset: str, weights: str | None, inverse: bool, fixed: Path, moving: Path, **options: Any
) -> None:
    """Register MOVING to FIXED and write transform, warped image, Jacobian map, report, picture and Slicer scene.

    Example: registrationnet register baseline.nii.gz followup.nii.gz -o result
    """
    from RegistrationNetLib import api
    from RegistrationNetLib.files.output import output_folder

    chosen = {
        name: options.pop(name) for name in list(options) if "__" in name or name in ("model", "transform", "device")
    }
    if weights is not None:
        chosen["weights"] = weights if weights in shipped() else str(Path(weights).absolute())
    settings = Settings.preset(preset).with_values(
        **{name: value for name, value in chosen.items() if value is not None}
    )
    with output_folder(output) as draft, progress() as on_progress:
        pair = api.read_pair(fixed, moving, **options)
        registration = api.register_pair(
            pair, settings, lambda *step: on_progress(step[0], COMPUTED * step[1], step[2])
        )
        on_progress("write", COMPUTED, "Writing the results")
        written = api.write(registration, pair.fixed, pair.moving, draft, inverse=inverse)
    summarise(registration.report, output, written)


@main.command()
@click.argument("transform", type=PATH)
@click.argument("source", metavar="INPUT", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="File to write.")
@click.option(
    "--reference",
    type=PATH,
    help="Image whose grid an image, label map or segmentation is carried onto: the fixed image, or with --inverse the "
    "moving one. [default: the warped image beside the transform; none with --inverse] "
    "For points in voxel, the one they were picked in: the moving image, or the fixed one with --inverse (no default).",
)
@click.option("--inverse", is_flag=True, help="Carry from fixed to moving space.")
@click.option(
    "--interpolation",
    type=click.Choice(["auto", "linear", "nearest"]),
    default="auto",
    show_default=True,
    help="nearest keeps label values, linear is for grey values; auto tells them apart, or asks.",
)
@click.option(
    "--points-in",
    type=POINTS_IN,
    default="lps",
    show_default=True,
    help="Coordinates of CSV points; voxel needs --reference. What is written is in mm, LPS unless ras.",
)
@click.option("--series", help="Which series of an INPUT that is a DICOM folder (number from the list, or UID).")
@click.option("--reference-series", help="Which series of a --reference that is a DICOM folder.")
def apply(transform: Path, source: Path, output: Path, **options: Any) -> None:
    """Carry INPUT from moving to fixed space: an image, label map, .seg.nrrd, points or a surface.

    Example: registrationnet apply result/transform.h5 followup_lesions.seg.nrrd -o lesions_at_baseline.seg.nrrd
    """
    from RegistrationNetLib import carry

    click.echo(carry.carry(transform, source, output, **options))


@main.command()
@click.argument("study", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Folder for the results; made if it is not there.")
@PRESET
@click.option(
    "--links",
    type=PATH,
    help="Table of what you know: which lesions are the same, and which are not (columns earlier_date, earlier, "
    "later_date, later, same). It always wins, is kept in OUTPUT/links.csv, and holds in later runs there.",
)
@click.option(
    "--protect/--no-protect",
    default=True,
    show_default=True,
    help="Leave lesions out of what makes scans alike and keep their volume, so that growth is not hidden.",
)
@click.option(
    "--local/--no-local", default=True, show_default=True, help="Look once more at the surroundings of each lesion."
)
@click.option(
    "--criteria",
    type=click.Choice(["recist", "irecist", "volumetric"]),
    multiple=True,
    help="Judge the response by this, with reasons (more than one may be given). It asks for what it needs of the "
    "lesions: roles, organs, nodes.",
)
@click.option("--pdf", is_flag=True, help="Write report.pdf too; report.html is always written.")
@click.option(
    "--dicom",
    is_flag=True,
    help="Write outlines as DICOM segmentations and measurements as structured reports; scans must be DICOM series.",
)
@click.option("--reader", default="", metavar="NAME", help="Who outlined and linked, for OUTPUT/audit.jsonl.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@advanced
def track(study: Path, output: Path, links: Path | None, pdf: bool, dicom: bool, reader: str, **options: Any) -> None:
    """Follow the lesions of STUDY over its scans: carry them forward, match, measure, and say what changed.

    STUDY is a table with a row for each scan, in any order (columns date, image, outlines; docs/lesions-tracking.md
    lists the others), or a folder: files with the date in their name, those of outlines with 'lesions' too, or a DICOM
    folder for each scan. Outlines are label maps (a label for each lesion) or masks (a piece for each lesion).

    A stopped run goes on when it is started again.

    \b
    Example: registrationnet track study.csv -o tracked
      study.csv:  date,image,outlines
                  2024-01-08,ct1.nii.gz,ct1_lesions.nii.gz
                  2024-03-05,ct2.nii.gz,ct2_lesions.nii.gz
    """
    from RegistrationNetLib import tracking
    from RegistrationNetLib.files.studies import read_study
    from RegistrationNetLib.files.tracking import KEPT, LINKS
    from RegistrationNetLib.reporting.written import FORMATS, check_formats

    wanted = [name for name, asked in zip(FORMATS, (pdf, dicom), strict=True) if asked]
    read = read_study(study)
    check_formats(read, wanted)
    said = [path for path in (output / LINKS, links) if path is not None and (path is links or path.exists())]
    chosen = {name: value for name, value in options.items() if value is not None}
    with progress() as on_progress:
        tracked = tracking.track(read, links=said, keep_in=output / KEPT, on_progress=on_progress, **chosen)
    written = tracking.save(tracked, output, wanted, reader)
    for line in tracking.summary(tracked):
        click.echo(line)
    click.echo(f"Results in {output}: {', '.join(written)}")


@main.command()
@click.argument("fixed", type=PATH, required=False)
@click.argument("moving", type=PATH, required=False)
@click.option(
    "-o", "--output", type=PATH, default=Path("registrationnet-demo"), show_default=True, help="Folder for the results."
)
@PRESET
def demo(fixed: Path | None, moving: Path | None, output: Path, preset: str) -> None:
    """Register a made-up head whose true deformation is known, or FIXED and MOVING if given, and show where to look."""
    from RegistrationNetLib import demo as demonstration

    if (fixed is None) != (moving is None):
        raise click.UsageError("Give both FIXED and MOVING, or neither for the phantom.")
    with progress() as on_progress:
        lines, report, written = demonstration.run(fixed, moving, output, preset, on_progress)
    for line in lines:
        click.echo(line)
    summarise(report, output, written)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--size", type=Size(), default="160x192x224", show_default=True, help="Voxels of your images.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; its keys are explained in docs/networks/README.md.")
def models(names: tuple[str, ...], size: tuple[int, ...], device: str, as_json: bool) -> None:
    """List the networks (or only those named): what each is for and its paper, with an estimate of what one prediction
    would need for images of your size on your device.

    Memory is counted without computing anything; time is measured on small images and scaled up. Expect a quarter to
    either side, for time up to a half.

    Example: registrationnet models --size 256x256x180
    """
    from RegistrationNetLib.engine import models as listing

    with progress() as on_progress:
        listed = listing.models(names, size=size, device=device, on_progress=on_progress)
    where = listing.device_in_words(device)
    if as_json:
        document = {"size": list(size), "device": where, "models": [asdict(model) for model in listed]}
        click.echo(json.dumps(document, indent=2))
    else:
        print_models(listed, size, where)


@main.command()
@click.argument("config", type=PATH, required=False)
@click.option("-o", "--output", type=PATH, required=True, help="Folder for the weights; a stopped run goes on.")
@click.option("--network", type=ModelName(registry.names()), metavar="NAME", help="Train this one instead.")
@click.option(
    "--from",
    "start",
    help="Weights to go on from, instead of a fresh network: a name that 'registrationnet models' lists, or a file.",
)
@click.option("--images", type=PATH, help="Folder of images to learn from.")
@click.option("--labels", type=PATH, help="Folder of their label maps, under the same names.")
@click.option("--steps", type=int, help="Stop after so many steps; the learning rate falls in time for it.")
@click.option("--minutes", type=float, help="Stop after so long at the latest; the learning rate falls in time for it.")
@click.option("--device", help="auto, cpu, cuda, cuda:N or mps.")
def train(
    config: Path | None,
    output: Path,
    **options: Any,
) -> None:
    """Train a network as CONFIG (a TOML file, see docs/training.md) says, or go on with trained weights on images of
    your own. Images never need labels; where there are some, the network learns from them too.

    \b
    Examples: registrationnet train brain.toml -o brain
              registrationnet train --from old.safetensors --images scans --minutes 10 -o mine
              torchrun --nproc-per-node 4 -m RegistrationNetLib.cli train brain.toml -o brain
    """
    from RegistrationNetLib.training.settings import Train
    from RegistrationNetLib.training.tune import tuned

    settings = Train.read(config) if config else None
    settings = tuned(settings, **options)
    from RegistrationNetLib.training.train import train as run

    command = " ".join(["registrationnet train", *_said(config, **options)])
    with progress() as on_progress:
        done = run(settings, output, on_progress=on_progress, command=command)
    click.echo(f"{done.steps:,} steps; validation {done.before:.4f} before, {done.score:.4f} at best.")
    if done.weights is None:
        click.echo("Nothing was better than what it began with, so no weights were written.")
    else:
        click.echo(f"Weights in {done.weights}")


def _said(config: Path | None, **options: Any) -> list[str]:
    """A command's words again, folders by their names alone: what a model card may tell everyone."""
    words = [] if config is None else [config.name]
    for name, value in options.items():
        if value is not None:
            words += [f"--{'from' if name == 'start' else name}", value.name if isinstance(value, Path) else str(value)]
    return words


def print_models(listed: Sequence[Model], size: Sequence[int], device: str | None) -> None:
    """A table that 80 columns have room for, and what its figures mean."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("network", box=None, pad_edge=False)
    for title in ("million\nparameters", "GiB", "seconds", "trained\nweights"):
        table.add_column(title, justify="right", vertical="top")
    for model in listed:
        about = Text.assemble((model.name, "bold"), f"\n{model.purpose}\n", (model.paper, "dim"), "\n")
        for trained in model.weights:
            about.append(f"{trained.name}: learnt from {trained.training_data}; {trained.licence}\n")
        costs = (
            "-" if model.parameters is None else f"{model.parameters / 1e6:.1f}",
            "-" if model.peak_bytes is None else f"{model.peak_bytes / 2**30:.1f}",
            "-" if model.seconds is None else f"{model.seconds:.2g}" if model.seconds < 10 else f"{model.seconds:.0f}",
        )
        table.add_row(about, *costs, str(len(model.weights) or "none yet"))
    console = Console(highlight=False)
    console.print(table)
    if device is not None:
        console.print(
            f"GiB and seconds are estimates for one prediction from images of {'x'.join(map(str, size))} voxels on "
            f"{device}, before refinement; PyTorch itself takes about 0.4 GiB more."
        )
    for note in dict.fromkeys(model.note for model in listed if model.note):
        console.print(f"Note: {note}", markup=False)


@contextmanager
def progress() -> Iterator[OnProgress]:
    """On standard error: a bar with stage, share done and time, gone in the end; elsewhere a line a stage."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _a_line_a_stage()
        return
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Reading", total=1.0)
        yield lambda stage, fraction, message: bar.update(task, completed=fraction, description=message)


def _a_line_a_stage() -> OnProgress:
    seen: set[str] = set()

    def tell(stage: str, fraction: float, message: str) -> None:
        if stage not in seen:
            seen.add(stage)
            click.echo(f"{message} ...", err=True)

    return tell


def summarise(report: dict[str, Any], output: Path, written: list[str]) -> None:
    """What a person wants to read after a run: notes, quality, seconds, files."""
    from RegistrationNetLib.engine.limits import with_unit

    for note in report["notes"]:
        click.echo(f"Note: {note}")
    click.echo(report["model"]["note"])
    marks = {"good": "ok  ", "cannot tell": "?   ", "look": "LOOK", "bad": "BAD "}
    for check in (report["overall"], *report["checks"]):
        click.echo(f"  {marks[check['verdict']]} {with_unit(check)}: {check['value']}")
        if check["verdict"] != "good" or check is report["overall"]:
            click.echo(f"       {check['sentence']}")
    click.echo(
        f"Took {report['seconds_total']:.1f} s on {report['device']}, at most {report['peak_memory_mib']:.0f} MiB."
    )
    click.echo(f"Results in {output}: {', '.join(written)}")


if __name__ == "__main__":
    main()
