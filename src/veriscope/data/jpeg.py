"""The quality of a JPEG's last compression, from its quantisation tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

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


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> int:
    """Return the quality, 1 to 100, whose libjpeg luminance table is nearest to table 0 (least absolute difference).

    Exact for what libjpeg and its kin wrote (PIL, OpenCV, most sites); for cameras and Photoshop, which have tables of
    their own, the quality of about the same coarseness. Of equally near ones the highest.
    """
    found = np.asarray(tables[0], dtype=np.int64)
    distance = np.abs(_TABLES - found).sum(axis=1)
    return 100 - int(np.argmin(distance[::-1]))
