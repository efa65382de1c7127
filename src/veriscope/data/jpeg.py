"""What a file's header tells without decoding a pixel: format, size, and the quality of its last JPEG compression."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriscope.data.decode import FORMATS
from veriscope.data.places import read_bytes, slice_of

# ITU-T T.81 (1992), table K.1: the luminance table that libjpeg and nearly everybody else scales by quality.
_LUMINANCE = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
     87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
     72, 92, 95, 98, 112, 100, 103, 99]
)  # fmt: skip


def _scaled_tables() -> npt.NDArray[np.int64]:
    """Return (100, 64): libjpeg's luminance table at quality 1 to 100 (jpeg_quality_scaling of its jcparam.c)."""
    quality = np.arange(1, 101)[:, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.asarray(np.clip((_LUMINANCE * percent + 50) // 100, 1, 255), dtype=np.int64)


_TABLES = _scaled_tables()


class FileFacts(NamedTuple):
    """A picture file by its header; MPO counts as JPEG. `quality` is that of its JPEG compression, 1 to 100, None for
    other formats."""

    format: str
    width_px: int
    height_px: int
    quality: int | None


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> int:
    """Return the quality, 1 to 100, whose libjpeg luminance table is nearest to table 0 (least absolute difference).

    Exact for what libjpeg and its kin wrote (PIL, OpenCV, most sites); for cameras and Photoshop, which have tables of
    their own, the quality of about the same coarseness. Of equally near ones the highest.
    """
    found = np.asarray(tables[0], dtype=np.int64)
    distance = np.abs(_TABLES - found).sum(axis=1)
    return 100 - int(np.argmin(distance[::-1]))


def file_facts(path: Path) -> FileFacts:
    """Return what the header of a picture that decodes says.

    Raises:
        OSError: the file can't be read, or is no picture any more.

    """
    Image.init()  # else OPEN holds only what was met before: a PNG behind JPEGs would be unknown
    source = path if slice_of(path) is None else BytesIO(read_bytes(path))
    with Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN] or None) as image:
        tables = getattr(image, "quantization", None)
        quality = jpeg_quality(tables) if image.format in ("JPEG", "MPO") and tables and 0 in tables else None
        # MPO is a JPEG with a second picture behind it (data.decode), and goes by that name everywhere.
        kind = "JPEG" if image.format == "MPO" else image.format or "unknown"
        return FileFacts(kind, *image.size, quality)
