"""A data set of Hugging Face's `datasets` becomes a Manifest, whose pictures are slices of its Arrow files.

`datasets` downloads, unpacks and names the splits; it keeps every picture's stored bytes in uncompressed Arrow files
that it maps into memory. Where they lie in there is all that a loader process needs, so it never imports `datasets`,
and nothing is decoded or copied on the way. A picture that the set keeps as a file of its own stays one.
"""

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc

from veriscope.data.manifest import Manifest
from veriscope.data.names import refuse_one_class
from veriscope.data.readers import label_numbers, split_names, text_column
from veriscope.data.shards import ShardRules
from veriscope.errors import DataError, nearest

_TOLD = ("group", "generator", "source")


def load_hugging_face(name: str, *, rules: ShardRules, both_classes: bool = True) -> Manifest:
    """Return the manifest of a data set: a folder that `datasets` can open or has saved, or a name on the hub.

    The columns are those that `rules` name, else the set's only picture column and its only ClassLabel (or 'label').
    Splits are the set's own, unless it has but one called train, which then says nothing.

    Raises:
        DataError: `datasets` is missing or can't open it (its reason is told), a column is missing or of no use, or a
            picture without a label.

    """
    splits = _open(name)
    features = next(iter(splits.values())).features
    image = rules.image_column or _only(name, features, "Image", "data.image_column", "picture")
    label = rules.label_column or _only(name, features, "ClassLabel", "data.label_column", "class", usual="label")
    named = {"label": label, "group": rules.group_column, "source": rules.source_column}
    root = Path(name).absolute() if Path(name).is_dir() else _common_folder(splits)
    rows = _Rows()
    for split, dataset in splits.items():
        if dataset.features != features:
            raise DataError(f"'{name}': the split '{split}' has other columns than '{next(iter(splits))}'.")
        _add_split(name, split, dataset, image=image, named=named, root=root, rows=rows)
    if not rows.paths:
        raise DataError(f"'{name}' holds no picture.")
    starts = np.cumsum([0, *(len(dataset) for dataset in splits.values())])

    def where(row: int) -> str:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        return f"'{name}', split '{list(splits)[number]}', row {row - starts[number]}"

    words = {column: pa.chunked_array(chunks, pa.string()).combine_chunks() for column, chunks in rows.words.items()}
    labels, generators = label_numbers(words["label"], words.get("generator"), rules.class_map, where=where)
    tells = list(splits) != ["train"]
    told = pa.array(np.repeat(list(splits), [len(dataset) for dataset in splits.values()]).astype(str), pa.string())
    if both_classes:
        refuse_one_class(labels, what=f"'{name}' holds")
    return Manifest.from_columns(
        rows.paths,
        root=root,
        labels=labels,
        size_bytes=np.array(rows.sizes, dtype=np.int64),
        splits=split_names(told, rules.splits, where=where) if tells else None,
        groups=words.get("group"),
        generators=generators,
        sources=words.get("source"),
        files=pa.array(rows.files, pa.string()),
        offsets=rows.offsets,
    )


@dataclass(slots=True)
class _Rows:
    """What the Arrow files say, one entry a picture in every list; `words` chunk by chunk."""

    paths: list[str] = field(default_factory=list)
    files: list[str | None] = field(default_factory=list)
    offsets: list[int | None] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    words: dict[str, list[pa.Array]] = field(default_factory=dict)


def _open(name: str) -> dict[str, Any]:
    """Return split to `datasets.Dataset`; a set without splits has one called train."""
    try:
        import datasets  # slow: pandas comes along
    except ImportError:
        raise DataError("data=hf needs the package datasets: pip install 'veriscope[hub]'.") from None
    folder = Path(name)
    saved = folder.is_dir() and any((folder / mark).exists() for mark in ("dataset_dict.json", "state.json"))
    try:
        found = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    except Exception as error:  # noqa: BLE001 - `datasets` passes on errors of builders, HTTP and file systems
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        advice = (
            "Is it a data set of pictures?"
            if folder.is_dir()
            else f"Without a network, fetch it elsewhere (hf download {name} --repo-type dataset --local-dir DIR) and "
            "say data.file=DIR."
        )
        raise DataError(f"data.file={name} can't be opened by Hugging Face datasets: {reason}. {advice}") from None
    return dict(found) if isinstance(found, dict) else {"train": found}


def _only(name: str, features: Mapping[str, Any], kind: str, key: str, what: str, *, usual: str | None = None) -> str:
    """Return the only column of a kind, or the one with the usual name."""
    found = [column for column, feature in features.items() if type(feature).__name__ == kind]
    if usual in features:
        return str(usual)
    if len(found) == 1:
        return found[0]
    many = f"the {what} columns {found}" if found else f"no {what} column among {list(features)}"
    raise DataError(f"'{name}' has {many}; name one: {key}=COLUMN.")


def _common_folder(splits: Mapping[str, Any]) -> Path:
    files = [Path(one["filename"]).parent for dataset in splits.values() for one in dataset.cache_files]
    return Path(os.path.commonpath(files)).absolute() if files else Path.cwd()


