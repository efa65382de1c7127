"""What a run chooses on val once it is trained: calibration, threshold, and where its verdict is 'unsure'."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from veriscope.types import CalibrationMethod, Frozen, OpenShare, Positive

ThresholdRule = Literal["0.5", "youden", "accuracy", "fpr", "cost"]
_NEEDS: dict[ThresholdRule, tuple[str, ...]] = {"fpr": ("max_fpr",), "cost": ("cost_false_alarm", "cost_miss")}
_TAKES: dict[ThresholdRule, tuple[str, ...]] = {**_NEEDS, "cost": (*_NEEDS["cost"], "base_rate")}
_EXAMPLE = {"max_fpr": "0.01", "cost_false_alarm": "10", "cost_miss": "1"}


def _as_word(value: Any) -> Any:
    """Return '0.5' for the number, which YAML and command lines make of it."""
    return "0.5" if value == 0.5 and not isinstance(value, str) else value


class CalibrationConfig(Frozen):
    """How logits become probabilities."""

    method: CalibrationMethod = Field(
        default="temperature",
        description="one number, two (platt), a rising curve (isotonic, for large val)",
    )


class ThresholdConfig(Frozen):
    """How the threshold is chosen that the detector ships with."""

    rule: Annotated[ThresholdRule, BeforeValidator(_as_word)] = Field(
        default="youden",
        description="0.5; youden: largest recall minus false alarms; accuracy: most right verdicts; fpr: highest "
        "recall with at most max_fpr false alarms; cost: smallest cost of mistakes",
    )
    max_fpr: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="fpr: largest share of real pictures called fake"
    )
    cost_false_alarm: Positive | None = Field(default=None, description="cost: of a real picture called fake")
    cost_miss: Positive | None = Field(default=None, description="cost: of a fake called real, in the same unit")
    base_rate: OpenShare | None = Field(
        default=None, description="cost: share of fakes where it will be used; null: as on val"
    )

    @model_validator(mode="after")
    def _rule_has_its_numbers(self) -> Self:
        for key in _NEEDS.get(self.rule, ()):
            if getattr(self, key) is None:
                raise ValueError(
                    f"threshold.rule={self.rule} needs threshold.{key}, as threshold.{key}={_EXAMPLE[key]}"
                )
        for key in ("max_fpr", "cost_false_alarm", "cost_miss", "base_rate"):
            if getattr(self, key) is not None and key not in _TAKES.get(self.rule, ()):
                owner = next(rule for rule, keys in _TAKES.items() if key in keys)
                raise ValueError(
                    f"threshold.{key} has no effect with threshold.rule={self.rule}: it is for threshold.rule={owner}"
                )
        return self


class UnsureConfig(Frozen):
    """Where the verdict is 'unsure'."""

    accuracy: Annotated[float, Field(gt=0.5, lt=1)] | None = Field(
        default=0.95, description="of the other verdicts, on val; null: no verdict is unsure by its score"
    )


class OodConfig(Frozen):
    """The out-of-distribution score of a bundle, fitted on val."""

    method: Literal["knn", "mahalanobis", "none"] = Field(
        default="knn",
        description="distance to the k-th nearest val picture, or to the classes' centres; none: none",
    )
    k: int = Field(default=10, ge=1, description="which neighbour counts, of knn")
    threshold: float = Field(
        default=0.99, gt=0.5, le=1, description="stranger than this share of val reads 'unsure'; 1: nothing does"
    )
