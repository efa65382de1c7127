"""What the API answers, as JSON; the OpenAPI document is made of it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from veriscope.types import ClassName, VerdictName

Reason = Literal["near_threshold", "unlike_training", "part_looks_fake"]

_SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class Answer(BaseModel):
    """Base of everything that is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ProblemFacts(Answer):
    """Why there is no answer."""

    code: str = Field(description="a word for programs, as 'too_large'")
    message: str = Field(description="a sentence for people")
    request_id: str = Field(description="the header X-Request-ID, as the server's log has it")


class Problem(Answer):
    """Every answer whose status is 400 or above."""

    error: ProblemFacts


class FileError(Answer):
    """Why one file has no verdict; the others of the request may have theirs."""

    code: Literal["too_large", "no_picture", "unreadable", "no_face", "no_score"] = Field(
        description="too_large: bytes or pixels; no_picture: something else, by its content; unreadable: damaged; "
        "no_face: the server judges faces, and there is none; no_score: the network came to no number"
    )
    message: str


class Picture(Answer):
    """What a file says of its picture, as stored, before any turn."""

    format: str = Field(examples=["JPEG"])
    width_px: int
    height_px: int
    size_bytes: int


class Face(Answer):
    """A face: what was judged of the upright picture, in its pixels, and its verdict."""

    left: int
    top: int
    width: int
    height: int
    verdict: VerdictName | None
    score: float | None = Field(ge=0, le=1)


class Faces(Answer):
    """The faces of a picture, where the server judges faces: its score is that of the face that decides."""

    decides: int | None = Field(description="place in `found` of the highest score; null: none was judged")
    note: str | None = Field(description="what was judged where no face was found, and what was left out")
    found: list[Face] = Field(description="the largest first")


class VideoFace(Face):
    """A face that was followed through a video by its place; where it was first seen."""

    start_s: float
    last_s: float
    num_frames: int


class VideoFrame(Answer):
    """One of the frames that were looked at."""

    time_s: float
    score: float | None = Field(ge=0, le=1)


class VideoPart(Answer):
    """A part whose frames look fake."""

    start_s: float
    end_s: float


class Video(Answer):
    """What a video's verdict was made of: its score is that of the middle (median) of its frames, or of one face's."""

    end_s: float = Field(description="where its pictures end")
    frames: list[VideoFrame] = Field(description="in the order of time")
    suspicious: list[VideoPart]
    num_damaged: int = Field(description="frames that were wanted and did not decode")
    notes: list[str]
    faces: list[VideoFace] = Field(default=[], description="those that were followed, where the server judges faces")
    decides: int | None = Field(default=None, description="place in `faces` of the one whose score is the video's")


class FileVerdict(Answer):
    """The answer for one file of a request."""

    index: int = Field(ge=0, description="its place in the request")
    name: str | None = Field(description="the file name that the client sent; nothing is decided by it")
    verdict: VerdictName | None = Field(description="null: no verdict, `error` says why")
    words: str | None = Field(description="the verdict in words: looks fake, looks real, can't tell")
    score: float | None = Field(ge=0, le=1, description="calibrated probability of fake")
    logit: float | None
    unsure_because: str | None = Field(description="a few words; null where the verdict is not 'unsure'")
    reasons: list[Reason] = Field(description="the same for programs")
    ood: float | None = Field(description="share of validation pictures that are less strange; null: it can't tell")
    sha256: str | None = Field(description="of the file's bytes; null: they were not kept")
    picture: Picture | None = Field(description="null where the file is none that could be read")
    video: Video | None = Field(default=None, description="null where the file is none")
    faces: Faces | None = Field(default=None, description="null where the picture was judged as a whole, unasked")
    error: FileError | None


class ModelName(Answer):
    """Which detector answered."""

    name: str
    weights_sha256: str = Field(description="its identity")


