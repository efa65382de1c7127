"""Which pictures a report shows, worst mistakes first, and the sheet of them with green and red borders."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from veriscope.data.decode import decode_image
from veriscope.errors import DecodeError
from veriscope.evaluation.predictions import PredictionTable
from veriscope.types import CLASS_NAMES, FAKE, REAL, Threshold

Pixels = npt.NDArray[np.uint8]

RIGHT_COLOUR, WRONG_COLOUR = "#1a7f37", "#cf222e"
TILE_PX = 160
_JPEG_QUALITY = 88
_BORDER_PX, _CAPTION_PX, _GAP_PX = 5, 34, 8


class Tile(NamedTuple):
    """One judged picture for showing; `image` is at most TILE_PX a side."""

    id: str
    truth: str
    called: str
    score: float
    image: Image.Image

    @property
    def right(self) -> bool:
        """Whether the verdict is right."""
        return self.truth == self.called

    @property
    def data_uri(self) -> str:
        """The picture as a data: URI, so that a page needs no file beside it."""
        packed = io.BytesIO()
        self.image.save(packed, "JPEG", quality=_JPEG_QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def choose_rows(
    table: PredictionTable, threshold: Threshold, *, num_wrong: int = 12, num_right: int = 12, seed: int = 42
) -> list[int]:
    """Return rows of the judged part: the wrong ones furthest from the threshold, then right ones.

    Mistakes come worst first. The right ones are drawn at random, half of each class where there are enough, because
    picking the most certain would flatter the model. Within a class they go by score, highest first.
    """
    labels, scores = table.labels, table.scores
    called = (scores >= threshold.value).astype(np.int8)
    # How far on the wrong side, as a share of that side, so that a threshold of 0.9 doesn't hide missed fakes.
    room = np.where(called == FAKE, max(1 - threshold.value, 1e-9), max(threshold.value, 1e-9))
    wrong = np.flatnonzero(called != labels)
    # Logits break the ties of saturated scores.
    order = np.lexsort((-np.abs(table.logits[wrong]), -(np.abs(scores - threshold.value) / room)[wrong]))
    rng = np.random.default_rng(seed)
    right: list[int] = []
    for label, share in ((FAKE, num_right - num_right // 2), (REAL, num_right // 2)):
        own = np.flatnonzero((called == labels) & (labels == label))
        drawn = rng.choice(own, size=min(share, own.size), replace=False)
        right += [int(row) for row in drawn[np.argsort(-scores[drawn], kind="stable")]]
    return [int(row) for row in wrong[order][:num_wrong]] + right


def load_tiles(
    table: PredictionTable,
    threshold: Threshold,
    *,
    rows: list[int],
    max_pixels: int,
    transform: Callable[[Pixels], Pixels] | None = None,
) -> list[Tile]:
    """Return the tiles of these judged rows; a file that has gone since it was scored is left out.

    `transform` is what was done to every picture before scoring, so that the tiles show what the model saw.
    """
    columns = {name: table.column(name) for name in ("id", "path")}
    labels, scores = table.labels, table.scores
    tiles = []
    for row in rows:
        try:
            pixels = decode_image(Path(columns["path"][row]), max_pixels=max_pixels)
        except DecodeError:
            continue
        image = Image.fromarray(pixels if transform is None else transform(pixels))
        image.thumbnail((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
        called = CLASS_NAMES[int(scores[row] >= threshold.value)]
        tiles.append(Tile(columns["id"][row], CLASS_NAMES[int(labels[row])], called, float(scores[row]), image))
    return tiles


def sheet(tiles: list[Tile], *, columns: int = 6) -> Image.Image:
    """Return one picture of all tiles: green border and "right", red border and "wrong", truth and score below."""
    width, height = TILE_PX + 2 * _BORDER_PX, TILE_PX + 2 * _BORDER_PX + _CAPTION_PX
    columns = max(1, min(columns, len(tiles)))
    num_rows = max(1, -(-len(tiles) // columns))
    size = (columns * (width + _GAP_PX) + _GAP_PX, num_rows * (height + _GAP_PX) + _GAP_PX)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font: Any = ImageFont.load_default(size=13)
    for index, tile in enumerate(tiles):
        x = _GAP_PX + index % columns * (width + _GAP_PX)
        y = _GAP_PX + index // columns * (height + _GAP_PX)
        colour = RIGHT_COLOUR if tile.right else WRONG_COLOUR
        draw.rectangle((x, y, x + width - 1, y + width - 1), outline=colour, width=_BORDER_PX)
        left, top = (TILE_PX - tile.image.width) // 2, (TILE_PX - tile.image.height) // 2
        canvas.paste(tile.image, (x + _BORDER_PX + left, y + _BORDER_PX + top))
        word = "right" if tile.right else "wrong"
        draw.text((x, y + width + 1), f"{word}: score {score_text(tile.score)}", fill=colour, font=font)
        draw.text((x, y + width + 16), f"{tile.truth} called {tile.called}", fill="#1b1f24", font=font)
    return canvas


def score_text(score: float) -> str:
    """Return a score with three digits that never reads 0 or 1 where it isn't."""
    if 0 < score < 0.0005:
        return "< 0.001"
    if 0.9995 <= score < 1:
        return "> 0.999"
    return f"{score:.3f}"
