"""Small copies of a video's frames that look fakest and realest: what a person wants to see first."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriscope.types import FrameVerdict

Pixels = npt.NDArray[np.uint8]

SMALL_PX = (160, 120)  # the most that a copy is wide and high
MOST_PARTS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Small:
    """A judged frame, its small copy, its score, and how many were judged before it."""

    frame: FrameVerdict
    pixels: Pixels
    score: float
    number: int


class Thumbnails:
    """Gives `num_shown` frames of the highest and as many of the lowest scores, from moments that lie apart.

    It keeps the highest and the lowest of each part of the video, of at most MOST_PARTS: they grow with its length.
    """

    def __init__(self, num_shown: int = 4) -> None:
        self._num_shown = num_shown
        self._num_judged = 0
        self._part_frames = 1  # how many frames a part has
        self._parts: list[tuple[Small, Small]] = []  # the highest and the lowest of each; the earlier of equals

    def offer(self, frame: FrameVerdict, small: Pixels) -> None:
        """Take the next frame in, if it is the highest or the lowest of its part so far."""
        if frame.score is None:
            return
        new = Small(frame, small, frame.score, self._num_judged)
        if self._num_judged // self._part_frames < len(self._parts):
            self._parts[-1] = _of_both(self._parts[-1], (new, new))
        else:
            self._parts.append((new, new))
        self._num_judged += 1
        if len(self._parts) > MOST_PARTS:
            pairs = (self._parts[start : start + 2] for start in range(0, len(self._parts), 2))
            self._parts = [_of_both(pair[0], pair[-1]) for pair in pairs]
            self._part_frames *= 2

    @property
    def highest(self) -> list[Small]:
        """The highest scores, falling."""
        return self._best((high for high, _ in self._parts), lambda small: -small.score)

    @property
    def lowest(self) -> list[Small]:
        """The lowest scores, rising, without those that are among the highest."""
        shown = {small.number for small in self.highest}
        return self._best((low for _, low in self._parts if low.number not in shown), lambda small: small.score)

    def _best(self, smalls: Iterable[Small], order: Callable[[Small], float]) -> list[Small]:
        """Return those to show in their order; neighbours in time of better ones only where there are too few."""
        apart: list[Small] = []
        near: list[Small] = []
        for small in sorted(smalls, key=order):
            is_near = any(abs(small.number - other.number) < self._part_frames for other in apart)
            (near if is_near else apart).append(small)
        return sorted((apart + near)[: self._num_shown], key=order)


def thumbnail(image_HWC: Pixels) -> Pixels:
    """Return a small copy of a picture: uint8 RGB, at most SMALL_PX."""
    height, width = image_HWC.shape[:2]
    ratio = min(SMALL_PX[0] / width, SMALL_PX[1] / height, 1.0)
    size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
    return np.asarray(Image.fromarray(image_HWC).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _of_both(one: tuple[Small, Small], other: tuple[Small, Small]) -> tuple[Small, Small]:
    """Return the highest and the lowest of two parts, the first one earlier."""
    return max(one[0], other[0], key=lambda small: small.score), min(one[1], other[1], key=lambda small: small.score)
