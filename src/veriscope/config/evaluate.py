"""The validated configuration of an evaluation."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from veriscope.config.schema import DataConfig, PathsConfig
from veriscope.types import Frozen, OpenShare


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
    on_unreadable: Literal["report", "stop"] = "report"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(default=42, ge=0)
    bootstrap_draws: int = Field(default=2000, ge=100)
    paths: PathsConfig
