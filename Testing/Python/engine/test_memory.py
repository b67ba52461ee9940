"""The peak is this process's own."""

import subprocess
import sys

import numpy as np

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
