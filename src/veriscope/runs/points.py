"""The points of `python train.py -m`: each a process of its own, then one table of them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from veriscope.config.command import key_of, word
from veriscope.config.load import to_plain, validate
from veriscope.config.schema import RunConfig
from veriscope.errors import ConfigError, RunError, VeriscopeError
from veriscope.progress import say
from veriscope.run_folder import RunFolder
from veriscope.runs.aggregate import summary_figures
from veriscope.runs.batch import list_commands, logger_words, run_all
from veriscope.runs.estimate import Estimate
from veriscope.runs.pool import Job
from veriscope.runs.results import run_seconds
from veriscope.runs.slots import slots_for
from veriscope.runs.summary import summarise
from veriscope.standing import standing
from veriscope.tracking import record_whole

_OWN = ("paths.run_dir", "dry_run")


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a multirun: what its command line says, what that comes to, and where it trains."""

    name: str
    overrides: tuple[str, ...]
    folder: Path
    config: RunConfig

    @classmethod
    def from_composed(cls, composed: Any, *, name: str, overrides: Sequence[str], folder: Path) -> "Point":
        """Return the point that Hydra composed.

        Raises:
            ConfigError: it can't be run; names the point.

        """
        try:
            plain = to_plain(composed)
            if plain.pop("resume") is not None:
                raise ConfigError("-m starts runs; resume=RUN_FOLDER goes on with one, without -m")
            config = validate(RunConfig, plain)
            if config.paths.run_dir is not None:
                raise ConfigError("-m gives each run a folder of its own: hydra.sweep.dir=DIR, not paths.run_dir")
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        return cls(name, tuple(overrides), folder, config)


def run_points(points: Sequence[Point], *, folder: Path, workers: int | None) -> None:
    """Run the points that aren't complete, each in its own folder below `folder`.

    Raises:
        ConfigError: no point, or the same one twice.
        RunError: some points failed; all the others are done. Or `folder` is something else's.
        KeyboardInterrupt: Ctrl-C, after every run has ended.

    """
    console = Console(stderr=True)
    if not points:
        raise ConfigError("there is nothing to run: a range or a list of the sweep is empty")
    twice = {point.name for point in points if sum(other.overrides == point.overrides for other in points) > 1}
    if twice:
        raise ConfigError(f"{' and '.join(sorted(twice))} are the same; name each value once")
    if any((folder / name).exists() for name in ("config.yaml", "study.db")):
        raise RunError(f"'{folder}' is the folder of a run or a sweep; choose another hydra.sweep.dir")
    if any(point.config.dry_run for point in points):
        list_commands([_job(point, folder, points) for point in points], console=Console())
        return
    places = slots_for([point.config for point in points], workers=workers, key="hydra.launcher.workers")
    jobs, known_s = [], []
    for point in points:
        where = standing(RunFolder(point.folder), point.config)
        if where == "complete":
            known_s.append(run_seconds(RunFolder(point.folder)))
        else:
            jobs.append(_job(point, folder, points, resumed=where == "begun"))
    say(console, f"multirun: {folder}")
    try:
        failed = run_all(
            jobs,
            slots=places,
            estimate=Estimate(num_runs=len(points), places=len(places), known_s=known_s),
            num_epochs=points[0].config.planned_epochs,
            stop_at_failure=False,
            console=console,
        )
    except KeyboardInterrupt:
        way_on = word("hydra.sweep.dir", folder)
        say(console, f"stopped; what is done stays. Go on by typing the same command with {way_on}")
        raise
    if failed:
        say_summary(folder)
        names = {point.folder: point.name for point in points}
        lines = [f"{names[ended.job.folder]}: {ended.reason}" for ended in failed]
        raise RunError(f"{len(failed)} of {len(points)} runs failed, the others are done:\n" + "\n".join(lines))


def say_summary(folder: Path) -> None:
    """Print and write the summary of the runs below `folder`; an error is said, not raised."""
    console = Console(stderr=True)
    try:
        groups = summarise(folder, console=console)
        if not groups:
            return
        first = groups[0].runs[0].config
        record_whole(
            first.logger,
            folder,
            job_type="sweep",
            facts={"varied": [group.setting for group in groups], "data": first.data.name, "model": first.model.name},
            figures={
                name: value
                for group in groups
                for name, value in summary_figures(group.spreads, prefix=group.name).items()
            },
            pictures={},
            console=console,
        )
    except VeriscopeError as error:
        say(console, f"no summary: {error}")


def _job(point: Point, folder: Path, points: Sequence[Point], *, resumed: bool = False) -> Job:
    words: tuple[str, ...] = (word("resume", point.folder),)
    if not resumed:
        said = [said for said in point.overrides if key_of(said) not in _OWN]
        folds = len({other.config.split.fold for other in points}) > 1
        group = logger_words(point.config.logger, group=folder.name, job_type="fold" if folds else "trial")
        words = (*said, word("paths.run_dir", point.folder), *group)
    return Job(
        name=f"run {point.folder.name}",
        words=words,
        folder=point.folder,
        log=point.folder.parent / f"{point.folder.name}.log",
    )
