"""PredictionTable: one row an image, the only thing that metrics, comparisons and reports read."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from veriscope.data.decode import PictureFacts
from veriscope.errors import DataError
from veriscope.files import FORMULA_STARTS, whole_or_not_at_all
from veriscope.types import CLASS_NAMES, FAKE, REAL, Calibration, Frozen, OpenShare

PARQUET_NAME = "predictions.parquet"
CSV_NAME = "predictions.csv"
SCHEMA_VERSION = 2
_OLD_VERSIONS = (1,)  # read as the current one, what they lack as null

_METADATA_KEY = b"veriscope.predictions"
_CLASS_MAP = {name: label for label, name in enumerate(CLASS_NAMES)}
_COLUMNS = {
    "id": pa.string(),
    "path": pa.string(),
    "label": pa.int8(),
    "split": pa.string(),
    "group": pa.string(),
    "generator": pa.string(),
    "logit": pa.float32(),
    "score": pa.float64(),
    "error": pa.string(),
    "source": pa.string(),
    "format": pa.string(),
    "width_px": pa.int32(),
    "height_px": pa.int32(),
    "size_bytes": pa.int64(),
    "ood": pa.float32(),
}
_NEW_COLUMNS = ("source", "format", "width_px", "height_px", "size_bytes", "ood")  # not in version 1
_NUM_NAMED = 3  # how many offending rows an error names

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]


class TableMeta(Frozen):
    """Where the rows came from; travels in the Parquet file's schema."""

    schema_version: int = SCHEMA_VERSION
    class_map: dict[str, int] = Field(default_factory=lambda: dict(_CLASS_MAP))
    data_name: str = "unnamed"
    subset: str = Field(default="all", description="which part of the data was scored")
    data_hash: str | None = None
    bundle_hash: str | None = Field(default=None, description="hash of the weights that gave the logits")
    corruption: str | None = Field(default=None, description="applied to every picture first, as jpeg:75")
    base_rate: OpenShare | None = Field(
        default=None, description="share of fakes that scores were corrected to; None: that of the calibration's data"
    )
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class PredictionTable:
    """One row an image.

    Columns: `id` (path relative to the data's root, unique), `path` (where the file lay), `label` (0 real, 1 fake,
    null where unknown), `split`, `group`, `generator`, `logit` (float32, null = no verdict), `score` (float64,
    calibrated probability of fake, null with the logit), `error` (why there is no verdict, else null), `source` (data
    set of origin), `format`, `width_px`, `height_px`, `size_bytes` (of the stored file, before any corruption), `ood`
    (float32, higher = stranger to the training data). All from `source` on are null where unknown.

    A row is *judged* when it has a verdict and a known label; `labels`, `logits` and `scores` hold the judged rows in
    table order, so that the three always fit each other.
    """

    def __init__(self, table: pa.Table, meta: TableMeta) -> None:
        """Check the table against the contract above.

        Raises:
            DataError: wrong columns, no rows, duplicate ids, labels outside {0, 1}, NaN or infinite logits, scores
                outside [0, 1], a row without verdict and without reason, a NaN or infinite ood, or another class map.

        """
        _check_meta(meta)
        self.table = _check_table(table)
        self.meta = meta

    @classmethod
    def from_columns(
        cls,
        ids: Sequence[str],
        *,
        labels: Sequence[int | None] | npt.NDArray[Any],
        logits: Sequence[float | None] | npt.NDArray[Any],
        calibration: Calibration,
        meta: TableMeta,
        paths: Sequence[str] | None = None,
        splits: Sequence[str | None] | None = None,
        groups: Sequence[str | None] | None = None,
        generators: Sequence[str | None] | None = None,
        errors: Sequence[str | None] | None = None,
        sources: Sequence[str | None] | None = None,
        facts: Sequence[PictureFacts | None] | None = None,
        ood: Sequence[float | None] | npt.NDArray[Any] | None = None,
    ) -> "PredictionTable":
        """Build a table; scores follow from the logits and `calibration`. A None logit means no verdict.

        Raises:
            DataError: columns of different lengths, or anything the constructor refuses.

        """
        size = len(ids)
        nothing: list[None] = [None] * size
        stored = facts if facts is not None else nothing
        logit = _floats(logits)
        columns: dict[str, Any] = {
            "id": ids,
            "path": paths if paths is not None else ids,
            "label": [None if label is None else int(label) for label in labels],
            "split": splits if splits is not None else nothing,
            "group": groups if groups is not None else nothing,
            "generator": generators if generators is not None else nothing,
            "logit": logit,
            "score": [_score(value, calibration) for value in logit],
            "error": errors if errors is not None else nothing,
            "source": sources if sources is not None else nothing,
            "ood": ood if ood is not None else nothing,
        }
        columns |= {name: [fact and getattr(fact, name) for fact in stored] for name in PictureFacts._fields}
        lengths = {name: len(column) for name, column in columns.items()}
        if set(lengths.values()) != {size}:
            raise DataError(f"prediction columns have different lengths: {lengths}")
        try:
            arrays = [pa.array(columns[name], type=kind) for name, kind in _COLUMNS.items()]
        except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError) as error:
            raise DataError(f"prediction columns don't fit the table: {error}") from error
        return cls(pa.Table.from_arrays(arrays, names=list(_COLUMNS)), meta)

    @classmethod
    def read(cls, path: str | Path) -> "PredictionTable":
        """Load predictions.parquet, given as the file or as the folder that holds it.

        Raises:
            DataError: no such file, not a prediction table, another class map, or rows that break the contract.

        """
        file = Path(path)
        file = file / PARQUET_NAME if file.is_dir() else file
        try:
            table = pq.read_table(file)
            table.validate(full=True)
        except FileNotFoundError as error:
            raise DataError(f"'{file}' does not exist. A prediction table is written by evaluate.py.") from error
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"'{file}' is no readable Parquet file: {_one_line(error)}") from error
        packed = (table.schema.metadata or {}).get(_METADATA_KEY)
        if packed is None:
            raise DataError(f"'{file}' is no prediction table: it lacks veriscope's metadata.")
        try:
            meta = TableMeta.model_validate_json(packed)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise DataError(f"'{file}' has metadata that this version can't read: {place}: {first['msg']}.") from error
        try:
            return cls(*_upgraded(table, meta))
        except DataError as error:
            raise DataError(f"'{file}': {error}") from error

    def rescored(
        self,
        logits: Sequence[float | None],
        *,
        calibration: Calibration,
        meta: TableMeta,
        splits: Sequence[str | None] | None = None,
    ) -> "PredictionTable":
        """Return the same rows under other logits, and the scores that follow from them; `splits` None: as they are."""
        logit = _floats(logits)
        columns: dict[str, Any] = {"logit": logit, "score": [_score(value, calibration) for value in logit]}
        if splits is not None:
            columns["split"] = splits
        table = self.table
        for name, values in columns.items():
            table = table.set_column(table.column_names.index(name), name, pa.array(values, _COLUMNS[name]))
        return PredictionTable(table, meta)

    def write(self, folder: str | Path) -> Path:
        """Write predictions.parquet and predictions.csv into `folder`, each whole or not at all; return the Parquet's
        path. Text cells of the CSV that a spreadsheet would run as a formula get a leading apostrophe; where a base
        rate was stated, its last column says so."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        packed = self.meta.model_dump_json().encode()
        parquet, csv = target / PARQUET_NAME, target / CSV_NAME
        with whole_or_not_at_all(parquet) as temporary:
            pq.write_table(self.table.replace_schema_metadata({_METADATA_KEY: packed}), temporary)
        with whole_or_not_at_all(csv) as temporary:
            pa.csv.write_csv(_spreadsheet_safe(self._for_csv()), temporary)
        return parquet

    def _for_csv(self) -> pa.Table:
        """Return the table with what a CSV has no other place for: scores mean nothing without their base rate."""
        if self.meta.base_rate is None:
            return self.table
        stated = pa.array([self.meta.base_rate] * len(self.table), pa.float64())
        return self.table.append_column("base_rate_stated", stated)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def num_unreadable(self) -> int:
        """How many rows have no verdict."""
        return int(self.table["logit"].null_count)

    @property
    def num_unlabelled(self) -> int:
        """How many rows have no known label."""
        return int(self.table["label"].null_count)

    @property
    def ood(self) -> npt.NDArray[np.float32]:
        """How strange the judged rows are; NaN where that is not known."""
        return np.asarray(self.judged["ood"].to_numpy(zero_copy_only=False), dtype=np.float32)

    @cached_property
    def judged(self) -> pa.Table:
        """The rows with a verdict and a known label."""
        return self.table.filter(pc.and_(pc.is_valid(self.table["logit"]), pc.is_valid(self.table["label"])))

    @cached_property
    def unreadable(self) -> list[tuple[str, str]]:
        """(id, reason) of the rows without verdict."""
        rows = self.table.filter(pc.is_null(self.table["logit"]))
        return list(zip(rows["id"].to_pylist(), rows["error"].to_pylist(), strict=True))

    @cached_property
    def labels(self) -> Labels:
        """Labels of the judged rows: 0 real, 1 fake."""
        return np.asarray(self.judged["label"].to_numpy(), dtype=np.int8)

    @cached_property
    def logits(self) -> Floats:
        """Logits of the judged rows, widened to float64 without change of value. Rank on these, never on scores:
        saturated scores tie (AUROC fell from 0.984 to 0.793 on saturated half-precision scores)."""
        return np.asarray(self.judged["logit"].to_numpy(), dtype=np.float64)

    @cached_property
    def scores(self) -> Floats:
        """Scores of the judged rows, in [0, 1]."""
        return np.asarray(self.judged["score"].to_numpy(), dtype=np.float64)

    def column(self, name: str) -> list[Any]:
        """Return one column of the judged rows as Python values."""
        return list(self.judged[name].to_pylist())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _floats(values: Iterable[float | None]) -> list[float | None]:
    """Return the logits as they will be stored: rounded to float32, so that scores can be had again from the file."""
    return [None if value is None else float(np.float32(value)) for value in values]


def _score(logit: float | None, calibration: Calibration) -> float | None:
    # A NaN or infinite logit gets no score here; the table's check names the row.
    return None if logit is None or not math.isfinite(logit) else calibration.score(logit)


def _spreadsheet_safe(table: pa.Table) -> pa.Table:
    """Return `table` with an apostrophe before text that Excel, LibreOffice or Sheets would take for a formula
    (`files.safe_cell`, of whole columns)."""
    for index, field in enumerate(table.schema):
        if field.type == pa.string():
            column = table[field.name]
            risky = pc.is_in(pc.utf8_slice_codeunits(column, 0, 1), pa.array(FORMULA_STARTS))
            quoted = pc.binary_join_element_wise(pa.scalar("'"), column, "")
            table = table.set_column(index, field.name, pc.if_else(risky, quoted, column))
    return table


def _upgraded(table: pa.Table, meta: TableMeta) -> tuple[pa.Table, TableMeta]:
    """Return an old table as the current version would hold it, with nulls for what it could not know."""
    if meta.schema_version not in _OLD_VERSIONS:
        return table, meta
    for name in _NEW_COLUMNS:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, _COLUMNS[name]))
    return table, meta.model_copy(update={"schema_version": SCHEMA_VERSION})


def _check_meta(meta: TableMeta) -> None:
    if meta.schema_version != SCHEMA_VERSION:
        raise DataError(
            f"prediction table of version {meta.schema_version}; this program reads version {SCHEMA_VERSION}."
        )
    if meta.class_map != _CLASS_MAP:
        raise DataError(f"prediction table with the class map {json.dumps(meta.class_map)}; expected {_CLASS_MAP}.")


def _check_table(table: pa.Table) -> pa.Table:
    missing = sorted(set(_COLUMNS) - set(table.column_names))
    if missing:
        raise DataError(f"prediction table lacks the columns {missing}; it has {table.column_names}.")
    try:
        table = table.select(list(_COLUMNS)).cast(pa.schema(_COLUMNS.items()))
    except (pa.ArrowException, KeyError) as error:  # KeyError: a column twice
        raise DataError(f"prediction table with columns of the wrong kind: {_one_line(error)}") from error
    if table.num_rows == 0:
        raise DataError("prediction table without rows: nothing was scored, so there is nothing to judge.")
    _check_ids(table)
    label, logit, score = table["label"], table["logit"], table["score"]
    _refuse(table, pc.invert(pc.is_in(label, pa.array([REAL, FAKE, None], pa.int8()))), "labels other than 0 and 1")
    _refuse(table, pc.invert(pc.is_finite(logit)), "NaN or infinite logits (a diverged model, or overflow)")
    _refuse(table, pc.or_(pc.less(score, 0.0), pc.greater(score, 1.0)), "scores outside [0, 1]")
    _refuse(table, pc.is_nan(score), "NaN scores")
    _refuse(table, pc.invert(pc.is_finite(table["ood"])), "NaN or infinite ood")
    _refuse(table, pc.xor(pc.is_null(logit), pc.is_null(score)), "a logit without a score, or the reverse")
    _refuse(table, pc.xor(pc.is_null(logit), pc.is_valid(table["error"])), "no verdict and no reason, or both")
    return table


def _check_ids(table: pa.Table) -> None:
    ids = table["id"]
    if ids.null_count:
        raise DataError(f"prediction table with {ids.null_count} rows without id.")
    if pc.count_distinct(ids).as_py() != table.num_rows:
        twice = [name for name, count in Counter(ids.to_pylist()).items() if count > 1]
        raise DataError(f"prediction table holds {len(twice)} ids more than once: {some(twice)}.")


def _refuse(table: pa.Table, bad: Any, what: str) -> None:
    """Raise a DataError that names the rows where `bad` is true."""
    rows = table.filter(bad)  # a null in the mask keeps nothing
    if rows.num_rows:
        names = rows["id"].slice(0, _NUM_NAMED + 1).to_pylist()
        raise DataError(f"prediction table holds {what} in {rows.num_rows} rows: {some(names)}.")


def some(names: Sequence[str]) -> str:
    """Return the first names as an error shows them."""
    shown = ", ".join(repr(name) for name in names[:_NUM_NAMED])
    return shown + (", ..." if len(names) > _NUM_NAMED else "")
