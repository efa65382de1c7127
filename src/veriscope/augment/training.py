"""Training policies by albumentations: a picture and a seed in, the network's picture out."""

import os
import random
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # before the import, which asks PyPI for its version otherwise

import albumentations as A
import cv2

from veriscope.augment.corruptions import recompress, rescale
from veriscope.config.schema import AugmentConfig
from veriscope.types import InputSpec

Pixels = npt.NDArray[np.uint8]

# Loader processes are the parallelism; OpenCV's own threads on top only fight them (and a fork may deadlock).
cv2.setNumThreads(0)


class TrainingAugmentation:
    """Returns the augmented picture, uint8 (S, S, 3), S = config.crop_px or spec.size_px; equal seeds, equal pictures.

    Order: blur, rescale, noise, recompress on the whole native picture, so that the JPEG grid starts at its corner as
    it does in the wild; the fit (evaluation's own resize or centre crop, or a random crop where crop_px is set); then
    flip, affine, colour. What is off is left out, so a policy without operations equals evaluation bit for bit.

    The pipeline is seeded anew for every picture: albumentations 2.0.8 repeats its draws over workers and epochs when
    left alone. One generator serves all operations; Compose.set_random_seed would give each the same one, and every
    operation would happen to the same pictures.
    """

    def __init__(self, config: AugmentConfig, spec: InputSpec) -> None:
        self._config = config
        self._spec = spec
        self._pipeline = A.Compose([*_native(config), _fit(config, spec), *_after_fit(config)])

    @property
    def side_px(self) -> int:
        """Side of the pictures that come out."""
        return self._config.crop_px or self._spec.size_px

    def __call__(self, image_HWC: Pixels, seed: int) -> Pixels:
        """Return the picture as training shows it; depends on picture and seed only."""
        self._pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return np.ascontiguousarray(self._pipeline(image=image_HWC)["image"])

    def __reduce__(self) -> tuple[Any, ...]:
        # Spawned workers build their own pipeline: it holds generators and OpenCV state that need not travel.
        return TrainingAugmentation, (self._config, self._spec)


def _native(config: AugmentConfig) -> list[Any]:
    steps: list[Any] = []
    if config.blur_p > 0:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 1.5), p=config.blur_p))
    if config.rescale_p > 0:
        steps.append(_Rescale(config.rescale, p=config.rescale_p))
    if config.noise_p > 0:
        # Deviations of 1 to 5 grey levels, what a phone's sensor leaves at high ISO.
        steps.append(A.GaussNoise(std_range=(1 / 255, 5 / 255), p=config.noise_p))
    if config.recompress_p > 0:
        steps.append(_Recompress(config.recompress_quality, config.recompress_formats, p=config.recompress_p))
    return steps


def _fit(config: AugmentConfig, spec: InputSpec) -> Any:
    if config.crop_px is None:
        return _EvaluationFit(spec.size_px, spec.fit, p=1.0)
    side = config.crop_px
    return A.Sequential(
        [
            A.PadIfNeeded(side, side, border_mode=cv2.BORDER_REFLECT_101, p=1.0),
            A.RandomCrop(side, side, p=1.0),
        ],
        p=1.0,
    )


def _after_fit(config: AugmentConfig) -> list[Any]:
    steps: list[Any] = []
    if config.flip_p > 0:
        steps.append(A.HorizontalFlip(p=config.flip_p))
    if config.rotate_deg or config.shift_fraction or config.shear_deg or config.zoom_fraction:
        shift, shear, zoom = config.shift_fraction, config.shear_deg, config.zoom_fraction
        steps.append(
            A.Affine(
                rotate=(-config.rotate_deg, config.rotate_deg),
                translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
                shear={"x": (-shear, shear), "y": (0.0, 0.0)},
                scale=(1 - zoom, 1 + zoom),
                border_mode=cv2.BORDER_REFLECT_101,
                p=1.0,
            )
        )
    if config.brightness or config.contrast or config.saturation or config.hue:
        steps.append(
            A.ColorJitter(
                brightness=config.brightness or (1.0, 1.0),
                contrast=config.contrast or (1.0, 1.0),
                saturation=config.saturation or (1.0, 1.0),
                hue=(-config.hue, config.hue),
                p=1.0,
            )
        )
    return steps


class _Recompress(A.ImageOnlyTransform):  # type: ignore[misc]
    """One more JPEG or WebP by PIL (see augment.corruptions.recompress for why not albumentations' own)."""

    class InitSchema(A.BasicTransform.InitSchema):  # type: ignore[misc]
        quality: tuple[int, int]
        formats: tuple[str, ...]

    def __init__(self, quality: tuple[int, int], formats: tuple[str, ...], p: float = 0.5) -> None:
        super().__init__(p=p)
        self.quality = quality
        self.formats = formats

    def get_params(self) -> dict[str, Any]:
        """Draw format and quality, both ends included."""
        return {"kind": self.py_random.choice(self.formats), "drawn": self.py_random.randint(*self.quality)}

    def apply(self, img: Pixels, kind: str = "jpeg", drawn: int = 95, **_: Any) -> Pixels:
        """Return the picture after one more compression."""
        return recompress(img, kind, drawn)


class _Rescale(A.ImageOnlyTransform):  # type: ignore[misc]
    """Shrink or enlarge both sides by one factor, as a platform does on upload (bilinear, antialiased)."""

    class InitSchema(A.BasicTransform.InitSchema):  # type: ignore[misc]
        factor: tuple[float, float]

    def __init__(self, factor: tuple[float, float], p: float = 0.5) -> None:
        super().__init__(p=p)
        self.factor = factor

    def get_params(self) -> dict[str, Any]:
        """Draw the factor."""
        return {"drawn": self.py_random.uniform(*self.factor)}

    def apply(self, img: Pixels, drawn: float = 1.0, **_: Any) -> Pixels:
        """Return the picture at `drawn` times its size."""
        return rescale(img, drawn)


class _EvaluationFit(A.ImageOnlyTransform):  # type: ignore[misc]
    """What data.preprocess.fit_to_input does. Layers of one height don't import each other, so it stands here again;
    a test holds the two equal, bit for bit."""

    class InitSchema(A.BasicTransform.InitSchema):  # type: ignore[misc]
        size_px: int
        fit: str

    def __init__(self, size_px: int, fit: str, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.size_px = size_px
        self.fit = fit

    def apply(self, img: Pixels, **_: Any) -> Pixels:
        """Return the resized or centrally cropped picture."""
        side = self.size_px
        if self.fit == "resize":
            if img.shape[:2] == (side, side):
                return img
            return np.array(Image.fromarray(img).resize((side, side), Image.Resampling.BILINEAR))
        top, left = max((img.shape[0] - side) // 2, 0), max((img.shape[1] - side) // 2, 0)
        img = img[top : top + side, left : left + side]
        missing_y, missing_x = side - img.shape[0], side - img.shape[1]
        if missing_y or missing_x:
            pads = ((missing_y // 2, missing_y - missing_y // 2), (missing_x // 2, missing_x - missing_x // 2), (0, 0))
            img = np.pad(img, pads, mode="reflect")
        return img
