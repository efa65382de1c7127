"""The validated configuration of a sweep: what is searched, for what, and with how much effort."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from veriscope.config.command import key_of, value_text
from veriscope.config.schema import OptionValue
from veriscope.errors import nearest
from veriscope.types import Frozen

Direction = Literal["maximize", "minimize"]

LOGGED: dict[str, Direction] = {  # in history.csv after every epoch
    "val/auroc": "maximize",
    "val/ap": "maximize",
    "val/accuracy": "maximize",
    "val/loss": "minimize",
}
# Of the shipped bundle on val, at the threshold 0.5: the keys of veriscope.evaluation.metrics.
FIGURES: dict[str, Direction] = {
    **dict.fromkeys(
        ("accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1", "mcc", "auroc", "ap",
         "tpr_at_1_fpr", "tpr_at_5_fpr"),
        "maximize",
    ),
    **dict.fromkeys(("eer", "log_loss", "brier", "ece"), "minimize"),
}  # fmt: skip
SPEED = "images_per_s"
DIRECTIONS: dict[str, Direction] = {**LOGGED, **FIGURES, SPEED: "maximize"}


class ParamConfig(Frozen):
    """What one key may be: a number between two others, or one of a few options."""

    kind: Literal["float", "int", "choice"]
    low: float | None = Field(default=None, description="float and int: the lowest value, itself included")
    high: float | None = Field(default=None, description="float and int: the highest value, itself included")
    log: bool = Field(default=False, description="float and int: even on a logarithmic scale, as learning rates want")
    step: float | None = Field(default=None, gt=0, description="float and int: only low, low + step, ...")
    options: tuple[OptionValue, ...] = Field(default=(), description="choice: values, or names of a group's files")

    @property
    def texts(self) -> dict[str, OptionValue]:
        """Each option by its text, which is what a sampler is shown: it knows no lists."""
        return {value_text(option): option for option in self.options}

    def corner(self, index: int) -> float | int | str:
        """Return the lowest (even index) or highest value, or the text of the option `index` counted round."""
        if self.kind == "choice":
            return value_text(self.options[index % len(self.options)])
        bound = (self.low, self.high)[index % 2]
        assert bound is not None  # `trouble` has seen to it
        return int(bound) if self.kind == "int" else bound

    def trouble(self) -> str | None:
        """Return what is wrong with it; None when it can be searched."""
        if self.kind == "choice":
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                return "kind=choice takes options, no low, high, step or log"
            if not self.options:
                return "options is empty; name at least one value"
            return None if len(self.texts) == len(self.options) else "an option is named twice"
        return self._trouble_with_numbers()

    def _trouble_with_numbers(self) -> str | None:
        if self.options:
            return f"kind={self.kind} takes low and high; options are for kind=choice"
        if self.low is None or self.high is None:
            return f"kind={self.kind} needs low and high"
        if self.low >= self.high:
            return f"low={self.low:g} is not below high={self.high:g}"
        if self.kind == "int" and any(value != int(value) for value in (self.low, self.high, self.step or 1)):
            return "kind=int takes whole numbers"
        if self.log and self.low <= 0:
            return f"log=true needs low above 0, not {self.low:g}"
        if self.log and self.step is not None:
            return "log=true and step exclude each other"
        if self.step is not None:
            num_steps = (self.high - self.low) / self.step
            if not math.isclose(num_steps, round(num_steps), abs_tol=1e-6) or round(num_steps) < 1:
                return f"steps of {self.step:g} don't lead from low={self.low:g} to high={self.high:g}"
        return None


class PruningConfig(Frozen):
    """Which trials are stopped before their end, by the objective as each epoch logs it."""

    name: Literal["none", "median", "asha", "hyperband"] = "none"
    warmup_epochs: int = Field(default=1, ge=1, description="epochs that every trial trains at least")
    startup_trials: int = Field(default=5, ge=1, description="median: trials that go on to their end before any stops")
    reduction_factor: int = Field(default=3, ge=2, description="asha and hyperband: one of so many goes on")


class SweepConfig(Frozen):
    """Everything that decides a sweep, beside the words of its runs."""

    name: str = Field(pattern=r"^[\w-]{1,64}$", description="goes into the name of the folder")
    base: tuple[str, ...] = Field(default=(), description="words for every trial's train.py")
    trials: int = Field(ge=1, le=10_000)
    workers: int | None = Field(
        default=None, ge=1, description="trials side by side; null: as many as the GPUs allow, on the CPU one"
    )
    seed: int = Field(default=42, ge=0, lt=2**32, description="of the sampler; the trials' own is train.py's seed")
    timeout_h: float | None = Field(default=None, gt=0, description="no trial begins after so many hours")
    sampler: Literal["tpe", "random"] = "tpe"
    startup_trials: int = Field(default=8, ge=1, description="tpe: drawn at random before it learns from them")
    objectives: Annotated[tuple[str, ...], Field(min_length=1, max_length=3)] = ("val/auroc",)
    pruning: PruningConfig = PruningConfig()
    space: dict[str, ParamConfig] = Field(min_length=1, description="a key of train.py to what it may be")

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Whether each objective should be high or low."""
        return tuple(DIRECTIONS[objective] for objective in self.objectives)

    @model_validator(mode="after")
    def _objectives_known(self) -> Self:
        for objective in self.objectives:
            if objective not in DIRECTIONS:
                raise ValueError(f"sweep.objectives: unknown figure '{objective}'. {nearest(objective, DIRECTIONS)}")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("sweep.objectives names a figure twice")
        return self

    @model_validator(mode="after")
    def _pruning_by_one_logged_figure(self) -> Self:
        if self.pruning.name == "none":
            return self
        if len(self.objectives) > 1:
            raise ValueError(
                f"sweep.pruning.name={self.pruning.name} goes by one figure, sweep.objectives names "
                f"{len(self.objectives)}: take one, or sweep.pruning.name=none"
            )
        if self.objectives[0] not in LOGGED:
            raise ValueError(
                f"sweep.pruning.name={self.pruning.name} needs an objective that every epoch logs "
                f"({', '.join(LOGGED)}); {self.objectives[0]} is known at the end: take one of those, or "
                "sweep.pruning.name=none"
            )
        return self

    @model_validator(mode="after")
    def _space_is_sound(self) -> Self:
        troubles = [f"sweep.space.{key}: {param.trouble()}" for key, param in self.space.items() if param.trouble()]
        if troubles:
            raise ValueError("\n".join(troubles))
        return self


class SweepRoot(Frozen):
    """What conf/sweep.yaml composes to."""

    sweep: SweepConfig


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words that shape the sweep, and those of its runs."""
    own = [said for said in words if said.lstrip("+~").startswith(("sweep=", "sweep.", "sweep/"))]
    return own, [said for said in words if said not in own]


def joined_words(base: tuple[str, ...], said: list[str]) -> tuple[str, ...]:
    """Return the words of a run: those of `base` whose key was not said again, then `said`."""
    keys = {key_of(word) for word in said}
    return (*(word for word in base if key_of(word) not in keys), *said)


def trial_words(space: Mapping[str, ParamConfig], values: Mapping[str, object]) -> tuple[str, ...]:
    """Return `key=value` for each searched key, as train.py has to be told it; a choice's value is its text."""
    return tuple(
        f"{key}={values[key] if param.kind == 'choice' else value_text(values[key])}" for key, param in space.items()
    )
