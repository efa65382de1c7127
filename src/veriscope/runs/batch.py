"""A list of runs from the first to the last, with the time that the rest will take."""

from collections import deque
from collections.abc import Mapping, Sequence

from rich.console import Console

from veriscope.config.command import typed, word
from veriscope.config.schema import LoggerConfig
from veriscope.progress import say
from veriscope.run_folder import RunFolder
from veriscope.runs.estimate import Estimate
from veriscope.runs.pool import Ended, Job, Pool
from veriscope.runs.results import first_epoch_s


def run_all(
    jobs: Sequence[Job],
    *,
    slots: Sequence[Mapping[str, str]],
    estimate: Estimate,
    stop_at_failure: bool,
    console: Console,
    num_epochs: int | None = None,
) -> list[Ended]:
    """Run every job and return those that failed.

    With `stop_at_failure` none is started after a failure; what runs already goes on to its end, for its work counts.
    `num_epochs` of each training gives an estimate after the first epoch; without it the first comes after a job.
    """
    say(console, estimate.before())
    waiting, failed, timed = deque(jobs), list[Ended](), num_epochs is None
    with Pool(slots, console) as pool:
        while True:
            while waiting and pool.has_room and not (failed and stop_at_failure):
                pool.start(waiting.popleft())
            if not pool.jobs:
                return failed
            for ended in pool.wait():
                if ended.done:
                    say(console, estimate.after_run(ended.seconds))
                    timed = True
                else:
                    say(console, f"{ended.job.name} failed: {ended.reason} (all it said: {ended.job.log})")
                    failed.append(ended)
            epoch_s = None if timed or not pool.jobs else first_epoch_s(RunFolder(pool.jobs[0].folder))
            if epoch_s is not None and num_epochs is not None:
                say(console, estimate.after_epoch(epoch_s, num_epochs=num_epochs))
                timed = True


def list_commands(jobs: Sequence[Job], *, console: Console) -> None:
    """Print what would be run, one line a job."""
    for job in jobs:
        say(console, typed(job.words, program=job.program))


def logger_words(logger: LoggerConfig, *, group: str, job_type: str) -> tuple[str, ...]:
    """Return the words that bring a run into its W&B group, where the user named none."""
    if logger.name != "wandb":
        return ()
    return (word("logger.group", logger.group or group), word("logger.job_type", job_type))
