"""The timeline: what stands where, for one frame and for thousands."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.helpers.bundles import tiny_bundle

from veriscope.predict.judge import Judge
from veriscope.predict.thumbnails import Thumbnails
from veriscope.predict.timeline import (
    FAKE,
    LEFT,
    PLOT,
    REAL,
    RIGHT,
    SUSPICIOUS,
    TOP,
    WIDTH,
    draw_timeline,
    write_timeline,
)
from veriscope.predict.video import sum_up
from veriscope.types import FrameVerdict, UnsureBand, VideoVerdict

Pixels = npt.NDArray[np.uint8]
PICTURE = np.full((60, 80, 3), (10, 200, 10), dtype=np.uint8)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge.of(tiny_bundle(tmp_path_factory.mktemp("timeline") / "bundle", threshold=0.5))


def verdict_of(scores: list[float], judge: Judge, *, path: str = "clip.mp4") -> tuple[VideoVerdict, Thumbnails]:
    thumbnails, frames = Thumbnails(), []
    for second, score in enumerate(scores):
        logit = 2 * math.log(score / (1 - score))  # the tiny bundle's temperature is 2
        frames.append(FrameVerdict(float(second), "fake" if score >= 0.5 else "real", score, logit))
        thumbnails.offer(frames[-1], PICTURE)
    return sum_up(frames, path=path, judge=judge, end_s=float(len(scores))), thumbnails


def num_of(image: Pixels, colour: tuple[int, int, int]) -> int:
    return int((image == colour).all(axis=2).sum())


def test_marks_stand_at_their_time_and_score(judge: Judge) -> None:
    verdict, thumbnails = verdict_of([0.25] * 10 + [0.75] * 5 + [0.25] * 5, judge)
    image = np.asarray(draw_timeline(verdict, judge=judge, thumbnails=thumbnails))
    for frame in verdict.frames:
        x = round(LEFT + frame.time_s / 20 * (WIDTH - LEFT - RIGHT))
        y = round(TOP + (1 - (frame.score or 0)) * PLOT)
        assert tuple(image[y, x]) == (FAKE if frame.label == "fake" else REAL)
    shaded = (image[TOP + 30] == SUSPICIOUS).all(axis=1).nonzero()[0]
    assert shaded.min() == pytest.approx(LEFT + 0.5 * (WIDTH - LEFT - RIGHT), abs=3)
    assert shaded.max() == pytest.approx(LEFT + 0.75 * (WIDTH - LEFT - RIGHT), abs=3)
    assert num_of(image, (10, 200, 10)) > 8 * 130 * 90, "eight frames below"


@pytest.mark.parametrize("num_frames", [1, 2, 299, 3000])
def test_any_number_of_frames_fits(judge: Judge, num_frames: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    verdict, thumbnails = verdict_of(list(rng.uniform(0.02, 0.98, num_frames)), judge, path="Grüße 写真\x1b[31m" * 20)
    band = UnsureBand(
        low=0.4, high=0.6, threshold="val", wanted_accuracy=0.9, coverage=0.8, accuracy=0.9, num_pictures=9,
        chosen_on="val",
    )  # fmt: skip
    with_band = replace(judge, band=band)
    write_timeline(tmp_path / "t.png", verdict, judge=with_band, thumbnails=thumbnails)
    with Image.open(tmp_path / "t.png") as image:
        assert image.format == "PNG"
        assert image.size[0] == WIDTH
        pixels = np.asarray(image.convert("RGB"))
    assert num_of(pixels, FAKE) + num_of(pixels, REAL) > num_frames
    plain = draw_timeline(verdict, judge=judge)
    assert plain.size[1] < pixels.shape[0], "without frames below"
    assert [path.name for path in tmp_path.iterdir()] == ["t.png"]


def test_a_video_without_a_judged_frame_has_none(judge: Judge) -> None:
    with pytest.raises(ValueError, match="judged frame"):
        draw_timeline(VideoVerdict("a", None, None, None, 0.5, error="x"), judge=judge)
