"""What happens to pictures on their way: deterministic corruptions for robustness figures, as `jpeg:75`."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from veriscope.errors import ConfigError, nearest

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Corruption:
    """One kind of damage at one level; calling it returns the damaged picture, uint8 HWC."""

    name: str
    level: float

    def __call__(self, image_HWC: Pixels) -> Pixels:
        """Return the damaged picture; the input stays as it is."""
        return _KINDS[self.name].apply(image_HWC, self.level)

    def __str__(self) -> str:
        return f"{self.name}:{self.level:g}"


@dataclass(frozen=True, slots=True)
class _Kind:
    apply: Callable[[Pixels, float], Pixels]
    lowest: float
    highest: float
    whole: bool
    meaning: str


def recompress(image_HWC: Pixels, kind: str, quality: int) -> Pixels:
    """Return the picture after one more JPEG or WebP (kind 'jpeg', 'webp') of this quality, by PIL.

    JPEG is 4:2:0, on an 8 x 8 grid that starts at the picture's corner. albumentations' ImageCompression isn't used: it
    hands RGB to OpenCV as BGR, so that luma weighs red as blue and chroma is subsampled along the wrong axes.
    """
    buffer = BytesIO()
    if kind == "jpeg":
        Image.fromarray(image_HWC).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    elif kind == "webp":
        Image.fromarray(image_HWC).save(buffer, "WEBP", quality=quality, method=2)  # 4, the default, costs twice
    else:
        raise ValueError(f"recompress knows jpeg and webp, not {kind}")
    with Image.open(buffer) as image:
        return np.array(image.convert("RGB"))


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


def _noise(image_HWC: Pixels, level: float) -> Pixels:
    # Seeded by the picture: the same each time, another for each picture.
    return add_noise(image_HWC, level, seed=zlib.crc32(image_HWC.tobytes()))


_KINDS = {
    "jpeg": _Kind(lambda image, level: recompress(image, "jpeg", int(level)), 1, 100, True, "quality 1 to 100, 4:2:0"),
    "webp": _Kind(lambda image, level: recompress(image, "webp", int(level)), 1, 100, True, "quality 1 to 100"),
    "blur": _Kind(blur, 0.1, 20, False, "sigma of a Gaussian in pixels, 0.1 to 20"),
    "noise": _Kind(_noise, 0.5, 100, False, "sigma in grey levels of 255, 0.5 to 100"),
    "resize": _Kind(rescale, 0.05, 4, False, "factor of both sides, 0.05 to 4; the picture stays at that size"),
}


def parse_corruption(text: str) -> Corruption:
    """Return the corruption that `name:level` names.

    Raises:
        ConfigError: an unknown name, or a level that is missing, no number or out of range.

    """
    name, _, level_text = text.partition(":")
    name = name.strip().lower()
    if name not in _KINDS:
        raise ConfigError(f"unknown corruption '{text}'. {nearest(name, _KINDS)} Write it as jpeg:75.")
    kind = _KINDS[name]
    wanted = f"corruption '{text}' needs a level as {name}:{75 if kind.whole else kind.lowest * 2:g} ({kind.meaning})."
    try:
        level = float(level_text)
    except ValueError:
        raise ConfigError(wanted) from None
    if not kind.lowest <= level <= kind.highest or (kind.whole and level != int(level)):
        raise ConfigError(wanted)
    return Corruption(name, level)
