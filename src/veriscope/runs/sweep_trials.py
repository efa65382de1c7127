"""The trials of a sweep, from the first that is left to the last."""

import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from veriscope.config.command import word
from veriscope.config.load import compose_run
from veriscope.config.schema import RunConfig
from veriscope.config.sweep import LOGGED, trial_words
from veriscope.errors import RunError, VeriscopeError
from veriscope.progress import duration, say
from veriscope.run_folder import RunFolder
from veriscope.runs.batch import logger_words
from veriscope.runs.estimate import Estimate
from veriscope.runs.pool import Ended, Job, Pool
from veriscope.runs.results import first_epoch_s, fold_folder
from veriscope.runs.study import Study, TrialRecord
from veriscope.runs.sweep_plan import Plan, refuse_changed_conf
from veriscope.runs.trials import log_file, logged, number_text, outcome, params_text, trial_folder, trial_seconds
from veriscope.standing import standing

HOPELESS = 3  # failures before anything else came of a trial: what is wrong is wrong with all
BROKEN = 5  # failures one after the other, later: bad luck, or a full disk that would burn every trial that is left
_FREED_S = 10.0  # the children of a sweep that was killed end within a second or two of it


class SweepTrials:
    """Runs a sweep's trials and tells the study what came of each."""

    def __init__(self, plan: Plan, folder: RunFolder, study: Study, *, data_hash: str, console: Console) -> None:
        self._plan = plan
        self._folder = folder
        self._study = study
        self._data_hash = data_hash
        self._console = console
        self._configs: dict[int, RunConfig] = {}
        self._num_reported: dict[int, int] = {}
        self._stopping: set[int] = set()
        self.num_failed_in_a_row = 0  # in this start
        self._deadline = float("inf")

    def run(self, places: Sequence[Mapping[str, str]]) -> None:
        """Run until nothing is left to start and nothing runs.

        Raises:
            RunError: conf/ has changed, or a trial's folder isn't free.

        """
        sweep, records = self._plan.sweep, self._study.records()
        self._begun = deque(record.number for record in records if record.state == "unfinished")
        known_s = [record.seconds or 0.0 for record in records if record.state != "unfinished"]
        self._estimate = Estimate(num_runs=max(sweep.trials, len(records)), places=len(places), known_s=known_s)
        self._timed = bool(known_s)
        if sweep.timeout_h is not None:
            self._deadline = time.monotonic() + 3600 * sweep.timeout_h
        say(self._console, self._estimate.before())
        with Pool(places, self._console) as pool:
            while True:
                while pool.has_room and self._may_start():
                    job = self._next()
                    if job is not None:
                        pool.start(job)
                if not pool.jobs:
                    break
                for ended in pool.wait():
                    self._record(ended)
                for job in pool.jobs:
                    self._watch(job, pool)
        left = sweep.trials - len(self._study.records())
        if left > 0 and time.monotonic() > self._deadline:
            say(self._console, f"sweep.timeout_h={sweep.timeout_h:g} is over; {left} trials were not begun")

    def _may_start(self) -> bool:
        if self._begun:
            return True
        records = self._study.records()
        if len(records) >= self._plan.sweep.trials or is_hopeless(records, num_failed=self.num_failed_in_a_row):
            return False
        return time.monotonic() < self._deadline

    def _next(self) -> Job | None:
        """Return the job of the next trial, one that was begun first; None where there is nothing to run for it."""
        refuse_changed_conf(self._plan, self._folder)
        resumed = bool(self._begun)
        number = self._begun.popleft() if resumed else self._study.ask()
        params = self._study.params(number)
        place = trial_folder(self._folder, number)
        words = [
            *self._plan.words,
            *trial_words(self._plan.sweep.space, params),
            word("paths.run_dir", place.path),
            *logger_words(self._plan.base.logger, group=self._folder.path.name, job_type="trial"),
        ]
        if resumed and place.path.is_dir():
            _wait_until_free(place)
        try:
            self._configs[number] = compose_run(words)
            where = standing(place, self._configs[number])
        except VeriscopeError as error:  # two values that don't go together, or its files were tampered with
            self._failed(number, str(error), seconds=0.0)
            return None
        if where == "complete":
            self._completed(number)
            self._estimate.after_run(trial_seconds(place))
            return None
        if self._study.is_stopped(number):
            seconds = trial_seconds(place)
            self._study.prune(number, seconds=seconds)
            self._estimate.after_run(seconds)
            return None
        say(self._console, f"trial {number}{' goes on' if where == 'begun' else ''}: {params_text(params)}")
        if where == "begun":
            words = [word("resume", place.path)]
        return Job(f"trial {number}", tuple(words), place.path, log_file(self._folder, number))

    def _watch(self, job: Job, pool: Pool) -> None:
        """Say the first estimate, report what a running trial has logged, and stop it where the study says so."""
        number = _number(job)
        config, place = self._configs[number], RunFolder(job.folder)
        if not self._timed:
            first = fold_folder(place, 0) if config.split.all_folds else place
            epoch_s = first_epoch_s(first)
            if epoch_s is not None:
                epochs = config.planned_epochs * (config.split.num_folds if config.split.all_folds else 1)
                say(self._console, self._estimate.after_epoch(epoch_s, num_epochs=epochs))
                self._timed = True
        if number not in self._stopping and self._report(number):
            self._stopping.add(number)
            pool.stop(job)

    def _report(self, number: int, *, ended: bool = False) -> bool:
        """Tell the study what the trial has logged since; return whether it should be stopped, and say so.

        A trial that has `ended` isn't stopped any more; its last epochs are told all the same.
        """
        objective, config = self._plan.sweep.objectives[0], self._configs[number]
        if len(self._plan.sweep.objectives) > 1 or objective not in LOGGED:
            return False
        values: list[float] = []
        with contextlib.suppress(RunError):  # a file is damaged: the trial will say so itself
            values = logged(trial_folder(self._folder, number), config, metric=objective)
        if len(values) <= self._num_reported.get(number, 0):
            return False
        self._num_reported[number] = len(values)
        if not self._study.report(number, values, num_steps=0 if ended else self._plan.num_steps):
            return False
        after = f"fold {len(values) - 1}" if config.split.all_folds else f"epoch {len(values)}"
        what = f"{objective} {number_text(values[-1])} is behind the others"
        say(self._console, f"trial {number} is stopped after {after}: {what} ({self._plan.sweep.pruning.name})")
        return True

    def _record(self, ended: Ended) -> None:
        number = _number(ended.job)
        place = RunFolder(ended.job.folder)
        seconds = trial_seconds(place, measured_s=ended.seconds)
        if ended.done:
            self._completed(number, seconds=seconds)
        elif self._study.is_stopped(number):
            self._study.prune(number, seconds=seconds)
            self.num_failed_in_a_row = 0
        else:
            self._failed(number, ended.reason, seconds=seconds)
        say(self._console, self._estimate.after_run(seconds))
        self._timed = True

    def _completed(self, number: int, *, seconds: float = 0.0) -> None:
        self._report(number, ended=True)
        place, sweep = trial_folder(self._folder, number), self._plan.sweep
        config = self._configs[number]
        seconds = trial_seconds(place, measured_s=seconds)
        try:
            values = outcome(place, config, objectives=sweep.objectives, data_hash=self._data_hash)
        except RunError as error:
            self._failed(number, str(error), seconds=seconds)
            return
        self._study.complete(number, values, seconds=seconds)
        self.num_failed_in_a_row = 0
        came = ", ".join(
            f"{objective} {number_text(value)}" for objective, value in zip(sweep.objectives, values, strict=True)
        )
        best = self._study.best()
        stand = " (the best so far)" if number in best else f"; the best so far: trial {', '.join(map(str, best))}"
        say(self._console, f"trial {number}: {came} in {duration(seconds)}{stand}")

    def _failed(self, number: int, reason: str, *, seconds: float) -> None:
        self.num_failed_in_a_row += 1
        self._study.fail(number, reason, seconds=seconds)
        say(
            self._console,
            f"trial {number} failed: {reason} (all it said: {log_file(self._folder, number)})",
        )


def is_hopeless(records: Sequence[TrialRecord], *, num_failed: int) -> bool:
    """Whether so many trials of this start have failed one after the other that the next would too."""
    never = all(record.state in ("failed", "unfinished") for record in records)
    return num_failed >= (HOPELESS if never else BROKEN)


def _number(job: Job) -> int:
    return int(Path(job.folder).name.removeprefix("trial_"))


def _wait_until_free(place: RunFolder) -> None:
    """Wait for the processes of a sweep that was killed.

    Raises:
        RunError: another process trains there, and goes on.

    """
    deadline = time.monotonic() + _FREED_S
    for folder in (place, *(RunFolder(path) for path in sorted(place.path.glob("fold_*")) if path.is_dir())):
        while True:
            try:
                with folder.locked():
                    break
            except RunError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
