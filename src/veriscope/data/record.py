"""Which file served as what: written once when a run or a cross-validation begins, compared when it goes on."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from veriscope.data.manifest import Manifest
from veriscope.errors import RunError
from veriscope.files import whole_or_not_at_all

_HASH_KEY = b"veriscope.data_hash"
_COMPARED = ("label", "size_bytes", "group")


def write_record(file: Path, manifest: Manifest, *, column: str, values: Sequence[str | int | None]) -> None:
    """Write `path, label, group, size_bytes` and `column` of every row as Parquet, whole or not at all."""
    table = _columns(manifest).append_column(column, pa.array(values))
    with whole_or_not_at_all(file) as temporary:
        pq.write_table(table.replace_schema_metadata({_HASH_KEY: manifest.content_hash.encode()}), temporary)


def read_record(file: Path) -> pa.Table:
    """Return the table that `write_record` wrote.

    Raises:
        RunError: the file is missing or damaged.

    """
    try:
        return pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"'{file}' is missing or damaged ({type(error).__name__}); start a new run") from None


def refuse_changed_data(file: Path, manifest: Manifest) -> None:
    """Compare the data with what `file` recorded.

    Raises:
        RunError: another data set, with the difference counted.

    """
    recorded = read_record(file)
    known = (recorded.schema.metadata or {}).get(_HASH_KEY, b"").decode()
    if known == manifest.content_hash:
        return
    raise RunError(
        f"the data set has changed since '{file.parent}' began: {_difference(recorded, manifest)} "
        f"(hash {known[:12]}, now {manifest.content_hash[:12]}). Bring the old data back, or start a new run"
    )


def _columns(manifest: Manifest) -> pa.Table:
    table = manifest.table.select(["path", *_COMPARED])
    return table.set_column(table.column_names.index("group"), "group", table["group"].cast(pa.string()))


def _difference(recorded: pa.Table, manifest: Manifest) -> str:
    """Return `3 files are new, 1 is gone, 2 have changed, as 'a.jpg'`."""
    now = _columns(manifest)
    new = now.join(recorded.select(["path"]), "path", join_type="left anti")["path"]
    gone = recorded.join(now.select(["path"]), "path", join_type="left anti")["path"]
    old = recorded.select(["path", *_COMPARED]).rename_columns(["path", *(f"{name}_then" for name in _COMPARED)])
    both = now.select(["path", *_COMPARED]).join(old, "path", join_type="inner")
    same = pa.scalar(True)
    for name in _COMPARED:
        left, right = both[name], both[f"{name}_then"]
        equal = pc.or_(pc.and_(pc.is_null(left), pc.is_null(right)), pc.fill_null(pc.equal(left, right), False))
        same = pc.and_(same, equal)
    changed = both.filter(pc.invert(same))["path"]
    parts = []
    for found, verb, verbs in ((new, "is new", "are new"), (gone, "is gone", "are gone"), (changed, "has", "have")):
        if len(found):
            word = f"{verb if len(found) == 1 else verbs}{' changed' if found is changed else ''}"
            parts.append(f"{len(found):,} file{'s' if len(found) > 1 else ''} {word}, as '{min(found.to_pylist())}'")
    return "; ".join(parts) or "names of splits or generators differ"
