"""What is counted of the refinement is what its operations read and write, each under its part."""

import pytest
import torch

from benchmarks import refinement, refinement_gpu
from benchmarks.refinement import ELSEWHERE, PARTS, REST, Parts, Traffic, count, fused, table
from RegistrationNetLib.engine.settings import Refine

SIZE = (48, 52, 56)
FEW = Refine(steps_coarse=1, steps_half=2, steps_full=2)
BYTES = 4 * 10 * 12


def volume() -> torch.Tensor:
    return torch.empty(10, 12, device=ELSEWHERE)


@pytest.mark.parametrize(
    ("operation", "times"),
    [
        (lambda a, b: a + b, 3),
        (lambda a, b: a.add_(b), 3),
        (lambda a, b: torch.add(a, b, out=volume()), 3),
        (lambda a, b: a.copy_(b), 2),
        (lambda a, b: a.zero_(), 1),
        (lambda a, b: a * 2, 2),
        (lambda a, b: torch.cat([a, b]), 4),
        (lambda a, b: a + b[:1], 2.1),
        (lambda a, b: a + b[:1].expand(10, 12), 2.1),
        (lambda a, b: a.T[3:].reshape(-1, 10), 0),
        (lambda a, b: torch.empty_like(a), 0),
        (lambda a, b: a[:, None] @ b.T, 2 + 100 / 120),
    ],
)
def test_an_operation_moves_what_it_reads_and_what_it_writes(operation, times):
    with Traffic() as traffic:
        operation(volume(), volume())
    assert traffic.costs[REST].bytes == times * BYTES
    assert traffic.costs[REST].kernels == (times > 0)


def test_a_kernel_takes_the_longer_of_its_launch_and_its_bytes():
    with Traffic(bandwidth=3 * BYTES, launch=0.5) as traffic:
        volume() + volume()
        volume().zero_()
    assert traffic.costs[REST].seconds == pytest.approx(1 + 0.5)


def test_what_runs_within_a_part_belongs_to_it(monkeypatch):
    outer = lambda: refinement.refinement.smooth(torch.ones(1, 1, 4, 4, 4), 1.0)  # noqa: E731
    monkeypatch.setattr(refinement.refinement, "evened", outer)
    with Parts().named() as parts:
        refinement.refinement.evened()
        assert set(parts.seconds) == {"evening"}
        refinement.refinement.smooth(torch.ones(1, 1, 4, 4, 4), 1.0)
    assert set(parts.seconds) == {"evening", "smoothing"}
    assert refinement.refinement.evened is outer


def test_every_part_runs_and_none_moves_less_than_if_it_were_fused():
    counted, least = count(FEW, SIZE), fused(FEW, SIZE)
    assert set(least) == set(PARTS)
    for name in PARTS:
        assert counted.costs[name].bytes >= least[name] > 0


@pytest.mark.parametrize("size", [(48, 52, 56), (64, 48, 40)])
def test_bytes_grow_with_the_iterations_and_the_voxels_as_in_the_formula(size):
    """From 1 to 2 iterations at full resolution: 47 values of 4 bytes for each voxel."""
    one, two = (fused(Refine(steps_coarse=1, steps_half=1, steps_full=n), size) for n in (1, 2))
    assert sum(two.values()) - sum(one.values()) == 47 * 4 * torch.Size(size).numel()


def test_the_last_row_is_the_sum_of_the_others():
    rows = [row.strip("| ").split(" | ") for row in table(count(FEW, SIZE), fused(FEW, SIZE), None)]
    kernels = [int(row[1].replace(",", "")) for row in rows]
    assert rows[-1][0] == "all"
    assert kernels[-1] == sum(kernels[:-1]) > 0


def test_a_warm_run_on_a_device_leaves_out_the_first_and_reads_the_peak_in_gib(monkeypatch):
    calls: list[str] = []
    run = refinement_gpu.refine
    monkeypatch.setattr(refinement_gpu, "refine", lambda *given: calls.append("run") or run(*given))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    seconds, gib = refinement_gpu.warm(FEW, refinement.made_up(SIZE), torch.device("cpu"))
    assert calls[:2] == ["run", "reset"]
    assert set(calls[2:]) == {"run"}
    assert seconds > 0
    assert gib == 1.5


@pytest.mark.parametrize(
    ("preset", "seconds", "gib", "verdicts"),
    [
        ("balanced", 0.2, 0.9, ["met", "met"]),
        ("balanced", 0.3, 1.1, ["missed", "missed"]),
        ("accurate", 0.9, 0.9, ["met", "met"]),
        ("accurate", 1.1, 0.9, ["missed", "met"]),
    ],
)
def test_time_and_memory_on_a_gpu_are_held_against_what_they_may_be(preset, seconds, gib, verdicts):
    assert [demand.verdict for demand in refinement_gpu.demands(preset, seconds, gib)] == verdicts
