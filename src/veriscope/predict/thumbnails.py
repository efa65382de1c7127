"""Small copies of a video's frames that look fakest and realest: what a person wants to see first."""

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriscope.types import FrameVerdict

Pixels = npt.NDArray[np.uint8]

SMALL_PX = (160, 120)  # the most that a copy is wide and high


@dataclass(frozen=True, slots=True)
class Small:
    """A judged frame and its small copy."""

    frame: FrameVerdict
    pixels: Pixels


class Thumbnails:
    """Keeps the copies of the `num_kept` highest and as many lowest scores, however many frames there are."""

    def __init__(self, num_kept: int = 4) -> None:
        self._num_kept = num_kept
        self._high: list[tuple[float, float, Small]] = []  # heaps: the first goes when a better one comes
        self._low: list[tuple[float, float, Small]] = []

    def offer(self, frame: FrameVerdict, small: Pixels) -> None:
        """Take a frame in, if it is among the highest or lowest so far. The earlier of equals stays."""
        if frame.score is None:
            return
        for heap, score in ((self._high, frame.score), (self._low, -frame.score)):  # so that both let the least go
            heapq.heappush(heap, (score, -frame.time_s, Small(frame, small)))
            if len(heap) > self._num_kept:
                heapq.heappop(heap)

    @property
    def highest(self) -> list[Small]:
        """The highest scores, falling."""
        return [small for *_, small in sorted(self._high, key=_order, reverse=True)]

    @property
    def lowest(self) -> list[Small]:
        """The lowest scores, rising, without those that are among the highest."""
        shown = {small.frame.time_s for small in self.highest}
        return [small for *_, small in sorted(self._low, key=_order, reverse=True) if small.frame.time_s not in shown]


def thumbnail(image_HWC: Pixels) -> Pixels:
    """Return a small copy of a picture: uint8 RGB, at most SMALL_PX."""
    height, width = image_HWC.shape[:2]
    ratio = min(SMALL_PX[0] / width, SMALL_PX[1] / height, 1.0)
    size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
    return np.asarray(Image.fromarray(image_HWC).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _order(entry: tuple[float, float, Small]) -> tuple[float, float]:
    return entry[:2]
