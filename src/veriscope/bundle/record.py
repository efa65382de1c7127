"""What bundle.json holds."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from veriscope import __version__
from veriscope.config.schema import ModelConfig
from veriscope.errors import BundleError
from veriscope.types import CLASS_NAMES, Calibration, Frozen, Positive, Threshold, UnsureBand

# A program that knows only one network a bundle must not meet an ensemble as a bundle with a key too many, which it
# calls damaged: by the version it says which program to install. Bundles of one network stay what they were.
FORMAT_VERSION: Literal[1] = 1
ENSEMBLE_FORMAT_VERSION: Literal[2] = 2
# Verdicts that a program from before would give otherwise: another calibration than a temperature, an unsure band,
# what tells how strange a picture is, or the share of fakes that a base rate is corrected from.
VERDICT_FORMAT_VERSION: Literal[3] = 3

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


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
    seconds: float | None = Field(default=None, ge=0, description="of all epochs, validation included; None: not known")
    device: str
    epochs: int = Field(ge=0)
    val: dict[str, float | None] = Field(
        default_factory=dict, description="figures on val, which also chose checkpoint, temperature and threshold"
    )


class Member(Frozen):
    """One of the networks of an ensemble."""

    name: str = Field(min_length=1, description="as 'fold 0'")
    temperature: Positive = Field(description="its logits are divided by it before they are averaged")
    weights_sha256: Sha256 = Field(description="of the bundle that it was taken from")


class EnsembleFacts(Frozen):
    """What is true of an ensemble of folds alone: logit = mean over members of logit / temperature."""

    members: tuple[Member, ...] = Field(min_length=2)
    out_of_fold: dict[str, float | None] = Field(
        default_factory=dict,
        description="figures of single members, each on the pictures that it had not learned; none of the average",
    )


class OodFacts(Frozen):
    """What belongs to the file ood.safetensors (models.ood)."""

    sha256: Sha256
    method: Literal["knn", "mahalanobis"]
    threshold: float = Field(gt=0, le=1, description="pictures at or above it read 'unsure'; 1: none")
    num_pictures: int = Field(ge=1, description="of val, of the member that has fewest")
    fitted_on: str


class AuditFacts(Frozen):
    """What the audit of the training data came to, before training began."""

    status: Literal["pass", "warn", "stop"]
    depth: Literal["headers", "pixels"] = Field(description="headers: no picture was decoded")
    audit_hash: Sha256 = Field(description="of everything that decided it: data, measures, verdicts")
    checks: dict[str, Literal["warn", "stop"]] = Field(
        default_factory=dict, description="by name; those that are not here passed"
    )


def format_version(
    calibration: Calibration,
    *,
    ensemble: EnsembleFacts | None,
    unsure: UnsureBand | None,
    ood: object | None = None,
) -> Literal[1, 2, 3]:
    """Return the lowest version whose programs read all of it."""
    if unsure is not None or ood is not None or not calibration.is_plain:
        return VERDICT_FORMAT_VERSION
    return FORMAT_VERSION if ensemble is None else ENSEMBLE_FORMAT_VERSION


class BundleRecord(Frozen):
    """Everything but the weights."""

    format_version: Literal[1, 2, 3] = Field(description="2: an ensemble; 3: either, with more about verdicts")
    veriscope_version: str
    model: ModelConfig
    class_map: dict[str, int] = Field(default_factory=lambda: {name: i for i, name in enumerate(CLASS_NAMES)})
    calibration: Calibration
    thresholds: dict[Annotated[str, Field(pattern=r"^[\w.-]{1,40}$")], Threshold]
    unsure: UnsureBand | None = Field(
        default=None, description="None, and not written: no verdict is unsure by its score"
    )
    training: TrainingFacts
    weights_sha256: Sha256
    num_parameters: int = Field(ge=1, description="of all members together")
    initial_weights: str = Field(description="what training started from, with its licence")
    seen_sha256: Sha256 | None = Field(
        default=None, description="of the fingerprints of train and val; None: not known"
    )
    ood: OodFacts | None = Field(default=None, description="None, and not written: it can't tell what is strange")
    ensemble: EnsembleFacts | None = Field(default=None, description="None, and not written: one network")
    audit: AuditFacts | None = Field(default=None, description="None, and not written: the data were not audited")
    notices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_this_program(self) -> Self:
        if self.class_map != {name: label for label, name in enumerate(CLASS_NAMES)}:
            raise ValueError(f"class_map {self.class_map} is not real 0, fake 1")
        if "default" not in self.thresholds:
            raise ValueError("thresholds lack 'default'")
        if self.unsure is not None and self.unsure.threshold not in self.thresholds:
            raise ValueError(f"unsure belongs to the threshold '{self.unsure.threshold}', which is not there")
        if self.unsure is not None:
            low, high, inside = self.unsure.low, self.unsure.high, self.thresholds[self.unsure.threshold].value
            if not low <= inside <= high:
                name = self.unsure.threshold
                raise ValueError(f"the band from {low} to {high} doesn't hold its threshold '{name}', {inside}")
        needed = format_version(self.calibration, ensemble=self.ensemble, unsure=self.unsure, ood=self.ood)
        if self.format_version != needed:
            raise ValueError(f"format version {self.format_version} doesn't fit what it holds, which takes {needed}")
        return self

    @property
    def num_members(self) -> int:
        """How many networks answer: 1, or the ensemble's members."""
        return 1 if self.ensemble is None else len(self.ensemble.members)

    def to_json(self) -> str:
        """Return the text of bundle.json; without keys that earlier programs don't know, where it can be."""
        empty = {name for name in ("ensemble", "unsure", "ood", "audit") if getattr(self, name) is None}
        return self.model_dump_json(indent=2, exclude=empty) + "\n"


def parse_record(text: str, *, name: str, again: str) -> BundleRecord:
    """Return the validated record; `name` is what the errors speak of, `again` how they say to mend it.

    Raises:
        BundleError: no JSON, another version, or a field that doesn't fit.

    """
    try:
        plain: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"'{name}' is damaged ({error}); {again}.") from error
    version = plain.get("format_version") if isinstance(plain, dict) else None
    if version is None:
        raise BundleError(f"'{name}' is no bundle record of veriscope: it holds no format_version.")
    known = (FORMAT_VERSION, ENSEMBLE_FORMAT_VERSION, VERDICT_FORMAT_VERSION)
    if version not in known:
        raise BundleError(
            f"'{name}' has format version {version}, this veriscope ({__version__}) reads {known[0]} to {known[-1]}. "
            f"It was made by veriscope {plain.get('veriscope_version', 'of unknown version')}: install that one."
        )
    try:
        return BundleRecord.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the record"
        raise BundleError(f"'{name}' is damaged at {place}: {first['msg']}. {again.capitalize()}.") from error
