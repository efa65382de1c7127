"""How long near copies among a million hashes take to find, and how many are found. Imports no torch."""

import resource
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import fft

from veriscope.audit.hashing import SIDE, as_pictures, picture_hashes
from veriscope.audit.near import components, near_links
from veriscope.bench.copies import pictures_below
from veriscope.data.decode import decode_image

Hashes = npt.NDArray[np.uint8]
_SLICE = 10_000
_LIKE = 2500  # pictures of a folder that say how hashes vary


def benchmark_near(num_rows: int, *, folder: Path | None, num_planted: int = 10_000, seed: int = 0) -> dict[str, float]:
    """Return seconds, peak memory and recall of `near_links` on hashes made up, with copies of some planted among them.

    Without a folder hashes are noise with a spectrum of 1/f; with one, normal with the mean and covariance of its
    pictures' hashes, which lie much closer together where those are aligned faces. A copy lost up to 5 % at each edge,
    got noise of 3 grey levels, and every second is mirrored; `num_planted` of the rows are copies.
    """
    rng = np.random.default_rng(seed)
    num_planted = min(num_planted, num_rows // 2)
    hashes = np.empty((num_rows, SIDE, SIDE), np.uint8)
    made = hashes[: num_rows - num_planted]
    _fill_natural(made, rng) if folder is None else _fill_like(made, _hashes_of(folder), rng)
    origin = rng.choice(len(made), num_planted, replace=False)
    mirrored = np.arange(num_planted) % 2 == 1
    copies = np.where(mirrored[:, None, None], made[origin][:, :, ::-1], made[origin])
    hashes[len(made) :] = _cropped(copies, rng.uniform(0, 0.05, (num_planted, 4)), rng)
    before_mib = _peak_mib()
    clock, processor = time.perf_counter(), time.process_time()
    links = near_links(hashes)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    cluster = components(links.first, links.second, num_rows)
    found = cluster[len(made) :] == cluster[origin]
    true = np.isin(links.first, origin) & (links.second >= len(made))
    true[true] = origin[links.second[true] - len(made)] == links.first[true]
    comparable = ~links.plain[origin]
    return {
        "num_rows": num_rows,
        "planted": num_planted,
        "too_plain": int(links.plain.sum()),
        "recall": round(float(found[comparable].mean()), 4),
        "recall_with_plain": round(float(found.mean()), 4),
        "links": len(links.first),
        "links_not_planted": int((~true).sum()),
        "clock_s": round(clock, 1),
        "processor_s": round(processor, 1),
        "hashes_mib": round(hashes.nbytes / 2**20),
        "peak_before_mib": round(before_mib),
        "peak_mib": round(_peak_mib()),
    }


def _fill_natural(hashes: Hashes, rng: np.random.Generator) -> None:
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None, :])
    frequency[0, 0] = np.inf
    for start in range(0, len(hashes), _SLICE):
        part = hashes[start : start + _SLICE]
        white = rng.standard_normal((len(part), SIDE, SIDE), dtype=np.float32)
        field = fft.ifft2(fft.fft2(white) / frequency.astype(np.float32)).real
        part[:] = np.clip(field / field.std() * 50 + 128, 0, 255).round()


def _fill_like(hashes: Hashes, samples: Hashes, rng: np.random.Generator) -> None:
    flat = samples.reshape(len(samples), -1).astype(np.float32)
    mean = flat.mean(axis=0)
    _, spread, axes = np.linalg.svd(flat - mean, full_matrices=False)
    scaled = axes * (spread / np.sqrt(len(flat) - 1))[:, None]
    for start in range(0, len(hashes), _SLICE):
        part = hashes[start : start + _SLICE]
        drawn = rng.standard_normal((len(part), len(scaled)), dtype=np.float32) @ scaled + mean
        part[:] = np.clip(drawn, 0, 255).round().reshape(part.shape)


def _hashes_of(folder: Path) -> Hashes:
    paths = pictures_below(folder)
    rows = np.random.default_rng(0).permutation(len(paths))[:_LIKE]
    return as_pictures([picture_hashes(decode_image(paths[row])) for row in rows])


def _cropped(hashes: Hashes, margins_N4: npt.NDArray[np.float64], rng: np.random.Generator) -> Hashes:
    """Return the pictures without their margins (left, right, top, bottom), stretched again, with noise."""
    out = np.empty_like(hashes)
    steps = np.arange(SIDE)
    for row, (left, right, top, bottom) in enumerate(margins_N4):
        x = (steps + 0.5) * (1 - left - right) + left * SIDE - 0.5
        y = (steps + 0.5) * (1 - top - bottom) + top * SIDE - 0.5
        picture = hashes[row].astype(np.float32)
        picture = np.stack([np.interp(x, steps, line) for line in picture])
        picture = np.stack([np.interp(y, steps, line) for line in picture.T]).T
        out[row] = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).round()
    return out


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
