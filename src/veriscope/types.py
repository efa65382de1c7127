"""The words that every part of veriscope shares.

fake = 1 = positive = higher score, everywhere. A `logit` is unbounded fp32; a `score` is the calibrated probability
of fake in [0, 1]; a `threshold` applies to the score.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

REAL = 0
FAKE = 1
CLASS_NAMES = ("real", "fake")  # index = label
CLASS_MAP_TEXT = "real = 0, fake = 1 (positive: a higher score means more likely fake)"

Positive = Annotated[float, Field(gt=0)]
ClassName = Literal["real", "fake"]


class Split(StrEnum):
    """What a sample may be used for. Selection (checkpoint, threshold, calibration) sees VAL, never TEST."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Sample(NamedTuple):
    """One row of a Manifest. `path` is absolute or relative to the manifest's root."""

    path: str
    label: int
    split: Split | None
    group: str | None
    generator: str | None


class Frozen(BaseModel):
    """Base of every configuration and metadata record: immutable, strict types, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class InputSpec(Frozen):
    """What the network is shown at evaluation: the one preprocessing for everybody."""

    size_px: int = Field(ge=32, le=2048, description="side of the square input in pixels")
    mean: tuple[float, float, float] = Field(default=(0.5, 0.5, 0.5), description="per channel, of RGB in [0, 1]")
    std: tuple[Positive, Positive, Positive] = Field(
        default=(0.5, 0.5, 0.5), description="per channel, of RGB in [0, 1]"
    )
    fit: Literal["resize", "crop"] = Field(
        default="resize",
        description="resize: the whole picture squashed to size_px x size_px (antialiased bilinear); "
        "crop: its central size_px x size_px pixels as they are, smaller pictures padded by reflection",
    )


class Calibration(Frozen):
    """score = sigmoid(logit / temperature) (Guo et al. 2017); `fitted_on` names the data, 'none' for temperature 1."""

    temperature: float = Field(default=1.0, gt=0)
    fitted_on: str = "none"

    def score(self, logit: float) -> float:
        """Return the calibrated probability of fake in [0, 1] for one logit."""
        scaled = logit / self.temperature
        if scaled >= 0:
            return 1.0 / (1.0 + math.exp(-scaled))
        odds = math.exp(max(scaled, -700.0))  # exp(-745) underflows to 0, which is right, but keep it exact
        return odds / (1.0 + odds)


class Threshold(Frozen):
    """Scores at or above `value` are called fake. `rule` says how it was chosen, `chosen_on` on which data."""

    value: float = Field(ge=0, le=1)
    rule: str
    chosen_on: str


DEFAULT_THRESHOLD = Threshold(value=0.5, rule="fixed", chosen_on="none")
# Names of thresholds that were chosen on data: a single model's, and an ensemble's of a cross-validation's folds.
TUNED_THRESHOLDS = ("val", "out_of_fold")


def preferred_name(thresholds: Mapping[str, Threshold]) -> str:
    """Return the name of the threshold to use: one chosen on data, else 'default', else the first; '' of none."""
    return next((name for name in (*TUNED_THRESHOLDS, "default", *thresholds) if name in thresholds), "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one picture. `label` is None, and `error` the reason, where there is no verdict."""

    path: str
    label: ClassName | None
    score: float | None
    logit: float | None
    threshold: float
    error: str | None = None
