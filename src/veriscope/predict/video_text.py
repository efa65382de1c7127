"""What is said of videos: in a line, as JSON, and below the verdicts."""

from typing import Any

from veriscope.data.video import clock_text
from veriscope.predict.face_text import face_json, track_json, track_line
from veriscope.types import FrameVerdict, VideoVerdict


def video_line(verdict: VideoVerdict) -> str:
    """Return a few words beside a video's score: how many frames look fake, where, and what is odd about the file."""
    judged = verdict.judged
    if not judged:
        return "; ".join(verdict.notes)
    num_fake = sum(frame.label == "fake" for frame in judged)
    said = [f"{num_fake} of {len(judged)} frames look fake"]
    longest = verdict.longest
    # An unsure verdict says it as its reason.
    if longest is not None and "looks fake from" not in (verdict.unsure_because or ""):
        said.append(f"longest from {clock_text(longest.start_s)} to {clock_text(longest.end_s)}")
    if verdict.tracks:
        said.append(f"{len(verdict.tracks)} {'face' if len(verdict.tracks) == 1 else 'faces'} followed")
    if verdict.decides is not None and len(verdict.tracks) > 1:
        said.append(f"the one {track_line(verdict.tracks[verdict.decides])} decides")
    failed = len(verdict.frames) - len(judged)
    if failed:
        said.append(f"{failed} frames without a verdict")
    return "; ".join([*said, *verdict.notes])


def video_json(verdict: VideoVerdict) -> dict[str, Any]:
    """Return what a video's row of JSON holds beside a picture's: seconds, counts, suspicious stretches, frames."""
    share = verdict.suspicious_share
    return {
        "length_s": _rounded(verdict.length_s),
        "pictures_from_s": _rounded(verdict.start_s),
        "pictures_to_s": _rounded(verdict.end_s),
        "frames_asked": verdict.num_asked,
        "frames_judged": len(verdict.judged),
        "frames_damaged": verdict.num_damaged,
        "suspicious_share": None if share is None else round(share, 6),
        "suspicious": [
            {"from_s": _rounded(part.start_s), "to_s": _rounded(part.end_s), "frames": part.num_frames}
            for part in verdict.suspicious
        ],
        "notes": list(verdict.notes),
        "faces": [track_json(track) for track in verdict.tracks],
        "decides": verdict.decides,
        "frames": [_frame(frame) for frame in verdict.frames],
    }


def video_footer(*, every_s: float, max_frames: int) -> str:
    """Return what a reader must know beside the verdicts on videos."""
    return (
        f"A video's score is that of the middle (median) of up to {max_frames} frames, {every_s:.4g} s or farther "
        "apart. Threshold and calibration were chosen on single pictures, not on videos; neighbouring frames are "
        "alike, so that many are hardly surer than one."
    )


def _frame(frame: FrameVerdict) -> dict[str, Any]:
    return {
        "time_s": _rounded(frame.time_s),
        "verdict": frame.label,
        "score": frame.score,
        "logit": frame.logit,
        "ood": None if frame.ood is None else round(frame.ood, 6),
        "error": frame.error,
        **({"faces": [face_json(face) for face in frame.faces]} if frame.faces else {}),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
