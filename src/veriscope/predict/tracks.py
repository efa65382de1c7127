"""The faces of a video, followed from frame to frame by their place: pure functions.

A face of a frame belongs to the track whose last region it overlaps most. It is no recognition: somebody who takes
another's place between two frames goes on with that one's track, and somebody who moves far begins a new one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from veriscope.bundle.scorer import Scored
from veriscope.predict.face_finder import overlap
from veriscope.predict.frames import middle, suspicious_stretches
from veriscope.predict.judge import Judge
from veriscope.types import FaceTrack, FaceVerdict, FrameVerdict

LEAST_OVERLAP = 0.3  # of the smaller region: a head that is turned or steps aside keeps more of its place
LONGEST_GAP = 2  # frames without the face: it was turned away, or the finder missed it


@dataclass(slots=True, eq=False)
class _Open:
    faces: list[FaceVerdict] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    last: int = 0


def follow(frames: Sequence[FrameVerdict], *, judge: Judge, may_be_unsure: bool = True) -> tuple[FaceTrack, ...]:
    """Return the faces of frames in the order of time as tracks, in the order of their first frames.

    A face whose middle is real, but which looks fake for a stretch, is unsure, as a video is; `may_be_unsure` False
    turns that off.
    """
    tracks: list[_Open] = []
    for number, frame in enumerate(frames):
        open_tracks = [track for track in tracks if number - track.last <= LONGEST_GAP + 1]
        pairs = sorted(
            (-overlap(face.region, track.faces[-1].region), place, index)
            for place, track in enumerate(open_tracks)
            for index, face in enumerate(frame.faces)
        )
        joined: dict[int, _Open] = {}
        for negative, place, index in pairs:
            track = open_tracks[place]
            if -negative >= LEAST_OVERLAP and index not in joined and track not in joined.values():
                joined[index] = track
        for index, face in enumerate(frame.faces):
            if index not in joined:
                joined[index] = _Open()
                tracks.append(joined[index])
            track = joined[index]
            track.faces.append(face)
            track.times.append(frame.time_s)
            track.last = number
    return tuple(_closed(track, judge=judge, may_be_unsure=may_be_unsure) for track in tracks)


def deciding(tracks: Sequence[FaceTrack], *, min_frames: int) -> int | None:
    """Return the place of the track with the highest score among those of `min_frames` or more; None: there is none."""
    long = [
        (track.score, -place)
        for place, track in enumerate(tracks)
        if track.num_frames >= min_frames and track.score is not None
    ]
    return -max(long)[1] if long else None


def _closed(track: _Open, *, judge: Judge, may_be_unsure: bool) -> FaceTrack:
    logits = [face.logit for face in track.faces if face.logit is not None]
    strange = [face.ood for face in track.faces if face.ood is not None]
    first, start_s, last_s, number = track.faces[0], track.times[0], track.times[-1], len(track.faces)
    if not logits:
        return FaceTrack(start_s, last_s, number, first.region, None, None, None)
    logit, ood = middle(logits), middle(strange) if strange else None
    scored = Scored(judge.bundle.path, logit, judge.terms.calibration.score(logit), ood=ood)
    found = judge.verdict(scored)
    own = [FrameVerdict(time_s, face.label, None, None) for time_s, face in zip(track.times, track.faces, strict=True)]
    partly_fake = may_be_unsure and bool(suspicious_stretches(own, end_s=last_s))
    label = "unsure" if partly_fake and found.label == "real" else found.label
    return FaceTrack(start_s, last_s, number, first.region, label, found.score, found.logit, found.ood)
