"""Processes of a distributed run, as far as loading goes."""

import hashlib
import json
from itertools import islice
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader

from veriscope.data.dataset import DetectionDataset, SeededSampler, collate
from veriscope.data.manifest import Manifest
from veriscope.types import InputSpec

Batches = list[list[tuple[int, str]]]  # of each step: row and checksum of its pixels


def load_epochs(
    manifest: Path, *, ranks: int, workers: int, window: int | None, batch: int, skip: int = 0
) -> list[Batches]:
    """Return for each of two epochs the global batches that `ranks` gloo processes load, in which each sample counts.

    `skip` batches of the first epoch are left out, as by a run that goes on there.
    """
    out = manifest.with_suffix(f".{ranks}.{workers}.{window}.{batch}.{skip}.json")
    start = out.with_suffix(".start")
    mp.spawn(_rank, (ranks, str(manifest), workers, window, batch, skip, str(start), str(out)), nprocs=ranks, join=True)
    return [[[(row, sum_) for row, sum_ in step] for step in epoch] for epoch in json.loads(out.read_text())]


def _rank(
    rank: int, ranks: int, manifest: str, workers: int, window: int | None, batch: int, skip: int, start: str, out: str
) -> None:
    dist.init_process_group("gloo", init_method=f"file://{start}", rank=rank, world_size=ranks)
    dataset = DetectionDataset(Manifest.open(Path(manifest)), InputSpec(size_px=32), mode="train", seed=3)
    shards = None if window is None else dataset.shards
    options = {"seed": 3, "num_replicas": ranks, "rank": rank, "shards": shards, "window": window or 1}
    sampler = SeededSampler(len(dataset), **options)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        left = list(islice(sampler, skip * batch if epoch == 0 else 0, None))
        loader = DataLoader(dataset, batch, sampler=left, num_workers=workers, collate_fn=collate)
        steps = []
        for items in loader:
            sums = [hashlib.sha256(image.numpy().tobytes()).hexdigest()[:16] for image in items["image"]]
            own = list(zip(items["index"].tolist(), sums, strict=True))
            everywhere: list[list[tuple[int, str]]] = [[] for _ in range(ranks)]
            dist.all_gather_object(everywhere, own)
            steps.append([pair for part in zip(*everywhere, strict=True) for pair in part])
        epochs.append(steps)
    if rank == 0:
        Path(out).write_text(json.dumps(epochs))
    dist.destroy_process_group()
