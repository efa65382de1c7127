"""Several machines, played by several commands on one; and what other launchers leave in the environment."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score
from tests.integration.runs import ROOT, Train, command, history, same, weights

from veriscope.evaluation.predictions import PredictionTable
from veriscope.run_folder import RunFolder
from veriscope.training.launch import _free_port

# As `srun` and torchrun leave it for the second of four tasks. Nothing answers at that address.
SECOND_OF_FOUR = {
    "SLURM_JOB_ID": "1234",
    "SLURM_JOB_NAME": "sweep",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_NNODES": "1",
    "SLURM_NODELIST": "node[0-1]",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "1",
    "NODE_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "192.0.2.1",
    "MASTER_PORT": "1",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RUN_ID": "none",
}


def started(words: list[str], environ: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(words, cwd=ROOT, env={**os.environ, **environ}, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_nodes_of_one_process_equal_one_node_of_two(
    train: Train, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "shared"
    words = command(
        pictures, tmp_path / "runs", "trainer.num_nodes=2", "optim.lr_rule=linear", f"paths.run_dir={run_dir}"
    )
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    # The other node first: it has to wait.
    other = started(words, {**meeting, "SLURM_NODEID": "1"})
    first = started(words, {**meeting, "NODE_RANK": "0"})
    said, others_said = (process.communicate(timeout=400)[1] for process in (first, other))
    assert (first.returncode, other.returncode) == (0, 0), said + others_said
    assert "waiting for node 0" in others_said
    assert "bundle:" not in others_said
    assert "effective batch 16 = 8 a process x 2 processes x 1 accumulated" in said
    for name, value in SECOND_OF_FOUR.items():  # nor does this change anything for two processes of one command
        monkeypatch.setenv(name, value)
    one_node = train("trainer.devices=2", "++optim.lr_rule=linear")
    both = RunFolder(run_dir)
    figures = ("train/loss", "val/loss", "val/auroc", "lr")
    assert [[row[f] for f in figures] for row in history(both)] == [
        [row[f] for f in figures] for row in history(one_node)
    ]
    assert same(weights(both), weights(one_node))
    facts = json.loads((run_dir / "provenance.json").read_text(encoding="utf-8"))
    assert (facts["nodes"], facts["processes"], facts["effective_batch_size"], facts["lr_factor"]) == (2, 2, 16, 2.0)
    assert [float(row["lr"]) for row in history(both)] == pytest.approx([0.006] * 2)
    # Of an odd number of pictures, which two processes fill up with a copy, each counts once.
    table = PredictionTable.read(one_node.validation)
    assert len(table) == 21
    logged = max(float(row["val/auroc"]) for row in history(one_node))
    assert roc_auc_score(table.labels, table.logits) == pytest.approx(logged, abs=1e-6)


@pytest.mark.slow
def test_other_launchers_change_nothing(train: Train, pictures: Path, tmp_path: Path) -> None:
    """One of many tasks under `srun` is a run of its own, with its own logs."""
    run_dir = tmp_path / "run"
    words = command(pictures, tmp_path / "runs", f"paths.run_dir={run_dir}", "logger=tensorboard")
    process = started(words, SECOND_OF_FOUR)
    said = process.communicate(timeout=200)[1]
    assert process.returncode == 0, said
    assert same(weights(RunFolder(run_dir)), weights(train()))
    assert list((run_dir / "tensorboard").glob("events.*"))
