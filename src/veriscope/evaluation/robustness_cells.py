"""Scoring the same pictures under many kinds of damage: one cell after the other, each kept when it is done."""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL
import torch
from rich.console import Console

from veriscope.bundle.bundle import Bundle
from veriscope.bundle.scorer import Scorer, Transform
from veriscope.data.decode import decode_image
from veriscope.data.places import read_bytes
from veriscope.data.preprocess import fit_to_input, to_chw
from veriscope.errors import DataError, DecodeError
from veriscope.files import whole_or_not_at_all
from veriscope.progress import duration, say, tracked

Floats = npt.NDArray[np.float64]

# Raise it whenever decoding, fitting or a corruption changes a pixel: kept cells of the old kind are then left alone.
CELLS_VERSION = 1
_SEAL_BYTES = 32
_LARGEST_HEADER = 4096  # of a file of one row of numbers, with the seal
_MEASURED = 2  # pictures that each cell's preparation is timed on


class Job(NamedTuple):
    """One scoring of all pictures: `key` says what is done to them, `transform_for` does it to the file's picture."""

    key: str
    transform_for: Callable[[Path], Transform]


@dataclass(frozen=True, slots=True)
class CellStore:
    """Finished cells on disk: `folder` holds one file of float32 logits a cell, NaN where there is no verdict.

    A file's name is a hash of everything that decides its content, so nothing in it can be out of date. Its last 32
    bytes are a hash of name and content: a file that is damaged, or another cell's, counts as missing.
    """

    folder: Path
    facts: str

    def path(self, key: str) -> Path:
        """Return where the cell of this key lies."""
        name = hashlib.sha256(f"{self.facts}\n{key}".encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.npy"

    def load(self, key: str, *, size: int) -> Floats | None:
        """Return the cell's logits, or None where they aren't there in full."""
        path = self.path(key)
        if not path.is_file():  # a pipe would be waited for
            return None
        try:
            with path.open("rb") as file:  # no more than a cell holds: what lies there may be of any size
                packed = file.read(_LARGEST_HEADER + 4 * size)
            content, seal = packed[:-_SEAL_BYTES], packed[-_SEAL_BYTES:]
            if _seal(path, content) != seal:
                return None
            found = np.load(io.BytesIO(content), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found.astype(np.float64) if found.dtype == np.float32 and found.shape == (size,) else None

    def keep(self, key: str, logits: Floats) -> bool:
        """Write the cell, whole or not at all; return whether there was a place for it."""
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            packed = io.BytesIO()
            np.save(packed, logits.astype(np.float32))
            with whole_or_not_at_all(path) as temporary:
                temporary.write_bytes(packed.getvalue() + _seal(path, packed.getvalue()))
        except OSError:
            return False
        return True


def _seal(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\n" + content).digest()


def cell_store(folder: Path, *, bundle: Bundle, scorer: Scorer, paths: Sequence[Path]) -> CellStore:
    """Return the store of this bundle and these pictures: their bytes count, not their names or dates.

    Raises:
        DataError: a picture can't be read any more.

    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        for path in paths:
            digest.update(hashlib.blake2b(read_bytes(path)).digest())
    except OSError as error:
        raise DataError(f"{path}: was judged a moment ago and can't be read any more ({error.strerror}).") from error
    record = bundle.record
    facts: dict[str, Any] = {
        "version": CELLS_VERSION,
        "weights": bundle.weights_sha256,
        # The whole description, though most of it shows in the weights: averaging over a flip, for one, doesn't.
        "model": record.model.model_dump(mode="json"),
        "temperatures": [] if record.ensemble is None else [one.temperature for one in record.ensemble.members],
        "precision": scorer.network.precision,
        "device": scorer.network.device.partition(":")[0],
        "pictures": digest.hexdigest(),
        "pillow": PIL.__version__,  # carries libjpeg and libwebp
        "torch": torch.__version__,
    }
    return CellStore(folder, json.dumps(facts, sort_keys=True))


def score_jobs(
    jobs: Sequence[Job], *, scorer: Scorer, paths: Sequence[Path], store: CellStore, console: Console
) -> Floats:
    """Return logits (jobs, pictures) in float32's precision, NaN where the network returned no number.

    Cells that `store` holds are read from it. For the others the cost is said first, a bar shows the rest of the time,
    and each is kept as soon as it is through: after Ctrl-C or kill -9 the same command goes on behind the last one.

    Pictures are decoded anew for each cell. Decoding is a small part of one (5 % beside Xception at 192 px), and so
    cells can be finished, kept and resumed one by one in constant memory.

    Raises:
        DataError: a picture can't be read any more.

    """
    found = {job.key: store.load(job.key, size=len(paths)) for job in jobs}
    missing = [job for job in jobs if found[job.key] is None]
    if missing:
        _say_cost(missing, num_jobs=len(jobs), scorer=scorer, paths=paths, console=console)
    done = len(jobs) - len(missing)
    try:
        answers = _score_all(missing, scorer=scorer, paths=paths)
        logits: list[float] = []
        keeps = True
        for job, logit in tracked(answers, doing="robustness", total=len(missing) * len(paths)):
            logits.append(logit)
            if len(logits) == len(paths):
                found[job.key] = cell = np.array(logits, dtype=np.float32).astype(np.float64)
                if keeps and not store.keep(job.key, cell):
                    say(console, f"robustness: cells can't be kept in '{store.folder}'; if stopped, all begins anew.")
                    keeps = False
                logits, done = [], done + 1
    except KeyboardInterrupt:
        say(
            console,
            f"robustness: stopped. {done} of {len(jobs)} cells are kept in '{store.folder}'; the same command goes on "
            "behind them.",
        )
        raise
    return np.stack([row for job in jobs if (row := found[job.key]) is not None])


def _score_all(jobs: Sequence[Job], *, scorer: Scorer, paths: Sequence[Path]) -> Iterator[tuple[Job, float]]:
    for job in jobs:
        for answer in scorer.score_paths(paths, transform_for=job.transform_for, with_ood=False):
            if answer.logit is None and answer.error is not None and not answer.error.startswith("the network"):
                raise DataError(f"{answer.path}: was judged a moment ago and can't be read any more ({answer.error}).")
            yield job, float("nan") if answer.logit is None else answer.logit


def _say_cost(jobs: Sequence[Job], *, num_jobs: int, scorer: Scorer, paths: Sequence[Path], console: Console) -> None:
    """Time every cell's preparation on two pictures and the network on one batch, and say what all will cost."""
    network, prepare = _network_seconds(scorer, paths), _prepare_seconds(jobs, scorer, paths)
    # With loader threads the pictures are prepared beside the network; without, one after the other.
    each = max(network, prepare / scorer.num_workers) if scorer.num_workers else network + prepare
    kept = num_jobs - len(jobs)
    say(
        console,
        f"robustness: {len(jobs)} cells x {len(paths):,} pictures = {len(jobs) * len(paths):,} scorings"
        + (f" ({kept} cells are there already)" if kept else "")
        + f"; {each:.3g} s each as measured on the first pictures: about {duration(each * len(jobs) * len(paths))}.",
    )


def _prepare_seconds(jobs: Sequence[Job], scorer: Scorer, paths: Sequence[Path]) -> float:
    sample = paths[:_MEASURED]
    start = time.perf_counter()
    for path in sample:
        for job in jobs:
            try:
                image = decode_image(path, max_pixels=scorer.max_pixels)
            except DecodeError:
                continue  # said when the cell is scored
            fit_to_input(job.transform_for(path)(image), scorer.input)
    return (time.perf_counter() - start) / (len(sample) * len(jobs))


def _network_seconds(scorer: Scorer, paths: Sequence[Path]) -> float:
    side = scorer.input.size_px
    batch = np.repeat(to_chw(np.zeros((side, side, 3), np.uint8))[None], min(scorer.batch_size, len(paths)), axis=0)
    scorer.logits(batch)  # the first batch of a shape pays for choosing kernels
    start = time.perf_counter()
    scorer.logits(batch)
    return (time.perf_counter() - start) / len(batch)
