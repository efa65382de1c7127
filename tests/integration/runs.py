"""What tests of whole runs share."""

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.integration.conftest import TINY

from veriscope.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]


Train = Callable[..., RunFolder]


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.bundle / "weights.safetensors")


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def history(folder: RunFolder) -> list[dict[str, str]]:
    with folder.history.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


TWO_PHASES = ("schedule=two_phase", "schedule.phases.frozen.epochs=2", "trainer.max_epochs=4")


def command(pictures: Path, runs: Path, *words: str) -> list[str]:
    plus = [word.replace("++", "") for word in TINY]
    return [sys.executable, "train.py", *plus, f"data.root={pictures}", f"paths.runs={runs}", *words]


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
