"""Which files, which label, which generator, which group: one Arrow table that workers share through the page cache."""

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc

from veriscope.data.places import slice_path
from veriscope.errors import DataError
from veriscope.files import whole_or_not_at_all
from veriscope.types import ClassName, Sample, Split

Labels = npt.NDArray[np.int8]
Texts = npt.NDArray[np.object_]

_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("split", _WORD),
        pa.field("group", _WORD),
        pa.field("generator", _WORD),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("source", _WORD),
    ]
)
# Of pictures that lie in slices of larger files; `file` is null for one in a file of its own.
SLICED_SCHEMA = SCHEMA.append(pa.field("file", _WORD)).append(pa.field("offset", pa.int64()))
_ROOT_KEY = b"veriscope.root"
_SPLIT_NAMES = frozenset(split.value for split in Split)


class Manifest:
    """An immutable list of labelled files, sorted by path.

    `path` is posix and relative to `root` (absolute only where a manifest file without a root said so). A file that
    can't be read keeps its row, with size_bytes 0, so that it is counted later instead of vanishing here.

    Where pictures lie in slices of larger files (shards), two more columns say where: `file`, relative to `root`, and
    `offset`. They are no part of the content hash: the same pictures in a folder and in shards are the same data.

    A manifest that was saved or opened pickles as its file's name, any other as its Arrow bytes; so a loader worker
    costs pages of a shared mapping, not a Python object per image.
    """

    def __init__(self, table: pa.Table, *, root: Path, file: Path | None = None) -> None:
        """Adopt a table with `SCHEMA` or `SLICED_SCHEMA`, sorted and checked; others go through `from_columns`."""
        self._table = table
        self.root = root
        self._file = file
        self._stamp = _stamp(file) if file is not None else None

    @classmethod
    def from_columns(
        cls,
        paths: Sequence[str] | pa.Array,
        *,
        root: Path,
        labels: Iterable[int] | Labels,
        size_bytes: Iterable[int] | npt.NDArray[np.int64],
        splits: Sequence[str | None] | pa.Array | None = None,
        groups: Sequence[str | None] | pa.Array | None = None,
        generators: Sequence[str | None] | pa.Array | None = None,
        sources: Sequence[str | None] | pa.Array | None = None,
        files: Sequence[str | None] | pa.Array | None = None,
        offsets: Sequence[int | None] | pa.Array | None = None,
    ) -> Self:
        """Return the manifest of these columns, sorted by path; `files` and `offsets` of slices come together.

        Raises:
            DataError: a path twice, a path that isn't UTF-8, a label other than 0 and 1, or an unknown split.

        """
        label_array = np.asarray(labels if isinstance(labels, np.ndarray) else list(labels))
        bad = np.flatnonzero((label_array != 0) & (label_array != 1))
        if bad.size:
            raise DataError(
                f"'{paths[int(bad[0])]}' has the label {label_array[bad[0]]}; known: 0 (real) and 1 (fake)."
            )
        path_array = _text_array(paths)
        columns = [path_array, pa.array(label_array.astype(np.int8))]
        columns += [_word_array(column, len(path_array)) for column in (splits, groups, generators)]
        sizes = size_bytes if isinstance(size_bytes, np.ndarray) else np.fromiter(size_bytes, np.int64)
        columns += [pa.array(sizes.astype(np.int64)), _word_array(sources, len(path_array))]
        table = pa.Table.from_arrays(columns, schema=SCHEMA)
        if files is not None:
            table = table.append_column(SLICED_SCHEMA.field("file"), _word_array(files, len(path_array)))
            table = table.append_column(SLICED_SCHEMA.field("offset"), pa.array(offsets, pa.int64()))
        unknown = set(pc.unique(table["split"].cast(pa.string())).to_pylist()) - _SPLIT_NAMES - {None}
        if unknown:
            raise DataError(f"unknown split {sorted(unknown)}; known: {', '.join(Split)}.")
        table = table.take(pc.sort_indices(table["path"])).combine_chunks()
        _refuse_duplicates(table["path"])
        return cls(table, root=root)

    @classmethod
    def open(cls, path: Path, *, root: Path | None = None) -> Self:
        """Return the manifest saved at `path`, memory-mapped; `root` replaces the folder it was made for.

        Raises:
            DataError: no such file, or not a manifest.

        """
        try:
            with pa.memory_map(os.fspath(path)) as source:
                table = ipc.open_file(source).read_all()
            # Arrow trusts what it maps: a flipped bit in an offset would end the process, or read what lies beside.
            table.validate(full=True)
        except FileNotFoundError:
            raise DataError(f"there is no manifest at '{path}'.") from None
        except (pa.ArrowException, OSError, ValueError) as error:  # OSError is Arrow's for truncated files, too
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"'{path}' is not a manifest saved by veriscope, or a damaged one: {reason}") from None
        if not any(table.schema.equals(known, check_metadata=False) for known in (SCHEMA, SLICED_SCHEMA)):
            raise DataError(f"'{path}' is an Arrow file with other columns than a manifest: {table.schema.names}.")
        if any(table[field.name].null_count for field in SCHEMA if not field.nullable):
            raise DataError(f"'{path}' is a damaged manifest: a row without path, label or size.")
        saved_root = Path(os.fsdecode((table.schema.metadata or {}).get(_ROOT_KEY, b".")))
        return cls(table, root=saved_root if root is None else root, file=Path(path).absolute())

    def save(self, path: Path) -> "Manifest":
        """Write the Arrow IPC file (whole or not at all); return the manifest mapped from it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        table = self._table.replace_schema_metadata({_ROOT_KEY: os.fsencode(self.root)})
        with (
            whole_or_not_at_all(path) as temporary,
            pa.OSFile(os.fspath(temporary), "wb") as sink,
            ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        return Manifest.open(path)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        counts = self.class_counts()
        return f"Manifest({len(self)} files, {counts['real']} real, {counts['fake']} fake, root='{self.root}')"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is not None:
            return _reopen, (self._file, self._stamp, self.root)
        sink = pa.BufferOutputStream()
        with ipc.new_stream(sink, self._table.schema) as writer:
            writer.write_table(self._table)
        return _from_bytes, (sink.getvalue().to_pybytes(), self.root)

    @property
    def table(self) -> pa.Table:
        """The Arrow table itself, columns as in `SCHEMA`."""
        return self._table

    @cached_property
    def labels(self) -> Labels:
        """Labels, int8, 0 = real, 1 = fake, in row order."""
        # to_numpy would import pandas where it is installed: 22 MiB and half a second in every loader process.
        return np.asarray(np.from_dlpack(self._table["label"].combine_chunks()), dtype=np.int8)

    @property
    def splits(self) -> Texts:
        """'train', 'val', 'test' or None for each row; compares with Split members."""
        return self._words("split")

    @property
    def groups(self) -> Texts:
        """The group's name or None for each row."""
        return self._words("group")

    @property
    def generators(self) -> Texts:
        """The generator's name or None for each row."""
        return self._words("generator")

    @property
    def sources(self) -> Texts:
        """The name of the data set that each row came from, or None."""
        return self._words("source")

    @property
    def group_codes(self) -> npt.NDArray[np.int64] | None:
        """Integer groups, a file without a group being a group of its own; None where no file has one."""
        names = self.groups
        known = np.array([name is not None for name in names], dtype=bool)
        if not known.any():
            return None
        codes = -1 - np.arange(len(self), dtype=np.int64)
        codes[known] = np.unique(names[known].astype(str), return_inverse=True)[1]
        return codes

    @property
    def has_splits(self) -> bool:
        """Whether any file says which split it belongs to."""
        return int(self._table["split"].null_count) < len(self)

    def sample(self, index: int) -> Sample:
        """Return row `index` (0 <= index < len)."""
        path, label, split, group, generator = (self._table[column][index].as_py() for column in SCHEMA.names[:5])
        return Sample(path, label, None if split is None else Split(split), group, generator)

    def absolute_path(self, index: int) -> Path:
        """Return where the picture of row `index` lies: a file, or the path of a slice, which `data.places` reads."""
        path = str(self._table["path"][index].as_py())
        file = self._table["file"][index].as_py() if self.is_sliced else None
        if file is None:
            return self.root / path
        size, offset = (self._table[column][index].as_py() for column in ("size_bytes", "offset"))
        return slice_path(self.root / file, offset=offset, size_bytes=size, name=path)

    def absolute_paths(self) -> Iterator[Path]:
        """Yield `absolute_path` of every row, in order."""
        return (self.absolute_path(index) for index in range(len(self)))

    @property
    def is_sliced(self) -> bool:
        """Whether pictures may lie in slices of larger files."""
        return int(self._table.num_columns) > len(SCHEMA)

    @property
    def files(self) -> Texts:
        """The larger file that each row's picture is a slice of, relative to the root; None: it is its own file."""
        return self._words("file") if self.is_sliced else np.full(len(self), None, dtype=object)

    @property
    def slice_key(self) -> int:
        """A checksum of where the slices lie, which the content hash leaves out; 0 without any."""
        parts = (
            [part for name in ("file", "offset") for part in _canonical_bytes(self._table[name])]
            if self.is_sliced
            else []
        )
        return zlib.crc32(b"".join(parts))

    def take(self, indices: Sequence[int] | npt.NDArray[Any]) -> "Manifest":
        """Return these rows, in path order whatever the order of `indices`; a row twice is a ValueError."""
        rows = np.sort(np.asarray(indices, dtype=np.int64))
        if np.any(rows[1:] == rows[:-1]):
            raise ValueError("Manifest.take got an index twice")
        if rows.size and (rows[0] < 0 or rows[-1] >= len(self)):
            raise IndexError(f"row {rows[0] if rows[0] < 0 else rows[-1]} of a manifest of {len(self)}")
        return Manifest(self._table.take(pa.array(rows)).combine_chunks(), root=self.root)

    def only(self, split: Split) -> "Manifest":
        """Return the rows that the data itself puts into `split`; may be empty."""
        return self.take(np.flatnonzero(self.splits == split.value))

    def with_labels(self, labels: npt.NDArray[Any]) -> "Manifest":
        """Return the same files under other labels (0 or 1), in row order."""
        if len(labels) != len(self) or not np.isin(labels, (0, 1)).all():
            raise ValueError("with_labels needs one 0 or 1 a row")
        column = pa.array(np.asarray(labels, dtype=np.int8))
        return Manifest(self._table.set_column(1, SCHEMA.field("label"), column), root=self.root)

    def with_splits(self, words: Sequence[str | None]) -> "Manifest":
        """Return the same files under other splits ('train', 'val', 'test' or None), in row order."""
        if len(words) != len(self) or not set(words) <= {*_SPLIT_NAMES, None}:
            raise ValueError("with_splits needs a split's name, or None, for each row")
        place = SCHEMA.get_field_index("split")
        return Manifest(
            self._table.set_column(place, SCHEMA.field("split"), _word_array(words, len(self))), root=self.root
        )

    def class_counts(self) -> dict[ClassName, int]:
        """Return the number of files of each class."""
        num_fake = int(self.labels.sum())
        return {"real": len(self) - num_fake, "fake": num_fake}

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over every row, sizes included: the same for the same files wherever the root lies."""
        digest = hashlib.sha256(b"veriscope manifest 1")
        named = self._table["source"].null_count < len(self)
        # Left out where no row has one, so that data keeps the hash that bundles made before the column know it by.
        for name in SCHEMA.names if named else SCHEMA.names[:-1]:
            digest.update(name.encode())
            for part in _canonical_bytes(self._table[name]):
                digest.update(part)
        return digest.hexdigest()

    def _words(self, column: str) -> Texts:
        encoded = self._table[column].unify_dictionaries().combine_chunks()
        names = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
        words: Texts = names[pc.fill_null(encoded.indices, len(names) - 1).to_numpy(zero_copy_only=False)]
        return words


def _text_array(paths: Sequence[str] | pa.Array) -> pa.Array:
    if isinstance(paths, pa.Array):
        return paths
    try:
        return pa.array(paths, pa.string())
    except UnicodeEncodeError:
        bad = next(path for path in paths if not _is_utf8(path))
        # The name comes from a file system, not from a person: Arrow and JSON hold UTF-8 only.
        raise DataError(f"the file name {os.fsencode(bad)!r} is not valid UTF-8; rename the file.") from None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _word_array(words: Sequence[str | None] | pa.Array | None, length: int) -> pa.Array:
    if words is None:
        return pa.nulls(length, _WORD)
    array = words if isinstance(words, pa.Array) else pa.array(words, pa.string())
    return array.dictionary_encode() if not pa.types.is_dictionary(array.type) else array


def _refuse_duplicates(paths: pa.ChunkedArray) -> None:
    same = pc.equal(paths.slice(1), paths.slice(0, max(len(paths) - 1, 0)))
    if pc.any(same).as_py():
        raise DataError(f"the path '{paths[pc.index(same, True).as_py()].as_py()}' stands twice in the manifest.")


def _canonical_bytes(column: pa.ChunkedArray) -> list[bytes]:
    """Return bytes that depend on the values only, not on chunks, offsets or the order of a dictionary."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    if not pa.types.is_string(column.type):
        return [column.to_numpy().tobytes()]
    valid = column.is_valid().to_numpy().tobytes()
    # large_string: one concatenation may pass 2 GB
    array = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in pc.fill_null(column, "").chunks] or [])
    lengths = pc.binary_length(array).to_numpy(zero_copy_only=False)
    data = array.buffers()[2]
    start = 0 if not len(array) else np.frombuffer(array.buffers()[1], np.int64, 1, array.offset * 8)[0]
    text = b"" if data is None else memoryview(data)[int(start) : int(start) + int(lengths.sum())]
    return [valid, lengths.astype(np.int64).tobytes(), bytes(text)]


def _stamp(file: Path) -> int:
    """Return a checksum of the file's bytes: another run may write the same manifest anew, but not another one."""
    with file.open("rb") as source:
        checksum = 0
        while block := source.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _reopen(file: Path, stamp: int, root: Path) -> Manifest:
    if not file.exists() or _stamp(file) != stamp:
        raise DataError(f"the manifest '{file}' was removed or replaced while this run uses it.")
    return Manifest.open(file, root=root)


def _from_bytes(data: bytes, root: Path) -> Manifest:
    return Manifest(ipc.open_stream(data).read_all(), root=root)
