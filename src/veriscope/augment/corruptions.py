"""What happens to pictures on their way: deterministic corruptions for robustness figures, as `jpeg:75`."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from veriscope.errors import ConfigError, nearest

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Corruption:
    """One kind of damage at one level; calling it returns the damaged picture, uint8 HWC.

    `levels` holds one number, for `double_jpeg` two: the qualities of the first and of the second compression.
    """

    name: str
    levels: tuple[float, ...]

    def __call__(self, image_HWC: Pixels) -> Pixels:
        """Return the damaged picture; the input stays as it is. It depends on the picture's pixels only."""
        return _KINDS[self.name].apply(image_HWC, *self.levels)

    @property
    def level_text(self) -> str:
        """The level as it is typed, as 75 or 75+50."""
        return "+".join(f"{level:g}" for level in self.levels)

    def __str__(self) -> str:
        return f"{self.name}:{self.level_text}"


@dataclass(frozen=True, slots=True)
class _Kind:
    apply: Callable[..., Pixels]
    lowest: float
    highest: float
    whole: bool
    example: str
    meaning: str
    num_levels: int = 1


def recompress(image_HWC: Pixels, kind: str, quality: int) -> Pixels:
    """Return the picture after one more JPEG or WebP (kind 'jpeg', 'webp') of this quality, by PIL.

    JPEG is 4:2:0, on an 8 x 8 grid that starts at the picture's corner. albumentations' ImageCompression isn't used: it
    hands RGB to OpenCV as BGR, so that luma weighs red as blue and chroma is subsampled along the wrong axes.
    A picture with a longer side than the format can hold (JPEG 65,500, WebP 16,383 px) is shrunk to that side first, as
    whoever delivers it has to.
    """
    if kind not in _LONGEST_PX:
        raise ValueError(f"recompress knows jpeg and webp, not {kind}")
    image = _no_longer_than(image_HWC, _LONGEST_PX[kind])
    buffer = BytesIO()
    if kind == "jpeg":
        _pack_jpeg(image, buffer, quality)
    else:
        image.save(buffer, "WEBP", quality=quality, method=2)  # 4, the default, costs twice
    with Image.open(buffer) as packed:
        return np.array(packed.convert("RGB"))


def encode_jpeg(image_HWC: Pixels, quality: int) -> bytes:
    """Return the JPEG file of a picture as `recompress` packs it: baseline, 4:2:0, standard tables, no metadata.

    Raises:
        ValueError: a side longer than LONGEST_JPEG_PX.

    """
    if max(image_HWC.shape[:2]) > LONGEST_JPEG_PX:
        raise ValueError(f"a JPEG holds {LONGEST_JPEG_PX} px a side, not {max(image_HWC.shape[:2])}")
    buffer = BytesIO()
    _pack_jpeg(Image.fromarray(image_HWC), buffer, quality)
    return buffer.getvalue()


def central_square(image_HWC: Pixels, side_px: int) -> Pixels:
    """Return the central square, scaled to `side_px` (bilinear, antialiased); a picture of that size as it is."""
    height, width = image_HWC.shape[:2]
    if (height, width) == (side_px, side_px):
        return image_HWC
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(np.ascontiguousarray(image_HWC[top : top + side, left : left + side]))
    return np.array(square.resize((side_px, side_px), Image.Resampling.BILINEAR))


def blur(image_HWC: Pixels, sigma_px: float) -> Pixels:
    """Return the picture under a Gaussian of `sigma_px` (PIL: three box filters, within two grey levels of exact)."""
    return np.array(Image.fromarray(image_HWC).filter(ImageFilter.GaussianBlur(sigma_px)))


