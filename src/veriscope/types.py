"""The words that every part of veriscope shares.

fake = 1 = positive = higher score, everywhere. A `logit` is unbounded fp32; a `score` is the calibrated probability
of fake in [0, 1]; a `threshold` applies to the score.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

REAL = 0
FAKE = 1
CLASS_NAMES = ("real", "fake")  # index = label
CLASS_MAP_TEXT = "real = 0, fake = 1 (positive: a higher score means more likely fake)"

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
ClassName = Literal["real", "fake"]
VerdictName = Literal["real", "fake", "unsure"]


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

    @property
    def leaves_out(self) -> str:
        """A sentence on what of a picture the network is never shown; '' where it sees the whole."""
        side = f"{self.size_px} x {self.size_px}"
        return f"Of whatever is larger it looks at the central {side} pixels alone." if self.fit == "crop" else ""


CalibrationMethod = Literal["temperature", "platt", "isotonic"]


class Calibration(Frozen):
    """From logit to score: the probability of fake, on data with the `fake_share` of what it was fitted on.

    temperature: sigmoid(logit / temperature) (Guo et al. 2017). platt: sigmoid(slope * logit + intercept) (Platt 1999).
    isotonic: straight lines between `knots`, pairs (logit, score), and their ends beyond them (Zadrozny & Elkan 2002).
    None of them makes a score fall where the logit rises.

    `fitted_on` names the data, 'none' for temperature 1. `base_rate`: the share of fakes that scores are corrected to
    (`at_base_rate`). Keys that say nothing more than temperature and data are not written, so that programs which know
    only those read on.
    """

    method: CalibrationMethod = "temperature"
    temperature: float = Field(default=1.0, gt=0)
    slope: Positive | None = Field(default=None, description="platt only")
    intercept: float | None = Field(default=None, description="platt only")
    knots: tuple[tuple[float, Share], ...] = Field(default=(), description="isotonic only; both rise, scores may stay")
    fitted_on: str = "none"
    fake_share: OpenShare | None = Field(
        default=None, description="of the data it was fitted on; None: not known, or its scores disagree"
    )
    base_rate: OpenShare | None = Field(default=None, description="share of fakes that scores are corrected to")

    @model_validator(mode="after")
    def _is_of_one_method(self) -> Self:
        has = {"platt": self.slope is not None and self.intercept is not None, "isotonic": bool(self.knots)}
        wanted = {name: name == self.method for name in has}
        if has != wanted or (self.slope is None) != (self.intercept is None):
            raise ValueError(f"method '{self.method}' has its own values, and those of no other")
        logits, scores = [knot[0] for knot in self.knots], [knot[1] for knot in self.knots]
        if any(low >= high for low, high in pairwise(logits)) or any(low > high for low, high in pairwise(scores)):
            raise ValueError("knots rise from one to the next, their scores at least never fall")
        if self.base_rate is not None and self.fake_share is None:
            raise ValueError("base_rate needs fake_share, which it is corrected from")
        return self

    @model_serializer(mode="wrap")
    def _without_what_says_nothing(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = write(self)
        default = Calibration.model_fields
        kept = {"temperature", "fitted_on"} if self.method == "temperature" else {"method", "fitted_on"}
        said = {key: value for key, value in found.items() if value not in ([], default[key].default)}
        return {key: found[key] for key in found if key in kept or key in said}

    @property
    def is_plain(self) -> bool:
        """Whether temperature and `fitted_on` say it all, which every program with bundles reads."""
        return self.method == "temperature" and self.fake_share is None and self.base_rate is None

    @property
    def formula(self) -> str:
        """How a score comes about, in words for people."""
        if self.method == "platt":
            return f"sigmoid({self.slope:.4g} * logit {self.intercept:+.4g})"
        if self.method == "isotonic":
            return f"a rising curve through {len(self.knots)} points (isotonic)"
        return f"sigmoid(logit / {self.temperature:.4g})"

    def score(self, logit: float) -> float:
        """Return the calibrated probability of fake in [0, 1] for one logit; at `base_rate` where there is one."""
        if self.method == "isotonic":
            return self.moved(_between_knots(self.knots, logit))
        if self.slope is not None and self.intercept is not None:
            return self.moved(sigmoid(self.slope * logit + self.intercept))
        return self.moved(sigmoid(logit / self.temperature))

    def moved(self, score: float) -> float:
        """Return what a score, or a threshold on it, of the calibration data's share of fakes is at `base_rate`.

        odds' = odds * (base_rate / (1 - base_rate)) / (fake_share / (1 - fake_share)) (Saerens et al. 2002, eq. 2.4):
        fakes and real pictures are taken to look as they did, and only to be rarer or more frequent.
        """
        if self.base_rate is None or self.fake_share is None or score <= 0.0:
            return score
        ratio = (1 - self.base_rate) / self.base_rate * (self.fake_share / (1 - self.fake_share))
        # Written so that rounding never makes it fall where the score rises.
        return 1.0 / (1.0 + (1.0 - score) / score * ratio)

    def at_base_rate(self, base_rate: float | None) -> "Calibration":
        """Return the calibration whose scores are corrected to a share of fakes; None: to that of its own data.

        Raises:
            ValueError: a share that isn't between 0 and 1, or the share of fakes in the own data is not known.

        """
        plain = {name: getattr(self, name) for name in type(self).model_fields}
        return Calibration.model_validate({**plain, "base_rate": base_rate})


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)); it never falls where x rises, not even by rounding."""
    return 1.0 / (1.0 + math.exp(-max(x, -700.0)))  # exp(710) overflows


