"""Runs that end before their end: by a signal, or by a loss that is no number."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.wandb_files import wait_for, wandb_records
from tests.integration.runs import ROOT, Train, command, history

from veriscope.errors import RunError
from veriscope.run_folder import RunFolder, open_run_folder
from veriscope.training.module import DetectionModule

LONG = ("schedule.phases.main.epochs=500", "trainer.max_epochs=500")


def started(words: list[str], run_dir: Path) -> "subprocess.Popen[str]":
    """Return a run of its own process group that has finished an epoch."""
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while not (run_dir / "checkpoints/main/last.ckpt").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("everybody", "words"),
    [
        pytest.param(False, ("trainer.devices=2", "logger=wandb"), id="kill, which the parent hands on"),
        pytest.param(True, ("trainer.devices=2", "data.num_workers=1"), id="as SLURM signals, loaders too"),
    ],
)
def test_sigterm_ends_a_run_as_ctrl_c_does(
    pictures: Path, tmp_path: Path, everybody: bool, words: tuple[str, ...]
) -> None:
    """Exit code 128 + 15, the way on, no traceback, the last checkpoint whole, no process left, W&B told."""
    run_dir = tmp_path / "run"
    process = started(command(pictures, tmp_path, *LONG, *words, f"paths.run_dir={run_dir}"), run_dir)
    (os.killpg if everybody else os.kill)(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143, said
    assert said.count(f"go on with: python train.py resume={run_dir}") == 1
    assert said.rstrip().endswith("error: ended by SIGTERM")
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    DetectionModule.load_from_checkpoint(run_dir / "checkpoints/main/last.ckpt", weights_only=True)
    folder, _ = open_run_folder(run_dir, overrides=[])
    assert not folder.bundle.exists()
    with folder.locked():
        pass
    if "logger=wandb" in words:
        wait_for(lambda: any(record.HasField("exit") for record in wandb_records(run_dir)))
        assert [record.exit.exit_code for record in wandb_records(run_dir) if record.HasField("exit")] == [1]


def poisoned(monkeypatch: pytest.MonkeyPatch, *, epoch: int, last_step: bool) -> None:
    """Make a weight NaN in `epoch`: before its first step, or after its last."""
    start, end = DetectionModule.on_train_batch_start, DetectionModule.on_train_batch_end

    def poison(module: DetectionModule) -> None:
        with torch.no_grad():
            module.detector.classifier.bias.fill_(float("nan"))

    def before(module: DetectionModule, batch: Any, batch_idx: int) -> None:
        if module.current_epoch == epoch and not last_step:
            poison(module)
        start(module, batch, batch_idx)

    def after(module: DetectionModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if module.current_epoch == epoch and last_step and module.trainer.is_last_batch:
            poison(module)
        end(module, outputs, batch, batch_idx)

    monkeypatch.setattr(DetectionModule, "on_train_batch_start", before)
    monkeypatch.setattr(DetectionModule, "on_train_batch_end", after)


@pytest.mark.parametrize(
    ("last_step", "message"),
    [
        (False, r"the loss became nan in epoch 2, step \d+; the batch held (train/(real|fake)/\d+\.jpg(, | and )?)+"),
        (
            True,
            r"after epoch 2 the network answers 21 of the val pictures with no number; they are val/(real|fake)/\d+",
        ),
    ],
)
def test_weights_that_are_no_numbers_stop_and_leave_good_checkpoints(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_step: bool, message: str
) -> None:
    poisoned(monkeypatch, epoch=2, last_step=last_step)
    with pytest.raises(RunError, match=message):
        train("trainer.max_epochs=4", f"++paths.run_dir={tmp_path / 'run'}")
    folder = RunFolder(tmp_path / "run")
    assert [row["epoch"] for row in history(folder)] == ["0", "1"]
    for name in ("best", "last"):
        kept = DetectionModule.load_from_checkpoint(folder.checkpoints("main") / f"{name}.ckpt", weights_only=True)
        assert all(torch.isfinite(tensor).all() for tensor in kept.state_dict().values()), name
