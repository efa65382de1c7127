"""What a sweep remembers and asks: Optuna's study in a SQLite file. The only module that knows Optuna."""

import contextlib
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from veriscope.config.sweep import ParamConfig, PruningConfig, SweepConfig
from veriscope.errors import ConfigError, RunError

try:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.trial import TrialState
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("optuna", "sqlalchemy", "alembic"):
        raise
    raise ConfigError("veriscope sweep needs Optuna: pip install 'veriscope[sweep]'") from None

optuna.logging.set_verbosity(optuna.logging.WARNING)

State = Literal["complete", "pruned", "failed", "unfinished"]
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "unfinished",
}


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial. `params` holds numbers, and the text of a choice; `values` the objectives, of a complete trial only;
    `seconds` is None while it runs.
    """

    number: int
    state: State
    params: dict[str, Any]
    values: tuple[float, ...]
    seconds: float | None
    reason: str


class Study:
    """Asks for trials and keeps what came of them. Every change is in the file before the call returns.

    `file` None keeps it in memory. What is asked depends on the seed, the trial's number and the results so far, so a
    sweep that was interrupted asks for what the uninterrupted one would have asked for.

    Raises:
        RunError: the file is damaged or missing.

    """

    def __init__(self, config: SweepConfig, file: Path | None, *, num_steps: int, places: int) -> None:
        self._config = config
        self._places = places
        storage = None if file is None else _storage(file)
        self._study = optuna.create_study(
            study_name="sweep",
            storage=storage,
            directions=list(config.directions),
            pruner=_pruner(config.pruning, num_steps=num_steps),
            load_if_exists=True,
        )
        self._trials = {frozen.number: frozen._trial_id for frozen in self._study.get_trials(deepcopy=False)}

    def ask(self) -> int:
        """Return the number of a new trial."""
        self._study.sampler = _sampler(self._config, number=len(self._trials), places=self._places)
        trial = self._study.ask(distributions(self._config.space))
        self._trials[trial.number] = trial._trial_id
        return int(trial.number)

    def params(self, number: int) -> dict[str, Any]:
        """Return what the trial was given: numbers of six digits, and the text of a choice."""
        self._study.sampler = _sampler(self._config, number=number, places=self._places)
        trial = self._trial(number)
        # A process that was killed while it asked has left some out.
        return _short({key: trial._suggest(key, kind) for key, kind in distributions(self._config.space).items()})

    def report(self, number: int, values: Sequence[float], *, num_steps: int) -> bool:
        """Report the objective after each epoch, the first first; return whether the trial should be stopped.

        What was reported before is passed over. After the last of `num_steps` there is nothing to save by stopping.
        """
        trial = self._trial(number)
        known = self._frozen(number).intermediate_values
        stop = False
        for epoch, value in enumerate(values, start=1):
            if epoch not in known:
                trial.report(value, epoch)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of an objective that was never a number
                    stop = stop or (epoch < num_steps and trial.should_prune())
        if stop:
            trial.set_user_attr("stop", True)  # on file, should this process die before the trial has ended
        return stop

    def is_stopped(self, number: int) -> bool:
        """Whether `report` has said that the trial should be stopped."""
        return bool(self._frozen(number).user_attrs.get("stop"))

    def complete(self, number: int, values: Sequence[float], *, seconds: float) -> None:
        """Record a trial that came to its end; `values` are finite, one an objective."""
        self._tell(number, TrialState.COMPLETE, seconds=seconds, values=list(values))

    def prune(self, number: int, *, seconds: float) -> None:
        """Record a trial that was stopped."""
        self._tell(number, TrialState.PRUNED, seconds=seconds)

    def fail(self, number: int, reason: str, *, seconds: float) -> None:
        """Record a trial that failed."""
        self._trial(number).set_user_attr("reason", reason)
        self._tell(number, TrialState.FAIL, seconds=seconds)

    def records(self) -> list[TrialRecord]:
        """Return all trials by number."""
        return [
            TrialRecord(
                number=frozen.number,
                state=_STATES[frozen.state],
                params=_short(frozen.params),
                values=tuple(frozen.values) if frozen.state == TrialState.COMPLETE else (),
                seconds=frozen.user_attrs.get("seconds"),
                reason=str(frozen.user_attrs.get("reason", "")),
            )
            for frozen in self._study.get_trials(deepcopy=False)
        ]

    def best(self) -> list[int]:
        """Return the best complete trial, of equals the first; for several objectives all that none beats in every one.

        Empty while none is complete.
        """
        complete = [record for record in self.records() if record.state == "complete"]
        if not complete:
            return []
        if len(self._config.objectives) > 1:
            return sorted(int(frozen.number) for frozen in self._study.best_trials)
        sign = 1 if self._config.directions[0] == "maximize" else -1
        return [max(complete, key=lambda record: sign * record.values[0]).number]

    def importance(self, objective: int) -> dict[str, float] | str:
        """Return each key's share in the objective's variance over complete trials (fANOVA, Hutter et al. 2014), the
        largest first; or why it can't be told."""
        complete = [record for record in self.records() if record.state == "complete"]
        if len(complete) < 4:
            return f"it takes four complete trials, not {len(complete)}"
        if len({record.values[objective] for record in complete}) < 2:
            return f"all trials have the same {self._config.objectives[objective]}"
        varied = [key for key in self._config.space if len({record.params[key] for record in complete}) > 1]
        if len(varied) < 2:
            return "fewer than two keys had more than one value"
        try:
            shares = optuna.importance.get_param_importances(
                self._study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=self._config.seed),
                params=varied,
                target=lambda frozen: frozen.values[objective],
            )
        except (RuntimeError, ValueError) as error:
            return str(error).strip().splitlines()[0]
        return {key: float(share) for key, share in shares.items()}

    def _tell(self, number: int, state: TrialState, *, seconds: float, values: list[float] | None = None) -> None:
        self._trial(number).set_user_attr("seconds", round(seconds, 1))
        self._study.tell(number, values, state=state)

    def _trial(self, number: int) -> optuna.trial.Trial:
        return optuna.trial.Trial(self._study, self._trials[number])

    def _frozen(self, number: int) -> optuna.trial.FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]


