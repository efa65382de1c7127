"""What the loggers really wrote, read back from their own files."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.helpers.wandb_files import wait_for, wandb_records

from veriscope.config.schema import LoggerConfig
from veriscope.errors import ConfigError, RunError
from veriscope.run_folder import RunFolder
from veriscope.tracking import wandb_offline

Train = Callable[..., RunFolder]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # and no ~/.netrc


@pytest.mark.slow
def test_wandb_records_offline_without_a_key(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train("logger=wandb", "logger.group=sheet")
    said = capsys.readouterr().err
    assert "offline" in said
    assert "wandb sync" in said
    # W&B's own process writes on after the run has been finished.
    wait_for(lambda: any(record.HasField("exit") for record in wandb_records(folder.path)))
    records = wandb_records(folder.path)
    (run,) = {record.run.run_id: record.run for record in records if record.HasField("run")}.values()
    assert run.run_group == "sheet"
    assert "xception" not in run.project
    configured = {item.key for record in records if record.HasField("run") for item in record.run.config.update}
    assert {"model", "data", "optim", "seed"} <= configured
    logged = {
        item.key or ".".join(item.nested_key)
        for record in records
        if record.HasField("history")
        for item in record.history.item
    }
    assert {"val/auroc", "val/loss", "train/loss_step"} <= logged
    assert any("roc" in key for key in logged), logged
    assert any("confusion" in key for key in logged), logged
    assert any(record.request.HasField("log_artifact") or record.HasField("artifact") for record in records)
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [0]


@pytest.mark.slow
def test_a_crash_closes_the_wandb_run_as_failed(train: Train, tmp_path: Path) -> None:
    run_dir = tmp_path / "crash"
    with pytest.raises(RunError, match="the loss became"):
        train(
            "logger=wandb",
            "optim=sgd",
            "optim.lr=1e30",
            "trainer.gradient_clip_norm=null",
            f"++paths.run_dir={run_dir}",
        )
    wait_for(lambda: any(record.HasField("exit") for record in wandb_records(run_dir)))  # by W&B's own process
    assert [record.exit.exit_code for record in wandb_records(run_dir) if record.HasField("exit")] == [1]


def test_tensorboard_files_hold_the_curves(train: Train) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = train("logger=tensorboard")
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert {"val/auroc", "train/loss_epoch"} <= set(events.Tags()["scalars"])
    assert len(events.Scalars("val/auroc")) == 2


def test_online_without_a_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="wandb login"):
        wandb_offline(LoggerConfig(name="wandb", mode="online"))


def test_a_key_without_a_network_goes_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "https://127.0.0.1:9")  # nothing listens on the discard port
    offline, reason = wandb_offline(LoggerConfig(name="wandb"))
    assert offline
    assert "can't be reached" in reason


@pytest.mark.slow
def test_a_run_never_shares_the_wandb_service_of_the_process_that_started_it(tmp_path: Path) -> None:
    """There a run that was killed stays in use, and can't go on under its id for as long as that process lives."""
    script = (
        "import sys, pathlib; from rich.console import Console; from veriscope.tracking import wandb_run;"
        "from veriscope.config.schema import LoggerConfig\n"
        "config = LoggerConfig(name='wandb', mode='offline')\n"
        "with wandb_run(config, pathlib.Path(sys.argv[1]), facts={}, console=Console(stderr=True)): pass\n"
    )
    elsewhere = {**os.environ, "WANDB_SERVICE": f"3-{os.getpid()}-unix-{tmp_path}/service"}
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, env=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert wandb_records(tmp_path)
