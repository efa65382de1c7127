"""What the headers of picture files say, and how well each of these facts alone tells the classes apart."""

import stat
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from veriscope.data.decode import FORMATS, MAX_BYTES, decode_image, orientation, read_file
from veriscope.data.jpeg import jpeg_quality
from veriscope.data.places import slice_of
from veriscope.errors import DecodeError
from veriscope.evaluation.metrics import auroc
from veriscope.types import FAKE, REAL

NO_JPEG = 101  # ranks a picture without JPEG history above every quality
ALL_FAKES = "all"

_SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


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


def header_facts(path: Path) -> HeaderFacts:
    """Return what the header of a file, or of a slice (data.places), says; its pixels may still turn out damaged.

    Raises:
        DecodeError: the file can't be read, or is no picture.

    """
    try:
        source: Path | BytesIO = path
        if slice_of(path) is not None:
            data = read_file(path)
            source, size = BytesIO(data), len(data)
        else:
            entry = path.stat()
            size = entry.st_size
            if not stat.S_ISREG(entry.st_mode) or size > MAX_BYTES:  # a pipe would hang for ever
                read_file(path)  # says why in its own words
        Image.init()  # else OPEN holds only what was met before: a PNG behind JPEGs would be unknown
        with Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN] or None) as image:
            return _facts(image, size)
    except DecodeError:
        raise
    except Exception:  # noqa: BLE001 - as in data.decode: PIL's plugins raise anything on hostile bytes
        decode_image(path)  # says why in its own words
        raise DecodeError(str(path), "damaged header") from None


def _facts(image: Image.Image, size_bytes: int) -> HeaderFacts:
    is_jpeg = image.format in ("JPEG", "MPO")
    tables = getattr(image, "quantization", None)
    turned = orientation(image) in (5, 6, 7, 8)
    width, height = image.size[::-1] if turned else image.size
    return HeaderFacts(
        format="JPEG" if is_jpeg else str(image.format),
        width_px=width,
        height_px=height,
        quality=jpeg_quality(tables) if is_jpeg and tables and 0 in tables else NO_JPEG,
        subsampling=_SAMPLINGS.get(get_sampling(image), "other") if is_jpeg else "",
        progressive=bool(image.info.get("progressive") or image.info.get("progression")),
        exif="exif" in image.info,
        icc="icc_profile" in image.info,
        size_bytes=size_bytes,
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
