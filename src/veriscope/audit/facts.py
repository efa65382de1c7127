"""The facts of a picture file that could give its label away, read from the inspected table as columns of numbers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from veriscope.audit.additive import NUM_STEPS, Column
from veriscope.audit.pixel_facts import PIXEL_FACTS

Floats = npt.NDArray[np.float64]

UNKNOWN = "(none)"

CONTAINER_WORDS: Mapping[str, str] = {
    "format": "file format",
    "mode": "colour mode",
    "dimensions": "exact width and height",
    "width_px": "width",
    "height_px": "height",
    "aspect": "aspect ratio",
    "size_bytes": "byte size",
    "bits_per_pixel": "bits per pixel",
    "quality": "JPEG quality",
    "quant_tables": "JPEG quantisation tables",
    "subsampling": "JPEG chroma subsampling",
    "progressive": "progressive storage",
    "exif": "presence of EXIF",
    "icc": "presence of a colour profile",
    "alpha": "presence of transparency",
    "orientation": "EXIF orientation",
    "frames": "number of frames",
}
CONTAINER_UNITS: Mapping[str, str] = {"size_bytes": "bytes", "width_px": "px", "height_px": "px"}
PIXEL_WORDS: Mapping[str, str] = {
    "brightness": "brightness",
    "contrast": "contrast",
    "black_share": "share of black",
    "white_share": "share of white",
    "blue_cast": "blue cast",
    "red_cast": "red cast",
    "colourfulness": "colourfulness",
    "detail": "amount of detail",
    "fine_share": "sharpness of the finest detail",
    "colour_detail": "detail in colour",
    "blockiness": "traces of JPEG blocks",
}
_NAMES = ("format", "mode", "dimensions", "quant_tables", "subsampling", "orientation")  # levels, no amounts


class Facts(NamedTuple):
    """The facts that differ between pictures; names of those that are `constant`, and, of a fact's `twins`, of others
    that tell the same pictures apart."""

    columns: tuple[Column, ...]
    constant: tuple[str, ...]
    twins: Mapping[str, tuple[str, ...]]


def container_facts(table: pa.Table) -> Facts:
    """Return what the files' headers and sizes tell of the rows of `table`."""
    return _telling({name: _container_column(table, name) for name in CONTAINER_WORDS})


def picture_facts(table: pa.Table) -> Facts | None:
    """Return the trivial facts of the pixels; None where the table doesn't have them."""
    if any(name not in table.column_names for name in PIXEL_FACTS):
        return None
    columns = {name: Column(name, _numbers(table[name])) for name in PIXEL_FACTS}
    return None if all(np.isnan(column.values).all() for column in columns.values()) else _telling(columns)


def _telling(columns: Mapping[str, Column]) -> Facts:
    kept: list[Column] = []
    constant: list[str] = []
    twins: dict[str, tuple[str, ...]] = {}
    seen: dict[bytes, str] = {}
    for name, column in columns.items():
        partition = _partition(column.values)
        if not partition.any():
            constant.append(name)
            continue
        # Two facts with the same few values, or in the same order, tell the same: one of them would only halve the
        # other's part in the model.
        keys = _keys(column, partition)
        first = next((seen[key] for key in keys if key in seen), None)
        if first is not None:
            twins[first] = (*twins.get(first, ()), name)
            continue
        seen |= dict.fromkeys(keys, name)
        kept.append(column)
    return Facts(tuple(kept), tuple(constant), twins)


def _keys(column: Column, partition: npt.NDArray[np.int64]) -> list[bytes]:
    few = bool(column.levels) or int(partition.max()) < NUM_STEPS
    return [partition.tobytes()] if few else [_partition(s * column.values, by_value=True).tobytes() for s in (1, -1)]


def _partition(values: Floats, *, by_value: bool = False) -> npt.NDArray[np.int64]:
    """Return which rows share a value, numbered from 0 on as they come up, or by value; NaN is a value."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.arange(first.size) if by_value else np.argsort(np.argsort(first))
    return np.asarray(order[inverse], dtype=np.int64)


def _container_column(table: pa.Table, name: str) -> Column:
    derived: dict[str, Callable[[], Floats]] = {
        "aspect": lambda: _numbers(table["width_px"]) / _numbers(table["height_px"]),
        "bits_per_pixel": lambda: (
            8 * _numbers(table["size_bytes"]) / (_numbers(table["width_px"]) * _numbers(table["height_px"]))
        ),
    }
    if name in derived:
        return Column(name, derived[name]())
    if name not in _NAMES:
        return Column(name, _numbers(table[name]))
    if name == "dimensions":
        pairs = [table[side].cast(pa.string()) for side in ("width_px", "height_px")]
        texts = pc.binary_join_element_wise(*pairs, "x")
    else:
        texts = table[name].cast(pa.string())
    codes = pc.fill_null(texts, UNKNOWN).combine_chunks().dictionary_encode()
    names = codes.dictionary.to_pylist()
    order = np.argsort(np.array(names, dtype=str), kind="stable")  # by name: rows in another order change nothing
    place: Any = np.argsort(order)
    values = place[codes.indices.to_numpy(zero_copy_only=False)].astype(np.float64)
    return Column(name, values, tuple(names[index] for index in order))


def _numbers(column: pa.ChunkedArray) -> Floats:
    numbers = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    return np.asarray(numbers.cast(pa.float64()).to_numpy(), dtype=np.float64)
