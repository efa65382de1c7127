"""How fast manifests open and what they cost a worker process. Imports no torch: spawned workers start fast."""

import gc
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from veriscope.data.manifest import Manifest
from veriscope.errors import DataError

MIB = 2**20


def build_rows(num_rows: int, *, root: Path) -> Manifest:
    """Return a manifest of invented files with paths of 37 characters, every column filled; nothing is on disk."""
    fake = np.arange(num_rows) % 2
    paths = [f"{'fake' if odd else 'real'}/shard_{i % 997:04d}/{i:014d}.jpg" for i, odd in enumerate(fake)]
    return Manifest.from_columns(
        paths,
        root=root,
        labels=fake,
        size_bytes=np.full(num_rows, 20_000),
        splits=["train" if i % 10 else "test" for i in range(num_rows)],
        groups=[f"video_{i % 50_000:05d}" for i in range(num_rows)],
        generators=["stylegan" if odd else None for odd in fake],
    )


def benchmark_manifest(num_rows: int = 1_000_000) -> dict[str, float]:
    """Return seconds to build, save, open (with labels and hash) a manifest, and what a worker process pays.

    `worker_*_mib` is the growth of a process between before unpickling the manifest and after reading its labels and
    10,000 random samples: unique (USS: pages nobody shares) and resident (RSS: shared pages of the mapping included).
    `spawn` maps the saved file, `fork` inherits the parent's table, `bytes` unpickles a manifest that has no file.
    """
    figures: dict[str, float] = {"num_rows": num_rows}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        built = build_rows(num_rows, root=Path(folder))
        figures["build_s"] = time.perf_counter() - started
        started = time.perf_counter()
        saved = built.save(Path(folder) / "manifest.arrow")
        figures["save_s"] = time.perf_counter() - started
        started = time.perf_counter()
        opened = Manifest.open(Path(folder) / "manifest.arrow")
        opened.labels.sum()
        figures["open_s"] = time.perf_counter() - started
        started = time.perf_counter()
        figures["hash_equal"] = float(opened.content_hash == built.content_hash)
        figures["hash_s"] = time.perf_counter() - started
        figures["file_mib"] = (Path(folder) / "manifest.arrow").stat().st_size / MIB
        cases: tuple[tuple[str, Literal["spawn", "fork"], Manifest], ...] = (
            ("spawn", "spawn", saved),
            ("fork", "fork", saved),
            ("bytes", "spawn", built.take(np.arange(num_rows))),
        )
        for name, method, manifest in cases:
            unique, resident, seconds = _measure_worker(method, manifest)
            figures[f"worker_{name}_unique_mib"] = unique
            figures[f"worker_{name}_resident_mib"] = resident
            figures[f"worker_{name}_s"] = seconds
    return {name: round(value, 3) for name, value in figures.items()}


def _measure_worker(method: Literal["spawn", "fork"], manifest: Manifest) -> tuple[float, float, float]:
    # get_context's type names no Process for a method chosen at run time
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    # Under spawn the process's arguments are unpickled before its function runs; sent later, the cost can be seen.
    inherited = manifest if method == "fork" else None
    parcel_receiver, parcel_sender = context.Pipe(duplex=False)
    worker = context.Process(target=_worker, args=(sender, parcel_receiver, inherited))
    worker.start()
    # With the worker's ends open here, too, its death would never be seen.
    sender.close()
    parcel_receiver.close()
    try:
        parcel_sender.send(None if inherited is not None else manifest)
        result: tuple[float, float, float] = receiver.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        worker.join()
        raise DataError(f"the measured process has ended (exit code {worker.exitcode}): measure again.") from None
    worker.join()
    return result


def _worker(sender: Any, parcel: Any, inherited: Manifest | None) -> None:
    gc.collect()
    unique_before, resident_before = _memory_mib()
    started = time.perf_counter()
    received = parcel.recv()
    manifest = received if inherited is None else inherited
    labels = manifest.labels
    rng = np.random.default_rng(0)
    for index in rng.integers(0, len(labels), 10_000):
        manifest.sample(int(index))
    seconds = time.perf_counter() - started
    unique, resident = _memory_mib()
    sender.send((unique - unique_before, resident - resident_before, seconds))


def _memory_mib() -> tuple[float, float]:
    """Return unique and resident memory of this process in MiB (Linux only; elsewhere 0)."""
    rollup = Path(f"/proc/{os.getpid()}/smaps_rollup")
    if not rollup.exists():
        return 0.0, 0.0
    fields = {line.split(":")[0]: line.split()[1] for line in rollup.read_text().splitlines()[1:]}
    return (int(fields["Private_Clean"]) + int(fields["Private_Dirty"])) / 1024, int(fields["Rss"]) / 1024
