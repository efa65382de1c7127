"""Heat on a picture, for people: NumPy and PIL alone, as a server draws these."""

import io
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from veriscope.explain.evidence import Map, Pixels
from veriscope.types import ClassName

# Lightness, chroma and hue of both ends in OKLab (Ottosson 2020): red to yellow for fake, blue to cyan for real.
# Lightness rises evenly, so that the order also holds without seeing colour; no hue of one is a hue of the other.
_ENDS = {"fake": ((0.45, 0.16, 25.0), (0.93, 0.15, 105.0)), "real": ((0.42, 0.15, 265.0), (0.93, 0.09, 200.0))}
STEPS = 256

OPACITY = 0.85  # of the colours, at full strength
_FADE_IN = 0.6
_GREY_LIGHT, _GREY_DARK = 0.75, 0.12  # the picture below is kept off white and black, so that colours stand out
_UNSEEN = 0.3  # brightness of what the network was not shown
_LINE = 235  # grey of the frame around what it was shown

_STRIP_PX = 44
_PAPER, _INK = (255, 255, 255), (27, 31, 36)


@cache
def ramp(target: ClassName) -> npt.NDArray[np.uint8]:
    """Return the colours of no to full strength, (STEPS, 3) sRGB."""
    low, high = np.array(_ENDS[target])
    share = np.linspace(0, 1, STEPS)[:, None]
    lightness, chroma, hue = (low + (high - low) * share).T
    lab = np.stack([lightness, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))], axis=1)
    return oklab_to_srgb(lab)


def oklab_to_srgb(lab_N3: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return OKLab colours as sRGB, clipped to what a screen shows; Ottosson 2020, "A perceptual color space"."""
    to_lms = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    )
    to_rgb = np.array([
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ])  # fmt: skip
    linear = np.clip((lab_N3 @ to_lms.T) ** 3 @ to_rgb.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rounded: npt.NDArray[np.uint8] = (encoded * 255 + 0.5).astype(np.uint8)
    return rounded


def blend(image_HWC: Pixels, strength_HW: Map, *, target: ClassName) -> Pixels:
    """Return the picture in grey with the strength in colour upon it.

    Args:
        image_HWC: RGB, uint8.
        strength_HW: 0 (no colour) to 1, clipped; NaN: not shown to the network, so darkened and framed.
        target: whose colours.

    """
    seen_HW = np.isfinite(strength_HW)
    strength_HW1 = np.clip(np.where(seen_HW, strength_HW, 0), 0, 1)[..., None]
    grey_HW = np.asarray(Image.fromarray(image_HWC).convert("L"), dtype=np.float32) / 255
    grey_HW1 = (_GREY_DARK + (_GREY_LIGHT - _GREY_DARK) * grey_HW)[..., None] * 255
    colour_HWC = ramp(target)[(strength_HW1[..., 0] * (STEPS - 1) + 0.5).astype(np.int64)]
    # Fading in over the lower part; above it the colour itself, not its opacity, tells how strong it is.
    alpha_HW1 = OPACITY * np.minimum(strength_HW1 / _FADE_IN, 1)
    shown_HWC = grey_HW1 * (1 - alpha_HW1) + colour_HWC * alpha_HW1
    if not seen_HW.all():
        shown_HWC = np.where(seen_HW[..., None], shown_HWC, grey_HW1 * _UNSEEN)
        shown_HWC[_frame(seen_HW)] = _LINE
    return (shown_HWC + 0.5).astype(np.uint8)


def _frame(seen_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the unseen pixels that touch a seen one."""
    padded = np.pad(seen_HW, 1)
    beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return beside & ~seen_HW


def side_by_side(image_HWC: Pixels, overlay_HWC: Pixels, *, target: ClassName, full_scale: str, note: str) -> Pixels:
    """Return picture and overlay beside each other, and below them the colours with what full strength stands for.

    Args:
        image_HWC: RGB, uint8.
        overlay_HWC: as large.
        target: whose colours.
        full_scale: what the end of the colours stands for.
        note: one more line below; may be empty.

    """
    height, width = image_HWC.shape[:2]
    gap = max(width // 60, 4)
    scale = _strip(2 * width + gap, target=target, full_scale=full_scale, note=note)
    canvas = np.full((height + len(scale), max(2 * width + gap, scale.shape[1]), 3), _PAPER, dtype=np.uint8)
    canvas[:height, :width] = image_HWC
    canvas[:height, width + gap : 2 * width + gap] = overlay_HWC
    canvas[height:, : scale.shape[1]] = scale
    return canvas


def _strip(width: int, *, target: ClassName, full_scale: str, note: str) -> Pixels:
    font: Any = ImageFont.load_default(size=13)
    left, right = f"nothing for {target}", full_scale
    bar = 120
    needed = int(font.getlength(left) + font.getlength(right)) + bar + 32
    needed = max(needed, int(font.getlength(note)) + 16)
    strip = Image.new("RGB", (max(width, needed), _STRIP_PX), _PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((8, 4), left, fill=_INK, font=font)
    start = 16 + int(font.getlength(left))
    colours = ramp(target)[np.linspace(0, STEPS - 1, bar).astype(int)]
    strip.paste(Image.fromarray(np.repeat(colours[None], 12, axis=0)), (start, 7))
    draw.text((start + bar + 8, 4), right, fill=_INK, font=font)
    draw.text((8, 23), note, fill=_INK, font=font)
    return np.asarray(strip)


def to_png(image_HWC: Pixels) -> bytes:
    """Return the picture as PNG."""
    packed = io.BytesIO()
    Image.fromarray(image_HWC).save(packed, "PNG")
    return packed.getvalue()
