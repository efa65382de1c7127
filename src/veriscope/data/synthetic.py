"""The built-in data set: made on first use, deterministic, cached. It checks the machinery and nothing else."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriscope.config.schema import SyntheticConfig
from veriscope.data.scenes import FINE_NOISE, Image_HWC, imitate, photograph
from veriscope.processes import num_cores
from veriscope.progress import tracked
from veriscope.types import CLASS_NAMES, FAKE, Split

SYNTHETIC_NOTICE = (
    "Synthetic data: pictures made by veriscope itself. Figures on them check that the machinery works; "
    "they are no claim about real deepfakes."
)

VERSION = 3  # part of the cache key: raise it when the pictures change
MARKER = ".complete.json"  # hidden: scans leave it out without a word

# Spread of the generator's weights. Together with scenes.FINE_NOISE it decides how easy the data are, and they are
# meant to be easy: an Xception from scratch has to see the trace within the few hundred steps of `make demo`.
# FINE_NOISE was chosen on 600 pictures of 96 px: a linear model on file size, brightness, contrast, colour means and
# saturation together reaches an AUROC of 0.565 at 0.4, 0.544 at 0.5 and 0.536 at 0.6; the trace weakens the same way.
TRACE_STRENGTH = 0.1

CHUNK = 25  # pictures that a process makes before it reports


class _Job(NamedTuple):
    """One picture to make."""

    file: str
    seed: tuple[int, int, int, int]
    label: int
    size_px: int
    quality: tuple[int, int]


def ensure_synthetic(config: SyntheticConfig, cache_dir: Path) -> Path:
    """Return the folder train|val|test / real|fake / *.jpg for this configuration, made where it is missing.

    Every picture has its own scene and its own seed from (seed, split, class, number), so nothing is shared between
    pictures, let alone splits. Both classes end as baseline JPEG, 4:2:0, of one quality range, with matched file
    sizes. A folder counts only with its marker, and is built elsewhere and renamed: a kill leaves nothing behind that
    looks finished.
    """
    description = {
        "version": VERSION,
        "strength": TRACE_STRENGTH,
        "fine_noise": float(FINE_NOISE),
        **config.model_dump(mode="json"),
    }
    key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_dir / f"{config.size_px}px-{key}"
    if (folder / MARKER).exists():
        return folder
    jobs = list(_jobs(config))
    building = cache_dir / f".{folder.name}.{uuid.uuid4().hex[:8]}.building"
    try:
        for job in jobs:
            (building / job.file).parent.mkdir(parents=True, exist_ok=True)
        _make_all(building, jobs)
        (building / MARKER).write_text(json.dumps({"notice": SYNTHETIC_NOTICE, **description}, indent=2) + "\n")
        try:
            building.rename(folder)
        except OSError:  # another process finished first, or left a folder without a marker
            if not (folder / MARKER).exists():
                shutil.rmtree(folder)
                building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _jobs(config: SyntheticConfig) -> Iterable[_Job]:
    counts = {Split.TRAIN: config.num_train, Split.VAL: config.num_val, Split.TEST: config.num_test}
    for split_number, (split, count) in enumerate(counts.items()):
        for number in range(count):
            label = number % 2
            yield _Job(
                file=f"{split.value}/{CLASS_NAMES[label]}/{number // 2:06d}.jpg",
                seed=(config.seed, split_number, label, number // 2),
                label=label,
                size_px=config.size_px,
                quality=config.jpeg_quality,
            )


def _make_all(folder: Path, jobs: list[_Job]) -> None:
    """Write every picture, in several processes where that pays for their start."""
    num_processes = min(num_cores(), 8, len(jobs) // 200)
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    if num_processes >= 2:
        try:
            # spawn: a fork of a process that has used torch's threads may deadlock
            with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
                _wait_for(pool.map(_make_chunk, [folder] * len(chunks), chunks), len(chunks))
            return
        except BrokenProcessPool:
            pass  # a script without `if __name__ == "__main__"` can't spawn: make them here, slower
    _wait_for((_make_chunk(folder, chunk) for chunk in chunks), len(chunks))


def _wait_for(chunks: Iterable[int], total: int) -> None:
    for _ in tracked(chunks, doing=f"making the built-in pictures, {CHUNK} at a time", total=total):
        pass


def _make_chunk(folder: Path, jobs: list[_Job]) -> int:
    for job in jobs:
        (folder / job.file).write_bytes(make_picture(job.seed, job.label, size_px=job.size_px, quality=job.quality))
    return len(jobs)


def make_picture(seed: tuple[int, ...], label: int, *, size_px: int, quality: tuple[int, int]) -> bytes:
    """Return one picture as JPEG bytes, (size_px, size_px), its quality drawn from the closed range `quality`."""
    rng = np.random.default_rng(seed)
    jpeg_quality = int(rng.integers(quality[0], quality[1] + 1))
    side = -(-size_px // 4) * 4  # two upsampling layers need a multiple of 4

    def encode(image_HWC: Image_HWC) -> bytes:
        buffer = BytesIO()
        Image.fromarray(_to_uint8(image_HWC[:size_px, :size_px])).save(buffer, "JPEG", quality=jpeg_quality)
        return buffer.getvalue()

    picture = photograph(rng, side)
    if label == FAKE:
        picture = imitate(rng, picture, strength=TRACE_STRENGTH, num_bytes=lambda image: len(encode(image)))
    return encode(picture)


def _to_uint8(image_HWC: Image_HWC) -> npt.NDArray[np.uint8]:
    return (np.clip(image_HWC, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
