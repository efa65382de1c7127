"""Occlusion: what happens to the logit when a part of the picture is hidden. Pixels in, logits out, no more."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from veriscope.explain.evidence import Evidence, Map, Pixels

Logits = Callable[[Pixels], npt.NDArray[np.float32]]

# On real pictures 3 of 100 hidden squares change the logit by more (benchmarks/explain.md).
NOISE = 0.5


def hidden(image_CHW: Pixels) -> Pixels:
    """Return the picture blurred with a sigma of a sixteenth of its shorter side: the fill of a hidden square.

    It keeps light and colour. Of the fills that were tried it changes real pictures least, beside what it takes from
    fakes, and hardly ever makes one look more like a fake (benchmarks/explain.md).
    """
    sigma = min(image_CHW.shape[-2:]) / 16
    blurred = Image.fromarray(image_CHW.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(sigma))
    return np.ascontiguousarray(np.asarray(blurred).transpose(2, 0, 1))


def occlusion(
    logits_fn: Logits,
    image_BCHW: Pixels,
    *,
    window_px: int | None = None,
    stride_px: int | None = None,
    batch_size: int = 32,
    fill: Callable[[Pixels], Pixels] = hidden,
) -> Evidence:
    """Return by how much the logit falls when a square is hidden, for each pixel the mean of the squares over it.

    Zeiler & Fergus 2014, section 4.2. Above 0: what was hidden spoke for fake. It asks the model itself, and not its
    gradient, at the price of a pass for each square: ((size - window) / stride + 1)^2 of them, in batches, in memory
    that doesn't grow with their number.

    Args:
        logits_fn: from uint8 pictures (B, 3, H, W) to logit_B.
        image_BCHW: RGB, uint8, as the network is shown it.
        window_px: side of the square (default: a seventh of the shorter side).
        stride_px: from square to square (default: half of the window); the last ones end with the picture.
        batch_size: pictures a pass.
        fill: from a picture (3, H, W) to one as large, which hidden squares are taken from.

    Raises:
        ValueError: a window that is no part of the picture, or a stride that leaves pixels out.

    """
    height, width = image_BCHW.shape[-2:]
    window = max(min(height, width) // 7, 1) if window_px is None else window_px
    stride = max(window // 2, 1) if stride_px is None else stride_px
    if not 1 <= window <= min(height, width) or not 1 <= stride <= window:
        raise ValueError(f"a window of {window} px every {stride} px doesn't cover {height} x {width} px")
    if not len(image_BCHW):
        none = np.zeros(0, dtype=np.float32)
        return Evidence(none, np.zeros((0, height, width), dtype=np.float32), none, noise=NOISE)
    batches = range(0, len(image_BCHW), batch_size)
    logit_B = np.concatenate([logits_fn(image_BCHW[start : start + batch_size]) for start in batches])
    heats = [
        _one(logits_fn, image_CHW, float(logit), fill(image_CHW), window=window, stride=stride, batch_size=batch_size)
        for image_CHW, logit in zip(image_BCHW, logit_B, strict=True)
    ]
    return Evidence(logit_B.astype(np.float32), np.stack(heats), np.zeros(len(heats), dtype=np.float32), noise=NOISE)


def starts(length: int, *, window: int, stride: int) -> list[int]:
    """Return where windows begin along a side; the last one ends with it."""
    found = list(range(0, length - window + 1, stride))
    return found if found[-1] == length - window else [*found, length - window]


def _one(
    logits_fn: Logits, image_CHW: Pixels, logit: float, fill_CHW: Pixels, *, window: int, stride: int, batch_size: int
) -> Map:
    height, width = image_CHW.shape[-2:]
    places = [
        (slice(top, top + window), slice(left, left + window))
        for top in starts(height, window=window, stride=stride)
        for left in starts(width, window=window, stride=stride)
    ]
    fall_HW, count_HW = np.zeros((height, width)), np.zeros((height, width))
    for batch, copies in _hide(image_CHW, places, fill_CHW, batch_size=batch_size):
        for (rows, columns), other in zip(batch, logits_fn(copies), strict=True):
            fall_HW[rows, columns] += logit - float(other)
            count_HW[rows, columns] += 1
    return (fall_HW / count_HW).astype(np.float32)


def _hide(
    image_CHW: Pixels, places: list[tuple[slice, slice]], fill_CHW: Pixels, *, batch_size: int
) -> Iterator[tuple[list[tuple[slice, slice]], Pixels]]:
    """Yield batches of places, and the picture with each of them hidden."""
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        copies = np.repeat(image_CHW[None], len(batch), axis=0)
        for copy, (rows, columns) in zip(copies, batch, strict=True):
            copy[:, rows, columns] = fill_CHW[:, rows, columns]
        yield batch, copies
