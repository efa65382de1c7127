"""A data set as tar shards that hold the files' own bytes, with an index that makes them a Manifest again."""

import glob
import json
import logging
import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.data.checksums import checksum, faults, recorded
from veriscope.data.decode import IMAGE_SUFFIXES, MAX_BYTES, read_file
from veriscope.data.manifest import Manifest
from veriscope.data.shards import INDEX_NAME
from veriscope.data.tar import BLOCK
from veriscope.errors import DataError, DecodeError
from veriscope.files import whole_or_not_at_all
from veriscope.progress import tracked
from veriscope.types import CLASS_NAMES

LOG = logging.getLogger(__name__)

SHARDS_NAME = "shards.json"
FORMAT = "veriscope shards 1"


@dataclass(frozen=True, slots=True)
class Packed:
    """What a packing made. `num_unreadable` pictures have no bytes: they keep their place, and loading counts them."""

    folder: Path
    num_pictures: int
    num_shards: int
    num_bytes: int
    num_unreadable: int
    content_hash: str


def pack(manifest: Manifest, out: Path, *, shard_bytes: int, seed: int = 42) -> Packed:
    """Write the pictures of `manifest` as shards of about `shard_bytes` into `out`, which appears whole or not at all.

    A picture's member is its file, byte for byte, beside a JSON with its label and all else that the manifest says.
    Pictures are dealt to shards at random (`seed`), so that each shard is a sample of both classes; those of one split
    share shards. The same manifest, seed and size give the same bytes, and the same content hash as before.

    Raises:
        DataError: `out` isn't empty or is a link, or a picture that was there has gone, has changed or is too large.

    """
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        state = "a link" if out.is_symlink() else "not empty"
        raise DataError(f"'{out}' is {state}; name a new folder for the shards.")
    if os.fsencode(out).decode(errors="ignore") != os.fspath(out):
        raise DataError(f"the folder name {os.fsencode(out)!r} is not valid UTF-8; name another.")
    for left in sorted(out.parent.glob(f".{glob.escape(out.name)}.*.partial")):
        LOG.warning("'%s' is of a packing that runs, or was killed: remove it if none runs", left)
    sizes = manifest.table["size_bytes"].to_numpy()
    if sizes.max(initial=0) > MAX_BYTES:
        path = manifest.absolute_path(int(sizes.argmax()))
        raise DataError(
            f"'{path}' is too large for a picture ({sizes.max():,} bytes, the limit is {MAX_BYTES:,}); take it out."
        )
    names = [name.lstrip("/") for name in manifest.table["path"].to_pylist()]  # absolute ones are this machine's own
    files = np.empty(len(manifest), dtype=object)
    offsets, sizes = np.zeros((2, len(manifest)), dtype=np.int64)
    shards: list[dict[str, Any]] = []
    with whole_or_not_at_all(out) as folder:
        folder.mkdir(parents=True)
        plan = list(_shards(manifest, shard_bytes=shard_bytes, seed=seed))
        done = iter(tracked(np.concatenate([rows for _, rows in plan]), doing="packing", total=len(manifest)))
        key = 0
        for shard, rows in plan:
            with tarfile.TarFile(folder / shard, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for row in rows:
                    files[row] = shard
                    offsets[row], sizes[row] = _add_picture(tar, manifest, row, name=names[row], key=f"{key:08d}")
                    key += 1
                    next(done, None)
            shards.append({"file": shard, "pictures": len(rows), **_entry(folder, shard)})
        next(done, None)  # the bar goes
        packed = _index(manifest, names, files=files, offsets=offsets, sizes=sizes)
        packed.save(folder / INDEX_NAME)
        record = {
            "format": FORMAT,
            "counts": packed.class_counts(),
            "content_hash": packed.content_hash,
            "index": _entry(folder, INDEX_NAME),
            "shards": shards,
        }
        (folder / SHARDS_NAME).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    total = sum(shard["bytes"] for shard in shards)
    return Packed(out, len(packed), len(shards), total, int((sizes == 0).sum()), packed.content_hash)


def check_pack(folder: Path) -> list[str]:
    """Return one line for each file of a packed set that isn't as `pack` wrote it; none: all are.

    Raises:
        DataError: `folder` holds no packed set, its record is damaged, or names a file outside the folder.

    """
    file = folder / SHARDS_NAME
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        known = [recorded(one, key="file") for one in (record["index"], *record["shards"])]
    except FileNotFoundError:
        raise DataError(f"'{folder}' holds no {SHARDS_NAME}, so nothing says what its shards should be.") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"'{file}' is damaged: the shards can't be checked against it.") from None
    return faults(folder, known, record=file, were="packed")


