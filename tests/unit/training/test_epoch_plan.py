"""Several processes see the global batches of one process, for every number of pictures."""

from itertools import chain

import pytest

from veriscope.data.dataset import SeededSampler
from veriscope.training.data import EpochPlan


def batches(num_samples: int, *, batch_size: int, processes: int) -> list[list[list[int]]]:
    """Return for each step the pictures that count, a list for each process."""
    plan = EpochPlan(num_samples, batch_size, processes)
    drawn = [
        [
            index
            for _, index in SeededSampler(
                num_samples, seed=3, num_replicas=processes, rank=rank, num_drawn=plan.num_drawn
            )
        ]
        for rank in range(processes)
    ]
    assert len({len(part) for part in drawn}) == 1, "a process with more batches than another hangs"
    steps = []
    for step, start in enumerate(range(0, len(drawn[0]), batch_size)):
        loaded = [part[start : start + batch_size] for part in drawn]
        assert batch_size == 1 or min(map(len, loaded)) > 1, "batch norm takes no variance of a single picture"
        shares = [plan.share(step, rank=rank) for rank in range(processes)]
        steps.append([part[:count] for part, (count, _) in zip(loaded, shares, strict=True)])
        assert {everywhere for _, everywhere in shares} == {sum(len(part) for part in steps[-1])}
    return steps


@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_the_global_batches_do_not_depend_on_the_number_of_processes(processes: int, batch_size: int) -> None:
    for num_samples in range(2, 6 * batch_size * processes):
        one = batches(num_samples, batch_size=batch_size * processes, processes=1)
        several = batches(num_samples, batch_size=batch_size, processes=processes)
        assert [sorted(step[0]) for step in one] == [sorted(chain.from_iterable(step)) for step in several]
        assert all(len(set(step[0])) == len(step[0]) for step in one), "no picture twice in a step"


def test_one_process_leaves_out_what_torch_would() -> None:
    """The rule that runs of one process have had: torch's drop_last for two batches and more, or a single picture."""
    for num_samples in range(2, 60):
        drop_last = num_samples >= 16 or (num_samples > 8 and num_samples % 8 == 1)
        expected = num_samples // 8 * 8 if drop_last else num_samples
        plan = EpochPlan(num_samples, 8, 1)
        assert (plan.num_used, plan.num_drawn) == (expected, expected)
