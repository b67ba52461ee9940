"""The peak is this process's own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil

from RegistrationNetLib.engine import memory
from RegistrationNetLib.engine.memory import peak_memory_mib

CODE = "from RegistrationNetLib.engine.memory import peak_memory_mib; print(peak_memory_mib())"


def test_what_was_held_counts_after_it_is_gone():
    before = peak_memory_mib()
    held = np.ones(int(before * 2**17) + 50 * 2**17)  # as much again and 50 MiB
    del held
    assert peak_memory_mib() > before + 50


def test_what_the_program_held_that_started_this_one_does_not_count():
    held = np.ones(400 * 2**17)  # 400 MiB
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    assert float(said) < 300
    assert held[0] == 1


def group(folder: Path, limit: str, used: int, files: int) -> None:
    """As Linux describes a control group, version 2."""
    folder.mkdir(exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - files}\ninactive_file {files}\n")


def test_a_container_or_batch_job_has_less_than_the_computer(tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.write_text("0::/job/step\n")
    (tmp_path / "job").mkdir()
    group(tmp_path / "job" / "step", "max", 700, 0)
    assert memory._left_to_groups(tmp_path, own) == []
    group(tmp_path / "job", "1000", 700, 200)
    assert memory._left_to_groups(tmp_path, own) == [500]
    group(tmp_path / "job" / "step", "600", 650, 0)  # a limit that was lowered
    assert memory._left_to_groups(tmp_path, own) == [0, 500]
    assert memory._left_to_groups(tmp_path, tmp_path / "no such file") == []
    plenty = memory.free_bytes()
    assert 2**20 < plenty <= psutil.virtual_memory().total
    monkeypatch.setattr(memory, "_left_to_groups", lambda: [12345])
    assert memory.free_bytes() == 12345
