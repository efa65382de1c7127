"""What bundle.json holds."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from veriscope.config.schema import ModelConfig
from veriscope.types import CLASS_NAMES, Calibration, Frozen, Threshold

FORMAT_VERSION: Literal[1] = 1


class TrainingFacts(Frozen):
    """Where the weights come from: enough to cut the same split again, and to know what the model has seen."""

    data_name: str
    data_hash: str = Field(description="content hash of the whole manifest")
    num_train: int = Field(ge=0, description="images")
    num_val: int = Field(ge=0, description="images")
    split: dict[str, JsonValue] = Field(default_factory=dict, description="the split configuration")
    seed: int
    commit: str | None = Field(default=None, description="of the source; ends in '+dirty' where it was changed")
    command: str | None = Field(default=None, description="the command line that trained it")
    precision: str | None = Field(default=None, description="of the training steps, as bf16-mixed")
    date: str = Field(description="ISO 8601, when training ended")
    device: str
    epochs: int = Field(ge=0)
    val: dict[str, float | None] = Field(
        default_factory=dict, description="figures on val, which also chose checkpoint, temperature and threshold"
    )


class BundleRecord(Frozen):
    """Everything but the weights."""

    format_version: Literal[1]
    veriscope_version: str
    model: ModelConfig
    class_map: dict[str, int] = Field(default_factory=lambda: {name: i for i, name in enumerate(CLASS_NAMES)})
    calibration: Calibration
    thresholds: dict[Annotated[str, Field(pattern=r"^[\w.-]{1,40}$")], Threshold]
    training: TrainingFacts
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    num_parameters: int = Field(ge=1)
    initial_weights: str = Field(description="what training started from, with its licence")
    seen_sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="of the fingerprints of train and val; None: not known"
    )
    notices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_this_program(self) -> Self:
        if self.class_map != {name: label for label, name in enumerate(CLASS_NAMES)}:
            raise ValueError(f"class_map {self.class_map} is not real 0, fake 1")
        if "default" not in self.thresholds:
            raise ValueError("thresholds lack 'default'")
        return self
