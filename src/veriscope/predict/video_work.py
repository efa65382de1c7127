"""The videos of `veriscope predict`: what its options say of them, their verdicts and their timelines."""

import argparse
from pathlib import Path
from typing import Any

from veriscope.bundle.scorer import Scorer
from veriscope.data.decode import IMAGE_SUFFIXES
from veriscope.data.video import NEEDS, VIDEO_SUFFIXES, can_read_videos
from veriscope.errors import DataError
from veriscope.files import named_apart
from veriscope.predict.faces import FaceCutter
from veriscope.predict.inputs import Inputs
from veriscope.predict.judge import Judge
from veriscope.predict.thumbnails import Thumbnails
from veriscope.predict.timeline import write_timeline
from veriscope.predict.video import VideoRules, is_video, judge_video
from veriscope.predict.video_text import video_footer
from veriscope.types import VideoVerdict


def suffixes() -> frozenset[str]:
    """Return the endings that are looked for in folders: videos' too where they can be read."""
    return IMAGE_SUFFIXES | VIDEO_SUFFIXES if can_read_videos() else IMAGE_SUFFIXES


class VideoWork:
    """Judges the videos of one command, one after the other.

    Raises:
        DataError: a video is named and PyAV is missing, or the folder for timelines can't be made.

    """

    def __init__(
        self, arguments: argparse.Namespace, inputs: Inputs, *, judge: Judge, cutter: FaceCutter | None
    ) -> None:
        named = next((path for path in inputs.named if is_video(path) and not path.is_dir()), None)
        if named is not None and not can_read_videos():
            raise DataError(f"'{named}': {NEEDS}")
        self.judge = judge
        self.cutter = cutter
        self.rules = VideoRules(
            every_s=1 / arguments.frames_per_second,
            max_frames=arguments.max_frames,
            may_be_unsure=not arguments.no_unsure,
        )
        self.folder: Path | None = arguments.timeline
        self.num_videos = 0
        self._passed = inputs.passed
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"--timeline '{self.folder}': {error.strerror or error}") from error

    def facts(self) -> dict[str, Any]:
        """Return what decides the verdicts on videos beside Judge.facts, as plain values for JSON."""
        rules = self.rules
        kept = {"every_s": rules.every_s, "max_frames": rules.max_frames, "may_be_unsure": rules.may_be_unsure}
        return {"videos": kept}

    def verdict(self, path: Path, *, scorer: Scorer) -> VideoVerdict:
        """Return the verdict on one video; its timeline is written where one was asked for.

        Raises:
            DataError: the timeline can't be written.

        """
        self.num_videos += 1
        thumbnails = None if self.folder is None else Thumbnails()
        verdict = judge_video(
            scorer, path, judge=self.judge, rules=self.rules, cutter=self.cutter, thumbnails=thumbnails
        )
        if self.folder is not None and verdict.judged:
            file = named_apart(self.folder, path, ending=".png")
            try:
                write_timeline(file, verdict, judge=self.judge, thumbnails=thumbnails)
            except OSError as error:
                raise DataError(f"'{file}' can't be written: {error.strerror or error}") from error
        return verdict

    def said(self) -> list[str]:
        """Return what is to be said of videos below the verdicts."""
        if self.num_videos:
            written = [] if self.folder is None else [f"Timelines: {self.folder}"]
            return [video_footer(every_s=self.rules.every_s, max_frames=self.rules.max_frames), *written]
        passed = not can_read_videos() and any(suffix in VIDEO_SUFFIXES for suffix in self._passed)
        return [NEEDS[0].upper() + NEEDS[1:]] if passed else []
