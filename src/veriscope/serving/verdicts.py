"""From what became of a file to what the API says of it, and what the API says of the detector."""

from pathlib import Path
from typing import Any, Literal

from veriscope import __version__
from veriscope.bundle.base import BaseBundle
from veriscope.bundle.model_card import model_card
from veriscope.bundle.scorer import Scored, Scorer
from veriscope.data.decode import FORMATS
from veriscope.models.ood import is_strange
from veriscope.predict.face_text import faces_footer
from veriscope.predict.faces import FaceCutter
from veriscope.predict.judge import Judge
from veriscope.serving.engine import Judged
from veriscope.serving.schemas import (
    BandFacts,
    Capabilities,
    Face,
    Faces,
    FileError,
    FileVerdict,
    LimitFacts,
    Model,
    ModelName,
    Picture,
    Reason,
    Video,
    VideoFace,
    VideoFrame,
    VideoPart,
)
from veriscope.serving.settings import MEGABYTE, Limits
from veriscope.serving.upload import Upload
from veriscope.types import FacesVerdict, Verdict, VideoVerdict, name_verdict

WORDS = {"fake": "looks fake", "real": "looks real", "unsure": "can't tell"}


def picture_verdict(
    index: int, upload: Upload, judged: Judged, *, judge: Judge, cutter: FaceCutter | None = None
) -> FileVerdict:
    """Return the answer for one file."""
    path, facts, error = Path(str(index)), judged.facts, judged.error
    if cutter is not None and judged.cut is not None:
        found: Verdict = cutter.verdict(path, judged.cut, judged.scored, judge=judge)
    else:
        found = judge.verdict(judged.scored[0] if judged.scored else Scored(path, None, None, "no score"))
    if error is None and found.label is None:
        error = FileError(code="no_face", message=f"There is nothing to judge: {found.error}.")
    return _answer(
        index,
        upload,
        found,
        error,
        sha256=judged.sha256,
        reasons=_reasons(found, judge=judge),
        picture=None if facts is None else Picture(**facts._asdict()),
        faces=_faces(found) if isinstance(found, FacesVerdict) else None,
    )


def _faces(found: FacesVerdict) -> Faces:
    return Faces(
        decides=found.decides,
        note=found.note,
        found=[Face(**face.region._asdict(), verdict=face.label, score=face.score) for face in found.faces],
    )


def video_answer(
    index: int, upload: Upload, found: VideoVerdict, sha256: str, *, judge: Judge, cutter: FaceCutter | None = None
) -> FileVerdict:
    """Return the answer for one video."""
    reasons = _reasons(found, judge=judge)
    error = None
    if found.label is None:
        code: Literal["no_score", "no_face", "unreadable"] = "no_score" if found.frames else "unreadable"
        if cutter is not None and found.frames and not any(frame.faces for frame in found.frames):
            code = "no_face"
        error = FileError(code=code, message=f"This video can't be judged: {found.error}.")
    elif found.label == "unsure" and found.suspicious:
        reasons.append("part_looks_fake")
    return _answer(
        index,
        upload,
        found,
        error,
        sha256=sha256,
        reasons=reasons,
        video=Video(
            end_s=found.end_s,
            frames=[VideoFrame(time_s=frame.time_s, score=frame.score) for frame in found.frames],
            suspicious=[VideoPart(start_s=part.start_s, end_s=part.end_s) for part in found.suspicious],
            num_damaged=found.num_damaged,
            notes=list(found.notes),
            faces=[
                VideoFace(
                    **track.region._asdict(),
                    start_s=track.start_s,
                    last_s=track.last_s,
                    num_frames=track.num_frames,
                    verdict=track.label,
                    score=track.score,
                )
                for track in found.tracks
            ],
            decides=found.decides,
        ),
    )


def _answer(
    index: int,
    upload: Upload,
    found: Verdict,
    error: FileError | None,
    *,
    sha256: str | None,
    reasons: list[Reason],
    picture: Picture | None = None,
    video: Video | None = None,
    faces: Faces | None = None,
) -> FileVerdict:
    return FileVerdict(
        index=index,
        name=upload.name,
        verdict=found.label,
        words=None if found.label is None else WORDS[found.label],
        score=found.score,
        logit=found.logit,
        unsure_because=found.unsure_because,
        reasons=reasons,
        ood=found.ood,
        sha256=sha256,
        picture=picture,
        video=video,
        faces=faces,
        error=error,
    )


def _reasons(found: Verdict, *, judge: Judge) -> list[Reason]:
    if found.score is None:
        return []
    reasons: list[Reason] = []
    if name_verdict(found.score, threshold=judge.threshold.value, band=judge.band) == "unsure":
        reasons.append("near_threshold")
    if judge.strange_from is not None and is_strange(found.ood, judge.strange_from):
        reasons.append("unlike_training")
    return reasons


def oversized(limits: Limits, *, videos: bool = False) -> Judged:
    """Return what became of a file that was not kept since it is larger than a file may be."""
    grants = f"A picture may hold {limits.max_file_bytes / MEGABYTE:g} MB"
    grants += f", a video {limits.max_video_bytes / MEGABYTE:g} MB" if videos else ""
    return Judged((), None, None, FileError(code="too_large", message=f"{grants}; this file is larger."))


def model_name(bundle: BaseBundle) -> ModelName:
    """Return which detector it is."""
    return ModelName(name=bundle.record.model.name, weights_sha256=bundle.weights_sha256)


def describe(
    judge: Judge, scorer: Scorer, *, limits: Limits, capabilities: Capabilities, cutter: FaceCutter | None = None
) -> Model:
    """Return all that a client may know of the detector and of what the server grants."""
    record, band = judge.bundle.record, judge.band
    calibration = judge.terms.calibration
    plain: dict[str, Any] = calibration.model_dump()
    plain.pop("knots", None)  # hundreds of pairs, which nobody reads here
    return Model(
        name=record.model.name,
        weights_sha256=record.weights_sha256,
        veriscope_version=__version__,
        class_map=record.class_map,
        input_size_px=record.model.input.size_px,
        sees_px=record.model.input.size_px if record.model.input.fit == "crop" else None,
        num_parameters=record.num_parameters,
        num_members=record.num_members,
        trained_on=record.training.data_name,
        num_train=record.training.num_train,
        num_val=record.training.num_val,
        threshold=judge.threshold.model_dump(),
        thresholds={name: threshold.model_dump() for name, threshold in judge.terms.thresholds.items()},
        unsure=None
        if band is None or band.low == band.high
        else BandFacts(low=band.low, high=band.high, accuracy=band.accuracy, chosen_on=band.chosen_on),
        unsure_from_ood=judge.strange_from,
        calibration=plain,
        calibrated=calibration.fitted_on != "none",
        fake_share=calibration.base_rate or calibration.fake_share,
        footnote=judge.footer() if cutter is None else f"{judge.footer()} {faces_footer(cutter)}",
        notices=list(judge.bundle.notices),
        capabilities=capabilities,
        limits=LimitFacts(
            max_file_bytes=limits.max_file_bytes,
            max_video_bytes=limits.max_video_bytes,
            max_files=limits.max_files,
            max_body_bytes=limits.max_body_bytes,
            max_pixels=limits.max_pixels,
            timeout_s=limits.timeout_s,
            formats=[name for name in FORMATS if name != "MPO"],
        ),
        device=scorer.network.device,
        precision=scorer.network.precision,
        card=model_card(record),
    )
