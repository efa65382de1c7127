"""Processes of a distributed run, as far as loading goes."""

import hashlib
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader

from veriscope.data.dataset import DetectionDataset, SeededSampler, collate
from veriscope.data.manifest import Manifest
from veriscope.types import InputSpec

GLOBAL_BATCH = 8
Epochs = list[list[list[list[object]]]]  # epochs, steps, samples: row and checksum of its pixels


class Setting(NamedTuple):
    """`skip` batches of the first epoch are left out, as by a run that goes on there."""

    workers: int
    window: int | None
    skip: int = 0


def load_alone(manifest: Path, setting: Setting) -> Epochs:
    """Return for each of two epochs the batches that one process loads."""
    return _load(manifest, setting, rank=0, ranks=1)


def load_in_ranks(manifest: Path, settings: Sequence[Setting], *, ranks: int) -> list[Epochs]:
    """Return for each setting and epoch the global batches that `ranks` gloo processes load."""
    out = manifest.with_suffix(".json")
    mp.spawn(_rank, (ranks, str(manifest), tuple(settings), str(out)), nprocs=ranks, join=True)
    return list(json.loads(out.read_text()))


def _rank(rank: int, ranks: int, manifest: str, settings: Sequence[Setting], out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{out}.start", rank=rank, world_size=ranks)
    found = [_load(Path(manifest), setting, rank=rank, ranks=ranks) for setting in settings]
    if rank == 0:
        Path(out).write_text(json.dumps(found))
    dist.destroy_process_group()


def _load(manifest: Path, setting: Setting, *, rank: int, ranks: int) -> Epochs:
    dataset = DetectionDataset(Manifest.open(manifest), InputSpec(size_px=32), mode="train", seed=3)
    shards = None if setting.window is None else dataset.shards
    sampler = SeededSampler(
        len(dataset), seed=3, num_replicas=ranks, rank=rank, shards=shards, window=setting.window or 1
    )
    batch = GLOBAL_BATCH // ranks
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        left = list(islice(sampler, setting.skip * batch if epoch == 0 else 0, None))
        # As in a run's own processes; those of mp.spawn would spawn their workers too, which takes ten times as long.
        fork = "fork" if setting.workers else None
        loader = DataLoader(
            dataset,
            batch,
            sampler=left,
            num_workers=setting.workers,
            collate_fn=collate,
            multiprocessing_context=fork,
        )
        steps = []
        for items in loader:
            sums = [hashlib.sha256(image.numpy().tobytes()).hexdigest()[:16] for image in items["image"]]
            own = [list(pair) for pair in zip(items["index"].tolist(), sums, strict=True)]
            everywhere: list[list[list[object]]] = [own] * ranks
            if ranks > 1:
                dist.all_gather_object(everywhere, own)
            steps.append([pair for part in zip(*everywhere, strict=True) for pair in part])
        epochs.append(steps)
    return epochs
