"""From the network's input back to the picture's own pixels: data.preprocess.fit_to_input, the other way round."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from veriscope.explain.evidence import Map
from veriscope.types import InputSpec


class Box(NamedTuple):
    """A rectangle in pixels of the picture; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int


def input_box(spec: InputSpec, *, height: int, width: int) -> Box:
    """Return where the network's input lies in a picture; it sticks out where a small one was padded (fit=crop)."""
    if spec.fit == "resize":
        return Box(0, 0, width, height)

    def along(length: int) -> int:
        return (length - spec.size_px) // 2 if length >= spec.size_px else -((spec.size_px - length) // 2)

    left, top = along(width), along(height)
    return Box(left, top, left + spec.size_px, top + spec.size_px)


def on_picture(heat_HW: Map, spec: InputSpec, *, height: int, width: int, view: tuple[int, int] | None = None) -> Map:
    """Return the heat of a picture's pixels; NaN where the network was not shown the picture (fit=crop).

    Bilinear; what belongs to the padding of a small picture is left out, though its pixels are copies of seen ones.

    Args:
        heat_HW: of one picture, on any grid over the network's input.
        spec: what the network is shown.
        height: of the picture.
        width: of the picture.
        view: (height, width) of a copy of the picture at another size, which the answer is to fit; None: as large.

    """
    view_height, view_width = (height, width) if view is None else view
    box = input_box(spec, height=height, width=width)
    seen = Box(max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height))
    x, y = view_width / width, view_height / height
    target = Box(round(seen.left * x), round(seen.top * y), round(seen.right * x), round(seen.bottom * y))
    target = target._replace(right=max(target.right, target.left + 1), bottom=max(target.bottom, target.top + 1))
    rows, columns = heat_HW.shape
    across, down = columns / (box.right - box.left), rows / (box.bottom - box.top)
    source = (
        (seen.left - box.left) * across, (seen.top - box.top) * down,
        (seen.right - box.left) * across, (seen.bottom - box.top) * down,
    )  # fmt: skip
    size = (target.right - target.left, target.bottom - target.top)
    part = Image.fromarray(heat_HW.astype(np.float32)).resize(size, Image.Resampling.BILINEAR, box=source)
    found = np.full((view_height, view_width), np.nan, dtype=np.float32)
    found[target.top : target.bottom, target.left : target.right] = np.asarray(part)
    return found
