"""From a video to its verdict.

The middle (median) of its frames decides; where faces are cut out, the middle of one face's frames, of the face with
the highest one. A part that looks fake must not vanish behind a longer one that doesn't: a video whose middle is real,
but which looks fake for three sampled frames or more in a row, is unsure and says from when to when. Threshold and
calibration were chosen on single pictures, and neighbouring frames are alike: many frames that agree are hardly more
evidence than one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from veriscope.bundle.scorer import Scored, Scorer
from veriscope.data.places import slice_of
from veriscope.data.video import FRAMES_PER_SECOND, MAX_FRAMES, VIDEO_SUFFIXES, Frame, Pixels, clock_text, open_video
from veriscope.data.video_apart import open_video_apart
from veriscope.errors import DecodeError
from veriscope.predict.faces import Cut, FaceCutter, face_verdicts, part_of, rank, score_groups
from veriscope.predict.frames import MIN_STRETCH, middle, suspicious_stretches
from veriscope.predict.judge import Judge
from veriscope.predict.thumbnails import Thumbnails, thumbnail
from veriscope.predict.tracks import deciding, follow
from veriscope.types import FaceVerdict, FrameVerdict, Region, Verdict, VideoVerdict


@dataclass(frozen=True, slots=True)
class VideoRules:
    """How videos are looked at: `every_s` seconds one frame, at most `max_frames` spread evenly over the whole.

    `time_limit_s` bounds reading and decoding of one video; None: nothing does. `max_pixels` of a frame; None:
    clip.MAX_FRAME_PIXELS. `threads` of the decoder, 0: as many as there are cores. `may_be_unsure` False: a part that
    looks fake doesn't make a video unsure. `apart` reads in another process (data.video_apart): for files that nobody
    vouches for.
    """

    every_s: float = 1 / FRAMES_PER_SECOND
    max_frames: int = MAX_FRAMES
    time_limit_s: float | None = None
    max_pixels: int | None = None
    threads: int = 0
    may_be_unsure: bool = True
    apart: bool = False


def is_video(path: Path) -> bool:
    """Return whether a file is a video by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES and slice_of(path) is None


def judge_paths(
    paths: Iterable[Path], *, pictures: Callable[[Iterable[Path]], Iterator[Verdict]], video: Callable[[Path], Verdict]
) -> Iterator[Verdict]:
    """Yield one verdict for each path, in order: videos by `video`, runs of other files by `pictures`."""

    def videos(run: Iterable[Path]) -> Iterator[Verdict]:
        return map(video, run)

    for are_videos, run in groupby(paths, key=is_video):
        judge = videos if are_videos else pictures
        yield from judge(run)


def judge_video(
    scorer: Scorer,
    source: Path | bytes,
    *,
    judge: Judge,
    rules: VideoRules | None = None,
    cutter: FaceCutter | None = None,
    name: str | None = None,
    thumbnails: Thumbnails | None = None,
) -> VideoVerdict:
    """Return the verdict for a video; what can't be read has the label None and an error.

    Args:
        scorer: of the judge's bundle, with the judge's calibration.
        source: a file, or a file's bytes.
        judge: what turns scores into verdicts.
        rules: how many frames are looked at.
        cutter: what cuts the faces out of the frames: faces are followed, and the one with the highest score decides.
            None: whole frames are judged.
        name: stands as `path` in the verdict; by default the file's.
        thumbnails: is filled with the frames of the highest and lowest scores.

    Raises:
        DataError: PyAV is not installed.

    """
    rules = rules or VideoRules()
    verdict = _judge_once(scorer, source, judge=judge, rules=rules, cutter=cutter, name=name, thumbnails=thumbnails)
    if cutter is None or verdict.error is None or any(frame.faces for frame in verdict.frames) or not verdict.frames:
        return verdict
    said = "no face found in its frames"
    if cutter.rules.no_face == "nothing":
        return replace(verdict, error=said)
    whole = _judge_once(scorer, source, judge=judge, rules=rules, cutter=None, name=name, thumbnails=thumbnails)
    return replace(whole, notes=(*whole.notes, f"{said}: whole frames were judged"))


