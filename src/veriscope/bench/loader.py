"""How fast pictures reach the network."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from veriscope.data.dataset import DetectionDataset, SeededSampler, collate
from veriscope.data.manifest import Manifest
from veriscope.types import InputSpec


def benchmark_loader(
    manifest: Manifest,
    spec: InputSpec,
    *,
    augmentation: Callable[[np.ndarray[Any, Any], int], np.ndarray[Any, Any]] | None = None,
    batch_size: int = 32,
    num_workers: int = 2,
    num_batches: int = 30,
    window_shards: int | None = None,
) -> dict[str, float]:
    """Return the images per second that a DataLoader delivers, first batch (worker start) left out.

    `cpu_ms` is the processor time of an image, over all processes, their start included.
    """
    dataset = DetectionDataset(manifest, spec, augmentation=augmentation, seed=0, mode="train")
    shards = None if window_shards is None else dataset.shards
    sampler = SeededSampler(len(dataset), seed=0, shards=shards, window=window_shards or 1)
    begun = _processor_seconds()
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
    )
    batches = iter(loader)
    next(batches)
    started, images = time.perf_counter(), 0
    for batch, _ in zip(batches, range(num_batches), strict=False):
        images += len(batch["image"])
    seconds = time.perf_counter() - started
    del batches, loader  # ends the workers, whose time counts only then
    spent = 1000 * (_processor_seconds() - begun) / max(images + batch_size, 1)
    speed = round(images / max(seconds, 1e-9), 1)
    return {"images": images, "seconds": round(seconds, 3), "images_per_s": speed, "cpu_ms": round(spent, 3)}


def _processor_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