def _shards(manifest: Manifest, *, shard_bytes: int, seed: int) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Yield (name, rows) of each shard: those of one split in random order, cut where the next would be too large."""
    sizes = manifest.table["size_bytes"].to_numpy() + 4 * BLOCK  # two headers, a JSON of one block, and filling
    splits = manifest.splits
    for split in sorted(set(splits.tolist()), key=str):
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(splits == split))
        ends = np.cumsum(sizes[rows])
        even = -(-ends[-1] // -(-ends[-1] // shard_bytes))  # of as few shards as will do
        number = (ends - 1) // even
        name = "pictures" if split is None else split
        for count, shard in enumerate(np.unique(number)):
            yield f"{name}-{count:05d}.tar", rows[number == shard]


def _bytes(manifest: Manifest, row: int) -> bytes:
    path = manifest.absolute_path(row)
    listed = int(manifest.table["size_bytes"][row].as_py())
    try:
        data = read_file(path)
    except DecodeError as error:
        if listed == 0:
            return b""  # it could not be read when it was listed, nor can it now
        raise DataError(f"'{path}' was listed and can't be read any more: {error.reason}.") from None
    if len(data) != listed:
        raise DataError(
            f"'{path}' had {listed:,} bytes when it was listed and has {len(data):,} now; pack it when nobody writes."
        )
    return data


def _said(manifest: Manifest, row: int, *, name: str) -> dict[str, str]:
    told = {column: manifest.table[column][row].as_py() for column in ("split", "group", "generator", "source")}
    label = CLASS_NAMES[int(manifest.labels[row])]
    return {"label": label, "path": name, **{column: word for column, word in told.items() if word is not None}}


def _ending(name: str) -> str:
    ending = posixpath.splitext(name)[1].lower()
    return ending if ending in IMAGE_SUFFIXES else ".jpg"  # by which readers know a picture; decoders look inside


def _add_picture(tar: tarfile.TarFile, manifest: Manifest, row: int, *, name: str, key: str) -> tuple[int, int]:
    """Add a picture and its JSON; return where its bytes begin, and how many they are."""
    data = _bytes(manifest, row)
    offset = _add(tar, f"{key}{_ending(name)}", data)
    _add(tar, f"{key}.json", json.dumps(_said(manifest, row, name=name), sort_keys=True).encode())
    return offset, len(data)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member, its header without date or owner; return where its bytes begin."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    offset = int(tar.offset) + BLOCK
    tar.addfile(info, BytesIO(data))
    return offset


def _entry(folder: Path, name: str) -> dict[str, Any]:
    one = checksum(folder / name, path=name)
    return {"file": one.path, "bytes": one.size_bytes, "sha256": one.sha256}


def _index(
    manifest: Manifest,
    names: list[str],
    *,
    files: npt.NDArray[Any],
    offsets: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
) -> Manifest:
    columns = {name: manifest.table[name].combine_chunks() for name in ("split", "group", "generator", "source")}
    return Manifest.from_columns(
        names,
        root=Path(),  # whoever opens it says where it lies
        labels=manifest.labels,
        size_bytes=sizes,
        splits=columns["split"],
        groups=columns["group"],
        generators=columns["generator"],
        sources=columns["source"],
        files=files.tolist(),
        offsets=offsets.tolist(),
    )
