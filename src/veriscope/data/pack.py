"""A data set as tar shards that hold the files' own bytes, with an index that makes them a Manifest again."""

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.data.decode import IMAGE_SUFFIXES
from veriscope.data.manifest import Manifest
from veriscope.data.places import read_bytes
from veriscope.data.shards import INDEX_NAME
from veriscope.errors import DataError
from veriscope.files import whole_or_not_at_all
from veriscope.progress import tracked
from veriscope.types import CLASS_NAMES

SHARDS_NAME = "shards.json"
FORMAT = "veriscope shards 1"
_BLOCK = 512


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
        DataError: `out` isn't empty, or a picture that was there has gone.

    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"'{out}' is not empty; name a new folder for the shards.")
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
            with (folder / shard).open("w+b") as file:
                with tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                    for row in rows:
                        files[row] = shard
                        offsets[row], sizes[row] = _add_picture(tar, manifest, row, name=names[row], key=f"{key:08d}")
                        key += 1
                        next(done, None)
                shards.append({"file": shard, "pictures": len(rows), **_sum(file)})
        next(done, None)  # the bar goes
        packed = _index(manifest, names, files=files, offsets=offsets, sizes=sizes)
        packed.save(folder / INDEX_NAME)
        with (folder / INDEX_NAME).open("rb") as written:
            index = {"file": INDEX_NAME, **_sum(written)}
        record = {
            "format": FORMAT,
            "counts": packed.class_counts(),
            "content_hash": packed.content_hash,
            "index": index,
            "shards": shards,
        }
        (folder / SHARDS_NAME).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    total = sum(shard["bytes"] for shard in shards)
    return Packed(out, len(packed), len(shards), total, int((sizes == 0).sum()), packed.content_hash)


def check_pack(folder: Path) -> list[str]:
    """Return one line for each file of a packed set that isn't as `pack` wrote it; none: all are.

    Raises:
        DataError: `folder` holds no packed set, or its record is damaged.

    """
    file = folder / SHARDS_NAME
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        known = [
            (str(one["file"]), int(one["bytes"]), str(one["sha256"])) for one in [record["index"], *record["shards"]]
        ]
    except FileNotFoundError:
        raise DataError(f"'{folder}' holds no {SHARDS_NAME}, so nothing says what its shards should be.") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"'{file}' is damaged: the shards can't be checked against it.") from None
    faults = []
    for name, size, digest in tracked(known, doing="checking", total=len(known)):
        place = folder / name
        if posixpath.normpath(name) != name or name.startswith(("/", "../")):
            raise DataError(f"'{file}' names '{name}', which is no file of this folder; don't trust it.")
        if not place.is_file():
            faults.append(f"{name}: missing")
        elif place.stat().st_size != size:
            faults.append(f"{name}: {place.stat().st_size:,} bytes, packed were {size:,}")
        else:
            with place.open("rb") as opened:
                if _sum(opened)["sha256"] != digest:
                    faults.append(f"{name}: other bytes than were packed")
    return faults


def _shards(manifest: Manifest, *, shard_bytes: int, seed: int) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Yield (name, rows) of each shard: those of one split in random order, cut where the next would be too large."""
    sizes = manifest.table["size_bytes"].to_numpy() + 4 * _BLOCK  # two headers, a JSON of one block, and filling
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
    try:
        return read_bytes(path)
    except (OSError, ValueError) as error:
        if int(manifest.table["size_bytes"][row].as_py()) == 0:
            return b""  # it could not be read when it was listed, nor can it now
        raise DataError(f"'{path}' was listed and can't be read any more: {error}.") from None


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
    offset = int(tar.offset) + _BLOCK
    tar.addfile(info, BytesIO(data))
    return offset


def _sum(file: BufferedRandom | BufferedReader) -> dict[str, Any]:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": file.tell(), "sha256": digest}


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