def add_noise(image_HWC: Pixels, sigma: float, *, seed: int) -> Pixels:
    """Return the picture with white Gaussian noise of `sigma` grey levels (of 255) on every sample."""
    rng = np.random.default_rng(seed)
    noisy = image_HWC + np.float32(sigma) * rng.standard_normal(image_HWC.shape, dtype=np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def rescale(image_HWC: Pixels, factor: float) -> Pixels:
    """Return the picture at `factor` times its size, at least 1 pixel a side (bilinear, antialiased)."""
    height, width = image_HWC.shape[:2]
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return np.array(Image.fromarray(image_HWC).resize(size, Image.Resampling.BILINEAR))


def double_jpeg(image_HWC: Pixels, first: int, second: int) -> Pixels:
    """Return the picture after two JPEGs (qualities `first`, `second`) whose 8 x 8 grids don't coincide.

    Between the two the picture loses its first 3 rows and 5 columns, as any crop does that isn't a multiple of 8; that
    leaves the double traces that forensics looks for (Bianchi & Piva 2012). Pictures too small for it keep one pixel.
    """
    once = recompress(image_HWC, "jpeg", first)
    top, left = min(_SHIFT_PX[0], once.shape[0] - 1), min(_SHIFT_PX[1], once.shape[1] - 1)
    return recompress(np.ascontiguousarray(once[top:, left:]), "jpeg", second)


def crop(image_HWC: Pixels, share: float) -> Pixels:
    """Return the picture's middle, `share` of each side, at least one pixel; the pixels stay as they are.

    The corner is at odd coordinates, so that the 8 x 8 grid of an earlier JPEG never falls on that of a later one.
    """
    height, width = image_HWC.shape[:2]
    new_height, new_width = max(round(height * share), 1), max(round(width * share), 1)
    top, left = _odd_corner(height - new_height), _odd_corner(width - new_width)
    return image_HWC[top : top + new_height, left : left + new_width].copy()


def gamma(image_HWC: Pixels, exponent: float) -> Pixels:
    """Return 255 (v / 255)^exponent of every sample: below 1 is brighter, above 1 darker; 0 and 255 stay."""
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return table[image_HWC]


def screenshot(image_HWC: Pixels, strength: int) -> Pixels:
    """Return the picture as a screenshot of it is sent on: shown at a size that isn't a whole multiple, cut out by hand
    with a little of the border missing, through a display's other gamma, saved as PNG (1) or JPEG (2 to 5)."""
    chain = _SCREENSHOT[strength - 1]
    shown = gamma(crop(rescale(image_HWC, chain.factor), chain.kept), chain.gamma)
    return shown if chain.quality is None else recompress(shown, "jpeg", chain.quality)


class _Chain(NamedTuple):
    factor: float
    kept: float
    gamma: float
    quality: int | None


# Factors of a picture scaled into a window; a phone's and a desktop's own format is PNG, what a messenger makes of it
# is JPEG; a hand-drawn selection misses a few pixels; displays differ by about 5 % in gamma, bad ones by 10.
_SCREENSHOT = (
    _Chain(0.93, 0.99, 1.03, None),
    _Chain(0.87, 0.98, 0.96, 90),
    _Chain(0.77, 0.97, 1.05, 80),
    _Chain(0.63, 0.96, 0.93, 70),
    _Chain(0.47, 0.94, 1.10, 55),
)
_SHIFT_PX = (3, 5)
LONGEST_JPEG_PX = 65500  # libjpeg's own limit
_LONGEST_PX = {"jpeg": LONGEST_JPEG_PX, "webp": 16383}  # what 14 bits can say


def _pack_jpeg(image: Image.Image, buffer: BytesIO, quality: int) -> None:
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")


def _odd_corner(spare_px: int) -> int:
    """Return an odd number near half of `spare_px` within it, 0 where nothing is spare."""
    return min((spare_px // 2) | 1, spare_px)


def _no_longer_than(image_HWC: Pixels, longest_px: int) -> Image.Image:
    image = Image.fromarray(image_HWC)
    factor = longest_px / max(image.size)
    if factor >= 1:
        return image
    size = tuple(min(max(round(side * factor), 1), longest_px) for side in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.BILINEAR)


def _noise(image_HWC: Pixels, level: float) -> Pixels:
    # Seeded by the picture: the same each time, another for each picture; stronger noise is the same grain, amplified.
    return add_noise(image_HWC, level, seed=zlib.crc32(image_HWC.tobytes()))


def _packed(kind: str) -> Callable[[Pixels, float], Pixels]:
    return lambda image_HWC, level: recompress(image_HWC, kind, int(level))


_KINDS = {
    "jpeg": _Kind(_packed("jpeg"), 1, 100, True, "75", "quality 1 to 100, 4:2:0"),
    "double_jpeg": _Kind(
        lambda image, first, second: double_jpeg(image, int(first), int(second)),
        1, 100, True, "75+50", "two qualities 1 to 100, the second on another 8 x 8 grid", 2,
    ),
    "webp": _Kind(_packed("webp"), 1, 100, True, "75", "quality 1 to 100"),
    "blur": _Kind(blur, 0.1, 20, False, "1.5", "sigma of a Gaussian in pixels, 0.1 to 20"),
    "noise": _Kind(_noise, 0.5, 100, False, "5", "sigma in grey levels of 255, 0.5 to 100"),
    "resize": _Kind(
        rescale, 0.05, 4, False, "0.5", "factor of both sides, 0.05 to 4; the picture stays at that size"
    ),
    "crop": _Kind(crop, 0.05, 1, False, "0.8", "share of each side that is kept, 0.05 to 1, of the middle"),
    "gamma": _Kind(gamma, 0.1, 10, False, "0.8", "exponent, 0.1 (brighter) to 10 (darker)"),
    "screenshot": _Kind(
        lambda image, strength: screenshot(image, int(strength)), 1, 5, True, "3", "strength 1 to 5"
    ),
}  # fmt: skip


def parse_corruption(text: str) -> Corruption:
    """Return the corruption that `name:level` names, as `jpeg:75`, `double_jpeg:75+50` or `screenshot:3`.

    Raises:
        ConfigError: an unknown name, or a level that is missing, no number or out of range.

    """
    name, _, level_text = text.partition(":")
    name = name.strip().lower()
    if name not in _KINDS:
        raise ConfigError(f"unknown corruption '{text}'. {nearest(name, _KINDS)} Write it as jpeg:75.")
    kind = _KINDS[name]
    wanted = f"corruption '{text}' needs a level as {name}:{kind.example} ({kind.meaning})."
    try:
        levels = tuple(float(part) for part in level_text.split("+"))
    except ValueError:
        raise ConfigError(wanted) from None
    fits = all(kind.lowest <= level <= kind.highest and (not kind.whole or level == int(level)) for level in levels)
    if len(levels) != kind.num_levels or not fits:
        raise ConfigError(wanted)
    return Corruption(name, levels)
