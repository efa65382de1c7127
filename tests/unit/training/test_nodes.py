"""Nodes know who they are, or say what is missing; other launchers' words are none of theirs."""

import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from pytorch_lightning.utilities import rank_zero_only

from veriscope.config.load import CONF_DIR, to_plain, validate
from veriscope.config.schema import RunConfig, TrainerConfig
from veriscope.errors import ConfigError, RunError
from veriscope.run_folder import PhaseResult, Progress, RunFolder
from veriscope.training.nodes import (
    Node,
    alone,
    check_nodes,
    shared_folder,
    this_node,
    wait_for_node_0,
    worker_environment,
)

MEETING = {"MASTER_ADDR": "node0", "MASTER_PORT": "29500"}
FACTS = {"processes": 2, "data_hash": "abc"}


def configured(*words: str) -> RunConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        plain = to_plain(compose("train", ["trainer.num_nodes=2", *words]))
    plain.pop("resume")
    return validate(RunConfig, plain)


def begun(run_dir: Path, *words: str, **facts: object) -> RunFolder:
    """What node 0 leaves before it trains."""
    folder = RunFolder(run_dir)
    run_dir.mkdir()
    folder.save_config(configured(f"paths.run_dir={run_dir}", *words))
    folder.save_provenance({**FACTS, **facts}, diff=None)
    return folder


@pytest.mark.parametrize("name", ["NODE_RANK", "SLURM_NODEID"])
def test_a_node_is_what_the_environment_says(name: str) -> None:
    several = TrainerConfig(num_nodes=3)
    assert this_node(several, {**MEETING, name: "2"}) == Node(2, 3, "node0", 29500)
    assert this_node(several, {**MEETING, "NODE_RANK": "1", "SLURM_NODEID": "2"}).rank == 1
    assert this_node(TrainerConfig(), {**MEETING, name: "2"}) == Node(0, 1, "127.0.0.1", None)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "needs MASTER_ADDR and MASTER_PORT and NODE_RANK in the environment"),
        (MEETING, "needs NODE_RANK in"),
        ({"MASTER_PORT": "1", "NODE_RANK": "0"}, "needs MASTER_ADDR in"),
        ({**MEETING, "NODE_RANK": "2"}, "NODE_RANK=2 is wrong: trainer.num_nodes=2 allows 0 to 1"),
        ({**MEETING, "NODE_RANK": "-1"}, "NODE_RANK=-1 is wrong"),
        ({"MASTER_ADDR": "a", "MASTER_PORT": "ssh", "NODE_RANK": "0"}, "MASTER_PORT=ssh is wrong"),
    ],
)
def test_what_is_missing_is_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        this_node(TrainerConfig(num_nodes=2), environ)


def test_several_nodes_need_a_folder_that_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**MEETING, "NODE_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"needs paths.run_dir=DIR, the same new folder on every node"):
        check_nodes(configured())
    check_nodes(configured("paths.run_dir=somewhere"))


def test_another_node_waits_for_the_same_run(tmp_path: Path) -> None:
    config = configured(f"paths.run_dir={tmp_path / 'run'}")
    with pytest.raises(RunError, match=r"node 0 has begun no run in .* within 0 seconds"):
        wait_for_node_0(config, RunFolder(tmp_path / "run"), Node(1, 2), facts=FACTS, limit_s=0)
    folder = begun(tmp_path / "run")
    assert shared_folder(config) == folder
    wait_for_node_0(config, folder, Node(1, 2), facts=FACTS)


@pytest.mark.parametrize(
    ("words", "facts", "named"),
    [
        (["optim.lr=0.5", "seed=7"], {}, "optim.lr, seed"),
        ([], {"processes": 4}, "processes"),
        ([], {"data_hash": "other"}, "data_hash"),
    ],
)
def test_another_node_with_another_command_is_refused(
    tmp_path: Path, words: list[str], facts: dict[str, object], named: str
) -> None:
    folder = begun(tmp_path / "run")
    config = configured(f"paths.run_dir={tmp_path / 'run'}", *words)
    with pytest.raises(RunError, match=f"node 1 differs from node 0 in {named}; every node needs the same command"):
        wait_for_node_0(config, folder, Node(1, 2), facts={**FACTS, **facts})


def test_a_node_does_not_join_what_has_trained_already(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.save_progress(Progress(data_hash="abc", phases={"main": PhaseResult(epochs=1, steps=1, best=0.5)}))
    with pytest.raises(RunError, match="is not empty"):
        shared_folder(configured(f"paths.run_dir={tmp_path / 'run'}"))


def test_ranks_of_other_launchers_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "8",
        "SLURM_PROCID": "3",
        "MASTER_ADDR": "elsewhere",
        "MASTER_PORT": "1",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 3)
    with alone():
        assert not set(foreign) & set(os.environ)
        assert rank_zero_only.rank == 0
    assert {name: os.environ[name] for name in foreign} == foreign
    theirs = worker_environment(Node(1, 2, "node0", 29500), port=29500, local_rank=0)
    ranks = {"MASTER_ADDR": "node0", "MASTER_PORT": "29500", "NODE_RANK": "1", "LOCAL_RANK": "0"}
    assert {name: value for name, value in theirs.items() if name in {*foreign, *ranks}} == ranks
