"""The pages keep what they promise: their links lead somewhere, and the worked example works as it stands there."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from RegistrationNetLib.cli import main
from RegistrationNetLib.core.errors import WeightsError
from RegistrationNetLib.files.images import write_image
from RegistrationNetLib.networks import registry, weights
from RegistrationNetLib.phantom import phantom_pair

ROOT = Path(__file__).parents[2]
NETWORKS = ROOT / "docs" / "networks"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language on a page, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?:)([^)\s]*)\)", page.read_text(encoding="utf-8"))
    missing = []
    for link in links:
        file, _, place = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (place and place not in anchors(target)):
            missing.append(link)
    assert missing == []


def test_the_overview_names_every_network_and_links_every_page():
    overview = (NETWORKS / "README.md").read_text(encoding="utf-8")
    assert [name for name in registry.names() if f"`{name}`" not in overview] == []
    pages = {path.name for path in NETWORKS.glob("*.md")} - {"README.md"}
    assert [page for page in pages if f"({page})" not in overview] == []


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the page's two pieces of Python were followed, and what the second one printed."""
    folder = tmp_path_factory.mktemp("own")
    network, training = blocks(NETWORKS / "your-own.md", "python")
    (folder / "my_network.py").write_text(network, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", training], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture
def here(example: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder as the current one, its network not yet named in this program."""
    monkeypatch.setattr(registry, "_named", {})
    monkeypatch.chdir(example[0])
    return example[0]


def test_the_example_learns(example: tuple[Path, str]):
    before, after = map(float, re.findall(r"-?[0-9.]+", example[1]))
    assert after < before - 0.1


@torch.no_grad()
@pytest.mark.parametrize("output", ["velocity", "displacement"])
def test_the_example_starts_as_the_identity_at_any_size(here: Path, output: str):
    network = registry.create("my_network.py:MyNet", output=output)
    fields = network(*torch.rand(2, 1, 1, 9, 17, 12))
    assert [field.shape for field in fields] == [(1, 3, 9, 17, 12)]
    assert 0 < fields[-1].abs().max() < 0.05


def test_the_examples_commands_work(here: Path):
    phantom = phantom_pair(voxel_mm=5)
    for side in ("fixed", "moving"):
        write_image(getattr(phantom, side), here / f"{side}.nii.gz")
    (commands,) = blocks(NETWORKS / "your-own.md", "sh")
    listing, registering = commands.strip().splitlines()
    assert re.search(r"my_network:MyNet +0\.", said(listing))
    output = said(registering + " --preset fast")
    assert "my_network:MyNet predicted the start from its weights 'my_network'" in output
    report = json.loads((here / "result" / "report.json").read_text())
    assert report["model"]["name"] == "my_network:MyNet"


def said(command: str) -> str:
    program, *arguments = shlex.split(command)
    assert program == "registrationnet"
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_its_weights_alone_run_no_code(here: Path):
    with pytest.raises(WeightsError, match="name its file too"):
        weights.load(here / "my_network.safetensors")