def _between_knots(knots: tuple[tuple[float, float], ...], logit: float) -> float:
    after = bisect_right(knots, logit, key=lambda knot: knot[0])
    if after == 0:
        return knots[0][1]
    x0, y0 = knots[after - 1]
    if after == len(knots):
        return y0
    x1, y1 = knots[after]
    return min(y1, y0 + (y1 - y0) * ((logit - x0) / (x1 - x0)))


class Threshold(Frozen):
    """Scores at or above `value` are called fake. `rule` says how it was chosen, `chosen_on` on which data."""

    value: float = Field(ge=0, le=1)
    rule: str
    chosen_on: str


class UnsureBand(Frozen):
    """Scores from `low` to below `high` are called unsure, those below real, those from `high` on fake.

    It was chosen around the threshold `threshold`, as wide as it takes for the other verdicts to be right as often as
    wanted on `chosen_on`; `low == high`: they were without it. `coverage` and `accuracy` are of those data, which chose
    the band, so they flatter it.
    """

    low: Share
    high: Share
    threshold: str = Field(description="name of the threshold inside")
    wanted_accuracy: Share
    coverage: Share = Field(description="share of pictures with a verdict other than unsure")
    accuracy: Share = Field(description="share of those verdicts that were right")
    num_pictures: int = Field(ge=1, description="that chose it")
    chosen_on: str

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"a band from {self.low} to {self.high} runs backwards")
        return self


DEFAULT_THRESHOLD = Threshold(value=0.5, rule="fixed", chosen_on="none")
# Names of thresholds that were chosen on data: a single model's, and an ensemble's of a cross-validation's folds.
TUNED_THRESHOLDS = ("val", "out_of_fold")


def preferred_name(thresholds: Mapping[str, Threshold]) -> str:
    """Return the name of the threshold to use: one chosen on data, else 'default', else the first; '' of none."""
    return next((name for name in (*TUNED_THRESHOLDS, "default", *thresholds) if name in thresholds), "")


