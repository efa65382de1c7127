"""Several processes are one run: the same global batches, the same loss, the same figures."""

import shutil
from pathlib import Path

import pytest
import torch
from tests.integration.runs import Train, history, weights

from veriscope.run_folder import RunFolder

# No batch norm: its statistics are each process's own. SGD: Adam makes much of gradients that are all rounding.
NO_BATCH_NORM = ("model.backbone.name=test_convnext", "optim=sgd", "optim.lr=0.05", "trainer.precision=fp32")


def some_of(pictures: Path, root: Path, **counts: tuple[int, int]) -> Path:
    """Return a copy of the data that holds so many real and fake pictures of each split."""
    for split, (real, fake) in counts.items():
        for name, count in (("real", real), ("fake", fake)):
            (root / split / name).mkdir(parents=True)
            for file in sorted((pictures / split / name).iterdir())[:count]:
                shutil.copy(file, root / split / name)
    return root


def assert_same_run(left: RunFolder, right: RunFolder, *, tolerance: float) -> None:
    figures = ("train/loss", "val/loss", "val/auroc", "val/ap", "val/accuracy", "lr")
    rows = [[[float(row[name]) for name in figures] for row in history(folder)] for folder in (left, right)]
    assert len(rows[0]) == len(rows[1]) > 0
    for first, second in zip(*rows, strict=True):
        assert first == pytest.approx(second, abs=tolerance)
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=tolerance, rtol=tolerance)


@pytest.mark.slow
def test_two_processes_equal_one_of_twice_the_batch(train: Train, pictures: Path, tmp_path: Path) -> None:
    """A last batch of 4 and 3 pictures, and one class of val each. Other counts: test_epoch_plan."""
    data = some_of(pictures, tmp_path / "data", train=(12, 11), val=(1, 1))
    one = train(*NO_BATCH_NORM, f"data.root={data}", "++data.batch_size=16")
    two = train(*NO_BATCH_NORM, f"data.root={data}", "++data.batch_size=8", "trainer.devices=2")
    assert_same_run(one, two, tolerance=2e-5)
