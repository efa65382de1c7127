"""The one reader of videos: some frames of a file, evenly spread over its time.

A frame is chosen by the second at which a player shows it, never by its number: frame rates vary within a file. Reading
needs PyAV (`pip install 'veriscope[video]'`), which only data.clip knows.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from veriscope.data.video_file import Clock, TimedFile, opened
from veriscope.errors import DataError, DecodeError

if TYPE_CHECKING:
    from veriscope.data.clip import Clip, ClipFacts, Shown

Pixels = npt.NDArray[np.uint8]

VIDEO_SUFFIXES = frozenset(
    (
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".asf", ".flv",
        ".ogv", ".3gp", ".3g2", ".mxf",
    )
)  # fmt: skip

FRAMES_PER_SECOND = 2.0
MAX_FRAMES = 200
NEEDS = "videos need PyAV: pip install 'veriscope[video]'"

SEEK_COST_S = 0.25  # a jump costs about as much as decoding this much video (benchmarks/video.md)
LOST_S = 1.0  # pictures that end this much before the stated length are worth a word: sound may be a little longer
NO_INDEX_REACH_S = 12.0  # where nothing tells the distance of keyframes: no encoder's default is above 10 s


@dataclass(frozen=True, slots=True)
class Frame:
    """One sampled frame: `time_s` from which a player shows it, its number among the sampled, uint8 RGB (H, W, 3)."""

    time_s: float
    index: int
    pixels: Pixels


class Video:
    """A video file that is open; `open_video` makes it.

    Attributes:
        facts: what the header says.
        start_s, end_s: from when to when it shows pictures that can be read; measured, not believed.
        num_asked: frames that the last `sample` wanted; num_damaged: those of them that don't decode soundly.

    """

    def __init__(self, file: TimedFile, *, name: str, max_pixels: int | None, threads: int, clock: Clock) -> None:
        self._file, self._name, self._max_pixels, self._threads = file, name, max_pixels, threads
        self._clock = clock
        self._clip = self._open()
        self._can_seek = True
        self._key_gap_s = NO_INDEX_REACH_S
        self._starts_again = False
        self.facts: ClipFacts = self._clip.facts
        self.num_asked = 0
        self.num_damaged = 0
        self.num_seeks = 0
        try:
            self.start_s, self.end_s = self._measure()
            self._start_again()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the decoder's memory back."""
        self._clip.close()

    @property
    def length_s(self) -> float | None:
        """How long the file claims to be; None where it doesn't say."""
        return self.facts.length_s

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a verdict must know of this file, as far as it has been read."""
        found = []
        length_s = self.length_s
        if length_s is not None and self.end_s < length_s - max(LOST_S, 0.01 * length_s):
            found.append(f"its pictures end at {clock_text(self.end_s)}; the file claims {clock_text(length_s)}")
        if self._starts_again or self._clip.starts_again:  # streams put together: a player shows one after the other
            found.append("its clock starts again in it; pictures shown under times that came before weren't judged")
        if self.num_damaged:
            found.append(f"{self.num_damaged} of {self.num_asked} frames are damaged")
        if self._clip.is_interlaced:
            found.append("interlaced, judged as stored")
        if self._clip.is_hdr:
            found.append("HDR, judged without tone mapping")
        return tuple(found)

    def sample(self, *, every_s: float = 1 / FRAMES_PER_SECOND, max_frames: int = MAX_FRAMES) -> Iterator[Frame]:
        """Yield the frames shown at `sample_times`, upright RGB, in the order of time, in constant memory.

        A frame that is on screen at several of them comes once, so there are fewer frames where pictures stand still.

        Raises:
            DecodeError: not one frame could be read, a frame is too large, or the time limit is over.

        """
        times = sample_times(self.start_s, self.end_s, every_s=every_s, max_frames=max_frames)
        self.num_asked, self.num_damaged = len(times), 0
        last_s, index = -math.inf, 0
        self._clock.go_on()
        for shown in self._shown_at(times):
            if shown.time_s <= last_s:  # still on screen
                self.num_asked -= 1
                continue
            last_s = shown.time_s
            if shown.frame.is_corrupt:
                self.num_damaged += 1
                continue
            frame = Frame(shown.time_s, index, self._clip.pixels(shown.frame))
            index += 1
            self._clock.pause()
            yield frame
            self._clock.go_on()
        if not index:
            why = f"{self.num_damaged} frames, all damaged" if self.num_damaged else "0 frames"
            raise DecodeError(self._name, f"no frame in it can be read ({why})")

    def _shown_at(self, times: Sequence[float]) -> Iterator["Shown"]:
        """Yield what is on screen at each of the times, which rise."""
        frames = self._clip.frames()
        now: Shown | None = None
        coming = next(frames, None)
        self._clock.check()
        for time_s in times:
            if coming is not None and self._pays(time_s, coming.time_s):
                frames.close()  # type: ignore[attr-defined]
                frames, now, coming = self._go_to(time_s)
            while coming is not None and coming.time_s <= time_s:
                now, coming = coming, next(frames, None)
                self._clock.check()
            shown = now or coming  # before the first frame a player shows the first
            if shown is not None:
                yield shown

    def _pays(self, time_s: float, here_s: float) -> bool:
        """Return whether a jump to `time_s` saves decoding: there is a keyframe well behind `here_s`."""
        if not self._can_seek or time_s - here_s < SEEK_COST_S:
            return False
        key_s = self._clip.keyframe_before(time_s)
        return (time_s - self._key_gap_s if key_s is None else key_s) - here_s > SEEK_COST_S

    def _go_to(self, time_s: float) -> tuple[Iterator["Shown"], "Shown | None", "Shown | None"]:
        """Return the frames from the keyframe before `time_s` on, with nothing on screen yet, and the first of them."""
        self.num_seeks += 1
        frames = self._clip.frames()
        coming = next(frames, None) if self._clip.seek(time_s) else None
        if coming is None or coming.time_s > time_s:  # an index that lies: from the start, once, and never again
            self._can_seek = False
            self._start_again()
            frames = self._clip.frames()
            coming = next(frames, None)
        elif self._key_gap_s == NO_INDEX_REACH_S or time_s - coming.time_s > self._key_gap_s:
            self._key_gap_s = time_s - coming.time_s
        return frames, None, coming

    def _measure(self) -> tuple[float, float]:
        """Return from when to when there are pictures: read at the stated end, or all through where that says nothing.

        A header may claim anything, and a file that is cut off claims what it had.
        """
        length_s = self.length_s
        start_s = next((start for start, _ in self._until_limit()), None)
        if start_s is None:
            raise DecodeError(self._name, "no frame in it (0 frames)")
        if length_s is not None and self._clip.seek(max(length_s - LOST_S, start_s)):
            end_s = max((end for _, end in self._until_limit()), default=-math.inf)
            if end_s > length_s - LOST_S:
                return start_s, end_s
        self._start_again()
        start_s, end_s = math.inf, -math.inf
        for start, end in self._until_limit():
            start_s, end_s = min(start_s, start), max(end_s, end)
        return start_s, end_s

    def _until_limit(self) -> Iterator[tuple[float, float]]:
        for times in self._clip.packet_times():
            self._clock.check()
            yield times
        self._clock.check()  # else it would be a file that ends here

    def _start_again(self) -> None:
        self._starts_again |= self._clip.starts_again
        self._clip.close()
        self._clip = self._open()

    def _open(self) -> "Clip":
        from veriscope.data.clip import MAX_FRAME_PIXELS, Clip

        limit = MAX_FRAME_PIXELS if self._max_pixels is None else self._max_pixels
        try:
            return Clip(self._file, name=self._name, max_pixels=limit, threads=self._threads)
        except DecodeError:
            self._clock.check()  # whose reason is the better one
            raise


@contextmanager
def open_video(
    source: Path | bytes, *, max_pixels: int | None = None, time_limit_s: float | None = None, threads: int = 0
) -> Iterator[Video]:
    """Yield a video of a file or of bytes.

    Args:
        source: what is read; nothing else is, whatever the file asks for.
        max_pixels: of a frame; None: clip.MAX_FRAME_PIXELS.
        time_limit_s: seconds that opening and reading may take in all, without what the caller does between frames;
            None: any.
        threads: of the decoder; 0: as many as there are cores.

    Raises:
        DecodeError: it can't be read as a video; with a short `reason`.
        DataError: PyAV is not installed.

    """
    if not can_read_videos():
        raise DataError(NEEDS)
    name = "<bytes>" if isinstance(source, bytes) else os.fspath(source)
    with (
        opened(source, name) as file,
        open_file(file, name=name, max_pixels=max_pixels, time_limit_s=time_limit_s, threads=threads) as video,
    ):
        yield video


@contextmanager
def open_file(
    file: BinaryIO, *, name: str, max_pixels: int | None = None, time_limit_s: float | None = None, threads: int = 0
) -> Iterator[Video]:
    """Yield a video of a file that is open for reading and can be sought in; `name` stands in errors.

    Raises:
        DecodeError: as `open_video`.

    """
    clock = Clock(name, time_limit_s)
    video = Video(TimedFile(file, clock), name=name, max_pixels=max_pixels, threads=threads, clock=clock)
    clock.pause()
    try:
        yield video
    finally:
        video.close()


def sample_frames(
    source: Path | bytes,
    *,
    every_s: float = 1 / FRAMES_PER_SECOND,
    max_frames: int = MAX_FRAMES,
    time_limit_s: float | None = None,
) -> Iterator[Frame]:
    """Yield frames of a video, evenly spread over its time: one for each `every_s` seconds, at most `max_frames`.

    Raises:
        DecodeError, DataError: as `open_video` and `Video.sample`.

    """
    with open_video(source, time_limit_s=time_limit_s) as video:
        yield from video.sample(every_s=every_s, max_frames=max_frames)


def sample_times(start_s: float, end_s: float, *, every_s: float, max_frames: int) -> list[float]:
    """Return the seconds to sample: the middles of equal parts from `start_s` to `end_s`, each at most `every_s` long.

    Of a longer video `max_frames` parts, which are longer then. Always at least one.
    """
    if not every_s > 0 or max_frames < 1:
        raise ValueError(f"every_s {every_s} above 0, and max_frames {max_frames} at least 1")
    length_s = max(end_s - start_s, 0.0)
    # Rounded: 10 s at 2 a second are 20 parts, whatever floating point makes of 10.000000001.
    parts = min(max(math.ceil(round(length_s / every_s, 3)), 1), max_frames)
    return [start_s + (number + 0.5) * length_s / parts for number in range(parts)]


def can_read_videos() -> bool:
    """Return whether PyAV is installed."""
    try:
        return find_spec("av") is not None
    except ModuleNotFoundError:  # of a finder that hides it
        return False


def clock_text(time_s: float) -> str:
    """Return `1:05.2`, or `2:01:05` from an hour on."""
    if time_s >= 3600 - 0.5:
        whole = round(time_s)
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    tenths = round(max(time_s, 0.0) * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02}.{tenths % 10}"
