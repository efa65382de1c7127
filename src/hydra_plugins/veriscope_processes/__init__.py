"""What Hydra needs of veriscope for `-m`: a launcher that runs every point as its own process, and a summary after it.

Hydra takes launchers from the package `hydra_plugins` alone, and imports everything in it at each start: so this module
imports nothing heavy before it is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@dataclass
class ProcessLauncherConf:
    """hydra/launcher=processes. `workers`: points side by side; None: as many as the GPUs allow, on the CPU one."""

    _target_: str = "hydra_plugins.veriscope_processes.ProcessLauncher"
    workers: int | None = None


ConfigStore.instance().store(group="hydra/launcher", name="processes", node=ProcessLauncherConf, provider="veriscope")


class ProcessLauncher(Launcher):
    """Runs each point of a multirun as `python train.py POINT`."""

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what `launch` needs."""
        self._loader = hydra_context.config_loader
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Check every point, then run those that aren't complete.

        Raises:
            VeriscopeError: a point can't be run as configured (none is started then), or some have failed (all others
                are done then).

        """
        from veriscope.runs.points import Point, run_points

        shared = set.intersection(*map(set, job_overrides)) if job_overrides else set()
        points = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            composed = self._loader.load_sweep_config(self._config, list(overrides))
            with open_dict(composed):
                composed.hydra.job.id = composed.hydra.job.num = number
            folder = Path(str(composed.hydra.sweep.dir)).absolute() / str(composed.hydra.sweep.subdir)
            with open_dict(composed):
                del composed["hydra"]
            own = " ".join(word.removeprefix("++") for word in overrides if word not in shared)
            name = f"run {number}" + (f" ({own})" if own else "")
            points.append(Point.from_composed(composed, name=name, overrides=overrides, folder=folder))
        run_points(points, folder=Path(str(self._config.hydra.sweep.dir)).absolute(), workers=self._workers)
        return [JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED) for overrides in job_overrides]


class Summary(Callback):
    """Sums a multirun up when its last point is done, whichever launcher ran it."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say where other launchers' jobs print: they say nothing here before all have ended."""
        if not config.dry_run and str(config.hydra.launcher._target_).rpartition(".")[2] != ProcessLauncher.__name__:
            from rich.console import Console

            from veriscope.progress import say

            folder = config.hydra.sweep.dir
            say(Console(stderr=True), f"multirun: {folder}; its jobs print into {folder}/.submitit (Ray's: here). The")
            say(Console(stderr=True), f"summary comes when all have ended; later: veriscope summary {folder}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the summary."""
        from veriscope.runs.points import say_summary

        if not config.dry_run:
            say_summary(Path(str(config.hydra.sweep.dir)))
