"""Tar shards in WebDataset's layout become a Manifest, whose pictures are slices of the shards.

A picture and what is said of it share a key, the name up to its first dot: `00000007.jpg` with `00000007.json` or
`00000007.cls`. Shards that `veriscope pack` wrote have an index beside them; of others the headers are read once.
"""

import hashlib
import json
import os
import posixpath
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from veriscope.data.decode import IMAGE_SUFFIXES
from veriscope.data.manifest import Manifest
from veriscope.data.names import class_table, refuse_one_class, split_table
from veriscope.data.readers import label_numbers, split_names
from veriscope.data.tar import BLOCK, Member, tar_members
from veriscope.errors import DataError
from veriscope.types import CLASS_NAMES, FAKE, REAL, ClassName, Split

INDEX_NAME = "manifest.arrow"
SHARD_SUFFIX = ".tar"
MAX_JSON_BYTES = 1 << 16
_CACHE_VERSION = 2  # raise it when the same headers give another manifest


@dataclass(frozen=True, slots=True)
class ShardRules:
    """What the shards' words mean: None of a column stands for 'image' by ending, 'label', 'group', 'source'."""

    class_map: Mapping[str, ClassName] = field(default_factory=dict)
    splits: Mapping[str, Split] = field(default_factory=dict)
    image_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    source_column: str | None = None

    @property
    def are_plain(self) -> bool:
        """Whether nothing is said that an index, which has its labels already, would not know."""
        return self == ShardRules()


def load_shards(root: Path, *, rules: ShardRules, cache: Path, both_classes: bool = True) -> Manifest:
    """Return the manifest of the shards below `root`; `cache` keeps what the headers of shards without an index say.

    Labels are those of a CSV list (data.readers), from the JSON's 'label', else from '.cls'. The split is the JSON's,
    else the shard's folder or the first word of its name (`train-00000.tar`) where that names one.

    Raises:
        DataError: no shards, one that is damaged or leads elsewhere, a picture without a label or two under one key,
            or an index that doesn't fit its shards.

    """
    if not root.is_dir():
        raise DataError(f"data.root '{root}' {'is a file' if root.exists() else 'does not exist'}; expected a folder.")
    if rules.are_plain and (root / INDEX_NAME).exists():
        manifest = open_index(root)
    else:
        manifest = _from_headers(root, rules, cache)
    if both_classes:
        refuse_one_class(manifest.labels, what=f"'{root}' holds")
    return manifest


def open_index(root: Path) -> Manifest:
    """Return the manifest that `veriscope pack` wrote beside its shards, checked against them.

    Raises:
        DataError: damaged, or it names a file outside `root`, a missing shard, or bytes that a shard hasn't got.

    """
    file = root / INDEX_NAME
    found = Manifest.open(file, root=root)
    advice = f"Remove '{file}' to have the shards' own headers read, or copy the shards anew."
    if not found.is_sliced or found.table["file"].null_count or found.table["offset"].null_count:
        raise DataError(f"'{file}' says of a picture not which shard holds it. {advice}")
    if pc.any(pc.match_substring_regex(found.table["path"], r"(^|/)\.\.(/|$)|^/")).as_py():
        raise DataError(f"'{file}' holds a path that leaves the folder; don't trust it.")
    table = found.table
    offsets, sizes = table["offset"].to_numpy(), table["size_bytes"].to_numpy()
    words = table["file"].unify_dictionaries().combine_chunks()
    codes = words.indices.to_numpy()
    lowest, highest = np.zeros((2, len(words.dictionary)), dtype=np.int64)
    np.minimum.at(lowest, codes, np.minimum(offsets, sizes))
    np.maximum.at(highest, codes, offsets + sizes)
    for code, name in enumerate(words.dictionary.to_pylist()):
        if posixpath.normpath(name) != name or name.startswith(("/", "../")) or not name.endswith(SHARD_SUFFIX):
            raise DataError(f"'{file}' names the shard '{name}', which is none of this folder; don't trust it.")
        size = _file_size(root / name)
        if size is None:
            raise DataError(f"shard '{root / name}' is missing, '{file}' knows it. {advice}")
        if highest[code] > size or lowest[code] < 0:
            raise DataError(f"shard '{root / name}' is shorter than '{file}' says. {advice}")
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    # Through the front door: labels, splits, order and duplicates are checked as everybody's.
    manifest = Manifest.from_columns(
        columns["path"],
        root=root,
        labels=found.labels,
        size_bytes=columns["size_bytes"].to_numpy(),
        splits=columns["split"],
        groups=columns["group"],
        generators=columns["generator"],
        sources=columns["source"],
        files=columns["file"],
        offsets=columns["offset"],
    )
    order = np.lexsort((offsets, codes))
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        _refuse_other_shard(found, rows, advice=advice)
    return manifest


