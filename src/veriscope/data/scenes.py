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

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Image_HWC = npt.NDArray[np.float32]

OVERSAMPLING = 2  # scenes are drawn at this many samples a pixel, so that the lens has something to average
NUM_LEAVES = 90
GAMMA = 2.2


def dead_leaves(rng: np.random.Generator, side_px: int) -> Image_HWC:
    """Return a scene in linear light, (side_px, side_px, 3)."""
    texture = fractal(rng, side_px)
    shade = fractal(rng, side_px)
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
    roughness = rng.uniform(0.02, 0.25, NUM_LEAVES + 1)[leaf_of]
    light = 1.0 + roughness * texture + 0.15 * shade
    return np.clip(palette[leaf_of] * light[:, :, None], 0.0, 1.0).astype(np.float32)


def fractal(rng: np.random.Generator, side_px: int) -> npt.NDArray[np.float32]:
    """Return a (side_px, side_px) field with amplitude spectrum 1/f, mean 0 and deviation 1."""
    fy = np.fft.fftfreq(side_px)[:, None]
    fx = np.fft.rfftfreq(side_px)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    phases = rng.normal(size=(2, *frequency.shape))
    field = np.fft.irfft2((phases[0] + 1j * phases[1]) / frequency, s=(side_px, side_px))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def photograph(rng: np.random.Generator, side_px: int) -> Image_HWC:
    """Return a new scene as a camera renders it, gamma-encoded."""
    scene = dead_leaves(rng, side_px * OVERSAMPLING)
    blurred = ndimage.gaussian_filter1d(scene, rng.uniform(0.8, 1.3), axis=0, truncate=3)
    blurred = ndimage.gaussian_filter1d(blurred, rng.uniform(0.8, 1.3), axis=1, truncate=3)
    light = blurred.reshape(side_px, OVERSAMPLING, side_px, OVERSAMPLING, 3).mean(axis=(1, 3))
    electrons = rng.uniform(600, 3000)  # at full scale; shot noise has variance light / electrons
    raw = light + rng.normal(size=light.shape) * np.sqrt(light / electrons + rng.uniform(0.001, 0.004) ** 2)
    mosaic = demosaic(raw.astype(np.float32), phase=(int(rng.integers(2)), int(rng.integers(2))))
    return np.clip(mosaic, 0.0, 1.0) ** np.float32(1 / GAMMA)


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


def upsample(
    rng: np.random.Generator, small_HWC: Image_HWC, *, strength: float
) -> Image_HWC:
    """Return the image at twice the resolution through one layer of a decoder, with random weights.

    `strength` >= 0 is the spread of the weights around those of a trained, smooth layer; mean brightness is kept.
    """
    zeros = np.zeros((small_HWC.shape[0] * 2, small_HWC.shape[1] * 2, 3), dtype=np.float32)
    if rng.random() < 0.5:  # transposed convolution: stride 2, kernel 3 doesn't divide by it (Odena et al. 2016)
        zeros[::2, ::2] = small_HWC
        kernel = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 4
    else:  # nearest neighbour, then a 3 x 3 convolution
        zeros[:] = small_HWC.repeat(2, axis=0).repeat(2, axis=1)
        kernel = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
    spread: Any = 1 + strength * rng.normal(size=(3, 3))
    kernel = (kernel * spread).astype(np.float32)
    planes = [ndimage.convolve(zeros[:, :, channel], kernel, mode="mirror") for channel in range(3)]
    large = np.stack(planes, axis=2)
    return large * np.float32(small_HWC.mean() / max(float(large.mean()), 1e-6))
