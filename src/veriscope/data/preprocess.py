"""The one preprocessing of evaluation: every number, page, API answer and exported graph starts from here."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriscope.types import InputSpec

Pixels = npt.NDArray[np.uint8]


def fit_to_input(image_HWC: Pixels, spec: InputSpec) -> Pixels:
    """Return the picture as the network sees it: uint8 RGB, (size_px, size_px, 3).

    fit='resize' squashes the whole picture with PIL's bilinear filter, which widens when it shrinks (antialiasing).
    fit='crop' takes the central pixels untouched; a smaller picture is centred and padded by reflection, several times
    over where the padding is wider than the picture.
    """
    side = spec.size_px
    if spec.fit == "resize":
        if image_HWC.shape[:2] == (side, side):
            return np.ascontiguousarray(image_HWC)
        resized = Image.fromarray(image_HWC).resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(resized)
    height, width = image_HWC.shape[:2]
    top, left = max((height - side) // 2, 0), max((width - side) // 2, 0)
    cropped = image_HWC[top : top + side, left : left + side]
    missing_y, missing_x = side - cropped.shape[0], side - cropped.shape[1]
    if missing_y or missing_x:
        pads = ((missing_y // 2, missing_y - missing_y // 2), (missing_x // 2, missing_x - missing_x // 2), (0, 0))
        cropped = np.pad(cropped, pads, mode="reflect")
    return np.ascontiguousarray(cropped)


def to_chw(image_HWC: npt.NDArray[Any]) -> Pixels:
    """Return the picture with channels first, contiguous uint8 (3, H, W)."""
    return np.ascontiguousarray(image_HWC.transpose(2, 0, 1), dtype=np.uint8)
