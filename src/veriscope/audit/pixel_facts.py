"""A dozen trivial numbers of a picture: brightness, contrast, colour and fine detail, none of what it shows."""

import numpy as np
import numpy.typing as npt
from PIL import Image

PIXEL_FACTS = (
    "brightness",
    "contrast",
    "black_share",
    "white_share",
    "blue_cast",
    "red_cast",
    "colourfulness",
    "detail",
    "fine_share",
    "colour_detail",
    "blockiness",
)
PIXEL_FACTS_VERSION = 1  # raise it with every change of a figure: kept ones are then made anew

MAX_SIDE_PX = 1024  # of what is looked at: the middle of a larger picture, for time

Plane = npt.NDArray[np.float32]

_LEVELS = np.arange(256, dtype=np.float64)
_BLOCK_PX = 8  # JPEG's
_FLAT = 0.01  # grey levels: so that a flat picture has a blockiness, of 0


def pixel_facts(image_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the facts of an upright RGB picture, float32 (len(PIXEL_FACTS),), finite whatever the picture.

    Of the picture's middle MAX_SIDE_PX pixels a side, in JPEG's own colours Y, Cb and Cr, 0 to 255:
    brightness and contrast are mean and standard deviation of Y; black_share and white_share how much of Y is below 8
    and above 247; blue_cast and red_cast the means of Cb and Cr less 128; colourfulness the root of the sum of their
    variances. detail is the root mean square difference of neighbours in Y, colour_detail the same in Cb and Cr;
    fine_share how much of the mean square difference 2 pixels apart neighbours already have (a quarter: a smooth
    picture; 1: noise). blockiness is log2 of the mean absolute difference of neighbours across the lines of the 8 x 8
    grid over that inside it: above 0 where the pixels were JPEG blocks once, whatever they are stored as now.
    """
    height, width = image_HWC.shape[:2]
    # Whole blocks are cut away, so that the grid stays where it is.
    top, left = (max(side - MAX_SIDE_PX, 0) // (2 * _BLOCK_PX) * _BLOCK_PX for side in (height, width))
    middle = np.ascontiguousarray(image_HWC[top : top + MAX_SIDE_PX, left : left + MAX_SIDE_PX])
    colours = Image.fromarray(middle).convert("YCbCr")
    # PIL counts levels in C; mean and spread follow from the counts.
    counts = np.array(colours.histogram(), dtype=np.float64).reshape(3, 256) / (middle.shape[0] * middle.shape[1])
    mean = counts @ _LEVELS
    variance = np.maximum(counts @ _LEVELS**2 - mean**2, 0.0)
    planes_CHW = np.asarray(colours).transpose(2, 0, 1).astype(np.float32, order="C")
    near, blockiness = _neighbours(planes_CHW[0])
    far = _mean_square(planes_CHW[0], 2)
    colour = _mean_square(planes_CHW[1], 1) + _mean_square(planes_CHW[2], 1)
    return np.array(
        [
            mean[0],
            variance[0] ** 0.5,
            counts[0, :8].sum(),
            counts[0, 248:].sum(),
            mean[1] - 128,
            mean[2] - 128,
            (variance[1] + variance[2]) ** 0.5,
            near**0.5,
            near / far if far > 0 else 0.0,
            colour**0.5,
            blockiness,
        ],
        dtype=np.float32,
    )


def _neighbours(luma_HW: Plane) -> tuple[float, float]:
    """Return the mean square difference of neighbours, and the blockiness."""
    squares, blockiness = [], []
    for along, across in ((0, 1), (1, 0)):
        gap = np.abs(_gaps(luma_HW, axis=along, step=1))
        if not gap.size:
            continue
        lines = gap.mean(axis=across)  # exact: sums of 1,024 whole numbers below 256
        squares.append(_mean_of_squares(gap))
        if len(lines) >= _BLOCK_PX:
            on_grid = lines[_BLOCK_PX - 1 :: _BLOCK_PX]
            off_grid = (lines.sum() - on_grid.sum()) / (len(lines) - len(on_grid))
            blockiness.append(np.log2((on_grid.mean() + _FLAT) / (off_grid + _FLAT)))
    return float(np.mean(squares or 0.0)), float(np.mean(blockiness or 0.0))


def _mean_square(plane_HW: Plane, step: int) -> float:
    """Return the mean square difference of pixels `step` apart, over both directions."""
    gaps = [_gaps(plane_HW, axis=axis, step=step) for axis in (0, 1)]
    return float(np.mean([_mean_of_squares(gap) for gap in gaps if gap.size] or 0.0))


def _gaps(plane_HW: Plane, *, axis: int, step: int) -> Plane:
    return plane_HW[step:] - plane_HW[:-step] if axis == 0 else plane_HW[:, step:] - plane_HW[:, :-step]


def _mean_of_squares(gap_HW: Plane) -> float:
    # einsum: a sixth of the time of numpy's square and sum, and no threads of BLAS beside a process pool.
    rows = np.einsum("hw,hw->h", gap_HW, gap_HW)
    return float(rows.sum(dtype=np.float64)) / gap_HW.size
