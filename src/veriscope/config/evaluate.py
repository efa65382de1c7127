"""The validated configuration of an evaluation."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from veriscope.config.schema import DataConfig, PathsConfig
from veriscope.types import Frozen, OpenShare


class RobustnessConfig(Frozen):
    """What is asked beside the pictures as they are: damage as delivery does it, and classes brought to one format."""

    grid: Literal["off", "quick", "full"] = Field(
        default="off", description="quick: 4 kinds of damage x 2 severities; full: 10 x 5; a scoring of all data each"
    )
    aligned: bool = Field(
        default=False, description="score once more with both classes at one size and JPEG history: the shortcut gap"
    )
    max_images: int | None = Field(
        default=None, ge=2, description="pictures of the grid, drawn by class and generator with the seed; null: all"
    )


class EvaluateConfig(Frozen):
    """Everything that decides an evaluation."""

    bundle: Path
    data: DataConfig
    subset: Literal["auto", "train", "val", "test", "all"] = Field(
        default="auto",
        description="auto: test where the data has one, else everything; refuses the data that trained the model",
    )
    corruption: str | None = Field(default=None, description="applied to every picture first, as jpeg:75")
    base_rate: OpenShare | None = Field(
        default=None, description="share of fakes where it will be used; scores are corrected to it"
    )
    robustness: RobustnessConfig = RobustnessConfig()
    on_unreadable: Literal["report", "stop"] = "report"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(default=42, ge=0, lt=2**63)
    bootstrap_draws: int = Field(default=2000, ge=100, le=1_000_000)
    paths: PathsConfig

    @model_validator(mode="after")
    def _one_damage_at_a_time(self) -> Self:
        if self.corruption is not None and (self.robustness.grid != "off" or self.robustness.aligned):
            raise ValueError(
                "the robustness grid compares with pictures as they are: leave out corruption=, or say robustness=off"
            )
        return self
