"""One training process for each device, as plain processes that never see Hydra.

Lightning's own launcher would call train.py again for each rank, which under a multirun expands the sweep again and
writes a second tree of folders. Here each rank is `python -m veriscope.training.worker RUN_FOLDER`: everything it
needs stands in the run folder.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import torch

from veriscope.config.schema import TrainerConfig
from veriscope.errors import INTERRUPTED, TERMINATED, ConfigError, RunError, Terminated
from veriscope.processes import child_environment
from veriscope.run_folder import RunFolder
from veriscope.training.nodes import LOCALHOST, Node, worker_environment

LOST_PEER = 3  # exit code of a worker whose peers have gone


def num_processes(config: TrainerConfig) -> int:
    """Return how many training processes this node runs.

    Raises:
        ConfigError: more GPUs are asked for than the machine has.

    """
    gpus = torch.cuda.device_count() if config.accelerator in ("auto", "gpu") else 0
    if config.accelerator == "gpu" and gpus == 0:
        raise ConfigError(
            "trainer.accelerator=gpu, but torch sees no GPU here; trainer.accelerator=auto takes what is there"
        )
    if config.devices == "auto":
        return max(gpus, 1)
    if gpus and config.devices > gpus:
        raise ConfigError(f"trainer.devices={config.devices}, but this machine has {gpus} GPUs")
    return config.devices


def launch_workers(run_folder: Path, *, processes: int, node: Node) -> None:
    """Run one worker a device of this node and wait for all; when one fails, the others are ended.

    Raises:
        RunError: a worker failed; the text is its own where it could say why.
        KeyboardInterrupt: Ctrl-C or SIGTERM (Terminated), after every worker has ended.

    """
    command = [sys.executable, "-m", "veriscope.training.worker", str(run_folder)]
    with tempfile.TemporaryDirectory(prefix="veriscope-") as reports:
        codes = _run(command, processes=processes, node=node, reports=Path(reports))
        said = [file.read_text(encoding="utf-8") for file in sorted(Path(reports).iterdir())]
    if TERMINATED in codes:
        raise Terminated
    if INTERRUPTED in codes:
        raise KeyboardInterrupt
    if said:
        raise RunError("\n".join(dict.fromkeys(said)))  # what all ranks say is said once
    failed = next((code for code in codes if code not in (0, None)), 0)
    if failed == LOST_PEER and node.count > 1:
        raise RunError(
            "the processes of another node have gone; that node says why. Go on with, on every node: "
            f"{RunFolder(run_folder).resume_command}"
        )
    if failed:
        raise RunError(
            f"a training process ended with code {failed}; go on with: {RunFolder(run_folder).resume_command}"
        )


def _run(command: list[str], *, processes: int, node: Node, reports: Path) -> list[int | None]:
    """Run `command` once a rank and return the exit codes; each may leave its error's text under `reports`."""
    port = node.port or _free_port()
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    workers = []
    for rank in range(processes):
        environment = {
            "OMP_NUM_THREADS": threads,  # else every process takes every core
            **child_environment(worker_environment(node, port=port, local_rank=rank)),
            "VERISCOPE_REPORTS": str(reports),
        }
        workers.append(subprocess.Popen(command, env=environment))
    try:
        return _wait(workers)
    except KeyboardInterrupt as stop:
        if isinstance(stop, Terminated):
            for worker in workers:
                worker.terminate()
        # The terminal has sent Ctrl-C to the workers too: give them time to close their loggers.
        _end(workers, grace_s=20)
        raise


def _wait(workers: list["subprocess.Popen[bytes]"]) -> list[int | None]:
    """Return the exit codes at the time when all ended well, or the first ended badly; the rest is ended then."""
    while True:
        codes = [worker.poll() for worker in workers]
        if all(code == 0 for code in codes):
            return list(codes)
        if any(code not in (0, None) for code in codes):
            _end(workers, grace_s=5)
            return list(codes)
        time.sleep(0.2)


def _end(workers: list["subprocess.Popen[bytes]"], *, grace_s: float) -> None:
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(worker.poll() is None for worker in workers):
        time.sleep(0.1)
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(signal.SIGKILL)
        worker.wait()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])