def _judge_once(
    scorer: Scorer,
    source: Path | bytes,
    *,
    judge: Judge,
    rules: VideoRules,
    cutter: FaceCutter | None,
    name: str | None,
    thumbnails: Thumbnails | None,
) -> VideoVerdict:
    """Read the video once and judge it: its faces with a cutter, else its whole frames."""
    path = Path("<bytes>") if isinstance(source, bytes) else source
    shown_as = str(path) if name is None else name
    try:
        open_it = open_video_apart if rules.apart else open_video
        with open_it(
            source, max_pixels=rules.max_pixels, time_limit_s=rules.time_limit_s, threads=rules.threads
        ) as video:
            sampled = video.sample(every_s=rules.every_s, max_frames=rules.max_frames)
            frames = tuple(_judge_frames(scorer, path, sampled, cutter=cutter, judge=judge, thumbnails=thumbnails))
            return replace(
                sum_up(frames, path=shown_as, judge=judge, rules=rules, end_s=video.end_s),
                num_asked=video.num_asked,
                num_damaged=video.num_damaged,
                length_s=video.length_s,
                start_s=video.start_s,
                notes=video.notes,
            )
    except DecodeError as error:
        return VideoVerdict(
            path=shown_as, label=None, score=None, logit=None, threshold=judge.threshold.value, error=error.reason
        )


def sum_up(
    frames: Sequence[FrameVerdict], *, path: str, judge: Judge, end_s: float, rules: VideoRules | None = None
) -> VideoVerdict:
    """Return the verdict on a video's frames, in the order of time; unsure for a suspicious part.

    It is that of the followed face with the highest score among those in MIN_STRETCH frames or more; without such a
    face, that of the middle of the frames. The video ends at `end_s`.
    """
    judged = [frame for frame in frames if frame.logit is not None]
    parts = suspicious_stretches(frames, end_s=end_s)
    strange = [frame.ood for frame in judged if frame.ood is not None]
    may_be_unsure = (rules or VideoRules()).may_be_unsure
    tracks = follow(frames, judge=judge, may_be_unsure=may_be_unsure)
    decides = deciding(tracks, min_frames=MIN_STRETCH)
    if decides is not None:
        chosen = tracks[decides]
        scored = Scored(Path(path), chosen.logit, chosen.score, ood=chosen.ood)
    elif judged:
        logit = middle([frame.logit for frame in judged if frame.logit is not None])
        scored = Scored(
            Path(path), logit, judge.terms.calibration.score(logit), ood=middle(strange) if strange else None
        )
    else:
        why = next((frame.error for frame in frames if frame.error), "no frame")
        scored = Scored(Path(path), None, None, f"no frame could be judged: {why}")
    whole = judge.verdict(scored)
    label, reasons = whole.label, [whole.unsure_because] if whole.unsure_because else []
    if parts and may_be_unsure and label in ("real", "unsure"):
        label = "unsure"
        longest = max(parts, key=lambda part: part.end_s - part.start_s)
        more = f", and {len(parts) - 1} more such parts" if len(parts) > 1 else ""
        reasons.append(f"looks fake from {clock_text(longest.start_s)} to {clock_text(longest.end_s)}{more}")
    return VideoVerdict(
        path=path,
        label=label,
        score=whole.score,
        logit=whole.logit,
        threshold=whole.threshold,
        error=whole.error,
        unsure_because="; ".join(reasons) or None,
        ood=whole.ood,
        frames=tuple(frames),
        suspicious=parts,
        end_s=end_s,
        tracks=tracks,
        decides=decides,
    )


def _judge_frames(
    scorer: Scorer,
    path: Path,
    frames: Iterable[Frame],
    *,
    cutter: FaceCutter | None,
    judge: Judge,
    thumbnails: Thumbnails | None,
) -> Iterator[FrameVerdict]:
    """Yield the frames' verdicts in order; the network sees batches of faces across frames."""

    def look(frame: Frame) -> tuple[tuple[float, Cut | None, Pixels | None], list[Pixels]]:
        cut = None if cutter is None else cutter.cut(frame.pixels)
        parts = [frame.pixels] if cut is None else [part_of(frame.pixels, region) for region in cut.regions]
        small = None if thumbnails is None else thumbnail(frame.pixels)
        return (frame.time_s, cut, small), [scorer.prepare(part) for part in parts]

    for (time_s, cut, small), answers in score_groups(scorer, map(look, frames)):
        if cut is None:
            verdict = _to_frame(answers[0], time_s, judge)
        else:
            faces = face_verdicts(cut, answers, judge=judge)
            best = max(faces, key=rank, default=_NO_FACE)
            verdict = FrameVerdict(time_s, best.label, best.score, best.logit, best.ood, best.error, faces)
        if thumbnails is not None and small is not None:
            thumbnails.offer(verdict, small)
        yield verdict


_NO_FACE = FaceVerdict(Region(0, 0, 0, 0), 0.0, None, None, None, error="no face to judge in it")


def _to_frame(scored: Scored, time_s: float, judge: Judge) -> FrameVerdict:
    verdict = judge.verdict(scored)
    return FrameVerdict(time_s, verdict.label, verdict.score, verdict.logit, verdict.ood, verdict.error)