class Verdicts(Answer):
    """The answer to /v1/predict."""

    request_id: str
    model: ModelName
    threshold: float = Field(description="scores from here on are called fake")
    results: list[FileVerdict] = Field(description="one for each file, in the order of the request")
    notices: list[str] = Field(description="what must stand wherever a verdict is shown")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request_id": "5f2b8c1d9e3a4f60",
                    "model": {"name": "xception_texture", "weights_sha256": _SHA},
                    "threshold": 0.41,
                    "results": [
                        {
                            "index": 0,
                            "name": "portrait.jpg",
                            "verdict": "fake",
                            "words": "looks fake",
                            "score": 0.9731,
                            "logit": 3.59,
                            "unsure_because": None,
                            "reasons": [],
                            "ood": 0.62,
                            "sha256": _SHA,
                            "picture": {
                                "format": "JPEG",
                                "width_px": 1024,
                                "height_px": 1024,
                                "size_bytes": 183022,
                            },
                            "video": None,
                            "faces": None,
                            "error": None,
                        },
                        {
                            "index": 1,
                            "name": "notes.txt",
                            "verdict": None,
                            "words": None,
                            "score": None,
                            "logit": None,
                            "unsure_because": None,
                            "reasons": [],
                            "ood": None,
                            "sha256": _SHA,
                            "picture": None,
                            "video": None,
                            "faces": None,
                            "error": {"code": "no_picture", "message": "This is no picture that the server reads."},
                        },
                    ],
                    "notices": [],
                }
            ]
        }
    )


class HeatMap(Answer):
    """Where the evidence for `target` lies in a picture."""

    method: str = Field(examples=["grad_cam"])
    target: ClassName = Field(description="evidence for which class; that of the score, seen from the threshold")
    sentence: str = Field(description="how strong it is, in words and logits")
    is_weak: bool = Field(description="no place comes near to full colour: what colour there is is no finding")
    saw_all: bool = Field(description="false: the detector is shown a part of the picture; the rest is dark")
    png: str = Field(description="the upright picture in grey with colour where something speaks for it; PNG, base64")
    width_px: int = Field(description="of the PNG; it has the proportions of the picture")
    height_px: int
    caveat: str = Field(description="what a heat map can't tell")


class Explained(Answer):
    """The answer to /v1/explain."""

    request_id: str
    model: ModelName
    name: str | None
    heat: HeatMap | None = Field(description="null: `error` says why")
    error: FileError | None


class Capabilities(Answer):
    """What this server can do beside judging pictures."""

    explain: bool = Field(description="POST /v1/explain")
    video: bool = Field(description="videos at POST /v1/predict")
    faces: bool = Field(description="pictures and videos are judged by their faces")


class LimitFacts(Answer):
    """What the server refuses."""

    max_file_bytes: int
    max_video_bytes: int
    max_files: int = Field(description="of one request")
    max_body_bytes: int = Field(description="of one request")
    max_pixels: int = Field(description="width times height of a picture")
    timeout_s: float = Field(description="from the last byte of a request to its answer")
    formats: list[str]


class BandFacts(Answer):
    """Scores from `low` to below `high` are called unsure."""

    low: float
    high: float
    accuracy: float = Field(description="share of the other verdicts that were right on `chosen_on`")
    chosen_on: str


class Model(Answer):
    """The answer to /v1/model: the detector, what its verdicts rest on, and what the server grants."""

    name: str
    weights_sha256: str
    veriscope_version: str
    class_map: dict[str, int]
    input_size_px: int
    sees_px: int | None = Field(
        description="of whatever is larger the central square of so many pixels a side is judged, and nothing else; "
        "null: the whole is"
    )
    num_parameters: int
    num_members: int = Field(description="networks whose logits are averaged; 1: a single one")
    trained_on: str
    num_train: int = Field(description="pictures")
    num_val: int = Field(description="pictures")
    threshold: dict[str, Any] = Field(description="the one in use, and how it was chosen")
    thresholds: dict[str, dict[str, Any]] = Field(description="all that the bundle holds")
    unsure: BandFacts | None = Field(description="null: no verdict is unsure by its score")
    unsure_from_ood: float | None = Field(description="pictures stranger than this are unsure; null: none is")
    calibration: dict[str, Any]
    calibrated: bool = Field(description="whether a score may be read as a probability on data like those")
    fake_share: float | None = Field(description="of fakes among the pictures that scores refer to")
    footnote: str = Field(description="what a reader must know beside the verdicts")
    notices: list[str]
    capabilities: Capabilities
    limits: LimitFacts
    device: str
    precision: str
    card: str = Field(description="the model card, Markdown")


class Health(Answer):
    """The answer to /healthz and /readyz."""

    status: Literal["ok", "starting", "stopping"]
