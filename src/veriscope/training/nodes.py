"""Which of a run's machines this one is, and how it finds what the first has made.

Every node gets the same command and shares one file system. Node 0 makes the run folder and writes the configuration
into it; the others wait for that, compare, and start their processes, which meet node 0's at MASTER_ADDR:MASTER_PORT.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from veriscope.config.schema import RunConfig, TrainerConfig
from veriscope.errors import ConfigError, RunError
from veriscope.run_folder import RunFolder
from veriscope.standing import flatten

WAIT_S = 600.0  # nodes of one job start within minutes; each has to read its data first
LOCALHOST = "127.0.0.1"

# What torchrun, SLURM and MPI say of ranks is about processes that they would start. Here train.py starts them itself,
# and one run of many under `srun` must not take itself for a part of another.
FOREIGN = frozenset(
    {"RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"}
    | {"MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "JSM_NAMESPACE_RANK"}
)


@dataclass(frozen=True, slots=True)
class Node:
    """One of `count` machines; `address` and `port` are where all processes meet, port None where any free one does."""

    rank: int = 0
    count: int = 1
    address: str = LOCALHOST
    port: int | None = None


def this_node(config: TrainerConfig, environ: Mapping[str, str] = os.environ) -> Node:
    """Return which of the run's nodes this is, by MASTER_ADDR, MASTER_PORT and NODE_RANK, else SLURM_NODEID.

    Raises:
        ConfigError: there are several nodes, and a variable is missing or wrong.

    """
    if config.num_nodes == 1:
        return Node()
    rank = environ.get("NODE_RANK") or environ.get("SLURM_NODEID")
    found = {"MASTER_ADDR": environ.get("MASTER_ADDR"), "MASTER_PORT": environ.get("MASTER_PORT"), "NODE_RANK": rank}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise ConfigError(
            f"trainer.num_nodes={config.num_nodes} needs {' and '.join(missing)} in the environment of every node: "
            "MASTER_ADDR and MASTER_PORT name node 0 and a free port of it, NODE_RANK counts the nodes from 0"
        )
    for name, top in (("NODE_RANK", config.num_nodes - 1), ("MASTER_PORT", 65_535)):
        if not (str(found[name]).isdecimal() and int(str(found[name])) <= top):
            raise ConfigError(f"{name}={found[name]} is wrong: trainer.num_nodes={config.num_nodes} allows 0 to {top}")
    return Node(int(str(rank)), config.num_nodes, str(found["MASTER_ADDR"]), int(str(found["MASTER_PORT"])))


def check_nodes(config: RunConfig) -> None:
    """Check that a new run on several nodes knows where they meet.

    Raises:
        ConfigError: a variable or paths.run_dir is missing.

    """
    this_node(config.trainer)
    if config.trainer.num_nodes > 1 and config.paths.run_dir is None:
        raise ConfigError(
            f"trainer.num_nodes={config.trainer.num_nodes} needs paths.run_dir=DIR, the same new folder on every node, "
            "on a file system that they share"
        )


def shared_folder(config: RunConfig) -> RunFolder:
    """Return the folder that node 0 makes for a new run.

    Raises:
        RunError: an earlier run has trained there.

    """
    assert config.paths.run_dir is not None  # check_nodes
    folder = RunFolder(config.paths.run_dir)
    if folder.has_checkpoint:
        # No run that waits for this node has one.
        raise RunError(f"paths.run_dir '{folder.path}' is not empty; choose another, or go on: {folder.resume_command}")
    return folder


def wait_for_node_0(
    config: RunConfig, folder: RunFolder, node: Node, *, facts: Mapping[str, Any], limit_s: float = WAIT_S
) -> None:
    """Return when node 0 has begun the run in `folder`, as configured here and with the same `facts`.

    Raises:
        RunError: it hasn't within the limit, or has begun something else.

    """
    deadline = time.monotonic() + limit_s
    while not folder.config.is_file():  # the last file that is written before training begins
        if time.monotonic() > deadline:
            raise RunError(
                f"node 0 has begun no run in '{folder.path}' within {limit_s:.0f} seconds; has it been started, and do "
                "all nodes share that folder?"
            )
        time.sleep(0.5)
    provenance = folder.load_provenance()
    theirs = {**flatten(folder.load_config().model_dump(mode="json")), **provenance}
    ours = {**flatten(config.model_dump(mode="json")), **facts}
    others = sorted(key for key in ours if ours[key] != theirs.get(key))
    if others:
        raise RunError(
            f"node {node.rank} differs from node 0 in {', '.join(others)}; every node needs the same command, the same "
            "data and as many devices"
        )


def worker_environment(node: Node, *, port: int, local_rank: int) -> dict[str, str]:
    """Return this process's environment with the ranks of one of the run's own processes."""
    kept = {name: value for name, value in os.environ.items() if not _foreign(name)}
    return {
        **kept,
        "MASTER_ADDR": node.address,
        "MASTER_PORT": str(port),
        "NODE_RANK": str(node.rank),
        "LOCAL_RANK": str(local_rank),
    }


@contextmanager
def alone() -> Iterator[None]:
    """Hide other launchers' ranks while this process trains by itself: Lightning would log nothing on their rank 1."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if _foreign(name)}
    rank_zero_only.rank = 0
    try:
        yield
    finally:
        os.environ.update(hidden)


def _foreign(name: str) -> bool:
    # With TORCHELASTIC_USE_AGENT_STORE no process would open the port at which all meet.
    return name in FOREIGN or name.startswith("TORCHELASTIC_")