def name_verdict(score: float, *, threshold: float, band: UnsureBand | None) -> VerdictName:
    """Return what a score is called: fake from the threshold on, else real; unsure inside the band."""
    if band is not None and band.low <= score < band.high:
        return "unsure"
    return "fake" if score >= threshold else "real"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one picture. `label` is None, and `error` the reason, where there is no verdict.

    `unsure_because` says in a few words why a verdict is 'unsure'; None for the others. `ood`: the share of validation
    pictures that are less strange to the model (models.ood); None where it can't tell.
    """

    path: str
    label: VerdictName | None
    score: float | None
    logit: float | None
    threshold: float
    error: str | None = None
    unsure_because: str | None = None
    ood: float | None = None


class Region(NamedTuple):
    """A rectangle of pixels of an upright picture, inside it: column `left` and row `top` are its first ones."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class FaceVerdict:
    """The answer for one face; as in Verdict, `label` None and `error` go together.

    `region` is what was judged: the face and a margin. `confidence`: the finder's that it is a face, 0 to 1.
    """

    region: Region
    confidence: float
    label: VerdictName | None
    score: float | None
    logit: float | None
    ood: float | None = None
    error: str | None = None
    unsure_because: str | None = None


@dataclass(frozen=True, slots=True)
class FacesVerdict(Verdict):
    """The answer for a picture by its faces: that of the highest score, whose place in `faces` is `decides`.

    `faces`, the largest first. No face: `note` says so; the verdict is the whole picture's, or there is none.
    """

    faces: tuple[FaceVerdict, ...] = ()
    decides: int | None = None
    note: str | None = None

    @property
    def place(self) -> Region | None:
        """What was judged of the picture: the face that decides; None: the whole picture, or nothing."""
        return None if self.decides is None else self.faces[self.decides].region


@dataclass(frozen=True, slots=True)
class FrameVerdict:
    """The answer for one frame of a video, shown from `time_s` on; as in Verdict, `label` None and `error` go together.

    Of several faces in a frame it is that of the highest score; `faces` holds them all, the largest first.
    """

    time_s: float
    label: VerdictName | None
    score: float | None
    logit: float | None
    ood: float | None = None
    error: str | None = None
    faces: tuple[FaceVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """A face of a video, from `start_s` to the last of `num_frames` frames that show it at `last_s`.

    Score and logit are of the middle of those frames, and so is the label, but that a stretch of them that looks fake
    makes it unsure; `region` is where it was first seen.
    """

    start_s: float
    last_s: float
    num_frames: int
    region: Region
    label: VerdictName | None
    score: float | None
    logit: float | None
    ood: float | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a video whose frames look fake: from `start_s` to `end_s`, `num_frames` of them judged so."""

    start_s: float
    end_s: float
    num_frames: int


@dataclass(frozen=True, slots=True)
class VideoVerdict(Verdict):
    """The answer for a video: label, score, logit and ood are of the middle of its frames (predict.video says how).

    `frames` are those that were looked at, in the order of time. `num_asked` frames were wanted of it; `num_damaged` of
    them did not decode. `suspicious`: stretches that look fake, in the order of time. `length_s` is what the file
    claims, None where it doesn't say; its pictures go from `start_s` to `end_s`. `notes` are plain words.

    `tracks`: the faces that were followed, in the order of time; `decides`: the place of the one whose verdict is the
    video's, None where the middle of the frames decides.
    """

    frames: tuple[FrameVerdict, ...] = ()
    num_asked: int = 0
    num_damaged: int = 0
    suspicious: tuple[Stretch, ...] = ()
    length_s: float | None = None
    start_s: float = 0.0
    end_s: float = 0.0
    notes: tuple[str, ...] = ()
    tracks: tuple[FaceTrack, ...] = ()
    decides: int | None = None

    @property
    def judged(self) -> tuple[FrameVerdict, ...]:
        """The frames that have a score."""
        return tuple(frame for frame in self.frames if frame.score is not None)

    @property
    def suspicious_share(self) -> float | None:
        """Share of the judged frames that look fake; None where none was judged."""
        judged = self.judged
        return sum(frame.label == "fake" for frame in judged) / len(judged) if judged else None

    @property
    def longest(self) -> Stretch | None:
        """The longest suspicious stretch, the first of equals."""
        return max(self.suspicious, key=lambda part: part.end_s - part.start_s, default=None)
