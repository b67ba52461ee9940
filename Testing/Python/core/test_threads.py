"""How PyTorch computes in a thread is changed for a while only, whatever other threads do meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from RegistrationNetLib.core.slabs import at_once
from RegistrationNetLib.core.threads import flushes_denormals, threads
from RegistrationNetLib.engine.devices import flushed_denormals, free_threads


def elsewhere(work):
    """What a thread that begins now gives."""
    with ThreadPoolExecutor(1) as one:
        return one.submit(work).result(timeout=30)


@pytest.mark.parametrize("change", [lambda: threads(1), at_once, free_threads], ids=["count", "at once", "free"])
def test_of_two_that_overlap_neither_leaves_its_number_behind(two_threads, monkeypatch, change):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    first_left, second_within = threading.Event(), threading.Event()

    def second() -> int:
        with threads(1), change():
            second_within.set()
            assert first_left.wait(30)
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as other:
        with threads(1), change():
            after = other.submit(second)  # begins where one thread was set last
            assert second_within.wait(30)
        assert torch.get_num_threads() == 2
        first_left.set()
        assert after.result(timeout=30) == 2
    assert elsewhere(torch.get_num_threads) == 2


def test_one_that_begins_within_another_has_as_many_threads_as_that_one_had(two_threads):
    def count() -> int:
        with threads() as before:
            assert torch.get_num_threads() == before
            return before

    with threads(1):
        assert elsewhere(count) == 2


def test_what_is_within_gives_back_what_is_around(two_threads):
    with threads(3):
        with threads(1) as before:
            assert (before, torch.get_num_threads()) == (3, 1)
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 2


def test_numbers_next_to_zero_count_afterwards_as_they_did_before():
    assert not flushes_denormals()
    with flushed_denormals():
        with flushed_denormals():
            assert flushes_denormals()
        assert flushes_denormals()
    assert not flushes_denormals()
