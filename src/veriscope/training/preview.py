"""A picture sheet of what the network will see."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from veriscope.augment.training import TrainingAugmentation
from veriscope.config.schema import AugmentConfig, RunConfig
from veriscope.data.decode import decode_image
from veriscope.data.manifest import Manifest
from veriscope.data.preprocess import fit_to_input
from veriscope.errors import DecodeError
from veriscope.files import whole_or_not_at_all
from veriscope.types import CLASS_NAMES

ROWS = 6  # pictures, three of each class
DRAWS = 6  # augmented versions of each
MARGIN_PX = 4
TITLE_PX = 20


def write_preview(config: RunConfig, train: Manifest, file: Path) -> None:
    """Write a PNG sheet: a row a training picture, first as evaluation would show it, then DRAWS augmented versions.

    The tiles keep the network's own pixels (no scaling), so that the sheet shows what it can and can't see.
    """
    augmentation = TrainingAugmentation(config.augment, config.model.input, fit=fit_to_input)
    rows = [_row(config, train, index, augmentation) for index in _examples(train)]
    rows = [row for row in rows if row[1]]
    if not rows:
        return
    font = ImageFont.load_default(13)
    widths = [max(tiles[column].shape[1] for _, tiles in rows) for column in range(DRAWS + 1)]
    step = max(tile.shape[0] for _, tiles in rows for tile in tiles) + MARGIN_PX + TITLE_PX
    heading = _heading(config)
    width = max(sum(widths) + MARGIN_PX * (DRAWS + 2), int(font.getlength(heading)) + 2 * MARGIN_PX)
    size = (width, step * len(rows) + TITLE_PX + MARGIN_PX)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN_PX, 2), heading, fill="black", font=font)
    for number, (title, tiles) in enumerate(rows):
        left, top = MARGIN_PX, number * step + TITLE_PX + MARGIN_PX
        pen.text((left, top + 1), title, fill="black", font=font)
        for tile_width, tile in zip(widths, tiles, strict=True):
            sheet.paste(Image.fromarray(tile), (left, top + TITLE_PX))
            left += tile_width + MARGIN_PX
    with whole_or_not_at_all(file) as temporary:
        sheet.save(temporary, format="PNG")


def _examples(train: Manifest) -> list[int]:
    """Return indices of ROWS pictures spread over the manifest, real and fake in turn."""
    columns = []
    for label in range(len(CLASS_NAMES)):
        found = np.flatnonzero(train.labels == label)
        columns.append(found[np.linspace(0, len(found) - 1, ROWS // 2).astype(int)] if len(found) else found)
    return [int(index) for pair in zip(*columns, strict=False) for index in pair]


def _row(
    config: RunConfig, train: Manifest, index: int, augmentation: TrainingAugmentation
) -> tuple[str, list[np.ndarray]]:
    sample = train.sample(index)
    try:
        image = decode_image(train.absolute_path(index), max_pixels=config.data.max_pixels)
    except DecodeError as error:
        return f"{CLASS_NAMES[sample.label]}  {sample.path}: {error.reason}", []
    tiles = [fit_to_input(image, config.model.input)]
    tiles += [augmentation(image, config.seed * 100_003 + index * DRAWS + draw) for draw in range(DRAWS)]
    return f"{CLASS_NAMES[sample.label]}  {sample.path}", tiles


def _heading(config: RunConfig) -> str:
    """Return what the columns are, with every operation that is on."""
    plain = AugmentConfig(name="none").model_dump()
    own = {key: value for key, value in config.augment.model_dump().items() if key != "name" and value != plain[key]}
    words = ", ".join(f"{key} {value}" for key, value in own.items()) or "nothing is changed"
    side = config.model.input.size_px
    return f"Left: as evaluated, {side} px ({config.model.input.fit}). Then {DRAWS} draws as trained: {words}"
