"""Slabs: they cover a volume once, and threads that share them change nothing."""

import threading
import time

import pytest
import torch

from RegistrationNetLib.core import slabs
from RegistrationNetLib.core.filters import smooth
from RegistrationNetLib.core.slabs import at_once, each, spread
from RegistrationNetLib.core.threads import flushes_denormals


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 3), (90, 80, 70), (3, 900, 900), (200, 190, 180)])
def test_slabs_cover_every_slice_once_and_in_order(shape):
    rows = slabs.slabs(torch.empty((1, 1, 1, 1, 1)).expand(1, 1, *shape))
    assert [index for one in rows for index in range(one.start, one.stop)] == list(range(shape[0]))


def test_threads_share_slabs_and_the_result_is_the_same_to_the_last_bit(two_threads):
    volume = torch.rand((1, 3, 90, 80, 70), generator=torch.Generator().manual_seed(1))
    alone = smooth(volume, 1.3)
    meeting = threading.Barrier(2, timeout=30)  # where nobody gets on alone
    with at_once():
        assert torch.equal(smooth(volume, 1.3), alone)
        assert threading.get_ident() not in each(volume, lambda rows: (meeting.wait() and 0) or threading.get_ident())
        inner = each(
            volume, lambda rows: len(each(volume, lambda within: within))
        )  # by one thread: no waiting in circles
    assert inner == [len(slabs.slabs(volume))] * len(inner)


def test_afterwards_pytorch_has_its_threads_again_whatever_happened(two_threads):
    with pytest.raises(ZeroDivisionError), at_once():
        each(torch.zeros((1, 1, 90, 80, 70)), lambda rows: 1 / 0)
    assert torch.get_num_threads() == 2
    assert each(torch.zeros((1, 1, 90, 80, 70)), lambda rows: threading.get_ident()) == [threading.get_ident()] * 4


def test_within_one_operation_takes_one_thread(two_threads):
    with at_once():
        assert torch.get_num_threads() == 1
        assert set(each(torch.zeros((1, 1, 90, 80, 70)), lambda rows: torch.get_num_threads())) == {1}


def test_progress_is_told_to_the_caller_in_its_own_thread_and_ends_the_work_by_raising(two_threads):
    told, begun = [], []
    with at_once():
        assert spread(range(8), lambda part: part**2, lambda done: told.append((done, threading.get_ident()))) == [
            part**2 for part in range(8)
        ]

    def stop(done: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError), at_once():
        spread(range(200), lambda part: begun.append(part) or time.sleep(0.002), stop)
    assert told == [((index + 1) / 8, threading.get_ident()) for index in range(8)]
    assert len(begun) < 50


@pytest.mark.parametrize("flushed", [False, True])
def test_threads_treat_numbers_next_to_zero_as_the_one_they_work_for(two_threads, flushed):
    torch.set_flush_denormal(flushed)
    try:
        with at_once():
            assert set(spread(range(4), lambda part: flushes_denormals())) == {flushed}
    finally:
        torch.set_flush_denormal(False)
