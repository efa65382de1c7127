"""What clusters are given: SLURM's file as submitit writes it, W&B's sweep as its agent expands it."""

import os
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from veriscope.config.load import CONF_DIR, compose_run

ROOT = CONF_DIR.parent


def launcher(*words: str) -> dict[str, object]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", list(words), return_hydra_config=True)
    return dict(config.hydra.launcher)


def test_slurm_gets_one_task_with_the_gpus_that_a_run_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit", reason="the extra 'cluster' is not installed")
    for name in ("srun", "sbatch"):  # submitit looks for them before it writes anything
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = launcher("hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=4")
    executor = submitit.AutoExecutor(cluster="slurm", folder=tmp_path)
    shared = ("timeout_min", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb", "name")
    slurm = ("partition", "signal_delay_s", "setup", "additional_parameters", "array_parallelism")
    executor.update_parameters(**{key: found[key] for key in shared}, **{f"slurm_{key}": found[key] for key in slurm})
    text = executor._executor._make_submission_file_text(executor._executor._submitit_command_str, "uid")
    for line in ("partition=gpu", "gpus-per-node=4", "ntasks-per-node=1", "nodes=1", "time=1440", "job-name=veriscope"):
        assert f"#SBATCH --{line}\n" in text
    assert "#SBATCH --no-requeue\n" in text


def test_the_wandb_sweep_calls_train_py_as_its_agent_would(monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load((ROOT / "docs" / "examples" / "wandb_sweep.yaml").read_text(encoding="utf-8"))
    drawn = {name: {"value": spec.get("values", [spec.get("max")])[-1]} for name, spec in sweep["parameters"].items()}
    parts = create_sweep_command_args({"args": drawn})
    words = []
    for part in create_sweep_command(sweep["command"]):
        words += parts["args_no_hyphens"] if part == "${args_no_hyphens}" else [part]
    config = compose_run([word for word in words if "=" in word])
    assert (config.optim.lr, config.optim.weight_decay, config.loss.label_smoothing) == (3e-3, 0.1, 0.1)
    assert config.logger.name == "wandb"
    assert sweep["metric"] == {"name": config.callbacks.monitor, "goal": "maximize"}
