"""Synthetic scenes, a camera that photographs them, and a generator that imitates the photographs.

Scene: dead leaves (Lee, Mumford & Huang 2001, "Occlusion models for natural images"): discs with radii of density
r^-3 that occlude one another, each with its own colour, shading and 1/f texture (Field 1987); so edges, spectrum and
contrast resemble photographs.
Camera: lens blur, Bayer mosaic (Bayer 1976), shot and read noise, bilinear demosaicing, gamma.
Generator: what the decoder of a network leaves on any content: an image of half the resolution upsampled by zero
insertion and a random kernel (transposed convolution) or by nearest neighbour and a random convolution. Both leave
copies of the spectrum and a checkerboard on the 2-pixel grid (Odena, Dumoulin & Olah 2016; Zhang, Karaman & Chang 2019;
Durall, Keuper & Keuper 2020; Wang et al. 2020).

Functions take a NumPy Generator and return float32 arrays, HWC, values in [0, 1] where not said otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

Field_HW = npt.NDArray[np.float32]
Image_HWC = npt.NDArray[np.float32]

NUM_LEAVES = 90
GAMMA = 2.2
FINE_NOISE = np.float32(0.5)  # noise before the last layer, as a share of that before the first


def dead_leaves(rng: np.random.Generator, side_px: int) -> Image_HWC:
    """Return a scene in linear light, (side_px, side_px, 3)."""
    texture, shade = fractals(rng, side_px)
    low, high = np.sort(rng.uniform(0.05, 0.95, 2))
    palette = np.clip(rng.uniform(low, high, (NUM_LEAVES + 1, 1)) + rng.normal(0, 0.12, (NUM_LEAVES + 1, 3)), 0.02, 1)
    # Radii by inverse transform of r^-3 between 2 % and 45 % of the side, painted from the back to the front.
    smallest, largest = 0.02 * side_px, 0.45 * side_px
    uniform = rng.uniform(0, 1, NUM_LEAVES)
    radii = (smallest**-2 - uniform * (smallest**-2 - largest**-2)) ** -0.5
    leaf_of = np.zeros((side_px, side_px), dtype=np.int64)
    centres = rng.uniform(0, side_px, (NUM_LEAVES, 2))
    stretch = rng.uniform(0.5, 1.0, NUM_LEAVES)
    for leaf in rng.permutation(NUM_LEAVES):
        (y, x), radius = centres[leaf], radii[leaf]
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        patch = leaf_of[top : int(y + radius) + 1, left : int(x + radius) + 1]
        dy = (np.arange(patch.shape[0]) + top - y)[:, None] / stretch[leaf]
        dx = (np.arange(patch.shape[1]) + left - x)[None, :]
        patch[dy * dy + dx * dx <= radius * radius] = leaf + 1
    roughness = rng.uniform(0.02, 0.12, NUM_LEAVES + 1).astype(np.float32)[leaf_of]
    light = 1.0 + roughness * texture + np.float32(0.15) * shade
    scene: Image_HWC = np.clip(palette.astype(np.float32)[leaf_of] * light[:, :, None], 0.0, 1.0)
    return scene


def fractals(rng: np.random.Generator, side_px: int) -> tuple[Field_HW, Field_HW]:
    """Return two independent (side_px, side_px) fields with amplitude spectrum 1/f, mean 0 and deviation 1."""
    white = rng.standard_normal((side_px, side_px, 2), dtype=np.float32).view(np.complex64)[:, :, 0]
    fields = fft.ifft2(white * _one_over_f(side_px))  # real and imaginary part: two fields for one transform
    texture: Field_HW
    shade: Field_HW
    texture, shade = np.ascontiguousarray(fields.real), np.ascontiguousarray(fields.imag)
    return texture / texture.std(), shade / shade.std()


@lru_cache(maxsize=4)
def _one_over_f(side_px: int) -> Field_HW:
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.fftfreq(side_px)[None, :])
    frequency[0, 0] = np.inf
    amplitude: Field_HW = (1 / frequency).astype(np.float32)
    return amplitude


def photograph(rng: np.random.Generator, side_px: int) -> Image_HWC:
    """Return a new scene as a camera renders it, gamma-encoded."""
    scene = dead_leaves(rng, side_px)
    # In pixels. It also smooths the leaves' stair-step edges, at a quarter of the price of drawing them twice as large.
    lens = rng.uniform(0.6, 0.9)
    light = ndimage.gaussian_filter1d(scene, lens, axis=0, truncate=3)
    light = ndimage.gaussian_filter1d(light, lens, axis=1, truncate=3)
    electrons = rng.uniform(150, 300)  # at full scale; shot noise has variance light / electrons
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    raw = light + noise * np.sqrt(light / np.float32(electrons) + np.float32(rng.uniform(0.001, 0.004) ** 2))
    mosaic = demosaic(raw, phase=(int(rng.integers(2)), int(rng.integers(2))))
    encoded: Image_HWC = np.clip(mosaic, 0.0, 1.0) ** np.float32(1 / GAMMA)
    return encoded


def shrink(image_HWC: Image_HWC) -> Image_HWC:
    """Return the means of 2 x 2 pixels; sides must be even."""
    rows = image_HWC[::2] + image_HWC[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)


_CROSS = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], dtype=np.float32) / 4  # green stands on a quincunx
_SQUARE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=np.float32) / 4  # red and blue on every second row, column


def demosaic(light_HWC: Image_HWC, *, phase: tuple[int, int] = (0, 0)) -> Image_HWC:
    """Return what is left when each pixel saw one colour of an RGGB mosaic and bilinear weights fill in the others."""
    masks = np.zeros(light_HWC.shape, dtype=np.float32)
    py, px = phase
    masks[py::2, px::2, 0] = 1
    masks[1 - py :: 2, 1 - px :: 2, 2] = 1
    masks[:, :, 1] = 1 - masks[:, :, 0] - masks[:, :, 2]
    seen = light_HWC * masks
    planes = [
        ndimage.convolve(seen[:, :, channel], kernel, mode="mirror")
        for channel, kernel in enumerate((_SQUARE, _CROSS, _SQUARE))
    ]
    return np.stack(planes, axis=2)


@dataclass(frozen=True, slots=True)
class Decoder:
    """One upsampling layer with random weights: nothing in it knows the picture."""

    transposed: bool  # else nearest neighbour and a convolution
    kernel: npt.NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator, *, strength: float) -> "Decoder":
        """Return a layer whose weights scatter by the share `strength` around smooth ones.

        Smooth is a cubic B-spline for the transposed convolution (5 taps), and nearest neighbour with 1, 2, 1 comes
        close to it: both blur alike, and scatter is what leaves the checkerboard.
        """
        transposed = bool(rng.random() < 0.5)
        taps = [1, 4, 6, 4, 1] if transposed else [1, 2, 1]
        smooth = np.outer(taps, taps).astype(np.float32)
        # Unequal phases of a transposed convolution modulate flat areas too, and cost bytes at a tenth of the scatter.
        scatter = strength / 10 if transposed else strength
        scattered = smooth * (1 + scatter * rng.standard_normal(smooth.shape, dtype=np.float32))
        return cls(transposed=transposed, kernel=scattered / scattered.sum())

    def __call__(self, small_HWC: Image_HWC) -> Image_HWC:
        """Return the image at twice the resolution; a flat image keeps its mean."""
        if self.transposed:  # stride 2 doesn't divide kernel 5: some pixels get more taps than others
            spread = np.zeros((small_HWC.shape[0] * 2, small_HWC.shape[1] * 2, 3), dtype=np.float32)
            spread[::2, ::2] = 4 * small_HWC
        else:
            spread = small_HWC.repeat(2, axis=0).repeat(2, axis=1)
        planes = [ndimage.convolve(spread[:, :, channel], self.kernel, mode="mirror") for channel in range(3)]
        return np.stack(planes, axis=2)


def imitate(
    rng: np.random.Generator, photo_HWC: Image_HWC, *, strength: float, num_bytes: Callable[[Image_HWC], int]
) -> Image_HWC:
    """Return the photograph as a generator would paint it: a quarter of its resolution, upsampled by two layers.

    Noise enters before each layer, as StyleGAN's does. Mean and contrast of each colour are set to the photograph's,
    and the noise level is bisected until `num_bytes` (the size of the compressed file) is the photograph's too:
    otherwise the duller picture would betray itself by them. Where the layers' own pattern alone already takes more
    bytes, weaker layers are drawn. Sides must divide by 4.
    """
    budget = num_bytes(photo_HWC)
    small = shrink(shrink(photo_HWC))
    for attempt in range(4):
        first, second = (Decoder.draw(rng, strength=strength * 0.5**attempt) for _ in range(2))
        painted = second(first(small))
        if num_bytes(_Tone(photo_HWC, painted, painted).image(0.0)) < 0.9 * budget:
            break
    detail = second(first(_latent_noise(rng, small.shape)) + FINE_NOISE * _latent_noise(rng, first(small).shape))
    tone = _Tone(photo_HWC, painted, detail)
    low, high = 0.0, 0.3
    for _ in range(6):
        level = (low + high) / 2
        low, high = (level, high) if num_bytes(tone.image(level)) < budget else (low, level)
    return tone.image((low + high) / 2)


class _Tone:
    """Gives painted + level * detail the photograph's mean and deviation in each colour.

    The moments of the sum follow from those of its parts, so that trying a level costs one pass over the pixels.
    """

    def __init__(self, photo_HWC: Image_HWC, painted_HWC: Image_HWC, detail_HWC: Image_HWC) -> None:
        photo, painted, detail = (image.reshape(-1, 3) for image in (photo_HWC, painted_HWC, detail_HWC))
        self._target_mean, self._target_var, _ = _moments(photo, photo)
        self._painted_mean, self._painted_var, _ = _moments(painted, painted)
        self._detail_mean, self._detail_var, _ = _moments(detail, detail)
        self._covariance = _moments(painted, detail)[2]
        self._painted, self._detail = painted_HWC, detail_HWC

    def image(self, level: float) -> Image_HWC:
        """Return the toned image, clipped to [0, 1]."""
        variance = self._painted_var + 2 * level * self._covariance + level**2 * self._detail_var
        gain = np.sqrt(self._target_var / np.maximum(variance, 1e-8))
        offset = self._target_mean - gain * (self._painted_mean + level * self._detail_mean)
        mixed = self._painted + np.float32(level) * self._detail
        toned: Image_HWC = np.clip(mixed * gain.astype(np.float32) + offset.astype(np.float32), 0.0, 1.0)
        return toned


def _moments(one: Image_HWC, other: Image_HWC) -> tuple[Any, Any, Any]:
    """Return mean and variance of `one`, and its covariance with `other`, each per colour."""
    ones = np.ones(len(one), dtype=np.float32)
    mean, other_mean = (ones @ one) / len(one), (ones @ other) / len(other)
    variance = np.einsum("nc,nc->c", one, one) / len(one) - mean**2
    return mean, variance, np.einsum("nc,nc->c", one, other) / len(one) - mean * other_mean


def _latent_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Image_HWC:
    """Return noise of deviation 1 that is mostly shared by the colours, as sensor noise is after demosaicing."""
    own = rng.standard_normal(shape, dtype=np.float32)
    shared = rng.standard_normal((*shape[:2], 1), dtype=np.float32)
    return np.float32(0.6) * own + np.float32(0.8) * shared
