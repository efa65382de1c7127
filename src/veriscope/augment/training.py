"""Training policies by albumentations: a picture and a seed in, the network's picture out."""

import os
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # before the import, which asks PyPI for its version otherwise

import albumentations as A
import cv2

from veriscope.augment.corruptions import recompress, rescale
from veriscope.config.schema import AugmentConfig
from veriscope.types import InputSpec

Pixels = npt.NDArray[np.uint8]
Fit = Callable[[Pixels, InputSpec], Pixels]

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

    def __init__(self, config: AugmentConfig, spec: InputSpec, *, fit: Fit) -> None:
        """`fit` is evaluation's own (data.preprocess.fit_to_input), used where no random crop is configured."""
        self._rebuild = partial(TrainingAugmentation, config, spec, fit=fit)
        self._pipeline = A.Compose([*_native(config), _fit(config, spec, fit), *_after_fit(config)])

    def __call__(self, image_HWC: Pixels, seed: int) -> Pixels:
        """Return the picture as training shows it; depends on picture and seed only."""
        self._pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return np.ascontiguousarray(self._pipeline(image=image_HWC)["image"])

    def __reduce__(self) -> tuple[Any, ...]:
        # Spawned workers build their own pipeline: it holds generators and OpenCV state that need not travel.
        return self._rebuild, ()


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


def _fit(config: AugmentConfig, spec: InputSpec, fit: Fit) -> Any:
    if config.crop_px is None:
        return _EvaluationFit(lambda image_HWC: fit(image_HWC, spec), p=1.0)
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
    """Evaluation's own fit, as one step of the pipeline."""

    class InitSchema(A.BasicTransform.InitSchema):  # type: ignore[misc]
        fit: Callable[[Pixels], Pixels]

    def __init__(self, fit: Callable[[Pixels], Pixels], p: float = 1.0) -> None:
        super().__init__(p=p)
        self.fit = fit

    def apply(self, img: Pixels, **_: Any) -> Pixels:
        """Return the picture as evaluation shows it."""
        return self.fit(img)
