"""Runs that die and go on: bit-equal, or with an error that says why not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from tests.integration.runs import ROOT, TWO_PHASES, Train, command, history, same, weights

from veriscope.errors import RunError
from veriscope.run_folder import RunFolder, open_run_folder
from veriscope.training.data import load_data
from veriscope.training.fit import BestCheckpoint, WholeCheckpoints
from veriscope.training.module import DetectionModule
from veriscope.training.start import start_run

PLATEAU = ("schedule=plateau", "trainer.max_epochs=3")


EMA = ("++callbacks.ema_decay=0.9", "optim=adamw")


ONE_CYCLE_EMA = ("schedule=one_cycle", "schedule.phases.main.epochs=3", "trainer.max_epochs=3", *EMA)


@pytest.mark.parametrize(
    ("words", "phase_index", "epoch"),
    [
        (PLATEAU, 0, 1),
        (ONE_CYCLE_EMA, 0, 0),
        (ONE_CYCLE_EMA, 0, 2),
        (TWO_PHASES, 0, 1),
        (TWO_PHASES, 1, 0),
        (TWO_PHASES, 1, 1),
    ],
)
def test_one_epoch_and_one_more_equal_two(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], phase_index: int, epoch: int
) -> None:
    """A run that dies in any epoch, the first included, then goes on, ends bit-equal: pretrained weights, schedule,
    dropout, Adam's and the average's state."""
    start = tmp_path / "pretrained.safetensors"
    torch.manual_seed(7)
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), start)
    words = (*words, "model.head.dropout=0.5", "augment=affine", f"model.backbone.weights={start}")
    whole = train(*words)
    step = DetectionModule.training_step

    def dies(module: DetectionModule, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if (module._phase_index, module.current_epoch, batch_idx) == (phase_index, epoch, 3):
            raise OSError("power cut")
        return step(module, batch, batch_idx)

    monkeypatch.setattr(DetectionModule, "training_step", dies)
    with pytest.raises(OSError, match="power cut"):
        train(*words, f"++paths.run_dir={whole.path.parent / 'broken'}")
    monkeypatch.setattr(DetectionModule, "training_step", step)
    broken = whole.path.parent / "broken"
    assert not (broken / "bundle").exists()
    folder, config = open_run_folder(broken, overrides=[f"resume={broken}"])
    start_run(config, folder, load_data(config), overrides=())
    assert same(weights(whole), weights(folder))
    columns = ("epoch", "train/loss", "val/loss", "val/auroc", "lr")
    assert [[row[c] for c in columns] for row in history(whole)] == [
        [row[c] for c in columns] for row in history(folder)
    ]
    with pytest.raises(RunError, match="complete"):
        open_run_folder(broken, overrides=[])


@pytest.mark.slow
def test_kill_9_then_resume(pictures: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    long = ("schedule.phases.main.epochs=200", "trainer.max_epochs=200")
    words = command(pictures, tmp_path, *long, f"paths.run_dir={run_dir}")
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run_dir / "checkpoints/main/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = int(history(RunFolder(run_dir))[-1]["epoch"])
    config = (run_dir / "config.yaml").read_text(encoding="utf-8")
    (run_dir / "config.yaml").write_text(config.replace("max_epochs: 200", f"max_epochs: {done + 3}"), encoding="utf-8")
    again = subprocess.run(
        [sys.executable, "train.py", f"resume={run_dir}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    epochs = [int(row["epoch"]) for row in history(RunFolder(run_dir))]
    assert epochs == list(range(done + 3))
    assert (run_dir / "bundle/bundle.json").is_file()


def broken_run(train: Train, monkeypatch: pytest.MonkeyPatch, run_dir: Path) -> Path:
    """A run that died in its second epoch."""
    step = DetectionModule.training_step

    def dies(module: DetectionModule, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if module.current_epoch == 1:
            raise OSError("power cut")
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(DetectionModule, "training_step", dies)
        with pytest.raises(OSError, match="power cut"):
            train(f"++paths.run_dir={run_dir}")
    return run_dir


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("progress.json", b""),
        ("provenance.json", b'{"seed": 4'),
        ("history.csv", b"a,b\n1,2\n"),
        ("checkpoints/main/last.ckpt", None),
        ("config.yaml", b"seed: ["),
    ],
)
def test_a_damaged_file_is_named_on_resume(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes | None
) -> None:
    run_dir = broken_run(train, monkeypatch, tmp_path / "run")
    file = run_dir / name
    file.write_bytes(file.read_bytes()[:-5000] if content is None else content)

    def resume() -> None:
        folder, config = open_run_folder(run_dir, overrides=[])
        start_run(config, folder, load_data(config), overrides=())

    with pytest.raises(RunError, match=f"{file.name}' is damaged"):
        resume()


def test_two_processes_cannot_train_in_one_folder(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_dir = broken_run(train, monkeypatch, tmp_path / "run")
    folder, config = open_run_folder(run_dir, overrides=[])
    with RunFolder(run_dir).locked(), pytest.raises(RunError, match="another process is training"):
        start_run(config, folder, load_data(config), overrides=())
    start_run(config, folder, load_data(config), overrides=())
    assert (folder.bundle / "bundle.json").is_file()


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, file)
    with pytest.raises(AttributeError):  # torch can't pickle a lambda: an error in the middle of writing
        WholeCheckpoints().save_checkpoint({"epoch": 2, "bad": lambda: None}, file)
    assert torch.load(file, weights_only=True) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_a_moved_run_folder_keeps_its_best_epoch(tmp_path: Path) -> None:
    """Lightning's callback forgets the best figure when its folder has another name: any later epoch would ship."""

    def checkpoint(folder: str) -> BestCheckpoint:
        return BestCheckpoint(dirpath=tmp_path / folder, filename="best", monitor="val/loss", mode="min", save_top_k=1)

    old, new = checkpoint("old"), checkpoint("new")
    old.best_model_score = old.kth_value = torch.tensor(0.1)
    old.best_model_path = old.kth_best_model_path = str(tmp_path / "old" / "best.ckpt")
    old.best_k_models = {old.best_model_path: old.best_model_score}
    new.load_state_dict(old.state_dict())
    assert new.best_model_score == pytest.approx(0.1)
    assert new.kth_value == pytest.approx(0.1)
    assert new.best_model_path == new.kth_best_model_path == str(tmp_path / "new" / "best.ckpt")
    assert list(new.best_k_models) == [new.best_model_path]