def _refuse_other_shard(found: Manifest, rows: npt.NDArray[np.int64], *, advice: str) -> None:
    """Refuse a shard that isn't the one the index was made with: its labels would go to other pictures.

    Its first, middle and last picture are compared; all of them would be the whole tar's headers. `rows` are those of
    the shard, by offset.
    """
    columns = ("file", "offset", "size_bytes", "path")
    for row in {int(rows[place]) for place in (0, len(rows) // 2, -1)}:
        name, offset, size, path = (found.table[column][row].as_py() for column in columns)
        with (found.root / name).open("rb") as shard:
            told = _told_of(shard, offset=offset, size=size)
        if told.get("path") != path or told.get("label") != CLASS_NAMES[found.labels[row]]:
            raise DataError(f"shard '{found.root / name}' is not the one that its index was made with. {advice}")


def _told_of(shard: BinaryIO, *, offset: int, size: int) -> dict[str, object]:
    """Return the JSON behind the member whose bytes begin at `offset`; empty where there is no such member."""
    try:
        if _header(shard, offset - BLOCK).size != size:
            return {}
        info = _header(shard, offset + -(-size // BLOCK) * BLOCK)
        text = shard.read(info.size) if info.size <= MAX_JSON_BYTES else b""
        told = json.loads(text)
    except (tarfile.TarError, OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _header(shard: BinaryIO, place: int) -> tarfile.TarInfo:
    shard.seek(place)
    return tarfile.TarInfo.frombuf(shard.read(BLOCK), "utf-8", "surrogateescape")


def shard_files(root: Path) -> list[str]:
    """Return the tar files below `root`, relative and sorted; hidden ones, and linked folders, are passed over.

    Raises:
        DataError: there is none.

    """
    found = []
    compressed = ""
    for top, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            place = posixpath.relpath(posixpath.join(Path(top).as_posix(), name), root.as_posix())
            if name.endswith(SHARD_SUFFIX) and not name.startswith("."):
                found.append(place)
            elif name.endswith((".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")):
                compressed = place
    if not found:
        hint = f" '{compressed}' is compressed: unpack it to a .tar first." if compressed else ""
        raise DataError(f"'{root}' holds no shards: expected files as 00000.tar.{hint}")
    return sorted(found)


@dataclass(slots=True)
class _Rows:
    """What the headers say, one entry a picture in every list."""

    paths: list[str] = field(default_factory=list)
    words: dict[str, list[str | None]] = field(
        default_factory=lambda: {name: [] for name in ("label", "split", "group", "generator", "source")}
    )
    files: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


def _from_headers(root: Path, rules: ShardRules, cache: Path) -> Manifest:
    names = shard_files(root)
    _refuse_no_files(root, names)
    kept = cache / "shards" / f"{_headers_key(root, names, rules)}.arrow"
    if kept.exists():
        return Manifest.open(kept, root=root)
    rows = _Rows()
    for name in names:
        _add_shard(root, name, rules, rows)
    if not rows.paths:
        raise DataError(f"'{root}' holds {len(names)} shards and no picture in them.")

    def where(row: int) -> str:
        return f"shard '{root / rows.files[row]}', key '{rows.keys[row]}'"

    words = {name: pa.array(column, pa.string()) for name, column in rows.words.items()}
    labels, generators = label_numbers(words["label"], words["generator"], rules.class_map, where=where)
    manifest = Manifest.from_columns(
        rows.paths,
        root=root,
        labels=labels,
        size_bytes=rows.sizes,
        splits=split_names(words["split"], rules.splits, where=where),
        groups=words["group"],
        generators=generators,
        sources=words["source"],
        files=rows.files,
        offsets=rows.offsets,
    )
    try:
        return manifest.save(kept)
    except OSError:  # a read-only or full disk: the headers are read again next time
        return manifest


def _refuse_no_files(root: Path, names: list[str]) -> None:
    """Refuse what can't be opened: a pipe under a shard's name would be waited for for ever."""
    for name in names:
        if not _is_utf8(name):
            raise DataError(f"the file name {os.fsencode(name)!r} in '{root}' is not valid UTF-8; rename the file.")
        if _file_size(root / name) is None:
            raise DataError(f"shard '{root / name}' is missing (a broken link?) or no regular file; remove it.")


def _headers_key(root: Path, names: list[str], rules: ShardRules) -> str:
    stats = [(root / name).stat() for name in names]
    facts = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in zip(names, stats, strict=True)]
    said = [dict(rules.class_map), {name: str(split) for name, split in rules.splits.items()}]
    said += [rules.image_column, rules.label_column, rules.group_column, rules.source_column]
    text = json.dumps([_CACHE_VERSION, os.fspath(root.absolute()), facts, said], sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def _add_shard(root: Path, name: str, rules: ShardRules, rows: _Rows) -> None:
    shard = root / name
    parts: dict[str, dict[str, Member]] = {}
    for member in tar_members(shard):
        folder, base = posixpath.split(member.name)
        stem, _, ending = base.partition(".")
        if not stem:  # hidden, as macOS's "._7.jpg"
            continue
        known = parts.setdefault(posixpath.join(folder, stem), {})
        if ending.lower() in known:
            raise DataError(f"shard '{shard}' holds '{member.name}' twice.")
        known[ending.lower()] = member
    own_split = _split_of(name, rules)
    with shard.open("rb") as file:
        for key, members in parts.items():
            picture = _picture(shard, key, members, rules)
            if picture is None:
                continue
            said = _said(shard, members, file)
            rows.keys.append(key)
            rows.files.append(name)
            rows.offsets.append(picture.offset)
            rows.sizes.append(picture.size_bytes)
            rows.paths.append(_own_path(shard, said.get("path")) or f"{name.removesuffix(SHARD_SUFFIX)}/{picture.name}")
            named = {"label": rules.label_column, "group": rules.group_column, "source": rules.source_column}
            for column, values in rows.words.items():
                values.append(_text(shard, key, said, named.get(column) or column))
            rows.words["label"][-1] = _one_label(shard, key, rows.words["label"][-1], said, rules)
            rows.words["split"][-1] = rows.words["split"][-1] or own_split


def _picture(shard: Path, key: str, members: Mapping[str, Member], rules: ShardRules) -> Member | None:
    if rules.image_column is not None:
        return members.get(rules.image_column.lower())
    found = [ending for ending in members if f".{ending.rpartition('.')[2]}" in IMAGE_SUFFIXES]
    if len(found) > 1:
        raise DataError(
            f"shard '{shard}', key '{key}': it holds the pictures {', '.join(sorted(found))}; say which one counts, as "
            f"data.image_column={sorted(found)[0]}."
        )
    return members[found[0]] if found else None


def _said(shard: Path, members: Mapping[str, Member], file: BinaryIO) -> dict[str, object]:
    """Return what JSON and .cls say of a picture, the latter under '.cls'."""
    said: dict[str, object] = {}
    for ending in ("json", "cls"):
        member = members.get(ending)
        if member is None:
            continue
        if member.size_bytes > MAX_JSON_BYTES:
            raise DataError(
                f"shard '{shard}': '{member.name}' has {member.size_bytes:,} bytes; {MAX_JSON_BYTES:,} may be."
            )
        file.seek(member.offset)
        text = file.read(member.size_bytes)
        try:
            if ending == "cls":
                said[".cls"] = text.decode().strip()
                continue
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise DataError(f"shard '{shard}': '{member.name}' can't be read as {ending.upper()}.") from None
        if not isinstance(found, dict):
            raise DataError(f"shard '{shard}': '{member.name}' holds no object with names, as {{\"label\": \"fake\"}}.")
        said |= found
    return said


def _one_label(shard: Path, key: str, label: str | None, said: Mapping[str, object], rules: ShardRules) -> str | None:
    """Return the JSON's label, else that of `.cls`; two that differ are refused where nobody named the column."""
    other = _text(shard, key, said, ".cls")
    if label is None or other is None or rules.label_column is not None:
        return label or other
    known = {"0": REAL, "1": FAKE} | class_table(rules.class_map)
    numbers = {known[word.casefold()] for word in (label, other) if word.casefold() in known}
    if len(numbers) > 1:  # an unknown .cls may number classes of another kind
        raise DataError(
            f"shard '{shard}', key '{key}': its JSON says '{label}' and its .cls '{other}'; say which counts, as "
            "data.label_column=label."
        )
    return label


def _text(shard: Path, key: str, said: Mapping[str, object], name: str) -> str | None:
    value = said.get(name)
    if value is None:
        return None
    if isinstance(value, str) and _is_utf8(value):
        return value.strip() or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(
        f"shard '{shard}', key '{key}': '{name}' is {json.dumps(value)[:60]}; expected a word or whole number."
    )


def _own_path(shard: Path, path: object) -> str | None:
    if not isinstance(path, str) or not path:
        return None
    clean = posixpath.normpath(path)
    if clean.startswith(("/", "../")) or clean in ("..", ".") or "\0" in clean or not _is_utf8(clean):
        raise DataError(f"shard '{shard}': the path '{path}' leaves the folder; don't trust this archive.")
    return clean


def _is_utf8(text: str) -> bool:
    """Return whether a text of JSON can be written: it may name half of a surrogate pair, which no UTF-8 has."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _split_of(name: str, rules: ShardRules) -> str | None:
    """Return the word by which a shard's folder, or the start of its name, tells a split; None where neither does."""
    known = split_table(rules.splits)
    folder, base = posixpath.split(name.casefold())
    start = base.replace("_", "-").replace(".", "-").partition("-")[0]
    return next((word for word in (*reversed(folder.split("/")), start) if word in known), None)


def _file_size(path: Path) -> int | None:
    try:
        stat = path.stat()
    except (OSError, ValueError):  # a name with a null character
        return None
    return stat.st_size if S_ISREG(stat.st_mode) else None
