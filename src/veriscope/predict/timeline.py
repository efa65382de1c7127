"""A video's scores over its time, as a picture; drawn with PIL, which a server has loaded anyway."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from veriscope.data.video import clock_text
from veriscope.errors import printable
from veriscope.files import whole_or_not_at_all
from veriscope.predict.judge import Judge
from veriscope.predict.thumbnails import SMALL_PX, Small, Thumbnails
from veriscope.types import FrameVerdict, VideoVerdict

Draw = ImageDraw.ImageDraw
Colour = tuple[int, int, int]

# Okabe & Ito 2008: told apart with every kind of colour vision. Shapes say it a second time.
FAKE: Colour = (213, 94, 0)
REAL: Colour = (0, 114, 178)
UNSURE: Colour = (120, 120, 120)
SUSPICIOUS: Colour = (253, 226, 200)
BAND: Colour = (228, 228, 228)
INK: Colour = (30, 30, 30)
FAINT: Colour = (150, 150, 150)

WIDTH, LEFT, RIGHT, TOP, PLOT = 1200, 60, 36, 64, 240
CELL = (WIDTH - LEFT - RIGHT) // 8  # of the strip of frames
MARKS_UP_TO = 300  # frames; more would hide each other, and columns of lowest to highest score take their place
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)


def draw_timeline(verdict: VideoVerdict, *, judge: Judge, thumbnails: Thumbnails | None = None) -> Image.Image:
    """Return the picture, RGB: score over time with threshold, unsure band and suspicious stretches, and below it the
    frames of the highest and lowest scores.

    Raises:
        ValueError: a verdict without a judged frame.

    """
    judged = verdict.judged
    if not judged:
        raise ValueError("a timeline needs a judged frame")
    smalls = [] if thumbnails is None else [*thumbnails.highest, *reversed(thumbnails.lowest)]
    strip = SMALL_PX[1] + 66 if smalls else 0
    image = Image.new("RGB", (WIDTH, TOP + PLOT + 44 + strip), "white")
    draw = ImageDraw.Draw(image)
    axis = _Axis(verdict.start_s, max(verdict.end_s, judged[-1].time_s))
    _write_title(draw, verdict, judge)
    for part in verdict.suspicious:
        _shade(draw, axis, part.start_s, part.end_s)
    if judge.band is not None and judge.band.low < judge.band.high:
        draw.rectangle((LEFT, axis.y(judge.band.high), WIDTH - RIGHT, axis.y(judge.band.low)), fill=BAND)
        for part in verdict.suspicious:
            _outline(draw, axis, part.start_s, part.end_s)
    _draw_grid(draw, axis, judge)
    if len(judged) <= MARKS_UP_TO:
        points = [(axis.x(frame.time_s), axis.y(frame.score or 0.0)) for frame in judged]
        for start, end in pairwise(points):
            draw.line((start, end), fill=FAINT, width=1)
        for frame, point in zip(judged, points, strict=True):
            _shape(draw, frame.label, point)
    else:
        _draw_columns(draw, axis, judged)
    for number, small in enumerate(smalls):
        _paste(image, draw, small, number)
    if thumbnails is not None and smalls:
        words = ((0, "highest scores"), (len(thumbnails.highest), "lowest scores"))
        for number, word in words[: 1 + bool(thumbnails.lowest)]:
            _text(draw, (LEFT + number * CELL, TOP + PLOT + 60), word, size=13, anchor="lm")
    return image


def write_timeline(path: Path, verdict: VideoVerdict, *, judge: Judge, thumbnails: Thumbnails | None = None) -> None:
    """Write the picture as PNG, whole or not at all."""
    image = draw_timeline(verdict, judge=judge, thumbnails=thumbnails)
    with whole_or_not_at_all(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


class _Axis:
    """From seconds and scores to pixels. A video of no length has its frame in the middle."""

    def __init__(self, start_s: float, end_s: float) -> None:
        self.start_s, self.end_s = start_s, end_s
        self._length_s = end_s - start_s

    def x(self, time_s: float) -> float:
        if self._length_s <= 0:
            return (LEFT + WIDTH - RIGHT) / 2
        share = min(max((time_s - self.start_s) / self._length_s, 0.0), 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, score: float) -> float:
        return TOP + (1 - score) * PLOT

    def ticks(self) -> list[float]:
        """Return round seconds, at most ten and a bit."""
        if self._length_s <= 0:
            return [self.start_s]
        step = next((step for step in STEPS_S if self._length_s / step <= 10), self._length_s)
        first = int(np.ceil(self.start_s / step))
        return [number * step for number in range(first, int(self.end_s / step + 1e-9) + 1)]


def _colour(label: str | None, *, otherwise: Colour = UNSURE) -> Colour:
    return {"fake": FAKE, "real": REAL}.get(label or "", otherwise)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _text(draw: Draw, at: tuple[float, float], text: str, *, size: int, anchor: str, fill: Colour = INK) -> None:
    # PIL's own font has Latin letters; what else a file name holds would come out as boxes.
    plain = printable(text).encode("latin-1", "replace").decode("latin-1")
    draw.text(at, plain, fill=fill, font=_font(size), anchor=anchor)


def _write_title(draw: Draw, verdict: VideoVerdict, judge: Judge) -> None:
    judged = verdict.judged
    num_fake = sum(frame.label == "fake" for frame in judged)
    name = Path(verdict.path).name
    name = name if len(name) <= 70 else f"{name[:50]}...{name[-17:]}"
    score = 0.0 if verdict.score is None else verdict.score
    colour = _colour(verdict.label, otherwise=INK)
    _text(draw, (LEFT, 24), f"{verdict.label}, score {score:.3f}", size=20, anchor="ls", fill=colour)
    _text(draw, (WIDTH - RIGHT, 24), name, size=16, anchor="rs")
    fake_from = judge.threshold.value if judge.band is None else max(judge.threshold.value, judge.band.high)
    told = f"{num_fake} of {len(judged)} frames look fake (score from {fake_from:.3g} on)"
    if verdict.unsure_because:
        told += f"; unsure: {verdict.unsure_because}"
    _text(draw, (LEFT, 46), told if len(told) <= 150 else f"{told[:147]}...", size=14, anchor="ls")


def _shade(draw: Draw, axis: _Axis, start_s: float, end_s: float) -> None:
    left, right = axis.x(start_s), max(axis.x(end_s), axis.x(start_s) + 2)
    draw.rectangle((left, TOP, right, TOP + PLOT), fill=SUSPICIOUS)
    _outline(draw, axis, start_s, end_s)


def _outline(draw: Draw, axis: _Axis, start_s: float, end_s: float) -> None:
    left, right = axis.x(start_s), max(axis.x(end_s), axis.x(start_s) + 2)
    draw.rectangle((left, TOP - 5, right, TOP), fill=FAKE)
    for edge in (left, right):
        draw.line(((edge, TOP), (edge, TOP + PLOT)), fill=FAKE, width=1)


def _draw_grid(draw: Draw, axis: _Axis, judge: Judge) -> None:
    draw.rectangle((LEFT, TOP, WIDTH - RIGHT, TOP + PLOT), outline=FAINT)
    for score in (0.0, 0.5, 1.0):
        _text(draw, (LEFT - 8, axis.y(score)), f"{score:g}", size=13, anchor="rm")
    for time_s in axis.ticks():
        x = axis.x(time_s)
        draw.line(((x, TOP + PLOT), (x, TOP + PLOT + 5)), fill=FAINT)
        _text(draw, (x, TOP + PLOT + 20), clock_text(time_s).removesuffix(".0"), size=13, anchor="ms")
    y = axis.y(judge.threshold.value)
    for x in range(LEFT, WIDTH - RIGHT, 10):  # dashed
        draw.line(((x, y), (min(x + 5, WIDTH - RIGHT), y)), fill=INK, width=1)
    for number, word in enumerate(("fake", "unsure", "real")):
        x = WIDTH - RIGHT - 200 + 70 * number
        _shape(draw, word, (x, TOP + PLOT + 34))
        _text(draw, (x + 10, TOP + PLOT + 34), word, size=13, anchor="lm")
    _text(draw, (LEFT, TOP + PLOT + 34), "score over time; dashed: threshold; grey: unsure band", size=13, anchor="lm")


def _shape(draw: Draw, word: str | None, at: tuple[float, float]) -> None:
    """Draw a triangle for fake, a square for unsure, a circle for real."""
    (x, y), colour = at, _colour(word)
    if word == "fake":
        draw.polygon(((x, y - 5), (x - 5, y + 4), (x + 5, y + 4)), fill=colour)
    elif word == "real":
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
    else:
        draw.rectangle((x - 4, y - 4, x + 4, y + 4), fill=colour)


def _draw_columns(draw: Draw, axis: _Axis, judged: Sequence[FrameVerdict]) -> None:
    """Draw, for each column of pixels, a line from its lowest to its highest score, and a dot at each."""
    columns: dict[int, list[FrameVerdict]] = {}
    for frame in judged:
        columns.setdefault(round(axis.x(frame.time_s)), []).append(frame)
    for x, frames in columns.items():
        scores = [frame.score or 0.0 for frame in frames]
        draw.line(((x, axis.y(min(scores))), (x, axis.y(max(scores)))), fill=(205, 205, 205), width=1)
    for x, frames in columns.items():
        for frame in frames:
            y = axis.y(frame.score or 0.0)
            draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=_colour(frame.label))


def _paste(image: Image.Image, draw: Draw, small: Small, number: int) -> None:
    left, top = LEFT + number * CELL, TOP + PLOT + 72
    picture = Image.fromarray(small.pixels)
    ratio = min((CELL - 8) / picture.width, SMALL_PX[1] / picture.height)
    picture = picture.resize((max(round(picture.width * ratio), 1), max(round(picture.height * ratio), 1)))
    image.paste(picture, (left, top + (SMALL_PX[1] - picture.height) // 2))
    said = f"{clock_text(small.frame.time_s)}  {small.score:.3f}"
    _shape(draw, small.frame.label, (left + 6, top + SMALL_PX[1] + 12))
    _text(draw, (left + 16, top + SMALL_PX[1] + 12), said, size=13, anchor="lm")
