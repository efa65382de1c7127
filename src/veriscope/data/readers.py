"""A CSV or Parquet list of files becomes a Manifest."""

import csv
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from veriscope.data.manifest import Manifest
from veriscope.data.names import class_table, is_generator, refuse_one_class, split_table
from veriscope.errors import DataError, nearest
from veriscope.types import CLASS_NAMES, ClassName, Split

REQUIRED = ("path", "label")
OPTIONAL = ("split", "group", "generator", "source")


def read_manifest_file(
    path: Path,
    *,
    root: Path | None = None,
    class_map: Mapping[str, ClassName] | None = None,
    splits: Mapping[str, Split] | None = None,
    group_column: str | None = None,
    source_column: str | None = None,
    both_classes: bool = True,
) -> Manifest:
    """Return the manifest that a CSV or Parquet file lists: columns path, label and, where
    there, split, group, generator, source.

    `group_column` and `source_column` name other columns for group and source. Labels are real, fake, 0, 1, a usual
    class name or one of `class_map`; splits as folder names are. Relative paths start at `root`, or at the file's own
    folder without one; absolute paths must lie inside `root` where one is given.
    Files that are missing stay in the manifest with size 0 (loading counts them) unless all are.

    Raises:
        DataError: with the line (CSV) or row (Parquet): missing column, unknown label or split, a path that leaves the
            root, a path twice; or an empty or unreadable file, or none of the files found.

    """
    path = Path(path)
    named = {"group": group_column, "source": source_column}
    own = {name: column.lower() for name, column in named.items() if column is not None}
    table = _read_table(path, required=(*REQUIRED, *own.values()))
    place = _Place(path)
    columns = {name: text_column(table, name) for name in (*REQUIRED, *OPTIONAL) if name in table.column_names}
    columns |= {name: text_column(table, column) for name, column in own.items()}
    base = path.absolute().parent if root is None else Path(root)
    class_map = class_map or {}
    labels, generators = label_numbers(columns["label"], columns.get("generator"), class_map, where=place.of)
    relative = _paths(columns["path"], base, inside=root is not None, place=place)
    split_words = split_names(columns.get("split"), splits or {}, where=place.of)
    if both_classes:
        refuse_one_class(labels, what=f"'{path}' lists")
    sizes = np.array([_size(base, name) for name in relative], dtype=np.int64)
    if not sizes.any() and not any((base / name).exists() for name in relative[:1000]):
        raise DataError(
            f"none of the {len(relative)} files of '{path}' exists; the first would be '{base / relative[0]}'. "
            "Set data.root to the folder that the paths start from."
        )
    return Manifest.from_columns(
        relative,
        root=base,
        labels=labels,
        size_bytes=sizes,
        splits=split_words,
        groups=columns.get("group"),
        generators=generators,
        sources=columns.get("source"),
    )


class _Place:
    """Names the line of a row; reads the file again, which only an error pays for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, row: int) -> str:
        """Return "'file.csv', line 7" for data row `row` (from 0); quoted line breaks and blank lines counted."""
        if self.path.suffix.lower() == ".parquet":
            return f"'{self.path}', row {row + 1}"
        with self.path.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
            reader = csv.reader(lines)
            filled = (number for number, fields in ((reader.line_num, fields) for fields in reader) if fields)
            with suppress(csv.Error):  # a huge field, which Arrow reads
                for count, number in enumerate(filled, start=-1):  # the header is row -1
                    if count == row:
                        return f"'{self.path}', line {number}"
        return f"'{self.path}', row {row + 1}"


def _read_table(path: Path, *, required: Sequence[str]) -> pa.Table:
    """Return the file's columns as text, names in lower case."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise DataError(f"data.file '{path}' must end in .csv or .parquet.")
    if not path.is_file():
        raise DataError(f"data.file '{path}' {'is a folder' if path.is_dir() else 'does not exist'}.")
    if path.stat().st_size == 0:
        raise DataError(f"data.file '{path}' is empty; expected a header path,label[,split,group,generator,source].")
    try:
        table = pq.read_table(path) if suffix == ".parquet" else _read_csv(path)
    except (pa.ArrowException, csv.Error, ValueError, OSError) as error:
        raise DataError(f"data.file '{path}' can't be read: {' '.join(str(error).split())[:200]}") from None
    table = table.rename_columns([name.strip().lstrip("\ufeff").lower() for name in table.column_names])
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    if twice:
        raise DataError(f"data.file '{path}' has the column {sorted(twice)} twice.")
    for name in required:
        if name not in table.column_names:
            near = nearest(name, table.column_names)
            hint = f" {near}" if near.startswith("Did") else ""
            raise DataError(f"data.file '{path}' has no column '{name}', only {table.column_names}.{hint}")
    if not table.num_rows:
        raise DataError(f"data.file '{path}' lists no file: there is a header and nothing below it.")
    return table


