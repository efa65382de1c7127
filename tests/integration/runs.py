"""What tests of whole runs share."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

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
