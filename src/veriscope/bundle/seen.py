"""Which pictures made a bundle: eight bytes for each, so that judging it on them is noticed, whatever their folder."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from veriscope.data.places import read_tail
from veriscope.errors import BundleError

Fingerprints = npt.NDArray[np.int64]

TAIL_BYTES = 4096  # of compressed picture data, which two pictures of one size don't share


def fingerprints(paths: Iterable[Path]) -> Fingerprints:
    """Return one number a file, (N,), from its size and last 4 KiB; 0 for a file that can't be read.

    The same file has the same number under every name and in every folder; one that was saved anew has another.
    """
    return np.array([_fingerprint(path) for path in paths], dtype=np.int64)


def count_seen(prints: Fingerprints, seen: Fingerprints) -> int:
    """Return how many of `prints` are among `seen`; unreadable files count as unseen."""
    return int(np.isin(prints[prints != 0], seen).sum())


def write_seen(file: Path, seen: Mapping[str, Fingerprints]) -> None:
    """Write the fingerprints by name ('train', 'val'), sorted: their order would tell the files' order."""
    file.write_bytes(save({name: np.unique(prints) for name, prints in seen.items()}))


def merge_seen(parts: Sequence[Mapping[str, Fingerprints]]) -> dict[str, Fingerprints]:
    """Return what several models have seen together: 'train' holds what any of them learned, 'val' what only chose."""
    train, val = (np.unique(np.concatenate([part[name] for part in parts])) for name in ("train", "val"))
    return {"train": train, "val": np.setdiff1d(val, train)}


def read_seen(file: Path) -> dict[str, Fingerprints]:
    """Return what write_seen wrote.

    Raises:
        BundleError: the file holds something else.

    """
    try:
        found = dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise BundleError(f"'{file}' can't be read: {error}.") from None
    if set(found) != {"train", "val"} or any(one.dtype != np.int64 or one.ndim != 1 for one in found.values()):
        raise BundleError(f"'{file}' holds no fingerprints of train and val; copy the whole folder again.")
    return found


def _fingerprint(path: Path) -> int:
    try:
        size, tail = read_tail(path, num_bytes=TAIL_BYTES)
    except OSError:
        return 0
    digest = hashlib.blake2b(size.to_bytes(8, "little") + tail, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
