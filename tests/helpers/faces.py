"""Pictures with a real face, which lies in matplotlib's wheel (Grace Hopper, a work of the US Navy: public domain)."""

from functools import cache

import numpy as np
import numpy.typing as npt
from matplotlib.cbook import get_sample_data
from PIL import Image

Pixels = npt.NDArray[np.uint8]

WIDTH_PX, HEIGHT_PX = 512, 600
FACE = (176, 113, 174, 212)  # left, top, width, height in the picture of that size, by eye to 10 px


@cache
def _portrait() -> Image.Image:
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        return image.convert("RGB")


def portrait(height: int = HEIGHT_PX, *, turned: float = 0, dark: bool = False) -> Pixels:
    """Return the portrait at that height, turned by degrees against the clock, and at half its brightness."""
    image = _portrait().resize((round(height * WIDTH_PX / HEIGHT_PX), height), Image.Resampling.LANCZOS)
    if turned:
        image = image.rotate(turned, expand=True, fillcolor=(127, 127, 127))
    return np.asarray(image) // 2 if dark else np.asarray(image)


def group(*places: tuple[int, int, int], size: tuple[int, int]) -> Pixels:
    """Return a grey picture of `size` (width, height) with portraits (left, top, height), every second one dark."""
    canvas_HWC = np.full((size[1], size[0], 3), 140, dtype=np.uint8)
    for number, (left, top, height) in enumerate(places):
        one = portrait(height, dark=bool(number % 2))
        canvas_HWC[top : top + one.shape[0], left : left + one.shape[1]] = one
    return canvas_HWC


def face_at(left: int, top: int, height: int) -> tuple[float, float, float, float]:
    """Return the face's box (left, top, width, height) of a portrait of that height at that place."""
    ratio = height / HEIGHT_PX
    return left + FACE[0] * ratio, top + FACE[1] * ratio, FACE[2] * ratio, FACE[3] * ratio
