"""How fast pictures reach the network."""

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
) -> dict[str, float]:
    """Return the images per second that a DataLoader delivers, first batch (worker start) left out."""
    dataset = DetectionDataset(manifest, spec, augmentation=augmentation, seed=0, mode="train")
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=SeededSampler(len(dataset), seed=0),
        num_workers=num_workers,
        collate_fn=collate,
    )
    batches = iter(loader)
    next(batches)
    started, images = time.perf_counter(), 0
    for batch, _ in zip(batches, range(num_batches), strict=False):
        images += len(batch["image"])
    seconds = time.perf_counter() - started
    return {"images": images, "seconds": round(seconds, 3), "images_per_s": round(images / max(seconds, 1e-9), 1)}
