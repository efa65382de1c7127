"""From a video to its verdict.

The middle (median) of its frames decides. A part that looks fake must not vanish behind a longer one that doesn't: a
video whose middle is real, but which looks fake for three sampled frames or more in a row, is unsure and says from when
to when. Threshold and calibration were chosen on single pictures, and neighbouring frames are alike: many frames that
agree are hardly more evidence than one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from veriscope.bundle.scorer import Scored, Scorer
from veriscope.data.places import slice_of
from veriscope.data.video import FRAMES_PER_SECOND, MAX_FRAMES, VIDEO_SUFFIXES, Frame, Pixels, clock_text, open_video
from veriscope.data.video_apart import open_video_apart
from veriscope.errors import DecodeError
from veriscope.predict.frames import middle, suspicious_stretches
from veriscope.predict.judge import Judge
from veriscope.predict.thumbnails import Thumbnails, thumbnail
from veriscope.types import FrameVerdict, Verdict, VideoVerdict

Crops = Callable[[Frame], Sequence[Pixels]]


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


def whole_frame(frame: Frame) -> Sequence[Pixels]:
    """Return the frame as its one picture to judge. A face finder has the same shape: a frame's crops, or none."""
    return (frame.pixels,)


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
    crops: Crops = whole_frame,
    name: str | None = None,
    thumbnails: Thumbnails | None = None,
) -> VideoVerdict:
    """Return the verdict for a video; what can't be read has the label None and an error.

    Args:
        scorer: of the judge's bundle, with the judge's calibration.
        source: a file, or a file's bytes.
        judge: what turns scores into verdicts.
        rules: how many frames are looked at.
        crops: what is judged of a frame; the highest score of its crops is the frame's, and none is no verdict on it.
        name: stands as `path` in the verdict; by default the file's.
        thumbnails: is filled with the frames of the highest and lowest scores.

    Raises:
        DataError: PyAV is not installed.

    """
    rules = rules or VideoRules()
    path = Path("<bytes>") if isinstance(source, bytes) else source
    shown_as = str(path) if name is None else name
    try:
        open_it = open_video_apart if rules.apart else open_video
        with open_it(
            source, max_pixels=rules.max_pixels, time_limit_s=rules.time_limit_s, threads=rules.threads
        ) as video:
            sampled = video.sample(every_s=rules.every_s, max_frames=rules.max_frames)
            frames = tuple(_judge_frames(scorer, path, sampled, crops=crops, judge=judge, thumbnails=thumbnails))
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
    """Return the verdict on a video's frames, in the order of time: that of their middle, unsure for a suspicious part.

    The video ends at `end_s`.
    """
    judged = [frame for frame in frames if frame.logit is not None]
    parts = suspicious_stretches(frames, end_s=end_s)
    strange = [frame.ood for frame in judged if frame.ood is not None]
    if judged:
        logit = middle([frame.logit for frame in judged if frame.logit is not None])
        scored = Scored(
            Path(path), logit, judge.terms.calibration.score(logit), ood=middle(strange) if strange else None
        )
    else:
        why = next((frame.error for frame in frames if frame.error), "no frame")
        scored = Scored(Path(path), None, None, f"no frame could be judged: {why}")
    whole = judge.verdict(scored)
    label, reasons = whole.label, [whole.unsure_because] if whole.unsure_because else []
    if parts and (rules or VideoRules()).may_be_unsure and label in ("real", "unsure"):
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
    )


@dataclass(slots=True)
class _Waiting:
    """A frame on its way through the network: what is left of it until all its crops are scored."""

    time_s: float
    num_crops: int
    small: Pixels | None
    answers: list[FrameVerdict] = field(default_factory=list)


def _judge_frames(
    scorer: Scorer, path: Path, frames: Iterable[Frame], *, crops: Crops, judge: Judge, thumbnails: Thumbnails | None
) -> Iterator[FrameVerdict]:
    """Yield the frames' verdicts in order; the network sees batches of crops across frames."""
    waiting: deque[_Waiting] = deque()

    def pictures() -> Iterator[tuple[Path, Pixels]]:
        for frame in frames:
            cut = crops(frame)
            small = None if thumbnails is None else thumbnail(frame.pixels)
            waiting.append(_Waiting(frame.time_s, len(cut), small))
            yield from ((path, image_HWC) for image_HWC in cut)

    def finished() -> Iterator[FrameVerdict]:
        while waiting and len(waiting[0].answers) == waiting[0].num_crops:
            done = waiting.popleft()
            verdict = max(done.answers, key=_rank, default=_nothing(done.time_s))
            if thumbnails is not None and done.small is not None:
                thumbnails.offer(verdict, done.small)
            yield verdict

    for scored in scorer.score_pixels(pictures()):
        yield from finished()  # frames without a crop
        waiting[0].answers.append(_to_frame(scored, waiting[0].time_s, judge))
        yield from finished()
    yield from finished()


def _rank(verdict: FrameVerdict) -> float:
    return -1.0 if verdict.score is None else verdict.score


def _nothing(time_s: float) -> FrameVerdict:
    return FrameVerdict(time_s, None, None, None, error="nothing to judge in it")


def _to_frame(scored: Scored, time_s: float, judge: Judge) -> FrameVerdict:
    verdict = judge.verdict(scored)
    return FrameVerdict(time_s, verdict.label, verdict.score, verdict.logit, verdict.ood, verdict.error)