def _read_csv(path: Path) -> pa.Table:
    with path.open("rb") as file:
        if b"\0" in file.read(4096):  # UTF-16, as spreadsheets save "Unicode text"
            raise DataError(f"data.file '{path}' is no UTF-8 text; save it as CSV in UTF-8.")
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        header = next(csv.reader(lines), [])
    # Everything as text: Arrow would turn a group 007 into 7 and a file name 12 into a number.
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return pyarrow.csv.read_csv(path, convert_options=options, parse_options=parse)


def text_column(table: pa.Table, name: str) -> pa.Array:
    """Return a column as one array of stripped text; empty text becomes null.

    Raises:
        DataError: it holds neither words nor whole numbers.

    """
    column = table[name]
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_floating(column.type):  # pandas turns integers beside a gap into floats, and the gap into NaN
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column).cast(pa.int64())
        if pa.types.is_boolean(column.type):
            raise DataError(f"the column '{name}' holds true and false: say real and fake, or 0 and 1.")
        text = pc.utf8_trim_whitespace(column.cast(pa.string())).combine_chunks()
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"the column '{name}' ({column.type}) holds no words or whole numbers: {reason}") from None
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def label_numbers(
    labels: pa.Array, generators: pa.Array | None, class_map: Mapping[str, ClassName], *, where: Callable[[int], str]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int8]], pa.Array | None]:
    """Return label numbers, and generators: a label of class_map that is no usual word is its own generator.

    `labels` and `generators` are texts; `where` names the place of a row (from 0) in an error.

    Raises:
        DataError: a row without a label, or with an unknown one.

    """
    known = {"0": 0, "1": 1} | class_table(class_map)
    words = labels.dictionary_encode()
    numbers = np.full(len(words.dictionary) + 1, -1, dtype=np.int8)
    made_by: list[str | None] = [None] * (len(words.dictionary) + 1)
    for code, word in enumerate(words.dictionary.to_pylist()):
        numbers[code] = known.get(word.casefold(), -1)
        made_by[code] = word if is_generator(word, class_map, int(numbers[code])) else None
    codes = pc.fill_null(words.indices, len(words.dictionary)).to_numpy(zero_copy_only=False)
    result = numbers[codes]
    bad = np.flatnonzero(result < 0)
    if bad.size:
        word = labels[int(bad[0])].as_py()
        at = where(int(bad[0]))
        if word is None:
            raise DataError(f"{at}: no label; expected real or fake (or 0, 1).")
        hint = nearest(word.casefold(), {*CLASS_NAMES, *(name.casefold() for name in class_map)})
        raise DataError(
            f"{at}: unknown label '{word}'. {hint if hint.startswith('Did') else 'Known: real, fake, 0, 1.'} "
            f"Or name it: data.class_map={{{word}: fake}}."
        )
    if any(made_by):
        own = pa.array(np.array(made_by, dtype=object)[codes], pa.string())
        generators = own if generators is None else pc.coalesce(generators, own)
    return result, generators


def _paths(paths: pa.Array, base: Path, *, inside: bool, place: _Place) -> list[str]:
    """Return normalised posix paths, relative to `base` where they lie in it."""
    result: list[str] = []
    rows: dict[str, int] = {}
    prefix = posixpath.normpath(base.absolute().as_posix()) + "/"
    for row, text in enumerate(paths.to_pylist()):
        if text is None:
            raise DataError(f"{place.of(row)}: no path.")
        clean = posixpath.normpath(text)
        if clean.startswith(prefix):
            clean = clean[len(prefix) :]
        if clean.startswith("../") or clean in ("..", ".") or (inside and clean.startswith("/")):
            raise DataError(f"{place.of(row)}: the path '{text}' leaves the folder '{base}' (data.root).")
        first = rows.setdefault(clean, row)
        if first != row:
            raise DataError(f"{place.of(row)}: the path '{text}' stands already in {place.of(first).split(', ')[-1]}.")
        result.append(clean)
    return result


def split_names(
    splits: pa.Array | None, own: Mapping[str, Split], *, where: Callable[[int], str]
) -> list[str | None] | None:
    """Return 'train', 'val', 'test' or None for each text of `splits`, by the usual names and those of `own`.

    Raises:
        DataError: an unknown one, at `where(row)`.

    """
    if splits is None:
        return None
    known = split_table(own)
    result: list[str | None] = []
    for row, word in enumerate(splits.to_pylist()):
        split = None if word is None else known.get(word.casefold())
        if word is not None and split is None:
            raise DataError(
                f"{where(row)}: unknown split '{word}'. {nearest(word.casefold(), ['train', 'val', 'test'])} "
                f"Or name it: data.splits={{{word}: test}}."
            )
        result.append(None if split is None else split.value)
    return result


def _size(base: Path, name: str) -> int:
    try:
        found = os.stat(f"{base}/{name}" if not name.startswith("/") else name)  # noqa: PTH116 - a million rows
        return found.st_size if S_ISREG(found.st_mode) else 0
    except (OSError, ValueError):
        return 0
