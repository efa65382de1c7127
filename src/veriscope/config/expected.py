"""The validated form of benchmarks/expected/*.yaml: what a recipe is known to come to."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from veriscope.config.command import key_of
from veriscope.config.sweep import FIGURES
from veriscope.errors import nearest
from veriscope.types import Frozen

# What a judgement is of: a word for evaluate.py that said it once more would come last, and count.
_PLACES = ("bundle", "data", "subset", "corruption", "paths.run_dir")

Rule = Literal["interval", "overlap"]
Name = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]


class ExpectedFigure(Frozen):
    """One figure with its 95 % interval."""

    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _value_within(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"the value {self.value:g} does not lie between low {self.low:g} and high {self.high:g}")
        return self


class Judged(Frozen):
    """One judgement of the trained run, and the figures that it should come to."""

    by: Literal["evaluation", "folds"] = Field(
        default="evaluation",
        description="evaluation: evaluate.py on `data`; folds: the cross-validation's own means, of crossval.json",
    )
    data: str | None = Field(default=None, description="a file of conf/data (by=evaluation)")
    subset: Literal["auto", "train", "val", "test", "all"] = "auto"
    corruption: str | None = Field(default=None, description="applied to every picture first, as jpeg:75")
    words: tuple[str, ...] = Field(default=(), description="further words for evaluate.py")
    threshold: Literal["val", "default", "out_of_fold"] | None = Field(
        default=None, description="default: 0.5; null: the one chosen on data. For accuracies alone"
    )
    figures: dict[str, ExpectedFigure] = Field(min_length=1)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for key, figure in self.figures.items():
            if key not in FIGURES:
                raise ValueError(f"figures: unknown figure '{key}'. {nearest(key, FIGURES)}")
            if key != "log_loss" and not -1 <= figure.value <= 1:
                raise ValueError(f"figures: {key} is a share, as 0.95, and never {figure.value:g}")
        for said in self.words:
            if "=" not in said or key_of(said) in _PLACES:
                raise ValueError(f"words: '{said}' is no KEY=VALUE for evaluate.py, or one that has its own place here")
        if self.by == "evaluation" and self.data is None:
            raise ValueError("by=evaluation needs data=NAME, a file of conf/data")
        asks = self.data or self.corruption or self.words or self.threshold or self.subset != "auto"
        if self.by == "folds" and asks:
            raise ValueError(
                "by=folds reads the cross-validation's means at 0.5: it takes no data, subset, corruption, threshold"
            )
        return self


class Source(Frozen):
    """Where the expected figures come from."""

    kind: Literal["ours", "paper", "project"]
    name: str = Field(min_length=1, description="the page, paper or project")
    commit: str | None = Field(default=None, description="of veriscope (kind=ours): what measured the figures")

    @model_validator(mode="after")
    def _ours_has_a_commit(self) -> Self:
        if self.kind == "ours" and self.commit is None:
            raise ValueError("source.kind=ours needs source.commit: a figure has provenance")
        return self


class Cost(Frozen):
    """What a reproduction takes."""

    minutes: float = Field(gt=0, description="training, wall clock")
    machine: str = Field(min_length=1)


class Expected(Frozen):
    """One entry of the registry."""

    title: str = Field(min_length=1, description="what is reproduced, in one line")
    experiment: str = Field(min_length=1, description="a file of conf/experiment")
    overrides: tuple[str, ...] = Field(default=(), description="further words for train.py")
    needs: tuple[str, ...] = Field(default=(), description="what has to be there first, in words")
    judged: dict[Name, Judged] = Field(min_length=1)
    rule: Rule = Field(
        default="overlap",
        description="interval: the new figure lies in the expected interval; overlap: or the two intervals overlap",
    )
    source: Source
    cost: Cost
    notes: str = ""

    @property
    def train_words(self) -> tuple[str, ...]:
        """What train.py is told."""
        return (f"experiment={self.experiment}", *self.overrides)
