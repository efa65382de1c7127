"""A sweep before it starts: from words to a plan that is known to compose, and the folder that keeps it."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from veriscope.config.command import key_of, override, typed
from veriscope.config.load import compose_run, compose_sweep
from veriscope.config.schema import ModelConfig, RunConfig
from veriscope.config.sweep import SweepConfig, joined_words, split_words, trial_words
from veriscope.errors import ConfigError, RunError
from veriscope.files import write_text
from veriscope.run_folder import RunFolder, new_folder
from veriscope.standing import differences, flatten
from veriscope.types import Frozen

_OWN = ("paths.run_dir", "dry_run", "logger.group", "logger.job_type")
_CHANGEABLE = ("sweep.trials", "sweep.workers", "sweep.timeout_h")
# Trials that differ in these were judged on other pictures, ran on other hardware, or lie elsewhere.
_SAME_FOR_ALL = ("seed", "split", "data", "paths", "logger", "crossval", "tag", "preview", "dry_run",
                 "trainer.accelerator", "trainer.devices", "trainer.num_nodes")  # fmt: skip
_FREE = ("data.batch_size", "data.num_workers")


class Plan(Frozen):
    """What a sweep's folder keeps in config.yaml: the sweep, the words of its runs, and the run that they alone are.

    `words` are without the searched keys and without what the sweep itself says to each trial.
    """

    sweep: SweepConfig
    words: tuple[str, ...]
    base: RunConfig

    @property
    def num_steps(self) -> int:
        """After how many steps a trial is done, for pruning: epochs, of a cross-validation folds."""
        return self.base.split.num_folds if self.base.split.all_folds else self.base.planned_epochs

    def save(self, folder: RunFolder) -> None:
        """Write it."""
        write_text(folder.config, yaml.safe_dump(self.model_dump(mode="json", by_alias=True), sort_keys=False))

    def typed(self, params: dict[str, Any]) -> str:
        """Return the command that trains one trial anew, as a person types it."""
        return typed([*self.words, *trial_words(self.sweep.space, params)])


def read_sweep(words: Sequence[str]) -> tuple[RunFolder | None, Plan]:
    """Return the plan that the words after `veriscope sweep` mean, with the folder in which `resume=` finds it.

    Raises:
        ConfigError, RunError: see `plan_sweep` and `open_sweep`.

    """
    if any(said.startswith("resume=") for said in words):
        folder, plan = open_sweep(words)
        refuse_changed_conf(plan, folder)
        return folder, plan
    return None, plan_sweep(words)


def plan_sweep(words: Sequence[str]) -> Plan:
    """Return the sweep that the words after `veriscope sweep` ask for; `check_space` sees what is searched.

    Raises:
        ConfigError: a word that the sweep or train.py doesn't know, or a value that they refuse.

    """
    own, said = split_words(list(words))
    sweep = compose_sweep(own)
    told = joined_words(sweep.base, said)
    base = compose_run(told)
    if base.preview:
        raise ConfigError("preview=true shows the pictures of one run: leave it out, or use train.py")
    searched = [word for word in told if key_of(word) in sweep.space]
    if searched:
        key = key_of(searched[0])
        raise ConfigError(
            f"{searched[0]} sets what the sweep searches; leave it out, or search less: ~sweep.space.{key}"
        )
    if base.split.all_folds and "val/loss" in sweep.objectives:
        raise ConfigError("val/loss is no figure of a cross-validation; take log_loss")
    return Plan(sweep=sweep, words=tuple(word for word in told if key_of(word) not in _OWN), base=base)


def check_space(plan: Plan) -> None:
    """Compose the corners of the space: the lowest values of all keys, the highest, and each option at least once.

    Raises:
        ConfigError, ModelError: a searched key that train.py doesn't know, or a value that it refuses.

    """
    space, alone = plan.sweep.space, compose_run(plan.words)
    models: list[ModelConfig] = []
    for index in range(max(2, *(len(param.options) for param in space.values()))):
        corner = trial_words(space, {key: param.corner(index) for key, param in space.items()})
        try:
            config = compose_run([*plan.words, *corner])
        except ConfigError as error:
            raise ConfigError(str(error).replace(" (on the command line)", " (in sweep.space)")) from None
        _refuse_other_pictures(alone, config)
        models += [config.model] * (config.model not in models)
    from veriscope.models.detector import build_detector, check_model  # late: a misspelt key should not take seconds

    for model in models:
        check_model(model)
        build_detector(model, load_weights=False)  # finds a tap or a frozen module that the backbone doesn't have


def _refuse_other_pictures(base: RunConfig, config: RunConfig) -> None:
    then, now = flatten(base.model_dump(mode="json")), flatten(config.model_dump(mode="json"))
    for key in sorted(then.keys() | now.keys()):
        if key in _FREE or not f"{key}.".startswith(tuple(f"{name}." for name in _SAME_FOR_ALL)):
            continue
        if then.get(key) != now.get(key):
            raise ConfigError(
                f"sweep.space changes {key} from {then.get(key)} to {now.get(key)}: trials need the same pictures, "
                "split, seed and hardware, or the best is the luckiest"
            )


def make_folder(plan: Plan) -> RunFolder:
    """Make the sweep's folder: paths.run_dir, else a dated one under paths.runs/sweeps.

    Raises:
        RunError: the folder exists and isn't empty, or can't be made.

    """
    chosen, paths = plan.base.paths.run_dir, plan.base.paths
    try:
        if chosen is None:
            words = [datetime.now().strftime("%Y-%m-%d_%H-%M-%S"), plan.sweep.name, plan.base.tag or ""]
            return RunFolder(new_folder(paths.runs / "sweeps", [word for word in words if word]))
        chosen.mkdir(parents=True, exist_ok=True)
        # A name that begins with a dot: the lock of a sweep that was killed as it began.
        if any(not file.name.startswith(".") for file in chosen.iterdir()):
            raise RunError(
                f"'{chosen}' is not empty; choose another, or go on with the sweep in it: "
                f"{resume_command(RunFolder(chosen))}"
            )
        return RunFolder(chosen)
    except OSError as error:
        raise RunError(f"the sweep's folder can't be made: {error}") from None


def resume_command(folder: RunFolder) -> str:
    """Return what to type to go on with a sweep."""
    return f"veriscope sweep {override('resume', folder.path)}"


def open_sweep(words: Sequence[str]) -> tuple[RunFolder, Plan]:
    """Return the folder that `resume=FOLDER` among the words names, and its plan with more trials where asked for.

    Raises:
        ConfigError, RunError: no sweep lies there, or the words ask for what would make it another one.

    """
    said = {key_of(word): word for word in words}
    path = Path(said.pop("resume").partition("=")[2].strip("'\""))
    others = [word for key, word in said.items() if key not in (*_CHANGEABLE, "dry_run")]
    if others:
        raise RunError(
            f"resume goes on with the sweep's own settings, of which {', '.join(_CHANGEABLE)} may change; leave out "
            f"{' '.join(others)}"
        )
    folder = RunFolder(path)
    plan = _load(folder)
    changed = compose_sweep([word for key, word in said.items() if key in _CHANGEABLE])
    settings = {key.partition(".")[2]: getattr(changed, key.partition(".")[2]) for key in said if key in _CHANGEABLE}
    return folder, plan.model_copy(update={"sweep": plan.sweep.model_copy(update=settings)})


def _load(folder: RunFolder) -> Plan:
    try:
        plain = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
        if isinstance(plain, dict) and "sweep" not in plain:
            raise RunError(f"'{folder.path}' holds a run, not a sweep; go on with: {folder.resume_command}")
        return Plan.model_validate_json(json.dumps(plain))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(
            f"'{folder.path}' holds no sweep; name the folder of one, as runs/sweeps/2026-01-31_12-00-00_..."
        ) from None
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise RunError(f"'{folder.config}' is damaged ({type(error).__name__}); start a new sweep") from None


def refuse_changed_conf(plan: Plan, folder: RunFolder) -> None:
    """Refuse to go on when the words mean another run than at the sweep's start.

    Raises:
        RunError: conf/ was edited, or a variable of the environment changed that it reads.

    """
    found = differences(plan.base, compose_run(plan.words))
    if found:
        raise RunError(
            f"conf/ has changed since the sweep in '{folder.path}' began: {'; '.join(found[:5])}. Take that back, or "
            "start anew"
        )