def _short(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with six digits, as they are tried and shown: 0.7 for 0.7000000000000001."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in params.items()}


def distributions(space: Mapping[str, ParamConfig]) -> dict[str, BaseDistribution]:
    """Return the space in Optuna's words."""
    found: dict[str, BaseDistribution] = {}
    for key, param in space.items():
        if param.kind == "choice":
            found[key] = CategoricalDistribution(list(param.texts))
            continue
        assert param.low is not None  # the schema has seen to it
        assert param.high is not None
        if param.kind == "int":
            found[key] = IntDistribution(int(param.low), int(param.high), log=param.log, step=int(param.step or 1))
        else:
            found[key] = FloatDistribution(param.low, param.high, log=param.log, step=param.step)
    return found


def _sampler(config: SweepConfig, *, number: int, places: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial: seeded by its number, so that going on repeats no draw."""
    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    if config.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        # multivariate and constant_liar were called experimental for years; they are what suits here.
        warnings.simplefilter("ignore")
        return optuna.samplers.TPESampler(
            n_startup_trials=config.startup_trials,
            multivariate=len(config.space) > 1,
            constant_liar=places > 1,  # a trial that still runs counts as a bad one: its neighbours ask elsewhere
            warn_independent_sampling=False,
            seed=seed,
        )


def _pruner(config: PruningConfig, *, num_steps: int) -> optuna.pruners.BasePruner:
    if config.name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=config.startup_trials, n_warmup_steps=config.warmup_epochs)
    if config.name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=config.warmup_epochs, reduction_factor=config.reduction_factor
        )
    if config.name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=min(config.warmup_epochs, num_steps),
            max_resource=num_steps,
            reduction_factor=config.reduction_factor,
        )
    return optuna.pruners.NopPruner()


def _storage(file: Path) -> optuna.storages.RDBStorage:
    if file.is_file() and file.stat().st_size:
        try:
            with contextlib.closing(sqlite3.connect(file)) as connection:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            verdict = str(error)
        if verdict != "ok":
            raise RunError(f"'{file}' is damaged ({verdict}); put it back, or start a new sweep")
    elif any(file.parent.glob("trial_*")):
        raise RunError(f"'{file}', which holds the sweep's results, is missing; put it back, or start a new sweep")
    # Not as an address: in one, % and ? in a folder's name mean something else.
    return optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(file)})