def _add_split(
    name: str, split: str, dataset: Any, *, image: str, named: Mapping[str, str | None], root: Path, rows: _Rows
) -> None:
    columns = {"label": str(named["label"])}
    for told in _TOLD:
        if named.get(told) is not None or told in dataset.features:
            columns[told] = named.get(told) or told
    for column in (image, *columns.values()):
        if column not in dataset.features:
            raise DataError(f"'{name}' has no column '{column}'. {nearest(column, dataset.features)}")
    num_before = len(rows.paths)
    for cached in dataset.cache_files:
        file = Path(cached["filename"]).absolute()
        with pa.memory_map(os.fspath(file)) as mapped, file.open("rb") as plain:
            table = _read(name, mapped)
            mapped.seek(0)
            base = mapped.read_buffer().address
            for chunk in table[image].chunks:
                _add_pictures(name, split, chunk, file, base, plain, root=root, first=num_before, rows=rows)
        for told, column in columns.items():
            rows.words.setdefault(told, []).append(_words(table, column, dataset.features[column]))
    if len(rows.paths) - num_before != len(dataset):
        # In memory, or a selection of rows that was not written out: `datasets` says so of none that it opens itself.
        raise DataError(f"'{name}', split '{split}': its Arrow files hold other rows; save it anew by save_to_disk.")


def _read(name: str, mapped: Any) -> pa.Table:
    """Return the table of an Arrow file: a stream, as `datasets` writes them, or a file with a footer."""
    try:
        try:
            table = ipc.open_stream(mapped).read_all()
        except pa.ArrowInvalid:
            mapped.seek(0)
            table = ipc.open_file(mapped).read_all()
        table.validate(full=True)  # offsets that lead elsewhere would end the process
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"'{name}': an Arrow file of it is damaged: {reason}") from None


def _add_pictures(
    name: str,
    split: str,
    chunk: pa.Array,
    file: Path,
    base: int,
    plain: BinaryIO,
    *,
    root: Path,
    first: int,
    rows: _Rows,
) -> None:
    """Add one chunk of a picture column: {bytes, path}, where one of the two may be null."""
    if not pa.types.is_struct(chunk.type) or {"bytes", "path"} - {entry.name for entry in chunk.type}:
        raise DataError(f"'{name}': its picture column holds {chunk.type} and no pictures.")
    stored, paths = chunk.field("bytes"), chunk.field("path").to_pylist()
    offsets, sizes = _spans(stored, base)
    inside = stored.is_valid().to_numpy(zero_copy_only=False)
    _check_spans(name, stored, offsets, sizes, inside, plain)
    kept = os.path.relpath(file, root) if file.is_relative_to(root) else os.fspath(file)
    for row, path in enumerate(paths):
        if inside[row]:
            rows.paths.append(f"{split}/{len(rows.paths) - first:08d}{posixpath.splitext(path or '')[1].lower()}")
            rows.files.append(kept)
            rows.offsets.append(int(offsets[row]))
            rows.sizes.append(int(sizes[row]))
        else:
            own = _own_file(name, split, path, root)
            rows.paths.append(own.relative_to(root).as_posix() if own.is_relative_to(root) else own.as_posix())
            rows.files.append(None)
            rows.offsets.append(None)
            rows.sizes.append(own.stat().st_size if own.is_file() else 0)


def _spans(stored: pa.Array, base: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where in its file each value of a binary array begins, and its length."""
    _, ends, data = stored.buffers()
    kind = np.int64 if pa.types.is_large_binary(stored.type) else np.int32
    bounds = np.frombuffer(ends, kind)[stored.offset : stored.offset + len(stored) + 1].astype(np.int64)
    start = base if data is None else data.address
    return bounds[:-1] + (start - base), np.diff(bounds)


def _check_spans(
    name: str,
    stored: pa.Array,
    offsets: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    inside: npt.NDArray[np.bool_],
    plain: BinaryIO,
) -> None:
    """Refuse a file whose bytes are not where Arrow's mapping says, as in a compressed one: first and last are read."""
    known = np.flatnonzero(inside)
    for row in {int(row) for row in known[[0, -1]]} if known.size else ():
        plain.seek(max(int(offsets[row]), 0))
        if plain.read(int(sizes[row])) != stored[row].as_py():
            raise DataError(f"'{name}': its Arrow files are compressed; save it anew by save_to_disk.")


def _own_file(name: str, split: str, path: str | None, root: Path) -> Path:
    """Return the file that a picture without bytes names; it must lie in the set or in `datasets`' own cache."""
    from datasets import config

    if path is None:
        raise DataError(f"'{name}', split '{split}': a picture with neither bytes nor a path.")
    file = Path(os.path.normpath(root / path))
    if "://" in path or "::" in path:
        raise DataError(
            f"'{name}', split '{split}': the picture '{path}' is not on this disk; save it by save_to_disk."
        )
    if not any(file.is_relative_to(Path(place).absolute()) for place in (root, config.HF_CACHE_HOME)):
        raise DataError(
            f"'{name}', split '{split}': the path '{path}' leaves the folder '{root}'; don't trust this set."
        )
    return file


def _words(table: pa.Table, column: str, feature: Any) -> pa.Array:
    """Return a column as text; of a ClassLabel the names, and null where there is no label (-1)."""
    names: Sequence[str] | None = getattr(feature, "names", None)
    if names is None:
        return text_column(table, column)
    codes = table[column].combine_chunks()
    if (pc.max(codes).as_py() or 0) >= len(names):
        raise DataError(f"the column '{column}' holds the class {pc.max(codes)}, but has {len(names)} classes.")
    return pa.array([None if code is None or code < 0 else names[code] for code in codes.to_pylist()], pa.string())
