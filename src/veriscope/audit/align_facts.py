"""What the headers of picture files say, and how well each of these facts alone tells the classes apart."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.data.container import container_facts
from veriscope.data.decode import MAX_PIXELS, read_file
from veriscope.evaluation.metrics import auroc
from veriscope.types import FAKE, REAL

NO_JPEG = 101  # ranks a picture without JPEG history above every quality
ALL_FAKES = "all"

TURNS_ASIDE = (5, 6, 7, 8)  # EXIF's orientations that swap width and height


class HeaderFacts(NamedTuple):
    """A picture file by its header. Sizes are those of the upright picture; `quality` is NO_JPEG, and `subsampling`
    empty, for other formats. MPO counts as JPEG."""

    format: str
    width_px: int
    height_px: int
    quality: int
    subsampling: str
    progressive: bool
    exif: bool
    icc: bool
    size_bytes: int

    @property
    def shorter_px(self) -> int:
        """The shorter side."""
        return min(self.width_px, self.height_px)


def header_facts(path: Path, *, max_pixels: int = MAX_PIXELS) -> HeaderFacts:
    """Return what the header of a file, or of a slice (data.places), says; its pixels may still turn out damaged.

    Raises:
        DecodeError: it can't be read, is no picture, or too large a one.

    """
    stored = container_facts(read_file(path), name=os.fspath(path), max_pixels=max_pixels)
    width, height = stored.width_px, stored.height_px
    is_jpeg = stored.format == "JPEG"
    return HeaderFacts(
        format=stored.format,
        width_px=height if stored.orientation in TURNS_ASIDE else width,
        height_px=width if stored.orientation in TURNS_ASIDE else height,
        quality=NO_JPEG if stored.quality is None else stored.quality,
        subsampling=(stored.subsampling or "other") if is_jpeg else "",
        progressive=stored.progressive,
        exif=stored.exif,
        icc=stored.icc,
        size_bytes=stored.size_bytes,
    )


Separation = Mapping[str, Mapping[str, float]]


def separations(
    facts: Sequence[HeaderFacts], *, labels: npt.NDArray[Any], generators: Sequence[str | None]
) -> dict[str, dict[str, float]]:
    """Return how well each fact alone tells fakes from real pictures: fact, then generator, to AUROC (0.5 to 1).

    The generator ALL_FAKES stands for all fakes together; the others are there where fakes name more than one. A fact
    without an order (format, subsampling) is ranked by its own share of fakes, the best that it can do. Empty where one
    class is missing.
    """
    label = np.asarray(labels)
    named = np.array([name or "" for name in generators], dtype=object)
    columns = {name: _column(name, facts) for name in _FACTS}
    found: dict[str, dict[str, float]] = {}
    makers = sorted({str(name) for name in named[label == FAKE]} - {""})
    for name, column in columns.items():
        parts = {ALL_FAKES: np.ones(len(label), dtype=bool)}
        if len(makers) > 1:
            parts |= {maker: (label == REAL) | (named == maker) for maker in makers}
        for part, rows in parts.items():
            area = _area(column[rows], label[rows])
            if area is not None:
                found.setdefault(name, {})[part] = area
    return found


_FACTS = (
    "format", "shorter side", "aspect ratio", "JPEG quality", "subsampling", "progressive", "EXIF", "ICC profile",
    "byte size",
)  # fmt: skip


def _column(name: str, facts: Sequence[HeaderFacts]) -> npt.NDArray[Any]:
    value: dict[str, Callable[[HeaderFacts], Any]] = {
        "format": lambda one: one.format,
        "shorter side": lambda one: one.shorter_px,
        "aspect ratio": lambda one: max(one.width_px, one.height_px) / one.shorter_px,
        "JPEG quality": lambda one: one.quality,
        "subsampling": lambda one: one.subsampling,
        "progressive": lambda one: one.progressive,
        "EXIF": lambda one: one.exif,
        "ICC profile": lambda one: one.icc,
        "byte size": lambda one: one.size_bytes,
    }
    return np.array([value[name](one) for one in facts])


def _area(column: npt.NDArray[Any], label: npt.NDArray[Any]) -> float | None:
    if column.dtype.kind == "U":
        _, codes = np.unique(column, return_inverse=True)
        column = np.bincount(codes, weights=label == FAKE)[codes] / np.bincount(codes)[codes]
    area = auroc(label, column.astype(np.float64))
    return None if area is None else max(area, 1 - area)
