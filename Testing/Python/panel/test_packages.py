"""Installing what is missing into Slicer's Python, by pip itself, from packages made here instead of the network."""

import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from RegistrationNetLib.panel import packages


def wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    """A package that pip can install, with one empty module."""
    info = f"{name}-{version}.dist-info"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {need}" for need in needs),
    ]
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        for path, text in files.items():
            file.writestr(path, text)


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's only source of packages, and a folder to install into, as if this Python's own."""
    for key, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "TARGET": str(tmp_path / "installed")}.items():
        monkeypatch.setenv(f"PIP_{key}", value)
    return tmp_path


def ended(installation: packages.Installation) -> packages.Installation:
    begun = time.monotonic()
    while not installation.look():
        assert time.monotonic() - begun < 60
        time.sleep(0.05)
    return installation


def test_what_is_missing_is_installed(apart: Path) -> None:
    wheel(apart, "registrationnet_needs", "1.2")
    done = ended(packages.Installation(["registrationnet_needs>=1"]))
    assert (done.failure, done.sentence, done.fraction) == ("", "Everything is installed.", 1.0)
    assert (apart / "installed/registrationnet_needs.py").exists()


def test_nothing_that_is_there_is_replaced(apart: Path) -> None:
    numpy = metadata.version("numpy")
    wheel(apart, "registrationnet_needs", "1.2", "numpy>99")
    wheel(apart, "numpy", "100.0")
    done = ended(packages.Installation(["registrationnet_needs>=1"]))
    assert "nothing was changed" in done.failure
    assert not (apart / "installed").exists()
    assert f"numpy=={numpy}" in packages.constraints()


def test_a_package_that_is_nowhere_is_said_with_what_to_do(apart: Path) -> None:
    assert "no build of a needed package" in ended(packages.Installation(["registrationnet_needs>=1"])).failure


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("WARNING: Retrying after connection broken by 'NewConnectionError(...)'", "cannot be reached"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/opt'",
            "may not be written",
        ),
        ("ERROR: something new", "its last words: ERROR: something new"),
    ],
)
def test_what_pip_says_becomes_a_sentence(line: str, said: str) -> None:
    assert said in packages.why(["Collecting torch", line, ""])


def test_cancelling_ends_it_at_once(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "commands", lambda *_: [[sys.executable, "-c", "import time; time.sleep(60)"]] * 2)
    installation = packages.Installation(["registrationnet_needs"])
    assert not installation.look()
    begun = time.monotonic()
    installation.cancel()
    ended(installation)
    assert time.monotonic() - begun < 10
    assert installation.sentence.startswith("Cancelled")


def test_what_is_being_written_is_written_to_its_end(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"import time; print('Installing collected packages: a'); time.sleep(1.5); open({str(apart / 'end')!r}, 'w')"
    monkeypatch.setattr(packages, "commands", lambda *_: [[sys.executable, "-c", code]])
    installation = packages.Installation(["registrationnet_needs"])
    while "cannot be interrupted" not in installation.sentence:
        assert not installation.look()
    installation.cancel()
    ended(installation)
    assert (apart / "end").exists()


def test_progress_names_what_is_downloaded() -> None:
    said = ["Collecting torch", "  Downloading https://host/whl/torch-2.9.1%2Bcu128-cp312-linux.whl (899.8 MB)"]
    assert packages._doing(said) == "Downloading torch (899.8 MB)"
    assert 0 < packages._progress(said) < packages._progress([*said, "  Downloading sympy-1.14-py3.whl (6.3 MB)"]) < 0.8


def test_pytorch_is_fetched_by_the_tool_that_knows_the_gpu(tmp_path: Path) -> None:
    first, second = packages.commands(["psutil>=5.9", "torch>=2.4"], tmp_path / "constraints.txt")
    assert {"psutil>=5.9", "light-the-torch>=0.5"} < set(first)
    assert second[1:4] == ["-m", "light_the_torch", "install"]
    assert second[-1] == "torch>=2.4"
    for command in (first, second):
        assert command[command.index("--constraint") + 1] == str(tmp_path / "constraints.txt")
    assert packages.commands(["psutil>=5.9"], tmp_path / "c")[0][-1] == "psutil>=5.9"
    assert len(packages.commands(["psutil>=5.9"], tmp_path / "c")) == 1


def test_what_is_there_is_not_missing_and_half_a_pytorch_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.missing() == []
    assert packages.offer([]) == ""
    file = tmp_path / "requirements.txt"
    file.write_text("# comment\nnumpy>=1.26\nno-such-package>=1\ntorch>=99\n")
    assert packages.missing(file) == ["no-such-package>=1", "torch>=99"]
    assert "no-such-package" in packages.offer(["no-such-package>=1"])

    def broken(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", broken)
    assert packages.missing() == ["torch>=2.4"]


def test_pip_knows_every_option_that_it_is_called_with() -> None:
    command = packages.commands(["psutil>=5.9"], Path("no-such-file"))[0]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
